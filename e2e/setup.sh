#!/usr/bin/env bash
# setup.sh [check|bench|fleet|all]
# Installs once what the checks and the tests need; a repeat takes a second. Packages come from apt;
# everything else goes to the cache ($BINLOG_CACHE, else ~/.cache/binlog-operator), never into the
# tree. `check` is the small part that `make check` needs, `bench` the one of `make bench`,
# `fleet` the one of `make bench-fleet`.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/setup/lib.sh"
. "$E2E/setup/packages.sh"
. "$E2E/setup/go.sh"
. "$E2E/setup/debroot.sh"
. "$E2E/setup/servers.sh"
. "$E2E/setup/tools.sh"
. "$E2E/setup/peers.sh"
. "$E2E/setup/fleet.sh"

[[ $(uname -sm) == "Linux x86_64" ]] ||
  fail "this needs Linux on x86-64, here is $(uname -sm); use another cluster with CONTEXT=<name>"

start=$SECONDS
exec 9>"$CACHE/setup.lock"
flock -n 9 || { say "another set-up is running, waiting for it"; flock 9; }
export -n LD_LIBRARY_PATH 2>/dev/null || true

case ${1:-all} in
  check)
    packages "${PACKAGES[@]}"
    cargo_deny
    ;;
  bench)
    packages "${PACKAGES[@]}" "${SERVER_PACKAGES[@]}"
    servers
    peers
    ;;
  fleet)
    packages "${PACKAGES[@]}" "${SERVER_PACKAGES[@]}"
    go_programs
    kwok
    servers
    pause_image
    ;;
  all)
    packages "${PACKAGES[@]}" "${SERVER_PACKAGES[@]}"
    # Two lanes: one compiles, the other fetches.
    (
      go_programs
      s3s_fs
    ) &
    compile=$!
    cargo_deny
    servers
    python_reader
    pause_image
    wait "$compile" || exit 1
    ;;
  *) fail "no such part: $1; one of: check, bench, fleet, all" ;;
esac
say "ready in $((SECONDS - start)) s, cache $CACHE ($(du -sh --exclude=target "$CACHE" | cut -f1) without target)"
