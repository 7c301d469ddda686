#!/usr/bin/env bash
# previous.sh
# Makes what the suite `versions` upgrades from, out of the commit in e2e/previous: operator and worker with that
# commit's own lock file, their images under a tag of their own, its chart. All of it in the cache, once for each commit;
# a repeat takes a second.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/setup/lib.sh"

read -r commit version < <(grep -v '^#' "$E2E/previous")
# As the tests read it, e2e/src/previous.rs.
tag=$version-${commit:0:7}
TRIPLE=x86_64-unknown-linux-gnu

# lend TARGET : the dependencies that this tree's build has made already, as copies. Cargo compares what each was made
# from, and makes anew what the other lock file has otherwise.
lend() {
  local from=${CARGO_TARGET_DIR:-$CACHE/target} part
  for part in release "$TRIPLE/release"; do
    [[ -d $from/$part/deps ]] || continue
    mkdir -p "$1/$part/deps"
    cp -a --reflink=auto "$from/$part/.fingerprint" "$from/$part/build" "$1/$part/"
    # Libraries have an ending, programs have none.
    find "$from/$part/deps" -maxdepth 1 -name '*.*' ! -name '*.o' -exec cp -a --reflink=auto -t "$1/$part/deps" {} +
  done
}

# build_previous DIR
build_previous() {
  git -C "$TOP" cat-file -e "$commit^{commit}" 2>/dev/null ||
    fail "commit $commit of e2e/previous is not in this clone; get it with: git fetch --unshallow"
  local tree=$1/tree target=$1/target program
  mkdir "$tree" "$target"
  git -C "$TOP" archive "$commit" | tar -x -C "$tree"
  lend "$target"
  # The whole workspace, with what is never shipped: so all features are those of the build that was lent.
  (cd "$tree" && CARGO_TARGET_DIR=$target cargo build --release --locked --workspace --bin operator --bin worker --example probe)
  for program in operator worker; do
    "$tree/e2e/image.sh" "$target/$TRIPLE/release/$program" "docker.io/library/binlog-$program:$tag" "$1/binlog-$program.tar"
  done
  mv "$tree/charts/binlog-operator" "$1/chart"
  rm -rf "$tree" "$target"
}

exec 9>"$CACHE/previous.lock"
flock 9
product previous "$tag" build_previous
say "previous version: $tag, $CACHE/previous"
