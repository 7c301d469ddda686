# Shared by the set-up scripts (sourced, not run): the cache, progress lines, keyed products.
# A product is made once per hash of its inputs, in a folder of its own, and linked under a fixed
# name: a repeat finds the link right and does nothing.
# shellcheck shell=bash

E2E=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TOP=$(dirname "$E2E")
CACHE=${BINLOG_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/binlog-operator}
BIN=$CACHE/bin
LOGS=$CACHE/log
mkdir -p "$BIN" "$LOGS" "$CACHE/store"

say() { printf 'set-up: %s\n' "$*"; }

fail() {
  printf 'set-up: %s\n' "$*" >&2
  exit 1
}

# need PROGRAM INSTALL_LINE
need() {
  command -v "$1" >/dev/null || fail "$1 is missing; install it with: $2"
}

# key FILE|=TEXT... : a short hash of the contents of files and of literal texts
key() {
  local input
  for input; do
    if [[ $input == =* ]]; then printf '%s\n' "$input"; else cat "$input"; fi
  done | sha256sum | cut -c1-16
}

# step NAME COMMAND... : runs COMMAND with its output in a log, one line when it starts to be long
# and one when it is done.
step() {
  local name=$1 start=$SECONDS log
  shift
  log=$LOGS/$(tr -c 'a-z0-9.\n' '-' <<<"$name").log
  "$@" >"$log" 2>&1 &
  local pid=$! next=20
  while kill -0 "$pid" 2>/dev/null; do
    read -rt 0.2 <> <(:) || true
    if ((SECONDS - start >= next)); then
      say "$name: working, $((SECONDS - start)) s"
      ((next += 30))
    fi
  done
  if ! wait "$pid"; then
    tail -n 30 "$log" >&2
    fail "$name failed after $((SECONDS - start)) s; whole log: $log"
  fi
  say "$name: done in $((SECONDS - start)) s"
}

# product NAME KEY COMMAND : COMMAND DIR fills DIR; the result is linked as $CACHE/NAME.
product() {
  local name=$1 dir=$CACHE/store/$1-$2
  if [[ ! -e $dir/.done ]]; then
    rm -rf "$dir"
    mkdir -p "$dir"
    step "$name" "$3" "$dir"
    touch "$dir/.done"
  fi
  ln -sfn "store/$1-$2" "$CACHE/$name"
}
