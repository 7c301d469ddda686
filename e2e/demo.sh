#!/usr/bin/env bash
# demo.sh
# The demo on a real Kubernetes of its own: set-up, build, images, then the program e2e/src/bin/demo.rs
# in namespaces of its own. With a terminal it stays until Ctrl-C, without one it ends by itself.
# Exit 1 when something differs.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$(dirname "$here")"
top=$PWD
demo=$top/.demo

echo "binlog-operator demo: two servers, two streams, a real Kubernetes. Needs Linux x86-64, root and 10 GB."
echo "Touches only .demo/, the cache and a network of its own."
[[ $(uname -sm) == "Linux x86_64" ]] || { echo "demo: here is $(uname -sm); install the chart in a cluster of yours instead" >&2; exit 1; }
((EUID == 0)) || { echo "demo: namespaces, containerd and kubelet need root; run: sudo make demo" >&2; exit 1; }

start=$SECONDS
"$here/setup.sh" all
# shellcheck source=setup/lib.sh
. "$here/setup/lib.sh"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE/target}
target=$CARGO_TARGET_DIR
step "operator, worker, demo" cargo build --release --locked --quiet --workspace --bins --tests
step images "$here/images.sh"
say "all in $((SECONDS - start)) s"

rm -rf "$demo"
mkdir -p "$demo/bin"
export BINLOG_DEMO=$demo

# Programs for another terminal: they enter the demo's network.
for program in kubectl helm; do
  cat >"$demo/bin/$program" <<WRAP
#!/bin/sh
exec nsenter --target "\$(cat '$demo/pid')" --net env KUBECONFIG='$demo/kubeconfig' '$BIN/$program' "\$@"
WRAP
done
for server in orders:mysql-9.7:mysql ledger:mariadb-11.8:mariadb; do
  IFS=: read -r name product program <<<"$server"
  cat >"$demo/bin/$name-sql" <<WRAP
#!/bin/sh
exec '$CACHE/$product/bin/$program' --no-defaults -uroot -S "\$(cat '$demo/$name.socket')" "\$@"
WRAP
done
chmod +x "$demo"/bin/*

setsid "$here/ns.sh" "$target/x86_64-unknown-linux-gnu/release/demo" "$target/images" &
child=$!
# The program inside, as this machine counts: unshare, the first process of its namespaces, the demo.
find_inside() {
  local pid=$child name
  for name in unshare '' demo; do pid=$(pgrep -P "$pid" ${name:+-x "$name"}) || return 1; done
  echo "$pid" >"$demo/pid"
}
until find_inside || ! kill -0 "$child" 2>/dev/null; do read -rt 0.1 <> <(:) || true; done
# Told so, it ends in order and says how it went.
trap 'kill -TERM "$(<"$demo/pid")" 2>/dev/null || kill -TERM "$child" 2>/dev/null || true' INT TERM

# A signal cuts a wait short: look again while it runs.
until wait "$child"; status=$?; ! kill -0 "$child" 2>/dev/null; do :; done
exit "$status"
