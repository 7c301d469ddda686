//! Tables that stopped are decoded again from the raw archive, once the cause is mended: `worker redecode`.

#[path = "redecode/xa.rs"]
mod xa;

use std::process::Output;
use std::time::Duration;

use crds::worker_status::{Phase, WorkerStatus};
use e2e::oracle::Table;
use e2e::server::{Server, ServerKind};
use e2e::trial::{ARCHIVED, DRAINED, STREAMS, Trial};
use e2e::worker::{Stream, Worker};
use e2e::{Context, Failure, Result, oracle};
use serde_json::{Value, json};

/// Longest until a table that cannot be decoded is named.
const NAMED: Duration = Duration::from_secs(30);
/// What bursts write.
const TABLES: [&str; 3] = ["shop.items", "shop.journal", "shop.orders"];
/// Without it the source tells the columns that the binlog does not name.
const BLIND: &str = "REVOKE SELECT ON *.* FROM repl@'%'";
const BAD_CONFIG: i32 = 78;
const FENCED: i32 = 81;

/// What the server logs of columns beside their types, for new statements.
async fn row_metadata(server: &Server, setting: &str) -> Result<()> {
    server.run(&[&format!("SET GLOBAL binlog_row_metadata = {setting}")]).await
}

fn least(kind: ServerKind) -> &'static str {
    if kind.is_mysql() { "MINIMAL" } else { "NO_LOG" }
}

async fn burst(trial: &mut Trial, worker: &Worker) -> Result<()> {
    let before = worker.status().await?.counters.bytes;
    let writers = trial.writers().await?;
    worker.until("bytes came", STREAMS, |status| status.counters.bytes > before + 300_000).await?;
    trial.done += writers.stop().await?;
    Ok(())
}

fn stopped(status: &WorkerStatus) -> Vec<String> {
    status.decoding.stopped.iter().map(|facet| facet.table.clone()).collect()
}

/// A life in which all tables stop, raw goes on, and the source is mended at last.
async fn tables_stop(trial: &mut Trial) -> Result<()> {
    let worker = trial.streaming().await?;
    trial.server.run(&[BLIND]).await?;
    row_metadata(&trial.server, least(trial.server.kind())).await?;
    for table in TABLES {
        // What was known of the table is worth nothing from here on.
        trial.server.run(&[&format!("ALTER TABLE {table} COMMENT = 'altered'")]).await?;
    }
    burst(trial, &worker).await?;
    let what = "the tables stand still by name";
    let status = worker.until(what, NAMED, |status| stopped(status) == TABLES).await?;
    assert!(!status.decoding.healthy);
    assert!(status.decoding.message.contains("binlog_row_metadata"), "{:?}", status.decoding);
    row_metadata(&trial.server, "FULL").await?;
    burst(trial, &worker).await?;
    let status = worker.archived_all_of(&trial.server, ARCHIVED).await?;
    assert_eq!(stopped(&status), TABLES, "nothing is skipped over silently");
    assert!(worker.terminate(DRAINED).await?.success());
    Ok(())
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

fn code(output: &Output) -> Result<i32> {
    output.status.code().context(|| format!("ended by a signal: {}", text(output)))
}

/// Ends as it should, whatever it says.
fn ended_with(output: &Output, expected: i32) -> Result<String> {
    let (code, text) = (code(output)?, text(output));
    println!("redecode ended with {code}: {text}");
    if code == expected {
        Ok(text)
    } else {
        Err(Failure::new(format!("{code} instead of {expected}: {text}")))
    }
}

/// Entries of one kind.
async fn entries(stream: &Stream, kind: &str) -> Result<Vec<Value>> {
    let all = stream.archive().entries().await?.into_iter().map(|(_, entry)| entry);
    Ok(all.filter(|entry| entry["kind"] == kind).collect())
}

/// The status of the next life shows no gap, and tables are decoded as if nothing had been.
async fn all_is_well_again(trial: &mut Trial) -> Result<()> {
    let worker = trial.streaming().await?;
    burst(trial, &worker).await?;
    let status = worker.archived_all_of(&trial.server, ARCHIVED).await?;
    assert!(status.decoding.healthy, "{:?}", status.decoding);
    assert_eq!(stopped(&status), [] as [String; 0]);
    assert!(worker.terminate(DRAINED).await?.success());
    trial.finish(&[]).await?;
    Ok(())
}

async fn closes_the_gaps(mut trial: Trial) -> Result<()> {
    tables_stop(&mut trial).await?;
    let said = ended_with(&trial.stream.redecode(&[], &[]).await?, 0)?;
    for table in TABLES {
        assert!(said.contains(&format!("{table}: decoded again, its gap is closed")), "{said}");
    }
    let done = entries(&trial.stream, "maintain").await?;
    assert_eq!(done.len(), 1, "{done:?}");
    assert_eq!(done[0]["maintain"]["op"], "redecode");
    // Not only after the next worker: it published what it added.
    let tables = e2e::workload::tables(false);
    oracle::check_all(&trial.stream.archive(), &trial.server, &tables, trial.done.changes).await?;
    let again = ended_with(&trial.stream.redecode(&[], &[]).await?, 0)?;
    assert!(again.contains("0 rows"), "{again}");
    assert_eq!(entries(&trial.stream, "maintain").await?.len(), 1, "nothing is left to do");
    all_is_well_again(&mut trial).await
}

#[tokio::test(flavor = "multi_thread")]
async fn closes_the_gaps_of_tables_that_stopped_on_mysql_97() -> Result<()> {
    closes_the_gaps(Trial::on_s3(ServerKind::MySql97, "mended", 700).await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn closes_the_gaps_of_tables_that_stopped_on_mysql_97_with_compressed_transactions()
-> Result<()> {
    let builder = Server::builder(ServerKind::MySql97);
    let server = builder.option("binlog_transaction_compression", "ON").start().await?;
    closes_the_gaps(Trial::of(server, "mended", 710).await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn closes_the_gaps_of_tables_that_stopped_on_mariadb_10_11() -> Result<()> {
    closes_the_gaps(Trial::on_volume(ServerKind::MariaDb1011, "mended", 720).await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn closes_the_gaps_of_tables_that_stopped_on_mariadb_11_8() -> Result<()> {
    closes_the_gaps(Trial::on_volume(ServerKind::MariaDb118, "mended", 730).await?).await
}

/// Where it can die before its entry: the gaps are still open then.
const BEFORE: &[&str] = &[
    "claim.made=abort",
    "changes.uploading=abort",
    "changes.uploaded=abort",
    "sweep.deleting=abort",
    "maintain.acknowledged=abort",
];
/// Behind it: they are closed, whatever else was still to do.
const BEHIND: &[&str] = &["commit.sent=abort", "commit.advanced=abort"];
const VOLUME_BEFORE: &[&str] =
    &["changes.written=abort", "changes.renamed=abort", "log.synced:2=abort"];
const VOLUME_BEHIND: &[&str] =
    &["log.linked:2=abort", "log.settled:2=abort", "changes.linked=abort"];

async fn dies_at(stream: &Stream, armed: &str) -> Result<()> {
    let output = stream.redecode(&[], &[("BINLOG_FAILPOINT", armed)]).await?;
    let said = text(&output);
    assert!(
        output.status.code().is_none() && said.contains("failpoint reached"),
        "{armed}: {said}"
    );
    println!("hit: {armed}");
    Ok(())
}

async fn survives_kills(mut trial: Trial, before: &[&str], behind: &[&str]) -> Result<()> {
    tables_stop(&mut trial).await?;
    for armed in before {
        dies_at(&trial.stream, armed).await?;
        assert_eq!(entries(&trial.stream, "maintain").await?, [] as [Value; 0], "{armed}");
    }
    ended_with(&trial.stream.redecode(&[], &[]).await?, 0)?;
    for (times, armed) in behind.iter().enumerate() {
        tables_stop(&mut trial).await?;
        dies_at(&trial.stream, armed).await?;
        assert_eq!(entries(&trial.stream, "maintain").await?.len(), times + 2, "{armed}");
        let again = ended_with(&trial.stream.redecode(&[], &[]).await?, 0)?;
        assert!(again.contains("0 rows"), "{armed}: {again}");
    }
    all_is_well_again(&mut trial).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_step_loses_and_doubles_nothing_on_s3() -> Result<()> {
    survives_kills(Trial::on_s3(ServerKind::MariaDb118, "killed", 740).await?, BEFORE, BEHIND).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_step_loses_and_doubles_nothing_on_a_volume() -> Result<()> {
    let trial = Trial::on_volume(ServerKind::MySql97, "killed", 750).await?;
    survives_kills(trial, VOLUME_BEFORE, VOLUME_BEHIND).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_worker_is_left_alone() -> Result<()> {
    let mut trial = Trial::on_volume(ServerKind::MySql97, "alive", 760).await?;
    tables_stop(&mut trial).await?;
    let worker = trial.streaming().await?;
    let claims = entries(&trial.stream, "claim").await?.len();
    // Its own configuration says that it runs; another one does not change that it does.
    let own = trial.stream.redecode_by(&trial.stream.config_path(), &[], &[]).await?;
    assert!(ended_with(&own, BAD_CONFIG)?.contains("state: Paused or Stopped"));
    let locked = trial.stream.redecode(&[], &[]).await?;
    assert!(ended_with(&locked, FENCED)?.contains("another worker runs in this directory"));
    let elsewhere = trial.stream.second()?.redecode(&[], &[]).await?;
    assert!(ended_with(&elsewhere, FENCED)?.contains("holds the archive"));
    assert_eq!(entries(&trial.stream, "claim").await?.len(), claims, "nobody claimed");
    burst(&mut trial, &worker).await?;
    worker.archived_all_of(&trial.server, ARCHIVED).await?;
    assert!(worker.terminate(DRAINED).await?.success());
    ended_with(&trial.stream.redecode(&[], &[]).await?, 0)?;
    all_is_well_again(&mut trial).await
}

/// In a pod: the stream is paused, and the command runs beside the worker, as the same instance.
#[tokio::test(flavor = "multi_thread")]
async fn works_beside_a_paused_worker_which_then_goes_on() -> Result<()> {
    let mut trial = Trial::on_volume(ServerKind::MariaDb118, "paused", 770).await?;
    tables_stop(&mut trial).await?;
    let worker = trial.streaming().await?;
    trial.stream.clone().with(&json!({"state": "Paused"}))?.write()?;
    worker.until("it is paused", DRAINED, |status| status.phase == Phase::Paused).await?;
    let own = trial.stream.redecode_by(&trial.stream.config_path(), &[], &[]).await?;
    ended_with(&own, 0)?;
    trial.stream.write()?;
    let well = |status: &WorkerStatus| status.phase == Phase::Streaming && status.decoding.healthy;
    worker.until("it streams, and nothing stands still", STREAMS, well).await?;
    burst(&mut trial, &worker).await?;
    worker.archived_all_of(&trial.server, ARCHIVED).await?;
    assert!(worker.terminate(DRAINED).await?.success());
    all_is_well_again(&mut trial).await
}

/// Rows that were logged without column names before the table was altered: nobody knows their columns.
async fn what_is_lost_is_given_up(kind: ServerKind) -> Result<()> {
    let server = Server::builder(kind).start().await?;
    let mut trial = Trial::of(server, "lost", 780).await?;
    let worker = trial.streaming().await?;
    row_metadata(&trial.server, least(kind)).await?;
    trial
        .server
        .run(&[
            BLIND,
            "CREATE TABLE shop.lost (a INT PRIMARY KEY, b INT)",
            "INSERT INTO shop.lost VALUES (1, 10), (2, 20)",
            "DELETE FROM shop.lost",
            "ALTER TABLE shop.lost RENAME COLUMN b TO c",
            "INSERT INTO shop.lost VALUES (3, 30)",
        ])
        .await?;
    let what = "the table stands still by name";
    worker.until(what, NAMED, |status| stopped(status) == ["shop.lost"]).await?;
    row_metadata(&trial.server, "FULL").await?;
    trial.server.run(&["INSERT INTO shop.lost VALUES (4, 40)"]).await?;
    worker.archived_all_of(&trial.server, ARCHIVED).await?;
    assert!(worker.terminate(DRAINED).await?.success());
    let said = ended_with(&trial.stream.redecode(&["--table", "shop.lost"], &[]).await?, 1)?;
    assert!(said.contains("shop.lost: its gap stays open") && said.contains("0 rows"), "{said}");
    // From the ALTER on its columns are known, by the names that came later.
    let (file, _) = trial.server.position().await?;
    let events = trial.server.rows(&format!("SHOW BINLOG EVENTS IN '{file}'")).await?;
    let altered = events
        .iter()
        .find(|event| event[5].as_deref().is_some_and(|info| info.contains("RENAME COLUMN")));
    let end = altered.and_then(|event| event[4].clone()).context(|| "no ALTER in the binlog")?;
    let facts = oracle::check_log(&trial.stream.archive()).await?;
    let lineage = facts.raw.last().context(|| "nothing was archived")?.lineage.clone();
    let from = format!("{lineage}/{file}:{end}");
    let said = ended_with(&trial.stream.redecode(&["--from", &from], &[]).await?, 0)?;
    assert!(said.contains("2 rows"), "{said}");
    let steps = entries(&trial.stream, "maintain").await?;
    let lost = &steps.last().context(|| "no step of maintenance")?["gaps"];
    assert_eq!(lost[0]["table"], "shop.lost");
    assert_eq!(lost[0]["to"]["pos"], end.parse::<u64>().context(|| "read the end")?);
    let columns = ["a", "c"].map(|name| (name.to_owned(), name.to_owned())).to_vec();
    let table = Table {
        name: "shop.lost".to_owned(),
        key: vec!["a".to_owned()],
        columns,
        defaults: [].into(),
    };
    oracle::fold(&trial.stream.archive(), &trial.server, &[table]).await?.check()?;
    trial.done.changes += 2;
    all_is_well_again(&mut trial).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_knows_is_given_up_by_name_on_mysql_97() -> Result<()> {
    what_is_lost_is_given_up(ServerKind::MySql97).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_knows_is_given_up_by_name_on_mariadb_11_8() -> Result<()> {
    what_is_lost_is_given_up(ServerKind::MariaDb118).await
}
