# The programs that `make bench` runs beside ours, but for those that come with the servers. (sourced)
# shellcheck shell=bash

peers() {
  if ! command -v javac >/dev/null || ! command -v mvn >/dev/null; then packages default-jdk-headless maven; fi
  need go "your system's Go 1.25 or newer (https://go.dev/dl)"
  product go-mysql "$(key "$E2E"/peers/go-mysql/{main.go,go.mod,go.sum} "=$(go version)")" build_go_mysql
  ln -sfn ../go-mysql/go-mysql "$BIN/go-mysql"
  product debezium "$(key "$E2E"/peers/debezium/{pom.xml,Main.java} "$E2E/setup/peers.sh")" build_debezium
  ln -sfn ../debezium/debezium "$BIN/debezium"
}

build_go_mysql() {
  (cd "$E2E/peers/go-mysql" && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$1/" .)
}

build_debezium() {
  mvn -q -B -f "$E2E/peers/debezium/pom.xml" dependency:copy-dependencies "-DoutputDirectory=$1/lib"
  javac -cp "$1/lib/*" -d "$1/classes" "$E2E/peers/debezium/Main.java"
  cat >"$1/debezium" <<WRAP
#!/bin/sh
exec java -Xmx2g -cp '$1/classes:$1/lib/*' Main "\$@"
WRAP
  chmod +x "$1/debezium"
}
