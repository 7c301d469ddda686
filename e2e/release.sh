#!/usr/bin/env bash
# release.sh [DIR]
# Makes in DIR (dist/) what a release is: for amd64 and arm64 the programs with plugin and systemd unit, and the images;
# the chart; resource definition and manifests; the bill of materials; checksums. The programs are built with the profile
# and the target that the tests use: what is tested is what is shipped. Those for arm64 are started once, emulated. The
# version is that of Cargo.toml; a tree that says another one elsewhere is refused. Nothing is published.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/setup/lib.sh"
. "$E2E/setup/packages.sh"
. "$E2E/setup/go.sh"
cd "$TOP"

out=$(realpath -m "${1:-dist}")
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE/target}
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
chart=charts/binlog-operator
for field in version appVersion; do
  said=$(sed -n "s/^$field: *\"\?\([^\"]*\)\"\?\$/\1/p" $chart/Chart.yaml)
  [[ $said == "$version" ]] || fail "$chart/Chart.yaml: $field is $said, Cargo.toml says $version; make them one"
done

declare -A TRIPLE=([amd64]=x86_64-unknown-linux-gnu [arm64]=aarch64-unknown-linux-gnu)
PROGRAMS=(operator worker kubectl-binlog)

# packed FILE DIR : the folder as a tar.gz in which only its contents vary
packed() {
  tar -C "$(dirname "$2")" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - "$(basename "$2")" |
    gzip -n9 >"$1"
}

# started ARCH : each program answers, arm64's under emulation
started() {
  local run=() program said
  [[ $1 == amd64 ]] || run=(qemu-aarch64-static)
  for program in "${PROGRAMS[@]}"; do
    said=$("${run[@]}" "$CARGO_TARGET_DIR/${TRIPLE[$1]}/release/$program" --version)
    [[ $said == *" $version" ]] || fail "$program for $1 calls itself $said, not $version"
    say "$1: $said starts"
  done
}

built() {
  local selection=(-p operator -p worker --bins)
  # With the tests, as the tests are built: a part of the workspace has other features.
  [[ $1 != amd64 ]] || selection=(--workspace --bins --tests)
  step "programs for $1" cargo build --release --locked "${selection[@]}" --target "${TRIPLE[$1]}"
  started "$1"
}

# programs ARCH : with plugin, unit, an example and the licence
programs() {
  local name=binlog-operator-$version-linux-$1 program
  local folder=$work/$name
  mkdir -p "$folder"
  for program in "${PROGRAMS[@]}"; do
    install -m755 "$CARGO_TARGET_DIR/${TRIPLE[$1]}/release/$program" "$folder/"
  done
  install -m644 LICENSE README.md CHANGELOG.md SECURITY.md config/systemd/binlog-worker@.service "$folder/"
  packed "$out/$name.tar.gz" "$folder"
}

images() {
  local program
  for program in operator worker; do
    "$E2E/image.sh" "$CARGO_TARGET_DIR/${TRIPLE[$1]}/release/$program" "docker.io/library/binlog-$program:$version" \
      "$out/binlog-$program-$version-linux-$1.oci.tar" "$1"
  done
}

packages ca-certificates gcc libc6-dev make python3 buildah binutils \
  gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static
rustup target list --installed | grep -q "${TRIPLE[arm64]}" || step "rust for arm64" rustup target add "${TRIPLE[arm64]}"
go_programs

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf "$out"
mkdir -p "$out"
for arch in amd64 arm64; do
  built "$arch"
  programs "$arch"
  images "$arch"
  python3 "$E2E/release/sbom.py" "${TRIPLE[$arch]}" >"$out/binlog-operator-$version-linux-$arch.cdx.json"
done
"$BIN/helm" package "$chart" --destination "$out" >/dev/null
cat crds/generated/*.yaml >"$out/crds.yaml"
"$BIN/kubectl" kustomize config/default >"$out/install.yaml"
(cd "$out" && sha256sum -- * >SHA256SUMS)
ls -l "$out"
say "release $version is in $out; nothing was published"
