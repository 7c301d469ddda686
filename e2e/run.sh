#!/usr/bin/env bash
# run.sh check|lint|suites...
# Runs the parts in order, shows what their runners say, and ends with a table. Exit 1 if anything
# failed or was skipped. Whole outputs are under .make/log.
set -uo pipefail

e2e=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$(dirname "$e2e")" || exit 1
cache=${BINLOG_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/binlog-operator}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
export CARGO_TERM_COLOR=never
logs=.make/log
mkdir -p "$logs"
# Tests of a suite at once. They mostly wait, so more of them than cores.
threads=$(($(nproc) + 2))
rows=() failures=() left_out=()
began=$SECONDS
trap 'exit 130' INT
trap 'exit 143' TERM

# row NAME STATUS SECONDS LOG : adds a line to the table from the test runners' closing lines in LOG;
# a command that runs no tests counts as one.
row() {
  local name=$1 status=$2 seconds=$3 log=$4 passed failed skipped
  if grep -q '^test result:' "$log"; then
    read -r passed failed skipped < <(awk '/^test result:/ {
      for (i = 1; i < NF; i++) {
        if ($(i+1) ~ /^passed/) p += $i; if ($(i+1) ~ /^failed/) f += $i; if ($(i+1) ~ /^ignored/) s += $i
      }} END {print p + 0, f + 0, s + 0}' "$log")
    ((status == 0 || failed > 0)) || failed=1
  else
    passed=$((status == 0)) failed=$((status != 0)) skipped=0
  fi
  if ((failed > 0 || skipped > 0 || passed == 0)); then failures+=("$name"); fi
  rows+=("$(printf '%s %d %d %d %d.%d' "$name" "$passed" "$failed" "$skipped" $((seconds / 60)) $((seconds % 60 / 6)))")
}

# part NAME COMMAND... : quiet while it goes well
part() {
  local name=$1 start=$SECONDS status=0
  shift
  echo "== $name: $*"
  "$@" >"$logs/$name.log" 2>&1 </dev/null || status=$?
  if ((status == 0)); then
    grep -E '^test result:' "$logs/$name.log" || tail -n 1 "$logs/$name.log"
  else
    tail -n 60 "$logs/$name.log"
  fi
  row "$name" "$status" $((SECONDS - start)) "$logs/$name.log"
}

# suite NAME : in namespaces of its own. Shows each test as it ends, and the whole end of one that fails.
# What became of it stands in .make/log/NAME.outcome, since lanes are processes of their own.
suite() {
  local name=$1 start=$SECONDS status=0
  echo "== suite $name"
  "$e2e/ns.sh" cargo test --release --locked --workspace --test "$name" -- --nocapture --test-threads "$threads" </dev/null 2>&1 |
    tee "$logs/$name.log" | grep --line-buffered -E '^test .* (ok|FAILED)$' | sed -u "s/^test /$name: /"
  status=${PIPESTATUS[0]}
  ((status == 0)) || tail -n 200 "$logs/$name.log"
  grep -E '^test result:' "$logs/$name.log"
  echo "$status $((SECONDS - start))" >"$logs/$name.outcome"
}

# lane NAME... : one suite after the other, without those that another lane has begun
lane() {
  local name
  for name; do
    if mkdir "$logs/$name.begun" 2>/dev/null; then suite "$name"; fi
  done
}

# outcome NAME... : their lines of the table
outcome() {
  local name status seconds
  for name; do
    # A lane that died left none.
    read -r status seconds <"$logs/$name.outcome" || { status=1 seconds=0; }
    row "$name" "$status" "$seconds" "$logs/$name.log"
  done
}

# Integration tests of every crate but this one: none of them starts a server.
own_tests() {
  cargo metadata --no-deps --format-version 1 --locked | python3 -c '
import json, sys
packages = [p for p in json.load(sys.stdin)["packages"] if p["name"] != "e2e"]
print("\n".join(sorted({t["name"] for p in packages for t in p["targets"] if "test" in t["kind"]})))'
}

# Always the whole workspace: a part of it has other features, and so another build of everything.
# Tests that start no server: those of the other crates, and the harness's own.
check() {
  local own=(--test house) name
  while read -r name; do own+=(--test "$name"); done < <(own_tests)
  part fmt cargo fmt --all --check
  part deny "$cache/bin/cargo-deny" --locked check licenses bans sources
  part generated cargo run --release --locked --quiet -p crds --bin crdgen -- --check
  part unit cargo test --release --locked --workspace --no-fail-fast --lib --bins "${own[@]}"
}

# A compilation of its own, of metadata only.
lint() {
  part clippy cargo clippy --release --locked --workspace --all-targets --quiet -- -D warnings
}

# Only then a second version is built.
is_long() { ((${SCALE:-1} >= 10)); }

# Every file of tests/ that starts something. The harness proves itself first. Then two lanes, for most of what
# a suite does is wait. Only one of them runs those with pods, so that two clusters never share the machine; the rest
# is for whoever is free.
suites() {
  # With the tests, so that both have the same features: what is tested is what is shipped.
  part build cargo build --release --locked --workspace --bins --tests
  part archives "$e2e/images.sh"
  if is_long; then part previous "$e2e/previous.sh"; fi
  local file name first=() pods=() rest=()
  for file in "$e2e"/tests/*.rs; do
    name=$(basename "$file" .rs)
    case $name in
      house) ;; # starts no server: part of check
      harness_*) first+=("$name") ;;
      versions) if is_long; then pods+=("$name"); else left_out+=("$name"); fi ;;
      *) if grep -qE 'Cluster::shared|release::installed' "$file"; then pods+=("$name"); else rest+=("$name"); fi ;;
    esac
  done
  rm -rf "$logs"/*.outcome "$logs"/*.begun
  lane "${first[@]}"
  # In a process group of its own, to be ended with this script.
  set -m
  lane "${pods[@]}" "${rest[@]}" &
  local beside=$!
  set +m
  # shellcheck disable=SC2064 # the number as it is now
  trap "kill -TERM -- -$beside 2>/dev/null" EXIT
  lane "${rest[@]}"
  wait "$beside"
  trap - EXIT
  outcome "${first[@]}" "${pods[@]}" "${rest[@]}"
}

for part; do
  case $part in
    check | lint | suites) "$part" ;;
    *) echo "run.sh: no part $part; one of: check, lint, suites" >&2; exit 2 ;;
  esac
done

echo
printf '%-24s %7s %7s %8s %8s\n' suite passed failed skipped minutes
for line in "${rows[@]}"; do
  # shellcheck disable=SC2086 # the words of a row are its columns
  printf '%-24s %7s %7s %8s %8s\n' $line
done
printf '%-24s %31d.%d\n' "all, SCALE=${SCALE:-1}" $(((SECONDS - began) / 60)) $(((SECONDS - began) % 60 / 6))
if ((${#left_out[@]})); then echo "left out, for make test-long: ${left_out[*]}"; fi
if ((${#failures[@]})); then
  echo "failed: ${failures[*]} (whole outputs: $logs)"
  exit 1
fi
