#!/usr/bin/env bash
# ns.sh COMMAND...
# Runs COMMAND in network, mount and pid namespaces of its own: every server and pod a test starts
# ends with it, nothing of the machine's network is touched. Inside: loopback and the bridge node0
# at 10.88.0.1 (the node's address). BINLOG_E2E_DIR is a folder for the run, removed at the end; when
# COMMAND fails the logs in it are kept under .make/failed/ of the tree.
set -euo pipefail

tree=$(dirname "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)")

if [[ ${1:-} == --inside ]]; then
  shift
  mount --make-rshared /
  ip link set lo up
  ip link add node0 type bridge
  ip address add 10.88.0.1/24 dev node0
  ip link set node0 up
  # Pods ask for a default route; nothing answers on it.
  ip route add default via 10.88.0.254 dev node0
  sysctl -qw net.ipv4.ip_forward=1
  status=0
  "$@" || status=$?
  exit "$status"
fi

(($# > 0)) || { echo "usage: ns.sh COMMAND..." >&2; exit 2; }
((EUID == 0)) || { echo "ns.sh: namespaces, containerd and kubelet need root; run as root" >&2; exit 1; }
if [[ ${BINLOG_E2E_DIR:-} ]]; then
  exec "$@"
fi

BINLOG_E2E_DIR=$(mktemp -d "${TMPDIR:-/tmp}/binlog-e2e.XXXXXX")
export BINLOG_E2E_DIR
# The name of the run's cgroups; the kubelet keeps its pods below.
BINLOG_E2E_CGROUP=$(basename "$BINLOG_E2E_DIR")
export BINLOG_E2E_CGROUP
export CARGO_NET_OFFLINE=true
# Never another cluster by accident.
unset KUBECONFIG

child=
leave() {
  local status=$?
  trap - EXIT
  [[ -z $child ]] || kill -KILL "$child" 2>/dev/null || true
  if ((status != 0)); then
    local kept
    kept=$tree/.make/failed/$(date -u +%Y%m%dT%H%M%S)-$$
    mkdir -p "$kept"
    (cd "$BINLOG_E2E_DIR" && find . -name '*.log' -not -path './*/data/*' -size -20M -exec cp --parents -t "$kept" {} +) 2>/dev/null || true
    echo "ns.sh: logs of the failed run: $kept" >&2
  fi
  local tries=0
  until rm -rf --one-file-system "$BINLOG_E2E_DIR" 2>/dev/null || ((++tries > 20)); do read -rt 0.1 <> <(:) || true; done
  find /sys/fs/cgroup -depth -type d -path "*/$BINLOG_E2E_CGROUP*" -exec rmdir {} + 2>/dev/null || true
  exit "$status"
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# In the background, so that a signal reaches this script; the kernel ends the rest with the child.
setpriv --pdeathsig KILL unshare --net --mount --pid --fork --mount-proc --kill-child "${BASH_SOURCE[0]}" --inside "$@" <&0 &
child=$!
status=0
wait "$child" || status=$?
child=
exit "$status"
