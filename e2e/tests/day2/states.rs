//! What a stream is created as.

use super::*;

/// Longer than a start takes.
const LOOKED: Duration = Duration::from_secs(10);

/// The pod is up, and nothing of it has left it.
async fn keeps_still(stage: &Stage, stream: &StreamResource) -> Result<Look<()>> {
    let report = stream.report().await?;
    let connections = stage.server.connections_of("repl").await?;
    let objects = stream.bucket().list("").await?;
    let still = report.source.connects == 0
        && report.epoch.is_none()
        && connections.is_empty()
        && objects.is_empty()
        && stream.checkpointed().await?.is_none();
    Ok(Look::holds(still, || {
        format!("{} connects, epoch {:?}, {objects:?}", report.source.connects, report.epoch)
    }))
}

/// Every condition of a stream that is well says so.
async fn says_all_is_well(stream: &StreamResource) -> Result<()> {
    use ConditionType as Of;
    for (kind, status, reasons) in [
        (Of::Ready, IS, &["Streaming"][..]),
        (Of::Reconciling, NOT, &["NotReconciling"]),
        (Of::Stalled, NOT, &["NotStalled"]),
        (Of::SourceConnected, IS, &["Connected"]),
        (Of::CheckpointHealthy, IS, &["Saved"]),
        (Of::ArchiveHealthy, IS, &["Current"]),
        (Of::DecodingHealthy, IS, &["Decoding"]),
        (Of::CaughtUp, IS, &["CaughtUp", "Idle"]),
        (Of::GapDetected, NOT, &["NoGap"]),
        (Of::Paused, NOT, &["NotPaused"]),
    ] {
        stream.says(kind, status, reasons, SETTLED).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_created_paused_touches_nothing_until_it_runs() -> Result<()> {
    let stage = Stage::set(ServerKind::MariaDb118, &["paused"]).await?;
    let stream = stage.stream("paused").await?.with(&json!({"state": "Paused"}));
    stream.create().await?;
    stream.says(ConditionType::Paused, IS, &["Paused"], SETTLED).await?;
    stream.says(READY, NOT, &["Paused"], SHOWN).await?;
    stream.says(ConditionType::SourceConnected, NOT, &["Paused"], SHOWN).await?;
    stream.says(ConditionType::Stalled, NOT, &["NotStalled"], SHOWN).await?;
    let pod = stream.pod().await?.metadata.uid;
    throughout("a paused stream keeps still", LOOKED, || keeps_still(&stage, &stream)).await?;
    assert_eq!(stream.line().await?["STATUS"], "Paused");

    let done = workload::large(&stage.server, 100, 100).await?;
    stream.set_state("Running").await?;
    says_all_is_well(&stream).await?;
    assert_eq!(stream.pod().await?.metadata.uid, pod, "it resumes in its pod");
    stage.finish(&stream, done, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_created_stopped_has_all_but_a_pod() -> Result<()> {
    let stage = Stage::set(ServerKind::MariaDb1011, &["stopped"]).await?;
    let stream = stage.stream("stopped").await?.with(&json!({"state": "Stopped"}));
    stream.create().await?;
    stream.says(ConditionType::Paused, IS, &["Stopped"], SETTLED).await?;
    stream.says(READY, NOT, &["Stopped"], SHOWN).await?;
    stream.says(ConditionType::ArchiveHealthy, UNKNOWN, &["Stopped"], SHOWN).await?;
    throughout("a stopped stream has no pod", LOOKED, || async {
        let pods = stream.pods().await?.len();
        let objects = stream.bucket().list("").await?.len();
        Ok::<_, Failure>(Look::holds((pods, objects) == (0, 0), || format!("{pods}, {objects}")))
    })
    .await?;
    let owned = stream.owned().await?;
    assert!(owned.iter().any(|child| child.kind == "Deployment"), "{owned:?}");

    let done = workload::large(&stage.server, 100, 100).await?;
    stream.set_state("Running").await?;
    stream.says(READY, NOT, &["Starting"], SHOWN).await?;
    says_all_is_well(&stream).await?;
    stage.finish(&stream, done, &[]).await
}
