//! Where a stream begins, and what becomes of it when the source's history bends: crashes, purged files, resets,
//! another server behind the same address.

#[path = "lineage/diverged.rs"]
mod diverged;
#[path = "lineage/gaps.rs"]
mod gaps;
#[path = "lineage/groups.rs"]
mod groups;
#[path = "lineage/start.rs"]
mod start;
#[path = "lineage/switch.rs"]
mod switch;

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use crds::conditions::Reason;
use crds::worker_status::{Phase, WorkerStatus};
use e2e::archive::Archive;
use e2e::oracle::{self, LogFacts};
use e2e::server::{Server, ServerKind};
use e2e::worker::{Stream, Worker};
use e2e::workload::{self, Writers};
use e2e::{Context, Result};
use serde_json::{Value, json};

const STREAMS: Duration = Duration::from_secs(45);
/// Longest until a fault shows: what the product promises.
const SHOWN: Duration = Duration::from_secs(30);
const ARCHIVED: Duration = Duration::from_secs(60);
const DRAINED: Duration = Duration::from_secs(30);

/// A server with the workload's schema.
async fn shop(kind: ServerKind) -> Result<Server> {
    let server = Server::builder(kind).start().await?;
    workload::prepare(&server).await?;
    Ok(server)
}

/// `stream`, beginning where the server stands now.
async fn from_here(stream: Stream, server: &Server) -> Result<Stream> {
    let (file, position) = server.position().await?;
    let at = json!({"file": file, "position": position});
    stream.with(&json!({"start": {"mode": "FilePosition", "filePosition": at}}))
}

async fn streaming(worker: &Worker) -> Result<WorkerStatus> {
    let streams =
        |status: &WorkerStatus| status.phase == Phase::Streaming && status.source.connected;
    worker.until("the stream runs", STREAMS, streams).await
}

/// A worker that streams, beginning where the server stood.
async fn followed(stream: Stream, server: &Server) -> Result<(Stream, Worker)> {
    let stream = from_here(stream, server).await?;
    let worker = stream.start()?;
    streaming(&worker).await?;
    Ok((stream, worker))
}

/// Waits until the worker stands still for this reason, and says how to go on.
async fn waits(worker: &Worker, reason: Reason, mend: &str) -> Result<WorkerStatus> {
    let what = format!("it waits as {reason} and says {mend:?}");
    let status = worker
        .until(what, SHOWN, |status| {
            status.phase == Phase::Waiting
                && status.reason == reason
                && status.message.contains(mend)
        })
        .await?;
    println!("{reason}: {}", status.message);
    Ok(status)
}

/// Entries of one kind.
async fn entries(archive: &Archive, kind: &str) -> Result<Vec<Value>> {
    let all = archive.entries().await?.into_iter().map(|(_, entry)| entry);
    Ok(all.filter(|entry| entry["kind"] == kind).collect())
}

/// What must hold whatever happened: the log is a chain, the newest lineage's raw bytes are the server's, the
/// change log folds to the server's tables without an identity twice.
async fn sound(stream: &Stream, server: &Server) -> Result<LogFacts> {
    let archive = stream.archive();
    let facts = oracle::check_log(&archive).await?;
    let lineages: BTreeSet<_> = facts.raw.iter().map(|raw| raw.lineage.clone()).collect();
    let newest = lineages.last().context(|| "nothing was archived")?;
    oracle::check_raw(&archive, &facts, newest, server).await?;
    let folded = oracle::fold(&archive, server, &workload::tables(false)).await?;
    folded.check()?;
    println!("sound: lineages {lineages:?}, {} entries, {} rows", facts.entries, folded.rows);
    Ok(facts)
}

/// Ends the worker in order once all of the server's binlog is durable.
async fn finish(worker: &Worker, server: &Server, expected: &[&str]) -> Result<()> {
    worker.archived_all_of(server, ARCHIVED).await?;
    assert!(worker.terminate(DRAINED).await?.success());
    worker.check_log(expected)
}

/// Leaves the beginning of an event at the end of a file, as a crash within a write does: MySQL cuts it off when
/// it recovers, MariaDB leaves it and can from then on not read its own file to the end.
fn tear(server: &Server, file: &str) -> Result<()> {
    const LENGTH: u32 = 200;
    // Time, type (rows), server id, length, end, flags; then less than the length promises.
    let mut event = vec![0; 60];
    event[4] = 30;
    event[9..13].copy_from_slice(&LENGTH.to_le_bytes());
    let mut binlog = std::fs::File::options().append(true).open(server.binlog(file))?;
    Ok(binlog.write_all(&event)?)
}

async fn survives_crashes(kind: ServerKind) -> Result<()> {
    let mut server = shop(kind).await?;
    let (stream, worker) = followed(Stream::new("crash", &server)?, &server).await?;
    for round in 0..3 {
        let writers = Writers::start(&server, 20 + round, 3).await?;
        let before = worker.status().await?.counters.rows;
        worker
            .until("it reads under load", SHOWN, |status| status.counters.rows > before + 1_000)
            .await?;
        let (file, _) = server.position().await?;
        server.kill().await?;
        tear(&server, &file)?;
        // They end with the server's connections; what they committed is in its tables.
        assert!(writers.stop().await.is_err(), "the writers outlived the server");
        server.start().await?;
        worker.archived_all_of(&server, ARCHIVED).await?;
    }
    server.run(&["FLUSH BINARY LOGS"]).await?;
    finish(&worker, &server, &[]).await?;
    let facts = sound(&stream, &server).await?;
    assert!(facts.closed.len() >= 4, "files that ended: {:?}", facts.closed);
    let commits = entries(&stream.archive(), "commit").await?;
    let crashed =
        commits.iter().flat_map(|entry| entry["raw"]["closed"].as_array().into_iter().flatten());
    let crashed = crashed.filter(|closed| closed["how"] == "crash").count();
    println!("{}: {crashed} files ended by a crash", kind.name());
    assert!(crashed >= 3, "{commits:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_of_mysql_97_close_files_and_nothing_is_lost_or_doubled() -> Result<()> {
    survives_crashes(ServerKind::MySql97).await
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_of_mariadb_11_8_close_files_and_nothing_is_lost_or_doubled() -> Result<()> {
    survives_crashes(ServerKind::MariaDb118).await
}
