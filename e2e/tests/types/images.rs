//! Row images that leave columns out, and table maps that do.

use std::collections::BTreeSet;

use e2e::server::ServerKind;
use e2e::types::{
    self, Cell, Column, Disagreements, Form, SCHEMA, Session, Table, Trial, check_present,
};
use e2e::{Context, Result, oracle};

use super::shapes::mixed;
use super::{ARCHIVED, DRAINED, log, start};

/// A statement that changes row 1, and the columns that its images are to hold.
struct Statement {
    image: &'static str,
    table: &'static str,
    sql: &'static str,
    before: &'static [&'static str],
    after: &'static [&'static str],
}

const ALL: &[&str] = &["id", "step", "a", "b", "t", "c"];
const NO_BLOBS: &[&str] = &["id", "step", "a", "c"];

/// Stored columns are left aside: MariaDB logs them always, MySQL where they change.
const STATEMENTS: [Statement; 12] = [
    of("MINIMAL", "keyed", "UPDATE keyed SET a = NULL", &["id"], &["a"]),
    of("MINIMAL", "keyed", "UPDATE keyed SET a = 0, b = NULL", &["id"], &["a", "b"]),
    of("MINIMAL", "keyed", "UPDATE keyed SET t = '', c = 'é'", &["id"], &["t", "c"]),
    of(
        "MINIMAL",
        "keyless",
        "UPDATE keyless SET id = 1, step = 2, a = 6, b = 'y', t = '', c = NULL",
        ALL,
        ALL,
    ),
    of("MINIMAL", "keyless", "DELETE FROM keyless", ALL, &[]),
    of("MINIMAL", "keyed", "DELETE FROM keyed", &["id"], &[]),
    of("NOBLOB", "noblob", "UPDATE noblob SET a = NULL", NO_BLOBS, NO_BLOBS),
    of("NOBLOB", "noblob", "UPDATE noblob SET b = NULL", NO_BLOBS, &["id", "step", "a", "b", "c"]),
    of("NOBLOB", "noblob", "UPDATE noblob SET t = 'é'", NO_BLOBS, &["id", "step", "a", "t", "c"]),
    of("FULL", "noblob", "UPDATE noblob SET b = 'x'", ALL, ALL),
    of("NOBLOB", "noblob", "DELETE FROM noblob", NO_BLOBS, &[]),
    of("FULL", "plain", "DELETE FROM plain", ALL, &[]),
];

/// MariaDB 11.8 only: images after an update hold what changed.
const WITHOUT_DOUBLES: [Statement; 2] = [
    of("FULL_NODUP", "nodup", "UPDATE nodup SET a = NULL, t = ''", ALL, &["a", "t"]),
    of("FULL_NODUP", "nodup", "DELETE FROM nodup", ALL, &[]),
];

const fn of(
    image: &'static str,
    table: &'static str,
    sql: &'static str,
    before: &'static [&'static str],
    after: &'static [&'static str],
) -> Statement {
    Statement { image, table, sql, before, after }
}

fn table(name: &str) -> Table {
    let latin1 = Form::Text("latin1".into());
    let id = if name == "keyless" { "INT" } else { "INT PRIMARY KEY" };
    let columns = vec![
        Column::new("a", "INT", Form::Number, &["5"]),
        Column::new("b", "BLOB", Form::Bytes, &["'blob'"]),
        Column::new("t", "TEXT CHARACTER SET latin1", latin1.clone(), &["'text'"]),
        Column::new("c", "CHAR(5) CHARACTER SET latin1", latin1, &["'char'"]),
        Column::new("stored", "INT AS (a + 1) STORED", Form::Number, &[]),
    ];
    Table { id, ..Table::new(name, columns) }
}

/// What a statement changed, as the server showed it.
struct Seen {
    statement: &'static Statement,
    before: Vec<Cell>,
    after: Option<Vec<Cell>>,
}

async fn absent_columns_are_told_from_null(kind: ServerKind) -> Result<()> {
    let (server, stream, worker, mut session) = start(kind).await?;
    for name in ["keyed", "keyless", "noblob", "plain", "nodup"] {
        session.run(&table(name).create()).await?;
        let values = "(id, step, a, b, t, c) VALUES (1, 1, 5, 'blob', 'text', 'char')";
        session.run(&format!("INSERT INTO {name} {values}")).await?;
    }
    let mut seen = Vec::new();
    let more: &[_] = if kind == ServerKind::MariaDb118 { &WITHOUT_DOUBLES } else { &[] };
    for statement in STATEMENTS.iter().chain(more) {
        seen.push(run(&mut session, statement).await?);
    }
    let log = log(&server, &stream, &worker).await?;
    let changes: Vec<_> = log.iter().filter(|change| change.op != "insert").collect();
    assert_eq!(changes.len(), seen.len());
    let mut wrong = Disagreements::default();
    for (change, seen) in changes.into_iter().zip(&seen) {
        check(change, seen, &mut wrong);
    }
    println!("{}: {} values of partial images compared", kind.name(), wrong.compared);
    types::agree(&wrong)
}

async fn run(session: &mut Session, statement: &'static Statement) -> Result<Seen> {
    session.run(&format!("SET SESSION binlog_row_image = {}", statement.image)).await?;
    let table = table(statement.table);
    let before = table.contents(session).await?.remove(&1);
    let before = before.context(|| "the row is gone too early")?;
    session.run(statement.sql).await?;
    let after = table.contents(session).await?.remove(&1);
    Ok(Seen { statement, before, after })
}

fn check(change: &oracle::Change, seen: &Seen, wrong: &mut Disagreements) {
    let Statement { image, sql, before, after, .. } = seen.statement;
    let table = table(seen.statement.table);
    let images =
        [(&change.before, Some(&seen.before), before), (&change.after, seen.after.as_ref(), after)];
    for (ours, row, expected) in images {
        let names = match (ours, row) {
            (Some(ours), Some(row)) => check_present(&table, 1, ours, row, wrong),
            (None, None) => Vec::new(),
            _ => return wrong.add(sql, "an image is missing or not wanted"),
        };
        let ours: BTreeSet<_> =
            names.iter().map(String::as_str).filter(|name| *name != "stored").collect();
        let expected: BTreeSet<_> = expected.iter().copied().collect();
        if ours != expected {
            wrong.add(sql, format!("a {image} image holds {ours:?}, not {expected:?}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_97_tells_absent_columns_from_null() -> Result<()> {
    absent_columns_are_told_from_null(ServerKind::MySql97).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_10_11_tells_absent_columns_from_null() -> Result<()> {
    absent_columns_are_told_from_null(ServerKind::MariaDb1011).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_11_8_tells_absent_columns_from_null() -> Result<()> {
    absent_columns_are_told_from_null(ServerKind::MariaDb118).await
}

/// Without names a table map does not say which column is which: the rows are told right, or their table
/// is stopped by name.
async fn bare_table_maps_mislead_nobody(kind: ServerKind) -> Result<()> {
    let (server, stream, worker, mut session) = start(kind).await?;
    let settings: &[_] = if kind.is_mysql() { &["MINIMAL"] } else { &["MINIMAL", "NO_LOG"] };
    let mut trials = Vec::new();
    for setting in settings {
        session.run(&format!("SET GLOBAL binlog_row_metadata = {setting}")).await?;
        let mut table = mixed(kind);
        table.name = format!("mixed_{setting}");
        trials.push((table.name.clone(), table.run(&mut session).await?));
    }
    session.run("SET GLOBAL binlog_row_metadata = FULL").await?;
    if !kind.is_mysql() {
        trials.push(("before_10_1".into(), old_times(&mut session).await?));
    }
    trials.push(("mixed".into(), mixed(kind).run(&mut session).await?));
    let status = worker.archived_all_of(&server, ARCHIVED).await?;
    assert!(worker.terminate(DRAINED).await?.success());
    let log = oracle::changes(&stream.archive(), SCHEMA).await?;
    let mut wrong = Disagreements::default();
    for (name, trial) in &trials {
        let full_name = format!("{SCHEMA}.{name}");
        match status.decoding.stopped.iter().find(|stopped| stopped.table == full_name) {
            None => trial.check(&log, &mut wrong),
            Some(stopped) => {
                assert!(stopped.message.contains(mend(name)), "{name}: {}", stopped.message);
                assert!(log.iter().all(|change| change.table != *name), "rows of {name}");
                println!("{}: {name} is stopped by name", kind.name());
            }
        }
    }
    types::agree(&wrong)
}

/// The statement that mends what may stop a table of [`bare_table_maps_mislead_nobody`].
fn mend(table: &str) -> &'static str {
    match table {
        "before_10_1" => "mysql56_temporal_format=ON",
        "mixed" => "nothing: it is not to stop",
        _ => "binlog_row_metadata=FULL",
    }
}

/// Times of MariaDB's form of before 10.1, whose length the table map does not say.
async fn old_times(session: &mut Session) -> Result<Trial> {
    let columns = vec![
        Column::new("t", "TIME", Form::Printed, &["'-838:59:59'"]),
        Column::new("t3", "TIME(3)", Form::Printed, &["'-12:34:56.789'"]),
        Column::new("d6", "DATETIME(6)", Form::Printed, &["'2024-02-29 01:02:03.456789'"]),
        Column::new("s", "TIMESTAMP NULL", Form::Printed, &["'2024-02-29 01:02:03'"]),
    ];
    session.run("SET GLOBAL mysql56_temporal_format = OFF").await?;
    let trial = Table::new("before_10_1", columns).run(session).await?;
    session.run("SET GLOBAL mysql56_temporal_format = ON").await?;
    Ok(trial)
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_97_without_names_misleads_nobody() -> Result<()> {
    bare_table_maps_mislead_nobody(ServerKind::MySql97).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_10_11_without_names_misleads_nobody() -> Result<()> {
    bare_table_maps_mislead_nobody(ServerKind::MariaDb1011).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_11_8_without_names_misleads_nobody() -> Result<()> {
    bare_table_maps_mislead_nobody(ServerKind::MariaDb118).await
}
