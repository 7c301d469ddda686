//! Two and more real workers on one archive: one goes on, the others end with 81 and leave no trace.

use std::time::{Duration, SystemTime};

use e2e::archive::Archive;
use e2e::process::Signal;
use e2e::proxy::{HttpProxy, Moment, Pick};
use e2e::server::ServerKind;
use e2e::trial::{ARCHIVED, DRAINED, STREAMS, Trial, entry_exists, entry_name};
use e2e::trial::{exit_code, streams};
use e2e::wait::{Look, until};
use e2e::worker::{Stream, Worker};
use e2e::{Context, Failure, Result};

/// Exit code of a worker that another one replaced.
const FENCED: i32 = 81;
/// Longest until a replaced worker knows.
const KNOWN: Duration = Duration::from_secs(60);
const REACHED: Duration = Duration::from_secs(45);

/// Waits until a worker has written so many entries after its claim.
async fn commits(worker: &Worker, entries: u64) -> Result<()> {
    let claimed = streams(worker).await?.archive.n.context(|| "a streaming worker has claimed")?;
    let what = format!("{entries} entries follow on entry {claimed}");
    worker.until(what, ARCHIVED, |status| status.archive.n >= Some(claimed + entries)).await?;
    Ok(())
}

/// From the last claim on every entry is of the worker that goes on.
async fn wrote_alone_since_its_claim(trial: &Trial, worker: &Worker) -> Result<()> {
    let status = worker.status().await?;
    let epoch = status.epoch.context(|| "a streaming worker has an epoch")?;
    let authors = trial.stream.archive().authors().await?;
    let own = authors.iter().skip_while(|(_, of)| *of < epoch);
    for (at, (instance, of)) in own.enumerate() {
        assert_eq!(
            (instance.as_str(), *of),
            (status.instance.as_str(), epoch),
            "entry {at} after the claim"
        );
    }
    Ok(())
}

async fn second_worker(mut trial: Trial) -> Result<()> {
    let writers = trial.writers().await?;
    let first = trial.streaming().await?;
    let second = trial.stream.second()?.start()?;
    commits(&second, 3).await?;
    assert_eq!(exit_code(&first, KNOWN).await?, FENCED);
    first.check_log(&["fenced: another instance holds the archive"])?;
    wrote_alone_since_its_claim(&trial, &second).await?;
    // The first one remembers: it does not take the archive back.
    let again = trial.stream.start()?;
    assert_eq!(exit_code(&again, KNOWN).await?, FENCED);
    wrote_alone_since_its_claim(&trial, &second).await?;
    trial.done += writers.stop().await?;
    second.archived_all_of(&trial.server, ARCHIVED).await?;
    assert!(second.terminate(DRAINED).await?.success());
    trial.stream = trial.stream.second()?;
    trial.finish(&[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_on_s3_goes_on_and_the_first_ends_with_81() -> Result<()> {
    second_worker(Trial::on_s3(ServerKind::MySql97, "twice", 300).await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_on_a_volume_goes_on_and_the_first_ends_with_81() -> Result<()> {
    second_worker(Trial::on_volume(ServerKind::MariaDb118, "twice", 301).await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_of_one_working_directory_ends_with_81() -> Result<()> {
    let mut trial = Trial::on_volume(ServerKind::MariaDb118, "locked", 302).await?;
    let first = trial.streaming().await?;
    let epoch = first.status().await?.epoch;
    let second = trial.stream.start()?;
    assert_eq!(exit_code(&second, KNOWN).await?, FENCED);
    let writers = trial.writers().await?;
    commits(&first, 2).await?;
    assert_eq!(first.status().await?.epoch, epoch, "the first one never had to claim again");
    trial.done += writers.stop().await?;
    first.archived_all_of(&trial.server, ARCHIVED).await?;
    assert!(first.terminate(DRAINED).await?.success());
    trial.finish(&["the working directory cannot be used"]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_told_to_end_before_its_claim_makes_none() -> Result<()> {
    let mut trial = Trial::on_s3(ServerKind::MySql97, "ending", 303).await?;
    let holder = trial.streaming().await?;
    let proxy = trial.another_proxy().await?;
    let mut look = proxy.hold(Pick::get("/stream.json").nth(1), Moment::BeforeForward);
    let ending = trial.second_through(&proxy.endpoint())?.start()?;
    look.reached(REACHED).await?;
    ending.process().signal(Signal::TERM)?;
    look.release()?;
    assert_eq!(exit_code(&ending, KNOWN).await?, 0);
    let writers = trial.writers().await?;
    commits(&holder, 2).await?;
    trial.done += writers.stop().await?;
    wrote_alone_since_its_claim(&trial, &holder).await?;
    assert_eq!(holder.status().await?.epoch, Some(1), "nobody claimed after it");
    holder.archived_all_of(&trial.server, ARCHIVED).await?;
    assert!(holder.terminate(DRAINED).await?.success());
    trial.finish(&[]).await?;
    Ok(())
}

/// A worker is frozen, replaced, and thawed. `meanwhile` is what becomes of its request on the way.
async fn replaced_while_frozen(
    trial: &mut Trial,
    name: &str,
    freeze: impl AsyncFnOnce(&Worker) -> Result<()>,
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let writers = trial.writers().await?;
    let frozen = trial.stream.second()?.start()?;
    freeze(&frozen).await?;
    let heir = trial.second_past_the_proxy()?.start()?;
    commits(&heir, 3).await?;
    meanwhile()?;
    frozen.thaw()?;
    let code = exit_code(&frozen, KNOWN)
        .await
        .map_err(|error| Failure::new(format!("{name}: {error}")))?;
    assert_eq!(code, FENCED, "{name}");
    wrote_alone_since_its_claim(trial, &heir).await?;
    trial.done += writers.stop().await?;
    heir.archived_all_of(&trial.server, ARCHIVED).await?;
    assert!(heir.terminate(DRAINED).await?.success());
    let checkpointed = trial.checkpointed()?.context(|| "a drained worker has a checkpoint")?;
    let (file, offset) = trial.server.position().await?;
    assert_eq!(
        (checkpointed.file.as_str(), checkpointed.offset),
        (file.as_str(), offset),
        "{name}"
    );
    println!("frozen, replaced, thawed: {name}");
    Ok(())
}

async fn freeze_under(
    worker: &Worker,
    proxy: &HttpProxy,
    pick: Pick,
    late: bool,
) -> Result<e2e::proxy::Hold> {
    let moment = if late { Moment::BeforeForward } else { Moment::AfterForward };
    let mut hold = proxy.hold(pick, moment);
    hold.reached(REACHED).await?;
    worker.freeze()?;
    proxy.clear();
    Ok(hold)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_frozen_in_any_request_does_no_harm_when_it_thaws() -> Result<()> {
    let mut trial = Trial::on_s3(ServerKind::MySql97, "frozen", 310).await?;
    for (what, part, nth) in [
        ("claim", "/log/0", 1),
        ("raw part", "/raw/", 2),
        ("change file", "/changes/date", 2),
        ("entry", "/log/0", 3),
        ("Delta version", "_delta_log/0", 1),
    ] {
        for late in [false, true] {
            let name = format!("{what}, {}", if late { "request late" } else { "reply lost" });
            let proxy = trial.another_proxy().await?;
            let through = trial.second_through(&proxy.endpoint())?;
            let kept = std::mem::replace(&mut trial.stream, through);
            let held = std::sync::Mutex::new(None);
            let freeze = async |worker: &Worker| {
                let hold = freeze_under(worker, &proxy, Pick::put(part).nth(nth), late).await?;
                *held.lock().map_err(|_| Failure::new("a test thread panicked"))? = Some(hold);
                Ok(())
            };
            let meanwhile = || {
                let hold = held.lock().map_err(|_| Failure::new("a test thread panicked"))?.take();
                let mut hold = hold.context(|| "nothing was held")?;
                if late { hold.release() } else { hold.drop_reply() }
            };
            replaced_while_frozen(&mut trial, &name, freeze, meanwhile).await?;
            trial.stream = kept;
        }
    }
    trial.finish(&[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_frozen_on_a_volume_does_no_harm_when_it_thaws() -> Result<()> {
    let mut trial = Trial::on_volume(ServerKind::MariaDb118, "frozen", 311).await?;
    for bytes in [1, 300_000, 1_000_000] {
        let freeze = async |worker: &Worker| {
            worker.until("bytes came", STREAMS, |status| status.counters.bytes >= bytes).await?;
            worker.freeze()
        };
        replaced_while_frozen(&mut trial, &format!("after {bytes} bytes"), freeze, || Ok(()))
            .await?;
    }
    trial.finish(&[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_against_a_claim_in_both_orders() -> Result<()> {
    let mut trial = Trial::on_s3(ServerKind::MariaDb118, "orders", 320).await?;
    for entry_first in [true, false] {
        let (proxy, other) = (trial.another_proxy().await?, trial.another_proxy().await?);
        let writers = trial.writers().await?;
        let first = trial.second_through(&proxy.endpoint())?.start()?;
        commits(&first, 1).await?;
        let mut entry = proxy.hold(Pick::put("/log/0").nth(1), Moment::BeforeForward);
        let at = entry.reached(REACHED).await?;
        // It has asked for this entry and found none when its claim is on the way.
        let mut claim = other.hold(Pick::put("/log/0").nth(1), Moment::BeforeForward);
        let second = trial.second_through(&other.endpoint())?.start()?;
        let claimed = claim.reached(REACHED).await?;
        assert_eq!(entry_name(&at), entry_name(&claimed), "both are on their way to one number");
        let (one, two) =
            if entry_first { (&mut entry, &mut claim) } else { (&mut claim, &mut entry) };
        one.release()?;
        entry_exists(&trial.stream, &at, REACHED).await?;
        two.release()?;
        commits(&second, 2).await?;
        assert_eq!(exit_code(&first, KNOWN).await?, FENCED);
        wrote_alone_since_its_claim(&trial, &second).await?;
        trial.done += writers.stop().await?;
        second.archived_all_of(&trial.server, ARCHIVED).await?;
        assert!(second.terminate(DRAINED).await?.success());
        println!(
            "number {}: {}",
            entry_name(&at),
            if entry_first { "entry, then claim" } else { "claim, then entry" }
        );
    }
    trial.finish(&[]).await?;
    Ok(())
}

/// The one worker that goes on, once all others have ended.
async fn survivor(workers: Vec<Worker>) -> Result<Worker> {
    let running = |worker: &&Worker| matches!(worker.process().ended(), Ok(None));
    until("one worker is left", KNOWN, || async {
        let left = workers.iter().filter(running).count();
        Ok::<_, Failure>(Look::holds(left == 1, || format!("{left} are left")))
    })
    .await?;
    let (mut left, ended): (Vec<_>, Vec<_>) =
        workers.into_iter().partition(|worker| running(&worker));
    for worker in &ended {
        assert_eq!(exit_code(worker, KNOWN).await?, FENCED);
    }
    left.pop().context(|| "a worker is left")
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_workers_that_begin_or_claim_at_once_one_goes_on() -> Result<()> {
    let mut trial = Trial::on_s3(ServerKind::MySql97, "three", 330).await?;
    let writers = trial.writers().await?;
    for part in ["/stream.json", "/log/0"] {
        let mut hold = trial.proxy()?.hold(Pick::put(part).times(3), Moment::BeforeForward);
        let streams = [trial.stream.second()?, trial.stream.second()?, trial.stream.second()?];
        let workers = streams.iter().map(Stream::start).collect::<Result<Vec<_>>>()?;
        for _ in &workers {
            hold.reached(REACHED).await?;
        }
        for _ in &workers {
            hold.release()?;
        }
        trial.proxy()?.clear();
        let left = survivor(workers).await?;
        commits(&left, 2).await?;
        wrote_alone_since_its_claim(&trial, &left).await?;
        assert!(left.terminate(DRAINED).await?.success());
        println!("three at once at {part}: one goes on");
    }
    trial.done += writers.stop().await?;
    trial.finish(&[]).await?;
    Ok(())
}

/// Makes everything in the log look this old.
fn age_log(archive: &Archive, age: Duration) -> Result<()> {
    let Archive::Volume(root) = archive else { return Err(Failure::new("only files can be aged")) };
    let then = SystemTime::now() - age;
    let mut folders = vec![root.join("log")];
    while let Some(folder) = folders.pop() {
        for item in std::fs::read_dir(&folder)? {
            let path = item?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                std::fs::File::open(&path)?.set_modified(then)?;
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_superseded_worker_comes_back_only_to_an_archive_silent_for_15_minutes() -> Result<()> {
    let mut trial = Trial::on_volume(ServerKind::MariaDb118, "silent", 340).await?;
    let writers = trial.writers().await?;
    let first = trial.streaming().await?;
    let second = trial.stream.second()?.start()?;
    commits(&second, 1).await?;
    assert_eq!(exit_code(&first, KNOWN).await?, FENCED);
    second.kill().await?;
    trial.done += writers.stop().await?;
    age_log(&trial.stream.archive(), Duration::from_secs(14 * 60))?;
    assert_eq!(exit_code(&trial.stream.start()?, KNOWN).await?, FENCED);
    age_log(&trial.stream.archive(), Duration::from_secs(16 * 60))?;
    trial.finish(&["fenced: another instance holds the archive"]).await?;
    Ok(())
}
