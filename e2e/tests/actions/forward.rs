//! The checkpoint goes forward: over a gap that names who asked, in the stint that is under way.

use super::*;

/// How a position is named.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Words {
    Position,
    Gtids,
}

/// The one gap of the log, as a request leaves it.
async fn the_gap(stopped: &Stopped, reason: Reason, key: &str, value: &str) -> Result<Value> {
    let gaps = entries(&stopped.stream.archive(), "gap").await?;
    let [entry] = gaps.as_slice() else {
        return Err(Failure::new(format!("not one gap: {gaps:?}")));
    };
    let gap = &entry["gap"];
    assert_eq!((&gap["phase"], &gap["reason"]), (&json!("passed"), &json!(reason.as_str())));
    assert_eq!(gap["by"], "the test");
    let consent = json!([{"kind": key, "value": value, "by": "the test"}]);
    assert_eq!(entry["consents"], consent);
    let from = FilePosition::new(
        gap["from"]["file"].as_str().unwrap_or_default(),
        gap["from"]["pos"].as_u64().unwrap_or_default(),
    );
    assert_eq!(from, stopped.stands, "the old position is recorded");
    Ok(gap.clone())
}

/// One gap, and nobody has to take note of it.
fn is_accepted(status: &WorkerStatus) -> bool {
    (status.gap_count, status.open_gap_count) == (1, 0)
}

async fn a_set_goes_forward(kind: ServerKind, words: Words, rotate: bool) -> Result<()> {
    let mut stopped = Stopped::set(kind, "set").await?;
    stopped.lose(1).await?;
    if rotate {
        stopped.server.run(&["FLUSH BINARY LOGS"]).await?;
    }
    stopped.lose(2).await?;
    let (file, offset) = stopped.server.position().await?;
    let target = match words {
        Words::Position => format!("{file}:{offset}"),
        Words::Gtids => stopped.server.gtids().await?.replace('\n', ""),
    };
    stopped.write().await?;
    let value = format!("{}/{target}", newest(&stopped.stream).await?);
    let asking = stopped.asking("setCheckpoint", &value)?;
    let worker = asking.start()?;
    let answer = answered(&worker, "set-checkpoint", &value).await?;
    assert_eq!(answer.outcome, Outcome::Done, "{answer:?}");
    assert!(answer.message.contains(&stopped.stands.to_string()), "{answer:?}");
    streaming(&worker).await?;
    worker.until("the gap is known and accepted", SHOWN, is_accepted).await?;
    stopped.write().await?;
    finish(&worker, &stopped.server).await?;
    let gap = the_gap(&stopped, Reason::CheckpointSet, "setCheckpoint", &value).await?;
    assert_eq!((&gap["to"]["file"], &gap["to"]["pos"]), (&json!(file), &json!(offset)));

    // Left standing it agrees to nothing new.
    stopped.write().await?;
    let worker = asking.start()?;
    assert_eq!(answered(&worker, "set-checkpoint", &value).await?.outcome, Outcome::Done);
    finish(&worker, &stopped.server).await?;
    the_gap(&stopped, Reason::CheckpointSet, "setCheckpoint", &value).await?;
    if rotate {
        reset::purge_to(&stopped.server, &file).await?;
    }
    stopped.sound().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_to_a_position_goes_forward_within_the_file_on_mysql_97() -> Result<()> {
    a_set_goes_forward(ServerKind::MySql97, Words::Position, false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_to_a_position_goes_forward_to_another_file_on_mariadb_11_8() -> Result<()> {
    a_set_goes_forward(ServerKind::MariaDb118, Words::Position, true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_to_a_gtid_set_goes_forward_to_another_file_on_mysql_97() -> Result<()> {
    a_set_goes_forward(ServerKind::MySql97, Words::Gtids, true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_to_a_gtid_list_goes_forward_within_the_file_on_mariadb_10_11() -> Result<()> {
    a_set_goes_forward(ServerKind::MariaDb1011, Words::Gtids, false).await
}

async fn a_reset_begins_where_the_start_leads(kind: ServerKind, rotate: bool) -> Result<()> {
    let mut stopped = Stopped::set(kind, "reset").await?;
    let before = stopped.stream.archive().entries().await?;
    stopped.lose(1).await?;
    if rotate {
        stopped.server.run(&["FLUSH BINARY LOGS"]).await?;
    }
    stopped.lose(2).await?;
    let (file, offset) = stopped.server.position().await?;
    let value = newest(&stopped.stream).await?;
    let latest = json!({"start": {"mode": "Latest", "filePosition": null}});
    let worker = stopped.asking("resetCheckpoint", &value)?.with(&latest)?.start()?;
    let answer = answered(&worker, "reset-checkpoint", &value).await?;
    assert_eq!(answer.outcome, Outcome::Done, "{answer:?}");
    let status = streaming(&worker).await?;
    assert_eq!(status.last_handled_action, Some(answer));
    let start = status.start.context(|| "no start is shown")?;
    assert_eq!((start.mode, start.origin), (StartMode::Latest, StartOrigin::Spec));
    assert_eq!(start.position, FilePosition::new(file.clone(), offset));
    worker.until("the gap is known and accepted", SHOWN, is_accepted).await?;
    stopped.write().await?;
    finish(&worker, &stopped.server).await?;
    let gap = the_gap(&stopped, Reason::CheckpointReset, "resetCheckpoint", &value).await?;
    assert_eq!((&gap["to"]["file"], &gap["to"]["pos"]), (&json!(file), &json!(offset)));
    let after = stopped.stream.archive().entries().await?;
    assert!(after.starts_with(&before), "what was archived stays as it was");
    if rotate {
        reset::purge_to(&stopped.server, &file).await?;
    }
    stopped.sound().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_to_latest_gives_up_what_lies_between_by_name_on_mysql_97() -> Result<()> {
    a_reset_begins_where_the_start_leads(ServerKind::MySql97, true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_to_latest_gives_up_what_lies_between_by_name_on_mariadb_11_8() -> Result<()> {
    a_reset_begins_where_the_start_leads(ServerKind::MariaDb118, false).await
}

/// After the claim nothing is decided yet; after the entry everything is.
async fn a_kill_decides_nothing_twice(kind: ServerKind) -> Result<()> {
    let mut stopped = Stopped::set(kind, "killed").await?;
    stopped.lose(1).await?;
    let value = newest(&stopped.stream).await?;
    let latest = json!({"start": {"mode": "Latest", "filePosition": null}});
    let asking = stopped.asking("resetCheckpoint", &value)?.with(&latest)?;
    let killed_at = async |armed: &str| {
        let worker = asking.start_with(&[("BINLOG_FAILPOINT", armed)])?;
        let ended = worker.process().wait(STREAMS).await?;
        assert!(ended.code().is_none(), "{armed}: the worker ended with {ended}");
        Ok::<_, Failure>(())
    };
    killed_at("claim.made=abort").await?;
    assert_eq!(entries(&stopped.stream.archive(), "gap").await?, [] as [Value; 0]);
    stopped.lose(2).await?;
    // The second entry of this life.
    killed_at("log.linked:2=abort").await?;
    let gap = the_gap(&stopped, Reason::CheckpointReset, "resetCheckpoint", &value).await?;
    // Behind the position that is decided: not given up, although start says Latest.
    stopped.write().await?;
    let worker = asking.start()?;
    assert_eq!(answered(&worker, "reset-checkpoint", &value).await?.outcome, Outcome::Done);
    stopped.write().await?;
    finish(&worker, &stopped.server).await?;
    let once = the_gap(&stopped, Reason::CheckpointReset, "resetCheckpoint", &value).await?;
    assert_eq!(once, gap);
    stopped.sound().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_around_the_entry_of_a_reset_decides_nothing_twice_on_mysql_97() -> Result<()> {
    a_kill_decides_nothing_twice(ServerKind::MySql97).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_around_the_entry_of_a_reset_decides_nothing_twice_on_mariadb_11_8() -> Result<()> {
    a_kill_decides_nothing_twice(ServerKind::MariaDb118).await
}

/// Until a gap is believed it is seen twice, half a minute apart.
const CONFIRMED: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn a_set_settles_the_gap_that_the_stream_waits_at() -> Result<()> {
    let mut stopped = Stopped::set(ServerKind::MariaDb118, "waits").await?;
    stopped.lose(1).await?;
    stopped.server.run(&["FLUSH BINARY LOGS"]).await?;
    stopped.lose(2).await?;
    let (file, offset) = stopped.server.position().await?;
    reset::purge_to(&stopped.server, &file).await?;
    let worker = stopped.stream.start()?;
    worker.until("it waits at a gap", CONFIRMED, |status| status.open_gap_count == 1).await?;
    assert!(worker.terminate(DRAINED).await?.success());

    let value = format!("{}/{file}:{offset}", newest(&stopped.stream).await?);
    let worker = stopped.asking("setCheckpoint", &value)?.start()?;
    let is = |action: &ActionFacet| action.requested == value && action.outcome == Outcome::Done;
    let done = |status: &WorkerStatus| status.checkpoint_action.as_ref().is_some_and(is);
    worker.until("the request is carried out", CONFIRMED, done).await?;
    worker.until("the gap is known and accepted", SHOWN, is_accepted).await?;
    stopped.write().await?;
    worker.archived_all_of(&stopped.server, ARCHIVED).await?;
    assert!(worker.terminate(DRAINED).await?.success());
    let gaps = entries(&stopped.stream.archive(), "gap").await?;
    let told: Vec<_> =
        gaps.iter().map(|entry| (&entry["gap"]["id"], &entry["gap"]["phase"])).collect();
    let [(one, seen), (other, passed)] = told.as_slice() else {
        return Err(Failure::new(format!("not two entries: {gaps:?}")));
    };
    assert_eq!((one, *seen, *passed), (other, &json!("detected"), &json!("passed")));
    stopped.sound().await
}
