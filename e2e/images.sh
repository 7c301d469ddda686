#!/usr/bin/env bash
# images.sh [DIR]
# Makes both images as OCI archives in DIR (images/ beside the build) from the binaries of the last
# release build, and prints name, size, digest and file. Names are those of the chart's defaults.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(dirname "$here")
cache=${BINLOG_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/binlog-operator}
target=${CARGO_TARGET_DIR:-$cache/target}
out=${1:-$target/images}
version=$(sed -n 's/^appVersion: *//p' "$top/charts/binlog-operator/Chart.yaml" | tr -d '"')

for program in operator worker; do
  binary=$target/x86_64-unknown-linux-gnu/release/$program
  [[ -x $binary ]] || {
    echo "$binary is missing; run: make build" >&2
    exit 1
  }
  archive=$out/binlog-$program.tar
  # The same binary and recipe give the same image: nothing to do then.
  key=$(cat "$binary" "$here/image.sh" /etc/ssl/certs/ca-certificates.crt | sha256sum | cut -c1-64)
  if [[ ! -f $archive || $(cat "$archive.key" 2>/dev/null) != "$key" ]]; then
    "$here/image.sh" "$binary" "docker.io/library/binlog-$program:$version" "$archive"
    echo "$key" >"$archive.key"
  fi
  digest=$(tar -xOf "$archive" index.json | grep -o 'sha256:[0-9a-f]*' | sed -n 1p)
  size=$(($(stat -c %s "$archive") / 1000000))
  printf 'binlog-%s:%s  %s MB  %s  %s\n' "$program" "$version" "$size" "$digest" "$archive"
done
