//! Tables whose maps name no columns (`binlog_row_metadata` MINIMAL and NO_LOG): their names come from the source, where
//! that is proven, and never otherwise.

use std::collections::BTreeMap;
use std::time::Duration;

use crds::worker_status::WorkerStatus;
use e2e::oracle::{self, Change};
use e2e::server::{Server, ServerKind};
use e2e::trial::{ARCHIVED, DRAINED, streams};
use e2e::types::{self, Column, Disagreements, Form, SCHEMA, Session, Table};
use e2e::worker::{Stream, Worker};
use e2e::{Failure, Result};
use serde_json::{Value, json};

/// Longest until a table that cannot be decoded is named.
const NAMED: Duration = Duration::from_secs(30);

/// A server that logs so little of its columns, and a stream from its present end.
async fn source(kind: ServerKind, metadata: &str) -> Result<(Server, Stream)> {
    let builder = Server::builder(kind).option("binlog_row_metadata", metadata);
    let server = builder.start().await?;
    server.run(&[&format!("CREATE DATABASE IF NOT EXISTS {SCHEMA}")]).await?;
    let (file, position) = server.position().await?;
    let from = json!({"file": file, "position": position});
    let stream = Stream::new("names", &server)?
        .with(&json!({"start": {"mode": "FilePosition", "filePosition": from}}))?;
    Ok((server, stream))
}

async fn streaming(stream: &Stream) -> Result<Worker> {
    let worker = stream.start()?;
    streams(&worker).await?;
    Ok(worker)
}

/// Runs statements in the tests' schema, and waits until the worker has archived all of them.
async fn run(server: &Server, worker: &Worker, statements: &[&str]) -> Result<WorkerStatus> {
    write(server, statements).await?;
    worker.archived_all_of(server, ARCHIVED).await
}

async fn write(server: &Server, statements: &[&str]) -> Result<()> {
    let schema = format!("USE {SCHEMA}");
    let all: Vec<&str> = [schema.as_str()].into_iter().chain(statements.iter().copied()).collect();
    server.run(&all).await
}

/// Rows after the changes of a table, in order.
fn rows_of(log: &[Change], table: &str) -> Vec<Value> {
    let rows = log.iter().filter(|change| change.table == table);
    rows.filter_map(|change| serde_json::from_str(change.after.as_deref()?).ok()).collect()
}

async fn end(worker: &Worker) -> Result<()> {
    if worker.terminate(DRAINED).await?.success() {
        return Ok(());
    }
    Err(Failure::new("the worker did not end in order"))
}

fn stopped(status: &WorkerStatus) -> Vec<&str> {
    status.decoding.stopped.iter().map(|facet| facet.table.as_str()).collect()
}

/// Gaps of tables in the log, as reason by table.
async fn gaps(stream: &Stream) -> Result<Vec<(String, String)>> {
    let text = |gap: &Value, field: &str| gap[field].as_str().unwrap_or_default().to_owned();
    let entries = stream.archive().entries().await?;
    let gaps = entries.iter().filter_map(|(_, entry)| entry["gaps"].as_array().cloned());
    Ok(gaps.flatten().map(|gap| (text(&gap, "table"), text(&gap, "reason"))).collect())
}

/// Columns for which the table map alone says too little.
fn edges(kind: ServerKind) -> Table {
    let text = |charset: &str| Form::Text(charset.to_owned());
    let members = |charset: &str| Form::Member(charset.to_owned());
    // MariaDB 11.8 logs what it computes with inserts only.
    let inserted_only: &[_] = if kind == ServerKind::MariaDb118 { &["sum"] } else { &[] };
    let table = Table::new(
        "edges",
        vec![
            Column::new("big", "BIGINT UNSIGNED", Form::Number, &["18446744073709551615", "0"]),
            Column::new("small", "TINYINT", Form::Number, &["-128", "127"]),
            Column::new("tiny", "TINYINT UNSIGNED", Form::Number, &["255", "1"]),
            Column::new(
                "exact",
                "DECIMAL(30,10)",
                Form::Printed,
                &["-1.5", "12345678901234567890"],
            ),
            Column::new("bits", "BIT(11)", Form::Unsigned, &["b'10000000001'", "1"]),
            Column::new(
                "latin",
                "VARCHAR(300) CHARACTER SET latin1",
                text("latin1"),
                &["'é'", "'ÿ?'"],
            ),
            Column::new("greek", "CHAR(5) CHARACTER SET greek", text("greek"), &["'αβγ'", "''"]),
            Column::new("wide", "VARCHAR(9) CHARACTER SET utf16", text("utf16"), &["'ж'", "'z'"]),
            Column::new("any", "TEXT CHARACTER SET utf8mb4", text("utf8mb4"), &["'😀'", "'n'"]),
            Column::new("raw", "VARBINARY(20)", Form::Bytes, &["X'00ff'", "X''"]),
            Column::new("padded", "BINARY(4)", Form::Bytes, &["X'01'", "X'01020300'"]),
            Column::new("blob", "BLOB", Form::Bytes, &["X'c3'", "X'00'"]),
            Column::new(
                "at",
                "DATETIME(3)",
                Form::Printed,
                &["'2026-01-02 03:04:05.678'", "'1000-01-01 00:00:00.001'"],
            ),
            Column::new(
                "kind",
                r"ENUM('plain','it''s','back\\slash','é','a,b') CHARACTER SET latin1",
                members("latin1"),
                &["1", "2", "3", "4", "5"],
            ),
            Column::new(
                "flags",
                "SET('p','q','ü') CHARACTER SET utf8mb4",
                members("utf8mb4"),
                &["'p,ü'", "'q'", "''"],
            ),
            Column::new("Ωmega `x`", "INT", Form::Number, &["-1", "2"]),
            Column::new("sum", "INT AS (small + 1) STORED", Form::Number, &[]),
        ],
    );
    Table { inserted_only, ..table }
}

/// Met, asked for and proven on the way: every row from the first on, over ALTERs and a swap of tables.
async fn nothing_is_missing_near_the_head(kind: ServerKind, metadata: &str) -> Result<()> {
    let (server, stream) = source(kind, metadata).await?;
    let worker = streaming(&stream).await?;
    let mut session = Session::open(&server).await?;
    let trial = edges(kind).run(&mut session).await?;
    // Without a key; then the names of two columns of one type change places, at first by an ALTER, then by a swap.
    let steps: [&[&str]; 5] = [
        &[
            "CREATE TABLE bare (a INT UNSIGNED, b INT UNSIGNED)",
            "INSERT INTO bare VALUES (4294967295, 2)",
        ],
        &["ALTER TABLE bare RENAME COLUMN a TO b, RENAME COLUMN b TO a"],
        &[
            "INSERT INTO bare VALUES (3, 4)",
            "CREATE TABLE _bare_gho (c INT UNSIGNED, a INT UNSIGNED)",
            "INSERT INTO _bare_gho VALUES (5, 6)",
        ],
        &["RENAME TABLE bare TO _bare_del, _bare_gho TO bare"],
        &["INSERT INTO bare VALUES (7, 8)", "INSERT INTO _bare_del VALUES (9, 10)"],
    ];
    let mut status = worker.status().await?;
    for statements in steps {
        status = run(&server, &worker, statements).await?;
    }
    assert!(status.decoding.healthy, "{:?}", status.decoding);
    end(&worker).await?;
    assert!(gaps(&stream).await?.is_empty(), "nothing is missing");
    let log = oracle::changes(&stream.archive(), SCHEMA).await?;
    let mut wrong = Disagreements::default();
    trial.check(&log, &mut wrong);
    types::agree(&wrong)?;
    let renamed = |row: &Value| row.get("schema").is_none();
    let bare: Vec<Value> = rows_of(&log, "bare").into_iter().filter(renamed).collect();
    let first =
        [json!({"a": 4_294_967_295_u32, "b": 2}), json!({"b": 3, "a": 4}), json!({"c": 7, "a": 8})];
    assert_eq!(bare, first);
    let ghost = rows_of(&log, "_bare_gho").into_iter().filter(renamed).collect::<Vec<_>>();
    assert_eq!(ghost, [json!({"c": 5, "a": 6})]);
    assert_eq!(rows_of(&log, "_bare_del"), [json!({"b": 9, "a": 10})]);
    let keys: Vec<_> = log
        .iter()
        .filter(|change| change.table == "edges")
        .map(|change| &change.primary_key)
        .collect();
    assert!(keys.iter().all(|key| key.is_some()), "the key is known too");
    worker.check_log(&[])
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missing_near_the_head_of_mysql_97_with_minimal() -> Result<()> {
    nothing_is_missing_near_the_head(ServerKind::MySql97, "MINIMAL").await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missing_near_the_head_of_mariadb_10_11_with_minimal() -> Result<()> {
    nothing_is_missing_near_the_head(ServerKind::MariaDb1011, "MINIMAL").await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missing_near_the_head_of_mariadb_10_11_with_no_log() -> Result<()> {
    nothing_is_missing_near_the_head(ServerKind::MariaDb1011, "NO_LOG").await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missing_near_the_head_of_mariadb_11_8_with_minimal() -> Result<()> {
    nothing_is_missing_near_the_head(ServerKind::MariaDb118, "MINIMAL").await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missing_near_the_head_of_mariadb_11_8_with_no_log() -> Result<()> {
    nothing_is_missing_near_the_head(ServerKind::MariaDb118, "NO_LOG").await
}

/// The key is the one that the source itself logs with FULL: without a primary key it is a unique one without NULL.
async fn a_key_is_told_as_the_source_logs_it(kind: ServerKind, metadata: &str) -> Result<()> {
    let (server, stream) = source(kind, metadata).await?;
    let worker = streaming(&stream).await?;
    let tables: [(&str, &str, Option<&str>); 5] = [
        ("of_both", "b INT NOT NULL UNIQUE, a INT, PRIMARY KEY (a)", Some("[2]")),
        ("of_unique", "b INT, a INT NOT NULL, UNIQUE KEY u (a)", Some("[2]")),
        ("of_two", "b INT NOT NULL, a INT NOT NULL, UNIQUE KEY u (a, b)", Some("[2,1]")),
        ("of_nullable", "b INT, a INT, UNIQUE KEY u (a)", None),
        (
            "of_several",
            "b INT NOT NULL, a INT NOT NULL, UNIQUE KEY z (b), UNIQUE KEY y (a)",
            Some("[1]"),
        ),
    ];
    let mut statements = Vec::new();
    for (table, columns, _) in tables {
        statements.push(format!("CREATE TABLE {table} ({columns})"));
        statements.push(format!("INSERT INTO {table} VALUES (1, 2)"));
    }
    run(&server, &worker, &statements.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    server.run(&["SET GLOBAL binlog_row_metadata = FULL"]).await?;
    let deletes: Vec<_> = tables.iter().map(|(table, ..)| format!("DELETE FROM {table}")).collect();
    let deletes: Vec<_> = deletes.iter().map(String::as_str).collect();
    let status = run(&server, &worker, &deletes).await?;
    assert!(status.decoding.healthy, "{:?}", status.decoding);
    end(&worker).await?;
    assert!(gaps(&stream).await?.is_empty(), "nothing is missing");
    let log = oracle::changes(&stream.archive(), SCHEMA).await?;
    for (table, _, key) in tables {
        let keys = |op: &str| -> Vec<_> {
            let ours = log.iter().filter(|change| change.table == table && change.op == op);
            ours.map(|change| change.primary_key.as_deref()).collect()
        };
        assert_eq!((keys("insert"), keys("delete")), (vec![key], vec![key]), "{table}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_told_as_mysql_97_logs_it() -> Result<()> {
    a_key_is_told_as_the_source_logs_it(ServerKind::MySql97, "MINIMAL").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_told_as_mariadb_10_11_logs_it() -> Result<()> {
    a_key_is_told_as_the_source_logs_it(ServerKind::MariaDb1011, "NO_LOG").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_told_as_mariadb_11_8_logs_it() -> Result<()> {
    a_key_is_told_as_the_source_logs_it(ServerKind::MariaDb118, "MINIMAL").await
}

/// 100 ALTERs between inserts, all before the worker looks: each changes the names of two columns of one type about.
async fn no_row_gets_a_wrong_name_behind_the_head(kind: ServerKind, metadata: &str) -> Result<()> {
    let (server, stream) = source(kind, metadata).await?;
    let mut statements = vec![
        "CREATE TABLE calm (a INT, b INT)".to_owned(),
        "CREATE TABLE wild (a INT, b INT)".to_owned(),
    ];
    for n in 0..100 {
        statements.push(format!("INSERT INTO wild (a, b) VALUES ({n}, 1000)"));
        statements.push(format!("INSERT INTO calm VALUES ({n}, 1000)"));
        statements.push("ALTER TABLE wild RENAME COLUMN a TO b, RENAME COLUMN b TO a".to_owned());
    }
    statements.push("INSERT INTO wild (a, b) VALUES (100, 1000)".to_owned());
    write(&server, &statements.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let worker = streaming(&stream).await?;
    let what = "the altered table stands by name";
    worker.until(what, NAMED, |status| !status.decoding.healthy).await?;
    let status = worker.archived_all_of(&server, ARCHIVED).await?;
    assert_eq!(stopped(&status), [format!("{SCHEMA}.wild")]);
    assert!(status.decoding.message.contains("binlog_row_metadata"), "{:?}", status.decoding);
    end(&worker).await?;
    let facts = oracle::check_log(&stream.archive()).await?;
    let lineage = facts.raw.first().map(|raw| raw.lineage.clone()).unwrap_or_default();
    let log = oracle::changes(&stream.archive(), SCHEMA).await?;
    let right = |row: &Value| row["b"] == 1000;
    assert_eq!(
        rows_of(&log, "calm").iter().filter(|row| right(row)).count(),
        100,
        "a table that nobody altered goes on"
    );
    assert_eq!(rows_of(&log, "wild"), [] as [Value; 0]);
    assert_eq!(
        gaps(&stream).await?,
        [(format!("{SCHEMA}.wild"), "TableStopped".to_owned())],
        "one gap, by name"
    );
    // The last insert stands behind the last ALTER: what the source said then holds for it.
    let (file, _) = server.position().await?;
    let events = server.rows(&format!("SHOW BINLOG EVENTS IN '{file}'")).await?;
    let altered = |event: &&Vec<Option<String>>| {
        event[5].as_deref().is_some_and(|text| text.contains("RENAME COLUMN"))
    };
    let last = events.iter().rfind(altered).and_then(|event| event[4].clone()).unwrap_or_default();
    let from = format!("{lineage}/{file}:{last}");
    let output = stream.redecode(&["--from", &from], &[]).await?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.contains("1 rows"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let log = oracle::changes(&stream.archive(), SCHEMA).await?;
    assert_eq!(rows_of(&log, "wild"), [json!({"a": 100, "b": 1000})]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_gets_a_wrong_name_behind_the_head_of_mysql_97() -> Result<()> {
    no_row_gets_a_wrong_name_behind_the_head(ServerKind::MySql97, "MINIMAL").await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_gets_a_wrong_name_behind_the_head_of_mariadb_11_8() -> Result<()> {
    no_row_gets_a_wrong_name_behind_the_head(ServerKind::MariaDb118, "NO_LOG").await
}

/// What was told before a kill counts behind it, up to the statement that ends it.
async fn a_kill_forgets_nothing(kind: ServerKind, metadata: &str) -> Result<()> {
    let (server, stream) = source(kind, metadata).await?;
    let worker = streaming(&stream).await?;
    run(
        &server,
        &worker,
        &["CREATE TABLE kept (a INT, b INT)", "INSERT INTO kept VALUES (1, 1000)"],
    )
    .await?;
    worker.kill().await?;
    write(
        &server,
        &[
            "INSERT INTO kept VALUES (2, 1000)",
            "ALTER TABLE kept RENAME COLUMN a TO b, RENAME COLUMN b TO a",
            "INSERT INTO kept VALUES (1000, 3)",
        ],
    )
    .await?;
    let worker = streaming(&stream).await?;
    let status = worker.archived_all_of(&server, ARCHIVED).await?;
    assert!(status.decoding.healthy, "{:?}", status.decoding);
    end(&worker).await?;
    let log = oracle::changes(&stream.archive(), SCHEMA).await?;
    let expected = [(1, 1000), (2, 1000)].map(|(a, b)| json!({"a": a, "b": b}));
    let expected = expected.into_iter().chain([json!({"b": 1000, "a": 3})]).collect::<Vec<_>>();
    assert_eq!(rows_of(&log, "kept"), expected);
    assert!(gaps(&stream).await?.is_empty(), "nothing is missing");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_forgets_nothing_on_mysql_97() -> Result<()> {
    a_kill_forgets_nothing(ServerKind::MySql97, "MINIMAL").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_forgets_nothing_on_mariadb_11_8() -> Result<()> {
    a_kill_forgets_nothing(ServerKind::MariaDb118, "NO_LOG").await
}

/// An account that may not see a table: the statement that lets it is named, and mends the gap.
async fn a_missing_right_is_named_and_mended(kind: ServerKind, metadata: &str) -> Result<()> {
    let (server, stream) = source(kind, metadata).await?;
    server.run(&["REVOKE SELECT ON *.* FROM repl@'%'"]).await?;
    let worker = streaming(&stream).await?;
    write(&server, &["CREATE TABLE seen (a INT PRIMARY KEY)", "INSERT INTO seen VALUES (1)"])
        .await?;
    let status = worker.until("the table stands", NAMED, |status| !status.decoding.healthy).await?;
    assert!(
        status.decoding.message.contains("GRANT REFERENCES ON *.* TO"),
        "{:?}",
        status.decoding
    );
    end(&worker).await?;
    assert!(worker.log().contains("GRANT REFERENCES"), "the preflight says it too");
    server.run(&["GRANT REFERENCES ON *.* TO repl@'%'"]).await?;
    let worker = streaming(&stream).await?;
    run(&server, &worker, &["INSERT INTO seen VALUES (2)"]).await?;
    end(&worker).await?;
    let output = stream.redecode(&[], &[]).await?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.contains("2 rows"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let worker = streaming(&stream).await?;
    let status = run(&server, &worker, &["INSERT INTO seen VALUES (3)"]).await?;
    assert!(status.decoding.healthy, "{:?}", status.decoding);
    end(&worker).await?;
    let log = oracle::changes(&stream.archive(), SCHEMA).await?;
    let folded: BTreeMap<_, _> =
        rows_of(&log, "seen").into_iter().map(|row| (row["a"].to_string(), row)).collect();
    assert_eq!(folded.len(), 3, "{folded:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_is_named_and_mended_on_mysql_97() -> Result<()> {
    a_missing_right_is_named_and_mended(ServerKind::MySql97, "MINIMAL").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_is_named_and_mended_on_mariadb_10_11() -> Result<()> {
    a_missing_right_is_named_and_mended(ServerKind::MariaDb1011, "NO_LOG").await
}
