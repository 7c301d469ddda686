//! Paused and Stopped, at creation and while nothing works.

use super::*;

async fn connections(server: &Server) -> Result<usize> {
    let query = "SELECT ID FROM information_schema.processlist WHERE USER = 'repl'";
    Ok(server.rows(query).await?.len())
}

async fn is_paused(worker: &Worker, limit: Duration) -> Result<()> {
    let paused = |status: &WorkerStatus| status.phase == Phase::Paused && !status.source.connected;
    worker.until("it is paused", limit, paused).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_made_paused_touches_neither_source_nor_archive() -> Result<()> {
    let server = shop(ServerKind::MariaDb118).await?;
    let stream = from_here("paused", &server).await?;
    let worker = stream.clone().with(&json!({"state": "Paused"}))?.start()?;
    is_paused(&worker, SHOWN).await?;
    throughout("nobody connects and nothing is claimed", Duration::from_secs(4), || async {
        let (connections, objects) =
            (connections(&server).await?, stream.archive().list("").await?.len());
        let touched = format!("{connections} connections, {objects} objects");
        Ok::<_, Failure>(Look::holds((connections, objects) == (0, 0), || touched))
    })
    .await?;
    let done = workload::large(&server, 100, 50).await?;
    stream.write()?;
    streaming(&worker).await?;
    finish(&worker, &server).await?;
    oracle::check_all(&stream.archive(), &server, &workload::tables(false), done.changes).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_made_stopped_ends_at_once_and_writes_nothing() -> Result<()> {
    let stream = Stream::from_port("stopped", site::free_port()?)?;
    let worker = stream.clone().with(&json!({"state": "Stopped"}))?.start()?;
    assert!(worker.process().wait(SHOWN).await?.success());
    assert!(stream.archive().list("").await?.is_empty());
    worker.check_log(&[])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_fails_is_paused_and_stopped_all_the_same() -> Result<()> {
    // Nobody listens there.
    let stream = Stream::from_port("failing", site::free_port()?)?;
    let worker = stream.start()?;
    let waits = |status: &WorkerStatus| {
        status.phase == Phase::Waiting && status.reason == Reason::ConnectionRefused
    };
    worker.until("it waits for its source", SHOWN, waits).await?;
    stream.clone().with(&json!({"state": "Paused"}))?.write()?;
    is_paused(&worker, SHOWN).await?;
    stream.write()?;
    worker.until("it waits again", SHOWN, waits).await?;
    stream.clone().with(&json!({"state": "Stopped"}))?.write()?;
    assert!(worker.process().wait(SHOWN).await?.success());
    worker.check_log(&[])
}

/// Half of what an archive that gives no answer is waited for.
const HEARD: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_paused_while_its_archive_gives_no_answer() -> Result<()> {
    let (server, s3) = (shop(ServerKind::MariaDb118).await?, S3::start().await?);
    let (bucket, proxy) = (s3.bucket("history").await?, HttpProxy::start(s3.address()).await?);
    proxy.black_hole(Pick::all());
    let stream = from_here("silent", &server).await?.on_s3(&s3, &bucket, &proxy.endpoint())?;
    let worker = stream.start()?;
    worker.until("it starts", SHOWN, |status| status.phase == Phase::Starting).await?;
    stream.clone().with(&json!({"state": "Paused"}))?.write()?;
    is_paused(&worker, HEARD).await?;
    assert!(worker.terminate(DRAINED).await?.success());
    Ok(())
}
