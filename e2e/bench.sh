#!/usr/bin/env bash
# bench.sh
# Set-up and build, then the program e2e/src/bin/bench in namespaces of its own: servers and programs see loopback
# only. BENCH=AB measures some shapes and keeps no figures, ROUNDS is 5, SCALE makes shape X larger (8 is 4 GiB).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$(dirname "$here")"
"$here/setup.sh" bench
# shellcheck source=setup/lib.sh
. "$here/setup/lib.sh"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE/target}
step "worker and bench" cargo build --release --locked --quiet --workspace --bins --examples
exec "$here/ns.sh" "$CARGO_TARGET_DIR/x86_64-unknown-linux-gnu/release/bench"
