//! Requests that are not carried out: named, and the stream goes on as without them.

use super::*;

/// Starts with a request, sees it refused with these words, and ends with everything archived.
async fn refused(stopped: &mut Stopped, key: &str, value: &str, words: &str) -> Result<()> {
    let action = if key == "setCheckpoint" { "set-checkpoint" } else { "reset-checkpoint" };
    let worker = stopped.asking(key, value)?.start()?;
    let answer = answered(&worker, action, value).await?;
    assert_eq!(answer.outcome, Outcome::Refused, "{answer:?}");
    assert!(answer.message.contains(words), "{words:?} is missing in {answer:?}");
    streaming(&worker).await?;
    stopped.write().await?;
    finish(&worker, &stopped.server).await
}

async fn no_request_that_does_not_fit_moves_anything(kind: ServerKind) -> Result<()> {
    let mut stopped = Stopped::set(kind, "refused").await?;
    let FilePosition { file, offset } = stopped.stands.clone();
    let spent = newest(&stopped.stream).await?;
    for (target, words) in [
        (format!("{file}:4"), "nothing rewinds a cursor"),
        (format!("{file}:{offset}"), "nothing rewinds a cursor"),
        ("binlog.999999:4".to_owned(), "the source has no position binlog.999999:4"),
        (format!("{file}:{}", u32::MAX), "the source has no position"),
        (foreign(kind).to_owned(), "the source has not executed all of it"),
    ] {
        let value = match target.as_str() {
            // Where the stream stands by now, after what was written meanwhile.
            at if at == format!("{file}:{offset}") => {
                let (file, offset) = stopped.server.position().await?;
                format!("{}/{file}:{offset}", newest(&stopped.stream).await?)
            }
            target => format!("{}/{target}", newest(&stopped.stream).await?),
        };
        refused(&mut stopped, "setCheckpoint", &value, words).await?;
    }
    // The stream went on since this was its newest entry.
    refused(&mut stopped, "resetCheckpoint", &spent, "the stream went on behind entry").await?;
    let other = "00000000-0000-4000-8000-000000000000@1";
    refused(&mut stopped, "resetCheckpoint", other, "the newest entry is").await?;
    assert_eq!(entries(&stopped.stream.archive(), "gap").await?, [] as [Value; 0]);
    assert_eq!(entries(&stopped.stream.archive(), "lineage").await?.len(), 1);
    stopped.sound().await
}

/// A set of some other server.
fn foreign(kind: ServerKind) -> &'static str {
    if kind.is_mysql() { "00000000-0000-4000-8000-000000000000:1-5" } else { "77-1-5" }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_that_does_not_fit_moves_anything_on_mysql_97() -> Result<()> {
    no_request_that_does_not_fit_moves_anything(ServerKind::MySql97).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_that_does_not_fit_moves_anything_on_mariadb_11_8() -> Result<()> {
    no_request_that_does_not_fit_moves_anything(ServerKind::MariaDb118).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_is_refused_while_the_worker_runs() -> Result<()> {
    let mut stopped = Stopped::set(ServerKind::MySql97, "running").await?;
    let worker = stopped.stream.start()?;
    streaming(&worker).await?;
    let value = newest(&stopped.stream).await?;
    let latest = json!({"start": {"mode": "Latest", "filePosition": null}});
    stopped.asking("resetCheckpoint", &value)?.write()?;
    let answer = answered(&worker, "reset-checkpoint", &value).await?;
    assert_eq!(answer.outcome, Outcome::Refused);
    assert!(answer.message.contains("set state to Stopped"), "{answer:?}");
    // Nor by the next session of the same process.
    stopped.asking("resetCheckpoint", &value)?.with(&latest)?.write()?;
    stopped.write().await?;
    finish(&worker, &stopped.server).await?;
    assert_eq!(entries(&stopped.stream.archive(), "gap").await?, [] as [Value; 0]);
    stopped.sound().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_raw_a_request_is_refused_and_only_a_new_process_tries_it_again() -> Result<()> {
    let mut stopped = Stopped::set(ServerKind::MariaDb118, "without-raw").await?;
    let value = newest(&stopped.stream).await?;
    let latest = json!({"start": {"mode": "Latest", "filePosition": null}});
    let asking = stopped.asking("resetCheckpoint", &value)?.with(&latest)?;
    let without = json!({"archive": {"raw": {"enabled": false}}});
    let worker = asking.clone().with(&without)?.start()?;
    let answer = answered(&worker, "reset-checkpoint", &value).await?;
    assert_eq!(answer.outcome, Outcome::Refused, "{answer:?}");
    assert!(answer.message.contains("archive.raw.enabled"), "{answer:?}");
    streaming(&worker).await?;
    let epoch = worker.status().await?.epoch;

    // Nothing has moved, so it would hold: only that it was refused keeps the next session from it.
    asking.write()?;
    worker
        .until("another session streams", STREAMS, |status| {
            status.phase == Phase::Streaming && status.epoch > epoch
        })
        .await?;
    assert_eq!(answered(&worker, "reset-checkpoint", &value).await?, answer);
    assert!(worker.terminate(DRAINED).await?.success());
    assert_eq!(entries(&stopped.stream.archive(), "lineage").await?.len(), 1);

    let worker = asking.start()?;
    assert_eq!(answered(&worker, "reset-checkpoint", &value).await?.outcome, Outcome::Done);
    stopped.write().await?;
    finish(&worker, &stopped.server).await?;
    assert_eq!(entries(&stopped.stream.archive(), "lineage").await?.len(), 2);
    stopped.sound().await
}
