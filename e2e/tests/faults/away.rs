//! An archive that is away for long: what people ask for is done all the same, and the report says what is.

use crds::worker_status::WorkerStatus;
use e2e::proxy::Moment::BeforeForward;

use super::*;

/// Three transactions of this many rows of 1 kB are more than may wait for the archive in memory.
const ROWS: u64 = 40_000;
/// Longest until an archive that gives no answer is reported although nothing waits for it.
const SILENCE_SHOWN: Duration = Duration::from_secs(95);

/// A worker that holds all that it may while its bucket gives no answer, and what was written.
async fn far_behind(name: &str) -> Result<(Server, S3, HttpProxy, Stream, Worker, u64)> {
    let (server, s3) = (shop(ServerKind::MariaDb118).await?, S3::start().await?);
    let (bucket, proxy) = (s3.bucket("history").await?, HttpProxy::start(s3.address()).await?);
    let stream = Stream::new(name, &server)?.on_s3(&s3, &bucket, &proxy.endpoint())?;
    let stream = from_here(stream, &server).await?;
    let stream = stream.with(&json!({"spool": {"size": "64Mi"}, "gracePeriodSeconds": 24}))?;
    let worker = stream.start()?;
    streaming(&worker).await?;
    worker.archived_all_of(&server, ARCHIVED).await?;
    proxy.black_hole(Pick::all());
    let mut changes = 0;
    for _ in 0..3 {
        changes += workload::large(&server, ROWS, 1_000).await?.changes;
    }
    worker.until("the archive fails", SILENT, |status| !status.archive.healthy).await?;
    let received = || async { Ok::<_, Failure>(worker.status().await?.received) };
    let full = received().await?;
    throughout("reading has stopped", Duration::from_secs(3), || async {
        let now = received().await?;
        Ok::<_, Failure>(Look::holds(now == full, || format!("{now:?}, before {full:?}")))
    })
    .await?;
    Ok((server, s3, proxy, stream, worker, changes))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_may_hold_no_more_ends_when_told() -> Result<()> {
    let (server, _s3, proxy, stream, worker, changes) = far_behind("told").await?;
    assert!(worker.terminate(DRAINED).await?.success());
    proxy.clear();
    let worker = stream.start()?;
    worker.archived_all_of(&server, ARCHIVED).await?;
    assert!(worker.terminate(DRAINED).await?.success());
    oracle::check_all(&stream.archive(), &server, &workload::tables(false), changes).await?;
    worker.check_log(&[])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_may_hold_no_more_takes_another_endpoint() -> Result<()> {
    let (server, s3, _proxy, stream, worker, changes) = far_behind("moved").await?;
    let endpoint = json!({"archive": {"s3": {"endpoint": s3.endpoint()}}});
    stream.clone().with(&endpoint)?.write()?;
    worker.archived_all_of(&server, ARCHIVED).await?;
    assert!(worker.terminate(DRAINED).await?.success());
    oracle::check_all(&stream.archive(), &server, &workload::tables(false), changes).await?;
    worker.check_log(&[])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_gives_no_answer_to_an_idle_stream_is_reported() -> Result<()> {
    let (server, s3) = (shop(ServerKind::MySql97).await?, S3::start().await?);
    let (bucket, proxy) = (s3.bucket("history").await?, HttpProxy::start(s3.address()).await?);
    let stream = Stream::new("silent", &server)?.on_s3(&s3, &bucket, &proxy.endpoint())?;
    let worker = stream.start()?;
    streaming(&worker).await?;
    worker.archived_all_of(&server, ARCHIVED).await?;
    ready(&worker, SHOWN).await?;
    proxy.black_hole(Pick::all());
    let silent = worker
        .until("the archive's silence shows", SILENCE_SHOWN, |status| !status.archive.healthy)
        .await?;
    println!("silent: {} {}", silent.archive.reason, silent.archive.message);
    assert!(silent.source.connected && silent.archive.pending_bytes == 0, "{silent:?}");
    unready(&worker, SHOWN, silent.archive.reason).await?;
    throughout("it stays so", Duration::from_secs(10), || async {
        let archive = worker.status().await?.archive;
        Ok::<_, Failure>(Look::holds(!archive.healthy, || format!("{archive:?}")))
    })
    .await?;
    proxy.clear();
    ready(&worker, SHOWN).await?;
    assert!(worker.terminate(DRAINED).await?.success());
    worker.check_log(&[])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_cannot_be_published_is_told_and_the_archive_goes_on() -> Result<()> {
    let (server, s3) = (shop(ServerKind::MariaDb118).await?, S3::start().await?);
    let (bucket, proxy) = (s3.bucket("history").await?, HttpProxy::start(s3.address()).await?);
    let stream = Stream::new("unpublished", &server)?.on_s3(&s3, &bucket, &proxy.endpoint())?;
    let stream = from_here(stream, &server).await?;
    proxy.answer(Pick::put("_delta_log"), StatusCode::FORBIDDEN, "AccessDenied", BeforeForward);
    let worker = stream.start()?;
    streaming(&worker).await?;
    let mut changes = workload::large(&server, 100, 50).await?.changes;
    let told = |status: &WorkerStatus| status.archive.reason == Reason::PublishFailed;
    let status = worker.until("the table's fault shows", SHOWN, told).await?;
    println!("unpublished: {}", status.archive.message);
    assert!(status.archive.healthy, "the archive itself is well: {status:?}");
    changes += workload::large(&server, 100, 50).await?.changes;
    worker.archived_all_of(&server, ARCHIVED).await?;
    ready(&worker, SHOWN).await?;
    proxy.clear();
    let well = |status: &WorkerStatus| status.archive.reason == Reason::Current;
    worker.until("the table is published", SHOWN, well).await?;
    assert!(worker.terminate(DRAINED).await?.success());
    oracle::check_all(&stream.archive(), &server, &workload::tables(false), changes).await?;
    worker.check_log(&[])
}
