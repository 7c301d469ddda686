//! Checkpoints and archives that are not what they should be: the worker says which and changes nothing, or
//! goes on from the log alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crds::conditions::Reason;
use e2e::archive::Archive;
use e2e::proxy::{Moment, Pick};
use e2e::s3::{S3, StoreKind};
use e2e::server::{Server, ServerKind};
use e2e::trial::{ARCHIVED, DRAINED, STREAMS, Trial, exit_code, streams};
use e2e::worker::{Stream, Worker};
use e2e::{Context, Failure, Result, workload};
use hyper::StatusCode;
use serde_json::{Value, json};

const KNOWN: Duration = Duration::from_secs(60);
const FENCED: i32 = 81;
const BAD_ARCHIVE: i32 = 65;

/// One life with some writing, ended in order.
async fn life(trial: &mut Trial) -> Result<()> {
    let worker = trial.streaming().await?;
    write_some(trial, &worker).await?;
    assert!(worker.terminate(DRAINED).await?.success());
    Ok(())
}

async fn write_some(trial: &mut Trial, worker: &Worker) -> Result<()> {
    let before = worker.status().await?.archive.n;
    let writers = trial.writers().await?;
    worker
        .until("two more entries", STREAMS, |status| status.archive.n > before.map(|n| n + 1))
        .await?;
    trial.done += writers.stop().await?;
    worker.archived_all_of(&trial.server, ARCHIVED).await?;
    Ok(())
}

fn checkpoint_file(trial: &Trial) -> Result<PathBuf> {
    let file = trial.stream.config.checkpoint.file.as_ref();
    Ok(file.context(|| "the stream has a checkpoint file")?.path.clone())
}

/// The record with a field set to what would be right in another place, its checksum kept.
fn edited(record: &str, field: &str, value: Value) -> Result<String> {
    let mut record: Value = serde_json::from_str(record)?;
    record[field] = value;
    Ok(record.to_string())
}

/// Everything of an archive, to see that nothing was written.
async fn listing(stream: &Stream) -> Result<Vec<(String, u64)>> {
    stream.archive().list("").await
}

/// The worker waits with this reason and writes nothing.
async fn refused(trial: &Trial, reason: Reason) -> Result<String> {
    let before = listing(&trial.stream).await?;
    let worker = trial.stream.start()?;
    let status = worker.until(reason, KNOWN, |status| status.reason == reason).await?;
    assert_eq!(listing(&trial.stream).await?, before, "nothing is written under {reason}");
    assert!(worker.terminate(DRAINED).await?.success());
    println!("{reason}: {}", status.message);
    Ok(status.message)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_is_gone_torn_edited_or_older_is_rebuilt_from_the_log() -> Result<()> {
    let mut trial = Trial::on_volume(ServerKind::MariaDb118, "hint", 400).await?;
    let file = checkpoint_file(&trial)?;
    life(&mut trial).await?;
    let older = std::fs::read(&file)?;
    let read = |file: &Path| std::fs::read_to_string(file).context(|| "read the checkpoint");
    let damages: [(&str, &dyn Fn() -> Result<()>); 5] = [
        ("gone", &|| Ok(std::fs::remove_file(&file)?)),
        ("empty", &|| Ok(std::fs::write(&file, "")?)),
        ("torn", &|| {
            let text = read(&file)?;
            Ok(std::fs::write(&file, &text[..text.len() / 2])?)
        }),
        ("edited", &|| Ok(std::fs::write(&file, edited(&read(&file)?, "pos", json!(4))?)?)),
        ("older", &|| Ok(std::fs::write(&file, &older)?)),
    ];
    for (what, damage) in damages {
        damage()?;
        life(&mut trial).await?;
        let (source, kept) = (trial.server.position().await?, trial.checkpointed()?);
        let kept = kept.map(|at| (at.file, at.offset));
        assert_eq!(kept, Some(source), "the checkpoint is whole again after it was {what}");
        println!("checkpoint {what}: rebuilt from the log");
    }
    trial.finish(&[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_not_the_checkpoints_stops_until_somebody_consents() -> Result<()> {
    let mut trial = Trial::on_volume(ServerKind::MySql97, "tripwire", 410).await?;
    life(&mut trial).await?;
    let Archive::Volume(root) = trial.stream.archive() else {
        return Err(Failure::new("this trial is on a volume"));
    };
    let aside = root.with_extension("aside");

    // The newest entry is lost: the checkpoint is ahead.
    let entries = trial.stream.archive().list("log/").await?;
    let newest = entries.iter().rev().map(|(key, _)| key).find(|key| !key.ends_with("_head.json"));
    let newest = root.join(newest.context(|| "the log has entries")?);
    let kept = std::fs::read(&newest)?;
    std::fs::remove_file(&newest)?;
    let message = refused(&trial, Reason::ArchiveBehindCheckpoint).await?;
    assert!(message.contains("accept-archive"), "{message}");
    std::fs::write(&newest, &kept)?;

    // The archive is gone.
    std::fs::rename(&root, &aside)?;
    let message = refused(&trial, Reason::ArchiveBehindCheckpoint).await?;
    assert!(message.contains("new@0"), "{message}");

    // Another archive is in its place.
    let file = checkpoint_file(&trial)?;
    let checkpoint = std::fs::read(&file)?;
    std::fs::remove_file(&file)?;
    life(&mut trial).await?;
    std::fs::write(&file, &checkpoint)?;
    let message = refused(&trial, Reason::ArchiveForked).await?;
    let consent = message.rsplit("accept-archive: ").next().unwrap_or_default().to_owned();

    // With consent the stream goes on with what is there; without it, with the old archive back.
    let stream = trial.stream.clone();
    trial.stream = trial.stream.with(&json!({"consents": {"acceptArchive": consent}}))?;
    life(&mut trial).await?;
    trial.stream = stream;
    std::fs::remove_dir_all(&root)?;
    std::fs::rename(&aside, &root)?;
    std::fs::write(&file, &checkpoint)?;
    trial.finish(&[]).await?;
    Ok(())
}

/// The newest entry is lost and somebody consents to go on without it: what it named is read again, and
/// neither the log nor the change table holds anything twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_newest_entry_is_read_again_after_consent() -> Result<()> {
    let mut trial = Trial::on_volume(ServerKind::MariaDb118, "shorter", 415).await?;
    life(&mut trial).await?;
    let Archive::Volume(root) = trial.stream.archive() else {
        return Err(Failure::new("this trial is on a volume"));
    };
    let entries = trial.stream.archive().list("log/").await?;
    let (newest, _) = entries.last().context(|| "the log has entries")?;
    std::fs::remove_file(root.join(newest))?;
    let message = refused(&trial, Reason::ArchiveBehindCheckpoint).await?;
    let consent = message.rsplit("accept-archive: ").next().unwrap_or_default();
    trial.stream = trial.stream.with(&json!({"consents": {"acceptArchive": consent}}))?;
    life(&mut trial).await?;
    trial.finish(&[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_or_missing_entry_ends_the_worker_with_65() -> Result<()> {
    let mut trial = Trial::on_volume(ServerKind::MariaDb118, "forged", 420).await?;
    life(&mut trial).await?;
    let Archive::Volume(root) = trial.stream.archive() else {
        return Err(Failure::new("this trial is on a volume"));
    };
    let entries = trial.stream.archive().list("log/").await?;
    // Within what every start reads: from the last claim on.
    let (key, _) = entries.iter().rev().nth(1).context(|| "the log has entries")?;
    let (file, kept) = (root.join(key), trial.stream.archive().get(key).await?);
    let mut entry: Value = serde_json::from_slice(&kept)?;
    entry["time"] = json!("2020-01-01T00:00:00Z");
    for (what, bytes) in [("forged", Some(entry.to_string())), ("missing", None)] {
        match bytes {
            Some(bytes) => std::fs::write(&file, bytes)?,
            None => std::fs::remove_file(&file)?,
        }
        let before = listing(&trial.stream).await?;
        let worker = trial.stream.start()?;
        assert_eq!(exit_code(&worker, KNOWN).await?, BAD_ARCHIVE, "entry {what}");
        assert_eq!(listing(&trial.stream).await?, before);
        println!("entry {key} {what}: exit {BAD_ARCHIVE}");
        std::fs::write(&file, &kept)?;
    }
    trial.finish(&["the archive is not sound, ending"]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_archive_of_another_owner_is_taken_over_only_with_consent() -> Result<()> {
    let mut trial = Trial::on_s3(ServerKind::MySql97, "owned", 430).await?;
    let first = trial.streaming().await?;
    write_some(&mut trial, &first).await?;
    let before = listing(&trial.stream).await?;
    let checkpoint = trial.stream.folder().join("other-checkpoint.json");
    let other = trial.stream.second()?.with(&json!({
        "owner": {"cluster": "other"}, "checkpoint": {"file": {"path": checkpoint}},
    }))?;
    let second = other.start()?;
    let reason = Reason::ArchiveOwnedElsewhere;
    let status = second.until(reason, KNOWN, |status| status.reason == reason).await?;
    println!("{reason}: {}", status.message);
    assert!(status.message.contains("adopt-archive"), "{}", status.message);
    assert_eq!(listing(&trial.stream).await?, before, "nothing is written under {reason}");
    // The owner does not notice.
    write_some(&mut trial, &first).await?;
    let epoch = first.status().await?.epoch;
    assert_eq!(epoch, Some(1));

    let id = first.status().await?.archive.archive_id;
    let consenting = other.with(&json!({"consents": {"adoptArchive": id}}))?;
    consenting.write()?;
    streams(&second).await?;
    let writers = trial.writers().await?;
    assert_eq!(exit_code(&first, KNOWN).await?, FENCED);
    trial.done += writers.stop().await?;
    second.archived_all_of(&trial.server, ARCHIVED).await?;
    assert!(second.terminate(DRAINED).await?.success());
    trial.stream = consenting;
    trial.finish(&[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_creates_are_not_exclusive_is_refused() -> Result<()> {
    let server = Server::builder(ServerKind::MariaDb118).start().await?;
    workload::prepare(&server).await?;
    let s3 = S3::start_kind(StoreKind::S3sFs).await?;
    let bucket = s3.bucket("history").await?;
    let stream = Stream::new("refused", &server)?.on_s3(&s3, &bucket, &s3.endpoint())?;
    let worker = stream.start()?;
    let reason = Reason::FencingUnsupported;
    let status = worker.until(reason, KNOWN, |status| status.reason == reason).await?;
    println!("{reason}: {}", status.message);
    let written = bucket.list("").await?;
    assert!(written.iter().all(|object| object.key.contains(".probe/")), "{written:?}");
    assert!(worker.terminate(DRAINED).await?.success());
    Ok(())
}

/// A store that hides what is missing behind 403 must not be taken for an empty one.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_never_taken_for_a_new_archive() -> Result<()> {
    let mut trial = Trial::on_s3(ServerKind::MariaDb118, "hidden", 440).await?;
    life(&mut trial).await?;
    for part in ["/stream.json", "/log/0"] {
        let denied = StatusCode::FORBIDDEN;
        trial.proxy()?.answer(Pick::get(part), denied, "AccessDenied", Moment::BeforeForward);
        let before = listing(&trial.stream).await?;
        let worker = trial.stream.start()?;
        let known = |reason| reason == Reason::ArchiveAccessDenied;
        worker.until("the refusal is shown", KNOWN, |status| known(status.archive.reason)).await?;
        assert_eq!(listing(&trial.stream).await?, before, "nothing is written behind {part}");
        trial.proxy()?.clear();
        streams(&worker).await?;
        assert!(worker.terminate(DRAINED).await?.success());
    }
    trial.finish(&[]).await?;
    Ok(())
}
