#!/usr/bin/env bash
# image.sh BINARY NAME:TAG OUT.tar [amd64|arm64]
# An OCI archive of one static binary FROM scratch, made without a daemon or a registry. The same
# binary gives the same digest: all times are zero, the layer holds nothing else that varies.
set -euo pipefail

binary=$(readlink -f "${1:?the binary}") name=${2:?the image name} out=${3:?the archive to write} arch=${4:-amd64}
command -v buildah >/dev/null || { echo "buildah is missing; install it with: sudo apt-get install buildah" >&2; exit 1; }
if readelf -l "$binary" 2>/dev/null | grep -q INTERP; then
  echo "$binary is not static: an image FROM scratch cannot start it" >&2
  exit 1
fi

work=$(mktemp -d)
store=(--root "$work/store" --runroot "$work/run" --storage-driver vfs)
clean() {
  buildah "${store[@]}" rmi -a -f >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap clean EXIT

root=$work/root
mkdir -p "$root/etc/ssl/certs" "$root/tmp"
chmod 755 "$root" "$root/etc" "$root/etc/ssl" "$root/etc/ssl/certs"
chmod 1777 "$root/tmp"
program=$(basename "$binary")
install -m755 "$binary" "$root/$program"
echo 'nonroot:x:65532:65532::/:/sbin/nologin' >"$root/etc/passwd"
echo 'nonroot:x:65532:' >"$root/etc/group"
install -m644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
chmod 644 "$root/etc/passwd" "$root/etc/group"
find "$root" -exec touch -h -d @0 {} +

cat >"$work/Containerfile" <<CONTAINERFILE
FROM scratch
COPY . /
USER 65532:65532
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
ENTRYPOINT ["/$program"]
CONTAINERFILE
# A fixed creator keeps buildah's own version out of the digest.
buildah "${store[@]}" build --arch "$arch" --isolation chroot --pull=never --timestamp 0 --identity-label=false --quiet \
  --file "$work/Containerfile" --tag "$name" "$root" >/dev/null
mkdir -p "$(dirname "$out")"
rm -f "$out"
buildah "${store[@]}" push --quiet "$name" "oci-archive:$out:$name"
