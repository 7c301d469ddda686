#!/usr/bin/env bash
# context.sh
# Another cluster than the tests' own is used only by CONTEXT=<name> that equals the current context;
# KUBECONFIG alone is ignored. So far the suites and the demo run in their own cluster only.
set -euo pipefail

[[ ${CONTEXT:-} ]] || exit 0
current=$(kubectl config current-context 2>/dev/null || true)
if [[ $CONTEXT != "$current" ]]; then
  echo "CONTEXT=$CONTEXT is not the current context (${current:-there is none}); nothing was touched" >&2
else
  echo "CONTEXT=$CONTEXT: this target starts database servers beside its cluster and runs only in a cluster of its own; unset CONTEXT. Nothing was touched" >&2
fi
exit 1
