//! Where a stream begins, and what its own checkpoints on the source must not do.

use e2e::Failure;
use e2e::wait::{Look, throughout};

use super::*;

/// Rows in the change log after everything of the server was archived from this start.
async fn rows_from(server: &Server, start: Value) -> Result<u64> {
    let stream = Stream::new("start", server)?.with(&json!({"start": start}))?;
    let worker = stream.start()?;
    streaming(&worker).await?;
    let more = workload::large(server, 7, 10).await?;
    finish(&worker, server, &[]).await?;
    let facts = oracle::check_log(&stream.archive()).await?;
    let lineage = facts.raw.first().context(|| "nothing was archived")?.lineage.clone();
    let first = facts.raw.first().map(|raw| raw.from);
    assert_eq!(first, Some(0), "raw files are whole whatever the start");
    oracle::check_raw(&stream.archive(), &facts, &lineage, server).await?;
    Ok(facts.changes.iter().map(|(_, rows)| rows).sum::<u64>() - more.changes)
}

/// Where the second rows event of the newest large transaction is, and where that transaction ends.
async fn inside_a_transaction(server: &Server) -> Result<(String, u64)> {
    let (file, _) = server.position().await?;
    let events = server.rows(&format!("SHOW BINLOG EVENTS IN '{file}'")).await?;
    let rows: Vec<u64> = events
        .iter()
        .filter(|event| event[2].as_deref().is_some_and(|kind| kind.starts_with("Write_rows")))
        .filter_map(|event| event[1].as_deref()?.parse().ok())
        .collect();
    let at = rows.get(1).context(|| format!("too few rows events: {events:?}"))?;
    Ok((file, *at))
}

async fn each_start_mode_begins_where_it_says(kind: ServerKind) -> Result<()> {
    let server = shop(kind).await?;
    workload::large(&server, 40, 10).await?;
    let held = server.gtids().await?;
    server.run(&["FLUSH BINARY LOGS"]).await?;
    let (file, position) = server.position().await?;
    // One transaction of several rows events.
    workload::large(&server, 3_000, 10).await?;
    let (_, inside) = inside_a_transaction(&server).await?;
    let at = |position: u64| json!({"mode": "FilePosition", "filePosition": {"file": file, "position": position}});
    assert_eq!(rows_from(&server, json!({"mode": "Latest"})).await?, 0);
    assert_eq!(
        rows_from(&server, at(inside)).await?,
        3_000 + 7,
        "it snaps back to the transaction's start"
    );
    assert_eq!(rows_from(&server, at(position)).await?, 3_000 + 14);
    assert_eq!(rows_from(&server, json!({"mode": "GtidSet", "gtidSet": held})).await?, 3_000 + 21);
    assert_eq!(rows_from(&server, json!({"mode": "Earliest"})).await?, 40 + 3_000 + 28);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_start_mode_begins_where_it_says_on_mysql_97() -> Result<()> {
    each_start_mode_begins_where_it_says(ServerKind::MySql97).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_start_mode_begins_where_it_says_on_mariadb_11_8() -> Result<()> {
    each_start_mode_begins_where_it_says(ServerKind::MariaDb118).await
}

/// A checkpoint kept in the source is itself written to the binlog that is read, whether the source is named as its
/// host or not.
#[tokio::test(flavor = "multi_thread")]
async fn our_own_checkpoints_in_the_source_make_no_entries() -> Result<()> {
    for named in [false, true] {
        own_checkpoints_make_no_entries(named).await?;
    }
    Ok(())
}

async fn own_checkpoints_make_no_entries(named: bool) -> Result<()> {
    let server = shop(ServerKind::MariaDb118).await?;
    let grant = "GRANT SELECT, INSERT, UPDATE, CREATE ON binlog_state.* TO repl";
    server.run(&["CREATE DATABASE binlog_state", grant]).await?;
    let stream = from_here(Stream::new("state", &server)?, &server)
        .await?
        .on_stream_state("binlog_state")?;
    let stream = if named {
        let place = json!({"host": "127.0.0.1", "port": server.port(), "username": "repl",
            "passwordFile": stream.folder().join("password"), "tls": {"mode": "Preferred"}});
        stream.with(&json!({"checkpoint": {"streamState": place}}))?
    } else {
        stream
    };
    let worker = stream.start()?;
    streaming(&worker).await?;
    for _ in 0..3 {
        workload::large(&server, 10, 10).await?;
        let (_, end) = server.position().await?;
        let saved = |status: &WorkerStatus| {
            status.durable.as_ref().is_some_and(|at| at.offset >= end)
                && status.checkpoint.n.is_some()
                && status.checkpoint.n == status.archive.n
        };
        worker.until("the checkpoint holds the newest entry", ARCHIVED, saved).await?;
    }
    let (_, before) = server.position().await?;
    let entries = worker.status().await?.archive.n;
    throughout("no entry follows from our own checkpoint", Duration::from_secs(15), || async {
        let n = worker.status().await?.archive.n;
        Ok::<_, Failure>(Look::holds(n == entries, || format!("{n:?}, before {entries:?}")))
    })
    .await?;
    let (_, after) = server.position().await?;
    println!("own traffic: {before} to {after}, entry {entries:?}");
    assert_eq!(before, after, "nor does a checkpoint follow");
    assert!(worker.terminate(DRAINED).await?.success());
    worker.check_log(&[])
}
