#!/usr/bin/env bash
# clean.sh
# Stops a demo that still runs and removes what was made in the tree.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ -s .demo/pid ]]; then
  pid=$(<.demo/pid)
  # The first process of the demo's namespaces: all of it ends with it. Only if it is still that one.
  if tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q -e 'ns.sh --inside' -e '/demo '; then
    kill -TERM "$pid" 2>/dev/null || true
    tries=0
    while kill -0 "$pid" 2>/dev/null && ((++tries <= 50)); do read -rt 0.2 <> <(:) || true; done
    kill -KILL "$pid" 2>/dev/null || true
    echo "clean: the demo is stopped"
  fi
fi
rm -rf .demo .make target dist
cache=${BINLOG_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/binlog-operator}
echo "clean: removed .demo, .make, target and dist; the cache stays: $cache"
