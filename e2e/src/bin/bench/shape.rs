//! The shapes of load: one binlog file of a real server for each.

use e2e::server::{Server, ServerKind};
use e2e::{Result, site};
use mysql_async::prelude::Queryable;

/// What a server writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Bulk: 12 transactions of inserts, updates and deletes, 1.55 M changes.
    A,
    /// 200 000 transactions that update one row each.
    B,
    /// Rows of 100 columns, with JSON and a BLOB.
    W,
    /// One transaction of 512 MiB, times SCALE up to 4 GiB.
    X,
}

/// A shape as it stands in one server's binlog.
#[derive(Debug, Clone)]
pub struct Load {
    pub shape: Shape,
    /// The binlog file that holds it, and its size.
    pub file: String,
    pub bytes: u64,
    /// Row changes in it.
    pub changes: u64,
}

impl Shape {
    pub const ALL: [Self; 4] = [Self::A, Self::B, Self::W, Self::X];

    /// Its letter.
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::W => "W",
            Self::X => "X",
        }
    }

    /// Writes it into a binlog file of its own.
    pub async fn write(self, server: &Server) -> Result<Load> {
        server.run(&["FLUSH BINARY LOGS"]).await?;
        let (file, _) = server.position().await?;
        let changes = match self {
            Self::A => bulk(server).await?,
            Self::B => one_row_updates(server).await?,
            Self::W => wide(server).await?,
            Self::X => one_transaction(server).await?,
        };
        let (same, _) = server.position().await?;
        assert_eq!(file, same, "a shape is one file");
        server.run(&["FLUSH BINARY LOGS"]).await?;
        let bytes = std::fs::metadata(server.binlog(&file))?.len();
        Ok(Load { shape: self, file, bytes, changes })
    }
}

/// A server with room for a shape in one binlog file.
pub async fn server(kind: ServerKind) -> Result<Server> {
    let log = if kind.is_mysql() { "innodb_redo_log_capacity" } else { "innodb_log_file_size" };
    let mut server = Server::builder(kind)
        .option(log, "1G")
        .option("innodb_buffer_pool_size", "512M")
        .option("max_binlog_size", "1G");
    if !kind.is_mysql() {
        // A larger transaction becomes a binlog file of its own.
        server = server.option("binlog_large_commit_threshold", "16G");
    }
    let server = server.start().await?;
    let digits: Vec<_> = (0..10).map(|digit| format!("({digit})")).collect();
    let digits = format!("INSERT INTO bench.digits VALUES {}", digits.join(", "));
    server
        .run(&["CREATE DATABASE bench", "CREATE TABLE bench.digits (d INT PRIMARY KEY)", &digits])
        .await?;
    Ok(server)
}

/// The numbers from `first` on, `10^powers` of them, as `s.i`.
fn numbers(first: u64, powers: u32) -> String {
    let tables: Vec<_> = (0..powers).map(|n| format!("bench.digits d{n}")).collect();
    let sum: Vec<_> = (0..powers).map(|n| format!("d{n}.d * {}", 10_u64.pow(n))).collect();
    format!("(SELECT {first} + {} AS i FROM {}) s", sum.join(" + "), tables.join(", "))
}

const BULK_COLUMNS: &str = "(id BIGINT PRIMARY KEY, n INT NOT NULL, at DATETIME(6) NOT NULL, \
    day DATETIME NOT NULL, amount DECIMAL(12,2) NOT NULL, rate DOUBLE NOT NULL, flag TINYINT NOT NULL, \
    name VARCHAR(64) NOT NULL, note VARCHAR(120) NOT NULL, seen TIMESTAMP(3) NOT NULL)";

/// The values of a row of those columns, all of them functions of `i`. MySQL 9.7 has neither MD5 nor SHA1.
const BULK_VALUES: &str = "i, CRC32(i) % 1000000, TIMESTAMP'2026-01-01 00:00:00.000001' + INTERVAL i SECOND, \
    TIMESTAMP'2026-01-01 00:00:00' + INTERVAL i MINUTE, (CRC32(i) % 100000000) / 100, CRC32(i) / 7, i % 100, \
    LEFT(SHA2(i, 224), 24), LEFT(SHA2(i, 256), 50), \
    TIMESTAMP'2026-01-01 00:00:00.125' + INTERVAL (i % 10000000) SECOND";

async fn bulk(server: &Server) -> Result<u64> {
    server.run(&[&format!("CREATE TABLE bench.a {BULK_COLUMNS}")]).await?;
    for part in 0..10 {
        let numbers = numbers(part * 100_000, 5);
        server.run(&[&format!("INSERT INTO bench.a SELECT {BULK_VALUES} FROM {numbers}")]).await?;
    }
    server
        .run(&[
            "UPDATE bench.a SET n = n + 1, amount = amount + 0.01 WHERE id % 4 = 0",
            "DELETE FROM bench.a WHERE id % 10 < 3",
        ])
        .await?;
    Ok(1_000_000 + 250_000 + 300_000)
}

async fn one_row_updates(server: &Server) -> Result<u64> {
    const UPDATES: u64 = 200_000;
    let insert = format!("INSERT INTO bench.b SELECT {BULK_VALUES} FROM {}", numbers(0, 4));
    server
        .run(&[
            &format!("CREATE TABLE bench.b {BULK_COLUMNS}"),
            &insert,
            "CREATE PROCEDURE bench.updates(IN updates INT) BEGIN DECLARE i INT DEFAULT 0; \
             WHILE i < updates DO \
             UPDATE bench.b SET n = n + 1, seen = seen + INTERVAL 1 SECOND WHERE id = i * 7919 % 10000; \
             SET i = i + 1; END WHILE; END",
            &format!("CALL bench.updates({UPDATES})"),
        ])
        .await?;
    Ok(10_000 + UPDATES)
}

/// 30 numbers, 30 texts, 10 decimals, 10 times, 10 doubles, 6 small numbers, and a key, JSON, BLOB and TEXT.
async fn wide(server: &Server) -> Result<u64> {
    let (mut columns, mut values) =
        (vec!["id BIGINT PRIMARY KEY".to_owned()], vec!["i".to_owned()]);
    for (count, column, definition, value) in [
        (30, "n", "INT NOT NULL", "CRC32(i + #) % 1000000"),
        (30, "v", "VARCHAR(40) NOT NULL", "LEFT(SHA2(i + #, 224), 20)"),
        (10, "d", "DECIMAL(18,4) NOT NULL", "(CRC32(i) % 100000000) / 10000 + #"),
        (
            10,
            "t",
            "DATETIME(3) NOT NULL",
            "TIMESTAMP'2026-01-01 00:00:00.5' + INTERVAL (i + #) SECOND",
        ),
        (10, "f", "DOUBLE NOT NULL", "CRC32(i + #) / 7"),
        (6, "b", "TINYINT UNSIGNED NULL", "NULLIF((i + #) % 200, 7)"),
    ] {
        for number in 0..count {
            columns.push(format!("{column}{number} {definition}"));
            values.push(value.replace('#', &number.to_string()));
        }
    }
    for (column, value) in [
        (
            "doc JSON NOT NULL",
            "JSON_OBJECT('id', i, 'name', SHA2(i, 224), 'tags', JSON_ARRAY(LEFT(SHA2(i, 256), 32), i % 7, TRUE, NULL), \
             'at', JSON_OBJECT('city', LEFT(SHA2(i, 384), 12), 'zip', CRC32(i)))",
        ),
        ("scan BLOB NOT NULL", "UNHEX(REPEAT(SHA2(i, 512), 6))"),
        ("story TEXT NOT NULL", "REPEAT(CONCAT(LEFT(SHA2(i, 256), 32), ' '), 6)"),
    ] {
        columns.push(column.to_owned());
        values.push(value.to_owned());
    }
    assert_eq!(columns.len(), 100);
    server.run(&[&format!("CREATE TABLE bench.w ({})", columns.join(", "))]).await?;
    for part in 0..5 {
        let numbers = numbers(part * 10_000, 4);
        let insert = format!("INSERT INTO bench.w SELECT {} FROM {numbers}", values.join(", "));
        server.run(&[&insert]).await?;
    }
    server
        .run(&["UPDATE bench.w SET n0 = n0 + 1, v0 = LEFT(SHA2(id, 384), 30) WHERE id % 5 = 0"])
        .await?;
    Ok(50_000 + 10_000)
}

async fn one_transaction(server: &Server) -> Result<u64> {
    const ROWS: u64 = 100_000;
    let table = "CREATE TABLE bench.x (id BIGINT PRIMARY KEY, body VARCHAR(2000) CHARACTER SET ascii NOT NULL)";
    server.run(&[table]).await?;
    // 1 070 bytes of text in a row.
    let parts = 5 * u64::from(site::scale()?.min(8));
    let mut connection = server.connect().await?;
    connection.query_drop("BEGIN").await?;
    for part in 0..parts {
        let numbers = numbers(part * ROWS, 5);
        let body = "RPAD(SHA2(i, 256), 1070, SHA2(i + 1, 512))";
        connection
            .query_drop(format!("INSERT INTO bench.x SELECT i, {body} FROM {numbers}"))
            .await?;
    }
    connection.query_drop("COMMIT").await?;
    connection.disconnect().await?;
    Ok(parts * ROWS)
}
