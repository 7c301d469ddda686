//! Every step of the protocol at which a worker can die, each hit at least once: on S3 by a proxy that holds
//! the request before the store sees it or after it answered, and the worker is killed meanwhile; on a volume
//! by a named failpoint. A held request may also arrive late, when the next worker streams already.

use std::time::Duration;

use e2e::proxy::{Moment, Pick};
use e2e::server::ServerKind;
use e2e::trial::{DRAINED, STREAMS, Trial};
use e2e::{Failure, Result};

const REACHED: Duration = Duration::from_secs(45);
/// Rows and bytes of each of them in a transaction of several parts.
const LARGE: (u64, usize) = (20_000, 1_000);

/// What becomes of the request under which the worker died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It never reaches the store.
    Lost,
    /// It reaches the store when the next worker streams already.
    Late,
    /// The store has done it; nobody heard.
    Done,
}

/// What the source writes meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Writers,
    Large,
}

struct Point {
    name: &'static str,
    pick: Pick,
    fates: &'static [Fate],
    work: Work,
}

fn point(name: &'static str, pick: Pick, fates: &'static [Fate]) -> Point {
    Point { name, pick, fates, work: Work::Writers }
}

const ALL: &[Fate] = &[Fate::Lost, Fate::Late, Fate::Done];
const TWO: &[Fate] = &[Fate::Lost, Fate::Done];

/// In the order of an archive's life. The first entry that a life writes is its claim; the archive's second is
/// its first lineage.
fn points() -> Vec<Point> {
    vec![
        point("stream.json", Pick::put("/stream.json").nth(1), TWO),
        point("claim", Pick::put("/log/0").nth(1), &[Fate::Lost, Fate::Late]),
        // The late claim began the archive; what follows is a claim of a life that found it.
        point("claim, found archive", Pick::put("/log/0").nth(1), &[Fate::Done]),
        point("schema", Pick::put("/schemas/").nth(1), TWO),
        point("raw part", Pick::put("/raw/").nth(1), ALL),
        // What the lives before left behind is swept by this one.
        point("sweep's listing", Pick::get("raw%2F").nth(1), &[Fate::Lost]),
        point("sweep's delete", Pick::delete("/raw/").nth(1), TWO),
        point("raw part again", Pick::put("/raw/").nth(1), &[Fate::Done]),
        point("sweep's delete", Pick::delete("/raw/").nth(1), &[Fate::Late]),
        point("change file", Pick::put("/changes/date").nth(1), ALL),
        point("entry", Pick::put("/log/0").nth(2), ALL),
        point("later entry", Pick::put("/log/0").nth(4), ALL),
        point("Delta version", Pick::put("_delta_log/0").nth(1), ALL),
        Point {
            work: Work::Large,
            ..point("part of a large group", Pick::put("/raw/").nth(3), &[Fate::Done])
        },
        Point {
            work: Work::Large,
            ..point("entry of a large group", Pick::put("/log/0").nth(2), ALL)
        },
    ]
}

fn moment(fate: Fate) -> Moment {
    if fate == Fate::Done { Moment::AfterForward } else { Moment::BeforeForward }
}

async fn hit(trial: &mut Trial, point: &Point, fate: Fate) -> Result<()> {
    let mut hold = trial.proxy()?.hold(point.pick.clone(), moment(fate));
    if point.work == Work::Large {
        trial.large(LARGE.0, LARGE.1).await?;
    }
    let writers = trial.writers().await?;
    let worker = trial.stream.start()?;
    let target = hold.reached(REACHED).await;
    let target =
        target.map_err(|error| Failure::new(format!("{} {fate:?}: {error}", point.name)))?;
    worker.kill().await?;
    trial.done += writers.stop().await?;
    trial.proxy()?.clear();
    if fate == Fate::Late {
        let next = trial.streaming().await?;
        hold.release()?;
        next.archived_all_of(&trial.server, STREAMS).await?;
        next.kill().await?;
    } else {
        hold.drop_reply()?;
    }
    println!("hit: {}, {fate:?}: {target}", point.name);
    Ok(())
}

/// A worker that is told to end while the answer to an entry is missing asks until it knows.
async fn drain_without_a_reply(trial: &mut Trial) -> Result<()> {
    let mut hold = trial.proxy()?.hold(Pick::put("/log/0").nth(3), Moment::AfterForward);
    let writers = trial.writers().await?;
    let worker = trial.stream.start()?;
    let target = hold.reached(REACHED).await?;
    let ended = worker.terminate(DRAINED);
    let told = async {
        trial.done += writers.stop().await?;
        hold.drop_reply()
    };
    let (ended, told) = tokio::join!(ended, told);
    told?;
    assert!(ended?.success(), "a drain ends in order");
    trial.proxy()?.clear();
    println!("hit: entry without a reply, then drain: {target}");
    Ok(())
}

/// Failpoints of the shipped binary that are the same for every store.
const INSIDE: &[&str] = &[
    "commit.acknowledged=abort",
    "commit.sent=abort",
    "commit.advanced=abort",
    "checkpoint.saving:2=abort",
    "checkpoint.saved:2=abort",
];

async fn abort_at(trial: &mut Trial, armed: &str) -> Result<()> {
    let writers = trial.writers().await?;
    let worker = trial.stream.start_with(&[("BINLOG_FAILPOINT", armed)])?;
    let ended = worker.process().wait(REACHED).await;
    trial.done += writers.stop().await?;
    let ended = ended.map_err(|error| Failure::new(format!("{armed}: {error}")))?;
    let reached = format!("failpoint reached: {}", armed.split(['=', ':']).next().unwrap_or(armed));
    assert!(
        worker.log().contains(&reached),
        "{armed} was not reached, the worker ended with {ended}"
    );
    println!("hit: {armed}");
    Ok(())
}

async fn on_s3(kind: ServerKind) -> Result<()> {
    let mut trial = Trial::on_s3(kind, "crashed", 100).await?;
    for point in points() {
        for fate in point.fates {
            hit(&mut trial, &point, *fate).await?;
        }
    }
    drain_without_a_reply(&mut trial).await?;
    for armed in INSIDE {
        abort_at(&mut trial, armed).await?;
    }
    trial.finish(&[]).await?;
    Ok(())
}

/// Failpoints of the volume store, in the order of an archive's life.
const VOLUME: &[&str] = &[
    "stream.written=abort",
    "claim.identified=abort",
    "log.written=abort",
    "log.synced=abort",
    "log.linked=abort",
    "log.settled=abort",
    "log.unlinked=abort",
    "claim.made=abort",
    "log.linked:2=abort",
    "schemas.linked=abort",
    "raw.uploading=abort",
    "raw.opened=abort",
    "raw.written=abort",
    "raw.synced=abort",
    "raw.renamed=abort",
    "raw.settled=abort",
    "raw.uploaded=abort",
    "sweep.deleting=abort",
    "changes.uploading=abort",
    "changes.written=abort",
    "changes.synced=abort",
    "changes.renamed=abort",
    "changes.settled=abort",
    "changes.linked=abort",
    "changes.unlinked=abort",
    "log.written:3=abort",
    "log.synced:3=abort",
    "log.linked:3=abort",
    "log.settled:3=abort",
    "log.unlinked:3=abort",
];

async fn on_a_volume(kind: ServerKind) -> Result<()> {
    let mut trial = Trial::on_volume(kind, "crashed", 200).await?;
    for armed in VOLUME.iter().chain(INSIDE) {
        abort_at(&mut trial, armed).await?;
    }
    for armed in ["raw.settled:3=abort", "log.linked:2=abort"] {
        trial.large(LARGE.0, LARGE.1).await?;
        abort_at(&mut trial, armed).await?;
    }
    trial.finish(&[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_s3_from_mysql() -> Result<()> {
    on_s3(ServerKind::MySql97).await
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_volume_from_mariadb() -> Result<()> {
    on_a_volume(ServerKind::MariaDb118).await
}
