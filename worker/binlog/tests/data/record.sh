#!/usr/bin/env bash
# record.sh NAME SERVER CLIENT SHARE : NAME.binlog and NAME.select beside this file, by a server of that program.
# SERVER and CLIENT are mysqld and mysql or mariadbd and mariadb, SHARE their folder of messages and system tables.
# The server listens on a socket only, in a folder that is gone afterwards.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
name=$1 server=$2 client=$3 share=$4
flavor=${name%%-*}
dir=$(mktemp -d)
pid=
trap '[[ -z $pid ]] || { kill "$pid"; wait "$pid" || true; }; rm -rf "$dir"' EXIT

common=(--no-defaults --user="$(id -un)" --datadir="$dir/data" --lc-messages-dir="$share"
  --character-sets-dir="$share/charsets")
options=(--log-bin=binlog --server-id=24307 --binlog-row-metadata=FULL --skip-networking
  --socket="$dir/socket" --pid-file="$dir/pid")
if [[ $flavor == mysql ]]; then
  "$server" "${common[@]}" --initialize-insecure --disable-log-bin
  options+=(--gtid-mode=ON --enforce-gtid-consistency=ON --mysqlx=OFF)
else
  mkdir -p "$dir/data/mysql"
  {
    printf '%s\n' "create database if not exists mysql;" "use mysql;" "SET @auth_root_socket=NULL;"
    cat "$share"/{mariadb_system_tables,mariadb_performance_tables,mariadb_system_tables_data,fill_help_tables}.sql
    cat "$share"/maria_add_gis_sp_bootstrap.sql
  } | "$server" "${common[@]}" --bootstrap --skip-log-bin --log-warnings=0 --enforce-storage-engine= \
    --max_allowed_packet=8M --innodb-use-native-aio=0
  # As Debian's packages and the servers of the e2e suites have it.
  options+=(--binlog-format=ROW --binlog-annotate-row-events=ON --innodb-use-native-aio=0)
fi

"$server" "${common[@]}" "${options[@]}" >"$dir/log" 2>&1 &
pid=$!
ask() { "$client" --no-defaults --socket="$dir/socket" --user=root --default-character-set=utf8mb4 "$@"; }
for ((tries = 0; ; tries++)); do
  ask -e 'SELECT 1' >/dev/null 2>&1 && break
  ((tries < 300)) && kill -0 "$pid" || { cat "$dir/log" >&2; exit 1; }
  sleep 0.2
done
ask -e 'SELECT VERSION()' --skip-column-names >&2
ask <"$here/sql/$flavor.sql"
ask --skip-column-names --raw <"$here/sql/select-$flavor.sql" >"$here/$name.select"
cp "$dir/data/binlog.000002" "$here/$name.binlog"
