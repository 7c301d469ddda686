# kwok, which makes the pods of `make bench-fleet` Ready. (sourced)
# shellcheck shell=bash

kwok() {
  need go "your system's Go 1.25 or newer (https://go.dev/dl)"
  product kwok "$(key "$E2E"/kwok/go.mod "$E2E"/kwok/go.sum "=$(go version)")" build_kwok
  ln -sfn ../kwok/kwok "$BIN/kwok"
}

build_kwok() {
  (cd "$E2E/kwok" && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$1/" tool)
}
