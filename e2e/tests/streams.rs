//! Streams in pods, from the resource to the archive: one workload and a kill -9 per server with all oracles, then
//! what the status says of a frozen, a paused and a stopped worker, and what outlives a deleted stream.
//!
//! These are the cells of `matrix.rs` with S3, a ConfigMap and a start from a GTID set.

#[path = "streams/actions.rs"]
mod actions;
#[path = "streams/dashboard.rs"]
mod dashboard;
#[path = "streams/secrets.rs"]
mod secrets;

use std::time::{Duration, Instant};

use crds::conditions::ConditionType;
use crds::position::FilePosition;
use crds::v1alpha1::{ConditionStatus, StartOrigin};
use e2e::process::Signal;
use e2e::release::installed;
use e2e::resource::{SETTLED, StreamResource};
use e2e::s3::{S3, SECRET_KEY};
use e2e::server::{Server, ServerKind};
use e2e::wait::{Look, throughout, until};
use e2e::workload::{self, Done, Plan, Writers};
use e2e::{Context, Failure, Result, logs, oracle, site};
use k8s_openapi::api::apps::v1::Deployment;

const ARCHIVED: Duration = Duration::from_secs(180);
/// The promise: silence is seen within half a minute.
const STALE: Duration = Duration::from_secs(30);
/// Received before a kill, so that it falls into the workload.
const UNDER_WAY: u64 = 1_000_000;
const KILLS: u32 = 5;

/// A server with the workload's schema and a store.
async fn stage(kind: ServerKind) -> Result<(Server, S3)> {
    let server = Server::builder(kind).start().await?;
    workload::prepare(&server).await?;
    Ok((server, S3::start().await?))
}

/// Transactions of two writers until the binlog has grown by a piece.
async fn burst(server: &Server, seed: u64) -> Result<Done> {
    const PIECE: u64 = 50_000;
    let (file, from) = server.position().await?;
    let writers = Writers::start(server, seed, 2).await?;
    until("the binlog has grown", SETTLED, || async {
        let (now, offset) = server.position().await?;
        let grown = now != file || offset > from + PIECE;
        Ok::<_, Failure>(Look::holds(grown, || format!("{now}:{offset}")))
    })
    .await?;
    writers.stop().await
}

/// Kills the container while the worker has received what is not in its checkpoint, and waits until it is back.
/// The report is from before the kill and the checkpoint from after it, so the order of the two is certain; a kill
/// that found the checkpoint level proves nothing and is made again.
async fn kill_ahead(stream: &StreamResource) -> Result<()> {
    for number in 1..=KILLS {
        let received = until("the worker has received part of the workload", ARCHIVED, || async {
            let report = stream.report().await?;
            let under_way = report.counters.bytes > UNDER_WAY;
            let received = report.received.filter(|_| under_way);
            Ok::<_, Failure>(Look::from_option(received, || format!("{:?}", report.counters)))
        })
        .await?;
        let received = FilePosition::new(received.file, received.offset);
        stream.kill().await?;
        let checkpointed = stream.checkpointed().await?;
        until("the container is back", SETTLED, || async {
            let restarts = stream.restarts().await?;
            Ok::<_, Failure>(Look::holds(restarts >= number as i32, || {
                format!("{restarts} restarts")
            }))
        })
        .await?;
        let order = checkpointed.as_ref().and_then(|at| at.cmp_in_lineage(&received));
        if checkpointed.is_none() || order.is_some_and(std::cmp::Ordering::is_lt) {
            println!("{}: killed at {received:?}, checkpoint {checkpointed:?}", stream.name);
            return Ok(());
        }
    }
    Err(Failure::new(format!("{KILLS} kills never found {} ahead of its checkpoint", stream.name)))
}

/// The line of the stream in what people look at.
async fn columns(stream: &StreamResource) -> Result<()> {
    let cluster = installed().await?;
    let shown = cluster.kubectl(&["get", "streams", "-n", &stream.name]).await?;
    let mut lines = shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let (head, line) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    assert_eq!(head, ["NAME", "READY", "STATUS", "LAG", "ARCHIVED", "GAPS", "AGE"], "{shown}");
    assert_eq!(line.len(), head.len(), "{shown}");
    assert_eq!(line[..3], [stream.name.as_str(), "True", "Streaming"], "{shown}");
    assert_eq!(line[5], "0", "{shown}");
    let wide = cluster.kubectl(&["get", "streams", "-n", &stream.name, "-o", "wide"]).await?;
    let pod = stream.pod().await?.metadata.name.unwrap_or_default();
    assert!(wide.contains(&pod) && wide.contains(site::NODE_ADDRESS), "{wide}");
    println!("{shown}");
    Ok(())
}

/// Waits for everything, stops the worker in order and asks all oracles.
async fn finish(
    stream: &StreamResource,
    server: &Server,
    altered: bool,
    changes: u64,
) -> Result<()> {
    server.run(&["FLUSH BINARY LOGS"]).await?;
    stream.archived_all_of(server, ARCHIVED * site::scale()?).await?;
    stream.ready().await?;
    let caught_up = ["CaughtUp", "Idle"];
    stream.says(ConditionType::CaughtUp, ConditionStatus::True, &caught_up, SETTLED).await?;
    columns(stream).await?;
    logs::check(&stream.log().await?, &[], &[SECRET_KEY])?;
    stream.stop().await?;
    let tables = workload::tables(altered);
    let (facts, folded) = oracle::check_all(&stream.archive(), server, &tables, changes).await?;
    println!(
        "{}: {changes} changes in {} entries and {} epochs, {} raw objects, Delta version {}",
        stream.name,
        facts.entries,
        facts.epoch,
        facts.raw.len(),
        folded.version,
    );
    Ok(())
}

async fn cell(kind: ServerKind, name: &str) -> Result<()> {
    let (server, s3) = stage(kind).await?;
    let stream = StreamResource::new(installed().await?, name, &server, &s3).await?;
    stream.create().await?;
    let status = stream.ready().await?;
    assert_eq!(status.start.map(|start| start.origin), Some(StartOrigin::Spec));
    let rows = Plan::SMALL.rows * u64::from(site::scale()?);
    let plan = Plan { rows, seed: 11 + kind as u64, ..Plan::SMALL };
    println!("{name}: seed {}, {rows} rows", plan.seed);
    let (done, ()) = tokio::try_join!(workload::run(&server, &plan), kill_ahead(&stream))?;
    assert!(done.changes >= rows);
    finish(&stream, &server, true, done.changes).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_97_loses_and_doubles_nothing_when_its_pod_is_killed() -> Result<()> {
    cell(ServerKind::MySql97, "mysql-97").await
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_10_11_loses_and_doubles_nothing_when_its_pod_is_killed() -> Result<()> {
    cell(ServerKind::MariaDb1011, "mariadb-1011").await
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_11_8_loses_and_doubles_nothing_when_its_pod_is_killed() -> Result<()> {
    cell(ServerKind::MariaDb118, "mariadb-118").await
}

#[tokio::test(flavor = "multi_thread")]
async fn says_stale_of_a_frozen_worker_and_obeys_the_state() -> Result<()> {
    let (server, s3) = stage(ServerKind::MariaDb118).await?;
    let stream = StreamResource::new(installed().await?, "states", &server, &s3).await?;
    stream.create().await?;
    stream.ready().await?;
    let (ready, paused) = (ConditionType::Ready, ConditionType::Paused);
    let pod = stream.pod().await?.metadata.uid;

    let frozen = Instant::now();
    stream.signal(Signal::STOP).await?;
    stream.says(ready, ConditionStatus::Unknown, &["StatusStale"], STALE).await?;
    println!("stale after {:?}", frozen.elapsed());
    stream.signal(Signal::CONT).await?;
    stream.ready().await?;

    stream.set_state("Paused").await?;
    stream.says(paused, ConditionStatus::True, &["Paused"], SETTLED).await?;
    stream.says(ready, ConditionStatus::False, &["Paused"], SETTLED).await?;
    assert!(!stream.report().await?.source.connected);
    let mut done = burst(&server, 31).await?;
    let (file, offset) = server.position().await?;
    throughout("nothing is read while paused", Duration::from_secs(3), || async {
        let received = stream.report().await?.received;
        let behind = received.is_none_or(|at| (at.file, at.offset) != (file.clone(), offset));
        Ok::<_, Failure>(Look::holds(behind, || "it read on".into()))
    })
    .await?;

    stream.set_state("Running").await?;
    stream.ready().await?;
    stream.says(paused, ConditionStatus::False, &["NotPaused"], SETTLED).await?;
    stream.archived_all_of(&server, ARCHIVED).await?;
    assert_eq!(stream.pod().await?.metadata.uid, pod, "a pause keeps the pod");
    assert_eq!(stream.restarts().await?, 0);

    stream.stop().await?;
    stream.says(ready, ConditionStatus::False, &["Stopped"], SETTLED).await?;
    done += burst(&server, 32).await?;
    stream.set_state("Running").await?;
    stream.ready().await?;
    finish(&stream, &server, false, done.changes).await
}

#[tokio::test(flavor = "multi_thread")]
async fn resumes_after_deletion_and_again_however_quickly() -> Result<()> {
    let (server, s3) = stage(ServerKind::MariaDb1011).await?;
    let stream = StreamResource::new(installed().await?, "again", &server, &s3).await?;
    stream.create().await?;
    stream.ready().await?;
    let mut done = burst(&server, 41).await?;
    stream.archived_all_of(&server, ARCHIVED).await?;
    until("the checkpoint is written", SETTLED, || async {
        let written = stream.checkpointed().await?;
        Ok::<_, Failure>(Look::from_option(written.map(drop), || "no data yet".into()))
    })
    .await?;

    stream.delete().await?;
    stream.no_pod().await?;
    let deployments = stream.api::<Deployment>();
    until("the Deployment is collected", SETTLED, || async {
        let left = deployments.list(&kube::api::ListParams::default()).await?.items.len();
        Ok::<_, Failure>(Look::holds(left == 0, || format!("{left} deployments")))
    })
    .await?;
    let kept = stream.checkpointed().await?;
    assert!(kept.is_some(), "the checkpoint went with the stream");
    let objects = stream.archive().list("").await?;
    assert!(!objects.is_empty(), "the archive went with the stream");
    done += burst(&server, 42).await?;

    stream.create().await?;
    let status = stream.ready().await?;
    let start = status.start.context(|| "no start is shown")?;
    assert!(matches!(start.origin, StartOrigin::Checkpoint | StartOrigin::Archive), "{start:?}");
    stream.archived_all_of(&server, ARCHIVED).await?;

    let cycles = 20 * site::scale()?;
    for cycle in 0..cycles {
        stream.delete().await?;
        stream.create().await?;
        done += burst(&server, 50 + u64::from(cycle)).await?;
        // Every second stream gets to stream, the others are deleted while they start.
        if cycle % 2 == 1 {
            stream.ready().await?;
        }
    }
    println!("{}: {cycles} quick cycles", stream.name);
    stream.ready().await?;
    finish(&stream, &server, false, done.changes).await
}
