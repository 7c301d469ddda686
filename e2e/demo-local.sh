#!/usr/bin/env bash
# demo-local.sh
# One worker, one MariaDB 11.8, one directory, no Kubernetes: writes 60 000 changes, kills the worker
# in the middle, lets it resume and compares. All is on loopback and in .demo/local; both programs
# have ended when the script ends, however it ends. Exit 1 when something differs.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/setup/lib.sh"
. "$E2E/setup/packages.sh"
. "$E2E/setup/debroot.sh"
. "$E2E/setup/servers.sh"
. "$E2E/setup/tools.sh"
cd "$TOP"

DEMO=$TOP/.demo/local
ARCHIVE=$DEMO/archive
SERVER=$CACHE/mariadb-11.8
PYTHON=$CACHE/python/venv/bin/python
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE/target}
WORKER=$CARGO_TARGET_DIR/x86_64-unknown-linux-gnu/release/worker
server_pid='' worker_pid='' writer_pid='' before_file='' before=0

command_line() { printf '$ %s\n' "$*"; }
client() { "$SERVER/bin/mariadb" --no-defaults -uroot -S "$DEMO/mariadb.sock" "$@"; }
workload() { "$PYTHON" "$E2E/demo/workload.py" "$1" shop orders | client; }
status() { curl -fsS --max-time 2 "http://127.0.0.1:$STATUS_PORT/status"; }
free_port() { "$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# fields NAME.NAME... : values of one report of the worker, tabs between; "-" while there is none
fields() {
  "$PYTHON" -c 'import functools, json, sys
report = json.load(sys.stdin)
found = [functools.reduce(lambda v, k: (v or {}).get(k), name.split("."), report) for name in sys.argv[1:]]
print(*("-" if value is None else value for value in found), sep="\t")' "$@" <<<"$(status 2>/dev/null || echo '{}')"
}

# until_true WHAT SECONDS COMMAND...
until_true() {
  local what=$1 end=$((SECONDS + $2))
  shift 2
  until "$@"; do
    if ((SECONDS >= end)); then
      echo "demo-local: not in time: $what; the worker's log ends with" >&2
      tail -n 5 "$DEMO/worker.log" >&2 || true
      exit 1
    fi
    read -rt 0.1 <> <(:) || true
  done
}

leave() {
  local status=$? pid
  trap - EXIT
  for pid in $writer_pid $worker_pid $server_pid; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in $writer_pid $worker_pid $server_pid; do wait "$pid" 2>/dev/null || true; done
  exit "$status"
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

set_up() {
  need cargo "rustup (https://rustup.rs)"
  packages "${PACKAGES[@]}"
  server mariadb-11.8 trixie fill_mariadb "${MARIADB_PACKAGES[@]}"
  python_reader
  # Another selection has other features, and so another build of everything: where all was built, keep to that.
  local selection=(--bin worker)
  [[ ! -e $(dirname "$WORKER")/demo ]] || selection=(--bins --tests)
  step worker cargo build --release --locked --quiet --workspace "${selection[@]}"
}

start_server() {
  rm -rf "$DEMO"
  mkdir -p "$DEMO"
  cp -a "$SERVER/data" "$DEMO/data"
  local share=$SERVER/root/usr/share
  SERVER_PORT=$(free_port)
  "$SERVER/bin/mariadbd" --no-defaults --user="$(id -un)" --basedir="$SERVER/root/usr" \
    --lc-messages-dir="$(mariadb_messages "$share")" --character-sets-dir="$(mariadb_charsets "$share")" \
    --datadir="$DEMO/data" --socket="$DEMO/mariadb.sock" --pid-file="$DEMO/mariadb.pid" \
    --bind-address=127.0.0.1 --port="$SERVER_PORT" --server-id=1 --log-bin=binlog --binlog-format=ROW \
    --binlog-row-image=FULL --binlog-row-metadata=FULL --innodb-use-native-aio=0 >"$DEMO/mariadb.log" 2>&1 &
  server_pid=$!
  until_true "MariaDB answers" 60 client -e 'SELECT 1' >/dev/null 2>&1
}

write_config() {
  printf repl >"$DEMO/password"
  STATUS_PORT=$(free_port)
  cat >"$DEMO/stream.yaml" <<YAML
namespace: demo
name: orders
owner: {cluster: demo-local, namespace: demo, name: orders}
source:
  host: 127.0.0.1
  port: $SERVER_PORT
  username: repl
  passwordFile: $DEMO/password
  tls: {mode: Required}
checkpoint: {store: File, interval: 1s, file: {path: $DEMO/checkpoint.json}}
archive:
  volume: {path: $ARCHIVE}
  commit: {maxDelay: 5s}
workDir: $DEMO/work
listen: 127.0.0.1:$STATUS_PORT
YAML
  mkdir -p "$ARCHIVE" "$DEMO/work"
}

start_worker() {
  command_line worker run --config .demo/local/stream.yaml
  "$WORKER" run --config "$DEMO/stream.yaml" >>"$DEMO/worker.log" 2>&1 &
  worker_pid=$!
  until_true "the worker is ready" 30 ready
}
ready() { curl -fs --max-time 2 -o /dev/null "http://127.0.0.1:$STATUS_PORT/readyz" 2>/dev/null; }

show() {
  local phase file offset epoch lag pending
  read -r phase file offset epoch lag pending < \
    <(fields phase durable.file durable.offset epoch lag.state archive.pendingBytes)
  printf '  %-10s durable %s:%s  epoch %s  lag %s  pending %s bytes  %s\n' \
    "$phase" "$file" "$offset" "$epoch" "$lag" "$pending" "${1:-}"
}
# What matters of /status.
report() {
  local name value
  for name in phase source.version received.file received.offset durable.file durable.offset \
    durable.gtidSet lag.state archive.state archive.archiveId archive.n checkpoint.n openGapCount counters.rows; do
    IFS=$'\t' read -r value < <(fields "$name")
    printf '  %-18s %s\n' "$name" "$value"
  done
}
# Much of what follows the position $before_file:$before is received, and not all of it is durable.
received_not_durable() {
  local file received durable_file durable
  read -r file received durable_file durable < <(fields received.file received.offset durable.file durable.offset)
  [[ $file == "$before_file" ]] && ((received > before + 500000)) || return 1
  [[ $durable_file != "$file" ]] || ((durable < received))
}
position() { client -N -e 'SHOW MASTER STATUS' | cut -f1,2; }
# The server's end of the binlog is durable.
caught_up() {
  local file offset durable_file durable
  read -r file offset < <(position)
  read -r durable_file durable < <(fields durable.file durable.offset)
  [[ $durable_file == "$file" ]] && ((durable >= offset))
}

main() {
  echo "binlog-operator demo-local: one worker, one MariaDB, one directory. Touches only .demo/local and the cache $CACHE."
  set_up
  local start=$SECONDS from
  start_server
  echo "MariaDB $(client -N -e 'SELECT VERSION()') listens on 127.0.0.1:$SERVER_PORT"
  "$PYTHON" "$E2E/demo/workload.py" tables shop orders | client
  write_config
  start_worker
  show "before the first change"

  echo "writing 40 000 changes: insert, update, delete, rollback, and one transaction of 20 000 rows"
  workload first
  read -r before_file before < <(position)
  workload large &
  writer_pid=$!
  until_true "the large transaction is received and not durable" 30 received_not_durable
  show
  command_line "kill -9 $worker_pid     # with that much received and not yet durable"
  kill -KILL "$worker_pid"
  wait "$worker_pid" 2>/dev/null || true
  worker_pid=''
  wait "$writer_pid"
  writer_pid=''
  echo "writing 20 000 more while no worker runs, after an ALTER TABLE"
  workload last

  from=$SECONDS
  start_worker
  client -e 'FLUSH BINARY LOGS'
  until_true "all is durable" 60 caught_up
  show "resumed and caught up $((SECONDS - from)) s after its start"
  command_line "curl http://127.0.0.1:$STATUS_PORT/status"
  report
  command_line "kill -TERM $worker_pid"
  kill -TERM "$worker_pid"
  wait "$worker_pid" 2>/dev/null || true
  worker_pid=''

  plan >"$DEMO/plan.json"
  "$PYTHON" "$E2E/demo/add_up.py" "$DEMO/plan.json" || {
    echo "demo-local: something differs; logs and archive are in .demo/local"
    exit 1
  }
  cat <<TEXT
passed in $((SECONDS - start)) s. Both programs have ended. Left behind, until make clean:
  .demo/local/archive/demo/orders    log/ the commits, raw/ the binlog, changes/ the Delta table
  .demo/local/stream.yaml            what the worker was told; checkpoint.json: where it stands
TEXT
}

# The plan names the closed files: the one being written is not compared.
plan() {
  local files
  files=$(client -N -e 'SHOW BINARY LOGS' | head -n -1 | awk -v dir="$DEMO/data" '{ printf "%s\"%s/%s\"", (NR > 1 ? ", " : ""), dir, $1 }')
  cat <<JSON
[{"title": "orders (MariaDB 11.8, volume)", "archive": "$ARCHIVE/demo/orders", "s3": null,
  "binlogs": [$files], "dump": ["$SERVER/bin/mariadb-binlog", "--no-defaults"],
  "client": ["$SERVER/bin/mariadb", "--no-defaults", "-uroot", "-S", "$DEMO/mariadb.sock"],
  "database": "shop", "table": "orders", "row": "4711"}]
JSON
}

main
