#!/usr/bin/env bash
# fleet.sh
# Set-up and build, then the program e2e/src/bin/fleet in namespaces of its own. FLEET=1000 measures other numbers
# of streams, or none, and keeps no figures; STEADY is how many seconds are looked at, 300.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$(dirname "$here")"
"$here/setup.sh" fleet
# shellcheck source=setup/lib.sh
. "$here/setup/lib.sh"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE/target}
step "operator, worker and fleet" cargo build --release --locked --quiet --workspace --bins --tests
"$here/images.sh"
exec "$here/ns.sh" "$CARGO_TARGET_DIR/x86_64-unknown-linux-gnu/release/fleet"
