//! Files that the source purged: those that were read are no gap, one more is.

use e2e::Failure;
use e2e::wait::{Look, until};

use super::*;

/// Longest until a gap is recorded: it must be seen twice, 30 s apart.
const RECORDED: Duration = Duration::from_secs(90);

/// Begins a new file and purges all before it.
async fn purge(server: &Server) -> Result<()> {
    server.run(&["FLUSH BINARY LOGS"]).await?;
    let (newest, _) = server.position().await?;
    // A file that a dump still reads stays; the server learns only by a heartbeat that its reader has gone.
    until("all files but the newest are purged", SHOWN, || async {
        server.run(&[&format!("PURGE BINARY LOGS TO '{newest}'")]).await?;
        let files = server.binlogs().await?;
        Ok::<_, Failure>(Look::holds(files.len() == 1, || format!("{files:?}")))
    })
    .await
}

async fn read_files_are_no_gap(kind: ServerKind) -> Result<()> {
    let server = shop(kind).await?;
    let stream = from_here(Stream::new("read", &server)?, &server).await?;
    let mut done = workload::large(&server, 100, 50).await?;
    // The end of the file was read: its ROTATE names the next.
    let worker = stream.start()?;
    server.run(&["FLUSH BINARY LOGS"]).await?;
    finish(&worker, &server, &[]).await?;
    purge(&server).await?;
    done += workload::large(&server, 100, 50).await?;
    let worker = stream.start()?;
    finish(&worker, &server, &[]).await?;
    // All transactions were read, but not the ROTATE: the next file's head proves that nothing is missing.
    purge(&server).await?;
    done += workload::large(&server, 100, 50).await?;
    let worker = stream.start()?;
    streaming(&worker).await?;
    // While it runs.
    purge(&server).await?;
    done += workload::large(&server, 100, 50).await?;
    worker.archived_all_of(&server, ARCHIVED).await?;
    assert_eq!(worker.status().await?.gap_count, 0);
    finish(&worker, &server, &[]).await?;
    let facts = sound(&stream, &server).await?;
    assert_eq!(facts.changes.iter().map(|(_, rows)| rows).sum::<u64>(), done.changes);
    assert_eq!(entries(&stream.archive(), "gap").await?, [] as [Value; 0]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_read_and_purged_are_no_gap_on_mysql_97() -> Result<()> {
    read_files_are_no_gap(ServerKind::MySql97).await
}

#[tokio::test(flavor = "multi_thread")]
async fn files_read_and_purged_are_no_gap_on_mariadb_10_11() -> Result<()> {
    read_files_are_no_gap(ServerKind::MariaDb1011).await
}

/// A stream that was stopped while the source wrote into a table of its own and purged that.
async fn purged(kind: ServerKind, on_gap: &str) -> Result<(Server, Stream)> {
    let server = shop(kind).await?;
    server.run(&["CREATE TABLE shop.lost (id INT PRIMARY KEY)"]).await?;
    let stream = from_here(Stream::new("gap", &server)?, &server).await?;
    let stream = stream.with(&json!({"onGap": on_gap}))?;
    let worker = stream.start()?;
    workload::large(&server, 100, 50).await?;
    finish(&worker, &server, &[]).await?;
    server
        .run(&[
            "INSERT INTO shop.lost VALUES (1)",
            "FLUSH BINARY LOGS",
            "INSERT INTO shop.lost VALUES (2)",
        ])
        .await?;
    purge(&server).await?;
    workload::large(&server, 100, 50).await?;
    Ok((server, stream))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_stops_the_stream_until_it_is_acknowledged() -> Result<()> {
    let (server, stream) = purged(ServerKind::MySql97, "Stop").await?;
    let before = stream.archive().entries().await?.len();
    let worker = stream.start()?;
    waits(&worker, Reason::BinlogPurged, "is purged").await?;
    assert_eq!(
        stream.archive().entries().await?.len(),
        before,
        "nothing is written before it is seen twice"
    );
    let open = |status: &WorkerStatus| status.open_gap_count == 1 && !status.gaps.is_empty();
    let gap = worker.until("the gap is recorded", RECORDED, open).await?.gaps.remove(0);
    println!("gap: {gap:?}");
    assert!(!gap.passed && gap.acknowledged_at.is_none(), "{gap:?}");
    let waiting = waits(&worker, Reason::BinlogPurged, &gap.id).await?;
    assert!(waiting.message.contains("acknowledge"), "{}", waiting.message);

    worker.kill().await?;
    let worker = stream.start()?;
    let again = worker.until("the gap survives a kill", RECORDED, open).await?.gaps.remove(0);
    assert_eq!((&again.id, &again.from), (&gap.id, &gap.from));
    worker.until("it waits again", RECORDED, |status| status.message.contains(&gap.id)).await?;

    let told = stream
        .clone()
        .with(&json!({"consents": {"acknowledgeGaps": [gap.id], "by": "the test"}}))?;
    told.write()?;
    let status = streaming(&worker).await?;
    let action = status.last_handled_action.context(|| "the acknowledgement is not reported")?;
    assert_eq!(
        (action.type_.as_str(), action.requested.as_str()),
        ("acknowledge-gap", gap.id.as_str())
    );
    let passed = |status: &WorkerStatus| status.open_gap_count == 0 && status.gap_count == 1;
    worker.until("no gap is open", SHOWN, passed).await?;
    finish(&worker, &server, &["events are gone"]).await?;
    sound(&stream, &server).await?;
    let gaps = entries(&stream.archive(), "gap").await?;
    let phases: Vec<_> = gaps.iter().map(|entry| entry["gap"]["phase"].as_str()).collect();
    assert_eq!(phases, [Some("detected"), Some("passed")], "{gaps:?}");
    assert_eq!(gaps[1]["gap"]["by"], "the test", "{gaps:?}");
    // Exactly the two transactions of the purged files.
    let missing = gaps[0]["gap"]["missing"]["gtid"].as_str().unwrap_or_default();
    let range = missing.rsplit(':').next().and_then(|range| range.split_once('-'));
    let (first, last) = range.context(|| format!("not a range: {missing:?}"))?;
    assert_eq!(
        last.parse::<u64>().ok(),
        first.parse::<u64>().ok().map(|first| first + 1),
        "{missing}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_of_all_that_is_left_standing_covers_no_later_gap() -> Result<()> {
    let (server, stream) = purged(ServerKind::MariaDb118, "Stop").await?;
    let stream = stream.with(&json!({"consents": {"acknowledgeGaps": ["all"]}}))?;
    let worker = stream.start()?;
    let passed = |status: &WorkerStatus| {
        status.phase == Phase::Streaming && (status.gap_count, status.open_gap_count) == (1, 0)
    };
    worker.until("it goes on behind the first gap", RECORDED, passed).await?;
    finish(&worker, &server, &["events are gone"]).await?;
    let lost = ["INSERT INTO shop.lost VALUES (3)", "FLUSH BINARY LOGS"];
    server.run(&[lost[0], lost[1], "INSERT INTO shop.lost VALUES (4)"]).await?;
    purge(&server).await?;
    for life in ["one", "two"] {
        let worker = stream.start()?;
        let open = |status: &WorkerStatus| status.open_gap_count == 1 && !status.gaps.is_empty();
        let gap = worker.until("the second gap stands", RECORDED, open).await?.gaps.remove(0);
        assert!(!gap.passed, "{life}: {gap:?}");
        worker.until("it waits", SHOWN, |status| status.message.contains(&gap.id)).await?;
        worker.kill().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_passed_where_that_is_wished_and_stays_open_until_acknowledged() -> Result<()> {
    let (server, stream) = purged(ServerKind::MariaDb118, "Resume").await?;
    let worker = stream.start()?;
    let gone_on =
        |status: &WorkerStatus| status.phase == Phase::Streaming && status.open_gap_count == 1;
    let gap = worker.until("it goes on behind the gap", RECORDED, gone_on).await?.gaps.remove(0);
    println!("gap: {gap:?}");
    assert!(gap.passed && gap.acknowledged_at.is_none(), "{gap:?}");
    worker.archived_all_of(&server, ARCHIVED).await?;
    worker.kill().await?;
    let worker = stream.start()?;
    let again = worker.until("the gap survives a kill", STREAMS, gone_on).await?.gaps.remove(0);
    assert_eq!(again.id, gap.id);
    let claims = entries(&stream.archive(), "claim").await?.len();
    stream.clone().with(&json!({"consents": {"acknowledgeGaps": ["all"]}}))?.write()?;
    worker.until("no gap is open", SHOWN, |status| status.open_gap_count == 0).await?;
    assert_eq!(worker.status().await?.gap_count, 1, "it is acknowledged, not forgotten");
    assert_eq!(
        entries(&stream.archive(), "claim").await?.len(),
        claims,
        "the stream ran on meanwhile"
    );
    finish(&worker, &server, &["events are gone"]).await?;
    sound(&stream, &server).await?;
    let gaps = entries(&stream.archive(), "gap").await?;
    let phases: Vec<_> = gaps.iter().map(|entry| entry["gap"]["phase"].as_str()).collect();
    assert_eq!(phases, [Some("detected"), Some("passed"), Some("acknowledged")], "{gaps:?}");
    Ok(())
}
