//! A reset that does not lead forward begins a new lineage; no row comes twice.

use super::*;

/// Leaves only this file and those after it.
pub(super) async fn purge_to(server: &Server, file: &str) -> Result<()> {
    // A file that a dump still reads stays; the server learns only by a heartbeat that its reader has gone.
    until(format!("all files before {file} are purged"), SHOWN, || async {
        server.run(&[&format!("PURGE BINARY LOGS TO '{file}'")]).await?;
        let first = server.binlogs().await?.into_iter().next();
        let is_first = first.as_ref().is_some_and(|(first, _)| first == file);
        Ok::<_, Failure>(Look::holds(is_first, || format!("{first:?}")))
    })
    .await
}

async fn older_files_are_kept_too(kind: ServerKind) -> Result<()> {
    let server = shop(kind).await?;
    // In a file before the one that the stream begins in.
    workload::large(&server, 10, 50).await?;
    server.run(&["DELETE FROM shop.blobs", "FLUSH BINARY LOGS"]).await?;
    let first = server.binlogs().await?.into_iter().next().context(|| "no binlog")?.0;
    let stream = from_here("earliest", &server).await?;
    let worker = stream.start()?;
    streaming(&worker).await?;
    let changes = workload::large(&server, 100, 50).await?.changes;
    finish(&worker, &server).await?;
    let stands = stands(&stream).await?;
    let mut stopped = Stopped { server, stream, stands, changes };

    let value = newest(&stopped.stream).await?;
    let earliest = json!({"start": {"mode": "Earliest", "filePosition": null}});
    let asking = stopped.asking("resetCheckpoint", &value)?.with(&earliest)?;
    let worker = asking.start()?;
    let answer = answered(&worker, "reset-checkpoint", &value).await?;
    assert_eq!(answer.outcome, Outcome::Done, "{answer:?}");
    assert!(answer.message.contains(&first), "{answer:?}");
    stopped.write().await?;
    worker.kill().await?;
    stopped.write().await?;
    let worker = asking.start()?;
    finish(&worker, &stopped.server).await?;
    let lineages = entries(&stopped.stream.archive(), "lineage").await?;
    let [_, new] = lineages.as_slice() else {
        return Err(Failure::new(format!("not one new lineage: {lineages:?}")));
    };
    let body = &new["lineage"];
    assert_eq!((&body["cause"], &body["file"]), (&json!("seek"), &json!(first)));
    let stands = &stopped.stands;
    let from = (&body["fromAt"]["file"], &body["fromAt"]["pos"]);
    assert_eq!(from, (&json!(stands.file), &json!(stands.offset)), "rows go on where they stood");
    assert_eq!(body["consent"]["value"], json!(value));
    let held = if kind.is_mysql() { &body["held"] } else { &body["heldByServer"] };
    assert!(held["set"].as_str().is_some_and(|set| !set.is_empty()), "told on any server: {body}");
    assert_eq!(entries(&stopped.stream.archive(), "gap").await?, [] as [Value; 0]);
    let facts = oracle::check_log(&stopped.stream.archive()).await?;
    let kept = facts.raw.iter().any(|raw| raw.file == first && raw.from == 0);
    assert!(kept, "{first} is kept now: {:?}", facts.raw);
    stopped.sound().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_to_earliest_keeps_older_files_and_doubles_no_row_on_mysql_97() -> Result<()> {
    older_files_are_kept_too(ServerKind::MySql97).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_to_earliest_keeps_older_files_and_doubles_no_row_on_mariadb_11_8() -> Result<()> {
    older_files_are_kept_too(ServerKind::MariaDb118).await
}

/// Waits until the worker has tried several times to find where the start leads.
async fn has_tried(worker: &Worker) -> Result<()> {
    const TIMES: u64 = 4;
    let name = "binlog_worker_faults_total{reason=\"PositionNotFound\"";
    until(format!("it has tried {TIMES} times"), ARCHIVED, || async {
        let (_, text) = worker.get("/metrics").await?;
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        let count = line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok());
        Ok::<_, Failure>(Look::holds(count >= Some(TIMES), || format!("{count:?}")))
    })
    .await
}

/// What only a dump can tell is learnt once.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_to_a_set_that_no_position_has_claims_once() -> Result<()> {
    let mut stopped = Stopped::set(ServerKind::MySql97, "no-position").await?;
    for id in 1..=3 {
        stopped.lose(id).await?;
    }
    let all = stopped.server.gtids().await?.replace('\n', "");
    let (server, last) = all.rsplit_once('-').context(|| format!("read {all}"))?;
    let last: u64 = last.parse().context(|| format!("read {all}"))?;
    // The last but one is not in it, so it came before the last nowhere.
    let holed = format!("{server}-{}:{last}", last - 2);
    let value = newest(&stopped.stream).await?;
    let start = json!({"start": {"mode": "GtidSet", "gtidSet": holed, "filePosition": null}});
    let asking = stopped.asking("resetCheckpoint", &value)?;
    let claims = entries(&stopped.stream.archive(), "claim").await?.len();
    let worker = asking.clone().with(&start)?.start()?;
    has_tried(&worker).await?;
    assert_eq!(entries(&stopped.stream.archive(), "claim").await?.len(), claims + 1);
    asking.with(&json!({"start": {"mode": "Latest", "filePosition": null}}))?.write()?;
    assert_eq!(answered(&worker, "reset-checkpoint", &value).await?.outcome, Outcome::Done);
    stopped.write().await?;
    finish(&worker, &stopped.server).await?;
    stopped.sound().await
}

/// The start of a reset can be mended while the worker waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_to_nowhere_waits_until_the_start_is_mended() -> Result<()> {
    let mut stopped = Stopped::set(ServerKind::MariaDb118, "nowhere").await?;
    stopped.lose(1).await?;
    let value = newest(&stopped.stream).await?;
    let nowhere = json!({"start": {"filePosition": {"file": "binlog.999999", "position": 4}}});
    let asking = stopped.asking("resetCheckpoint", &value)?;
    let log = stopped.stream.archive().entries().await?;
    let worker = asking.clone().with(&nowhere)?.start()?;
    has_tried(&worker).await?;
    assert_eq!(stopped.stream.archive().entries().await?, log, "a wait needs no entry");
    asking.with(&json!({"start": {"mode": "Latest", "filePosition": null}}))?.write()?;
    assert_eq!(answered(&worker, "reset-checkpoint", &value).await?.outcome, Outcome::Done);
    stopped.write().await?;
    finish(&worker, &stopped.server).await?;
    stopped.sound().await
}
