# MySQL and MariaDB servers: a root with the programs and a data folder to copy. (sourced)
# shellcheck shell=bash

MYSQL_PACKAGES=(mysql-server-core mysql-client-core +mysql-client)
MARIADB_PACKAGES=(mariadb-server-core mariadb-client-core +mariadb-server +mariadb-client)

servers() {
  server mysql-9.7 sid fill_mysql "${MYSQL_PACKAGES[@]}"
  server mariadb-10.11 bookworm fill_mariadb "${MARIADB_PACKAGES[@]}"
  server mariadb-11.8 trixie fill_mariadb "${MARIADB_PACKAGES[@]}"
}

# server NAME SUITE FILL PACKAGE...
server() {
  local name=$1 SUITE=$2 fill=$3
  shift 3
  local WANTED=("$@")
  product "$name" "$(key "$E2E/setup/servers.sh" "$E2E/setup/debroot.sh" "=$SUITE")" "$fill"
}

# Users of every data folder: root without a password on the loopback addresses and the socket, and
# repl with what a worker needs to stream and nothing more. One statement a line: both bootstraps ask it.
users_sql() {
  local host
  for host in 127.0.0.1 ::1; do
    printf "CREATE USER IF NOT EXISTS root@'%s';\nGRANT ALL ON *.* TO root@'%s' WITH GRANT OPTION;\n" "$host" "$host"
  done
  printf "CREATE USER repl@'%%' IDENTIFIED BY 'repl';\n"
  printf "GRANT %s ON *.* TO repl@'%%';\n" "$1"
}

fill_mysql() {
  local dir=$1
  debroot "$SUITE" "$dir/root" "${WANTED[@]}"
  debroot_wrap "$dir/root" "$dir/bin" /usr/sbin/mysqld /usr/bin/{mysql,mysqladmin,mysqlbinlog,mysqldump}
  users_sql "REPLICATION SLAVE, REPLICATION CLIENT, SELECT" >"$dir/users.sql"
  "$dir/bin/mysqld" --no-defaults --initialize-insecure --user="$(id -un)" --basedir="$dir/root/usr" \
    --lc-messages-dir="$dir/root/usr/share/mysql" --character-sets-dir="$dir/root/usr/share/mysql/charsets" \
    --plugin-dir="$dir/root/usr/lib/mysql/plugin" --datadir="$dir/data" --disable-log-bin \
    --innodb-redo-log-capacity=64M --init-file="$dir/users.sql"
  # Each copy makes a server uuid of its own.
  rm -f "$dir/data/auto.cnf"
}

fill_mariadb() {
  local dir=$1
  debroot "$SUITE" "$dir/root" "${WANTED[@]}"
  debroot_wrap "$dir/root" "$dir/bin" /usr/sbin/mariadbd /usr/bin/{mariadb,mariadb-admin,mariadb-binlog,mariadb-dump}
  local share=$dir/root/usr/share name file files=()
  # Debian moved these files from share/mysql to share/mariadb, a few at a time.
  for name in {mariadb,mysql}_{system_tables,performance_tables,system_tables_data}.sql \
    fill_help_tables.sql maria_add_gis_sp_bootstrap.sql mariadb_sys_schema.sql; do
    for file in "$share/mariadb/$name" "$share/mysql/$name"; do
      [[ ! -f $file ]] || { files+=("$file"); break; }
    done
  done
  ((${#files[@]} >= 5)) || { echo "the system tables of MariaDB were not found under $share" >&2; return 1; }
  mkdir -p "$dir/data/mysql"
  # What mariadb-install-db does, without that script's fixed paths.
  {
    printf '%s\n' "create database if not exists mysql;" "use mysql;" "SET @auth_root_socket=NULL;"
    cat "${files[@]}"
    printf '%s\n' "FLUSH PRIVILEGES;"
    users_sql "REPLICATION SLAVE, BINLOG MONITOR, SELECT"
  } | "$dir/bin/mariadbd" --no-defaults --bootstrap --user="$(id -un)" --basedir="$dir/root/usr" \
    --lc-messages-dir="$(mariadb_messages "$share")" --character-sets-dir="$(mariadb_charsets "$share")" \
    --datadir="$dir/data" --skip-log-bin --log-warnings=0 --enforce-storage-engine= \
    --max_allowed_packet=8M --net_buffer_length=16K --innodb-use-native-aio=0 --innodb-log-file-size=64M
}

mariadb_charsets() { if [[ -d $1/mariadb/charsets ]]; then echo "$1/mariadb/charsets"; else echo "$1/mysql/charsets"; fi; }
mariadb_messages() { if [[ -d $1/mariadb/english ]]; then echo "$1/mariadb"; else echo "$1/mysql"; fi; }
