//! Crash points of rarer entries: a gap, XA transactions, GTID sets too long for an entry.

use std::time::Duration;

use e2e::oracle::{check_log, check_raw};
use e2e::proxy::{Moment, Pick};
use e2e::server::{Server, ServerKind};
use e2e::trial::{ARCHIVED, DRAINED, Trial};
use e2e::wait::{Look, until};
use e2e::worker::Worker;
use e2e::{Context, Failure, Result, workload};
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};

/// A gap is believed when it is seen again after 30 seconds.
const REACHED: Duration = Duration::from_secs(90);

async fn life(trial: &mut Trial) -> Result<()> {
    let worker = trial.streaming().await?;
    let writers = trial.writers().await?;
    worker.until("bytes came", ARCHIVED, |status| status.counters.bytes > 200_000).await?;
    trial.done += writers.stop().await?;
    worker.archived_all_of(&trial.server, ARCHIVED).await?;
    assert!(worker.terminate(DRAINED).await?.success());
    Ok(())
}

async fn abort_at(trial: &Trial, armed: &str) -> Result<()> {
    let worker = trial.stream.start_with(&[("BINLOG_FAILPOINT", armed)])?;
    let ended = worker.process().wait(REACHED).await?;
    assert!(ended.code().is_none(), "{armed}: the worker ended with {ended}");
    println!("hit: {armed}");
    Ok(())
}

/// Phases of the gaps in the log, in order, with their ids less the archive's part.
async fn gap_phases(trial: &Trial) -> Result<Vec<(String, String)>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let entries = trial.stream.archive().entries().await?;
    let gaps = entries.iter().filter_map(|(_, entry)| entry.get("gap"));
    let number = |id: &str| id.rsplit_once('-').map_or(id, |(number, _)| number).to_owned();
    Ok(gaps.map(|gap| (number(&text(&gap["id"])), text(&gap["phase"]))).collect())
}

async fn purge(server: &Server) -> Result<()> {
    server.run(&["FLUSH BINARY LOGS"]).await?;
    let (newest, _) = server.position().await?;
    // A file that a dump still reads stays; the server learns only by a heartbeat that its reader has gone.
    until("all files but the newest are purged", REACHED, || async {
        server.run(&[&format!("PURGE BINARY LOGS TO '{newest}'")]).await?;
        let files = server.binlogs().await?;
        Ok::<_, Failure>(Look::holds(files.len() == 1, || format!("{files:?}")))
    })
    .await
}

async fn gap(kind: ServerKind) -> Result<()> {
    let mut trial = Trial::on_volume(kind, "gap", 600).await?;
    life(&mut trial).await?;
    // Purged before anybody read it; no oracle counts it.
    workload::large(&trial.server, 100, 100).await?;
    purge(&trial.server).await?;
    trial.stream = trial.stream.with(&json!({"onGap": "Resume"}))?;
    // The second entry of a life that finds the gap is `detected`; of one that knows it, `passed`.
    abort_at(&trial, "log.linked:2=abort").await?;
    assert_eq!(gap_phases(&trial).await?, [("gap-1".into(), "detected".into())]);
    abort_at(&trial, "log.linked:2=abort").await?;
    let both = [("gap-1".into(), "detected".into()), ("gap-1".into(), "passed".into())];
    assert_eq!(gap_phases(&trial).await?, both);
    life(&mut trial).await?;
    assert_eq!(gap_phases(&trial).await?, both, "the gap is passed once");
    let facts = check_log(&trial.stream.archive()).await?;
    let lineage = facts.raw.last().context(|| "raw bytes follow on the gap")?.lineage.clone();
    check_raw(&trial.stream.archive(), &facts, &lineage, &trial.server).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_recorded_and_passed_once_whenever_the_worker_dies_on_mysql() -> Result<()> {
    gap(ServerKind::MySql97).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_recorded_and_passed_once_whenever_the_worker_dies_on_mariadb() -> Result<()> {
    gap(ServerKind::MariaDb118).await
}

/// Holds the next entry, lets `work` cause it, and kills the worker.
async fn killed_in_an_entry(
    trial: &Trial,
    worker: Worker,
    moment: Moment,
    statements: &[&str],
) -> Result<()> {
    worker.archived_all_of(&trial.server, ARCHIVED).await?;
    let mut hold = trial.proxy()?.hold(Pick::put("/log/0").nth(1), moment);
    let mut connection = trial.server.connect().await?;
    for statement in statements {
        connection.query_drop(*statement).await.context(|| format!("run {statement}"))?;
    }
    connection.disconnect().await?;
    hold.reached(REACHED).await?;
    worker.kill().await?;
    hold.drop_reply()?;
    trial.proxy()?.clear();
    println!("hit: {moment:?}: {}", statements.join("; "));
    Ok(())
}

async fn xa(kind: ServerKind) -> Result<()> {
    let mut trial = Trial::on_s3(kind, "xa", 610).await?;
    trial.server.run(&["CREATE TABLE shop.branches (id INT PRIMARY KEY)"]).await?;
    let mut number = 0;
    for verdict in ["COMMIT", "ROLLBACK"] {
        for moment in [Moment::BeforeForward, Moment::AfterForward] {
            number += 1;
            let prepare = [
                &format!("XA START 'x{number}'"),
                &format!("INSERT INTO shop.branches VALUES ({number})"),
                &format!("XA END 'x{number}'"),
                &format!("XA PREPARE 'x{number}'"),
            ];
            let prepare = prepare.map(String::as_str);
            killed_in_an_entry(&trial, trial.streaming().await?, moment, &prepare).await?;
            let verdict = format!("XA {verdict} 'x{number}'");
            killed_in_an_entry(&trial, trial.streaming().await?, moment, &[&verdict]).await?;
        }
        // The row of each.
        trial.done.changes += if verdict == "COMMIT" { 2 } else { 0 };
    }
    let (facts, _) = trial.finish(&[]).await?;
    assert!(facts.closed.len() == 1, "{:?}", facts.closed);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn xa_transactions_survive_a_kill_in_the_entries_of_prepare_and_verdict_on_mysql()
-> Result<()> {
    xa(ServerKind::MySql97).await
}

#[tokio::test(flavor = "multi_thread")]
async fn xa_transactions_survive_a_kill_in_the_entries_of_prepare_and_verdict_on_mariadb()
-> Result<()> {
    xa(ServerKind::MariaDb118).await
}

/// More uuids than a set in an entry may have: each claim keeps the set as a list object.
#[tokio::test(flavor = "multi_thread")]
async fn a_gtid_set_in_a_list_object_survives_a_kill_before_and_after_it() -> Result<()> {
    let mut trial = Trial::on_s3(ServerKind::MySql97, "uuids", 620).await?;
    let mut connection = trial.server.connect().await?;
    for number in 1..=7_500_u32 {
        let next = format!("SET gtid_next = '{number:08x}-1111-2222-3333-444444444444:1'");
        for statement in [next.as_str(), "BEGIN", "COMMIT"] {
            connection.query_drop(statement).await?;
        }
    }
    connection.query_drop("SET gtid_next = 'AUTOMATIC'").await?;
    connection.disconnect().await?;
    life(&mut trial).await?;
    for moment in [Moment::BeforeForward, Moment::AfterForward] {
        let mut hold = trial.proxy()?.hold(Pick::put("/lists/").nth(1), moment);
        let worker = trial.stream.start()?;
        let target = hold.reached(REACHED).await?;
        worker.kill().await?;
        hold.drop_reply()?;
        trial.proxy()?.clear();
        println!("hit: list, {moment:?}: {target}");
        life(&mut trial).await?;
    }
    trial.finish(&[]).await?;
    Ok(())
}
