//! What people ask of a stream by annotations, and what the status and the events say of it; Paused and Stopped from
//! the first moment on.

use crds::annotations::{COMMIT_NOW, RESET_CHECKPOINT, RESTARTED_AT};
use crds::v1alpha1::{BinlogStreamStatus, HandledAction, StartMode};
use jiff::Timestamp;
use serde_json::json;

use super::*;

/// Waits until the status says this of an action.
async fn acted(
    stream: &StreamResource,
    pick: impl Fn(&BinlogStreamStatus) -> Option<&HandledAction>,
    requested: &str,
    outcome: &str,
) -> Result<BinlogStreamStatus> {
    let pick = &pick;
    until(format!("{requested} is {outcome}"), SETTLED, || async move {
        let status = stream.status().await?;
        let action = pick(&status);
        let holds = action.is_some_and(|action| {
            action.requested == requested && action.outcome.as_deref() == Some(outcome)
        });
        let seen = format!("{action:?}");
        Ok::<_, Failure>(Look::from_option(holds.then_some(status), || seen))
    })
    .await
}

fn last(status: &BinlogStreamStatus) -> Option<&HandledAction> {
    status.last_handled_action.as_ref()
}

fn checkpoint(status: &BinlogStreamStatus) -> Option<&HandledAction> {
    status.checkpoint_action.as_ref()
}

/// What a reset confirms, as the status shows it.
async fn confirmation(stream: &StreamResource) -> Result<String> {
    let archive = stream.status().await?.archive.context(|| "the status shows no archive")?;
    let parts = archive.archive_id.zip(archive.commit);
    let (id, n) = parts.context(|| "the status shows no entry")?;
    Ok(format!("{id}@{n}"))
}

/// What the archive itself ends with.
async fn newest(stream: &StreamResource) -> Result<String> {
    let entry = stream.archive().entries().await?.pop().context(|| "the log is empty")?.1;
    Ok(format!("{}@{}", entry["archive"].as_str().unwrap_or_default(), entry["n"]))
}

/// Asks for a reset of a stopped stream, changes its start meanwhile, and starts it.
async fn reset(stream: &StreamResource, server: &Server) -> Result<()> {
    let value = confirmation(stream).await?;
    assert_eq!(value, newest(stream).await?, "the status shows what the drain left");
    server.run(&["INSERT INTO shop.lost VALUES (1)"]).await?;
    stream.annotate(RESET_CHECKPOINT, &value).await?;
    let pending = acted(stream, checkpoint, &value, "Pending").await?;
    assert_eq!(pending.start, None, "spec.start is free");
    stream.patch(json!({"spec": {"start": {"mode": "Latest", "gtidSet": null}}})).await?;
    stream.set_state("Running").await?;
    let done = acted(stream, checkpoint, &value, "Done").await?;
    println!("{:?}", done.checkpoint_action);
    let status = stream.ready().await?;
    assert_eq!((status.gap_count, status.open_gap_count), (Some(1), Some(0)));
    assert_eq!(status.gaps[0].reason, "CheckpointReset");
    let start = status.start.context(|| "no start is shown")?;
    assert_eq!((start.mode, start.origin), (StartMode::Latest, StartOrigin::Spec));
    let again = stream.patch(json!({"spec": {"start": {"mode": "Earliest"}}})).await;
    assert!(again.is_err(), "spec.start is pinned again");
    Ok(())
}

async fn another_pod(stream: &StreamResource, before: Option<&str>) -> Result<Option<String>> {
    let uid = until("another pod runs", SETTLED, || async {
        let uid = stream.pod().await?.metadata.uid;
        let other = uid.as_deref() != before;
        Ok::<_, Failure>(Look::from_option(other.then_some(uid), || "the same pod".into()))
    })
    .await?;
    stream.ready().await?;
    Ok(uid)
}

/// By the stream's annotation, then by hand: that one stays.
async fn restarts(stream: &StreamResource) -> Result<()> {
    let first = stream.pod().await?.metadata.uid;
    let at = Timestamp::now().to_string();
    stream.annotate(RESTARTED_AT, &at).await?;
    let second = another_pod(stream, first.as_deref()).await?;
    let echoed = acted(stream, last, &at, "Done").await?;
    assert_eq!(echoed.last_handled_action.map(|action| action.type_).as_deref(), Some("restart"));
    let deployment = format!("deployment/{}-worker", stream.name);
    installed().await?.kubectl(&["rollout", "restart", &deployment, "-n", &stream.name]).await?;
    let third = another_pod(stream, second.as_deref()).await?;
    let deployments = stream.api::<Deployment>();
    let by_hand = async || {
        let found = deployments.get(&format!("{}-worker", stream.name)).await?;
        let annotations = found.spec.and_then(|spec| spec.template.metadata?.annotations);
        Ok::<_, Failure>(annotations.and_then(|mut all| all.remove(RESTARTED_AT)))
    };
    let written = by_hand().await?;
    assert_ne!(written.as_ref(), Some(&at));
    // Whatever makes the operator apply again.
    stream.annotate(COMMIT_NOW, "after the restart").await?;
    acted(stream, last, "after the restart", "Done").await?;
    assert_eq!(by_hand().await?, written);
    assert_eq!(stream.pod().await?.metadata.uid, third, "nobody restarted it once more");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_is_refused_while_running_and_carried_out_once_stopped() -> Result<()> {
    let (server, s3) = stage(ServerKind::MySql97).await?;
    server.run(&["CREATE TABLE shop.lost (id INT PRIMARY KEY)"]).await?;
    let cluster = installed().await?;
    let stream = StreamResource::new(cluster, "moved", &server, &s3).await?;
    stream.create().await?;
    stream.ready().await?;
    let mut done = burst(&server, 61).await?;
    stream.archived_all_of(&server, ARCHIVED).await?;

    let value = confirmation(&stream).await?;
    stream.annotate(RESET_CHECKPOINT, &value).await?;
    let refused = acted(&stream, last, &value, "Refused").await?;
    let message = refused.last_handled_action.and_then(|action| action.message).unwrap_or_default();
    assert!(message.contains("set it to Stopped"), "{message}");
    until("a Warning tells of the refusal", SETTLED, || async {
        let words =
            ["get", "events", "-n", &stream.name, "--field-selector", "reason=ActionRefused"];
        let events = cluster.kubectl(&words).await?;
        let warned = events.contains("Warning") && events.contains(&value);
        Ok::<_, Failure>(Look::holds(warned, || events.clone()))
    })
    .await?;
    stream.ready().await?;

    stream.stop().await?;
    reset(&stream, &server).await?;
    done += burst(&server, 62).await?;
    restarts(&stream).await?;
    done += burst(&server, 63).await?;
    stream.archived_all_of(&server, ARCHIVED).await?;
    logs::check(&stream.log().await?, &[], &[SECRET_KEY])?;
    stream.stop().await?;
    let tables = workload::tables(false);
    oracle::check_all(&stream.archive(), &server, &tables, done.changes).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_made_paused_claims_nothing_and_one_made_stopped_has_no_pod() -> Result<()> {
    let (server, s3) = stage(ServerKind::MariaDb118).await?;
    let cluster = installed().await?;
    let paused = StreamResource::new(cluster, "made-paused", &server, &s3).await?;
    let paused = paused.with(&json!({"state": "Paused"}));
    let stopped = StreamResource::new(cluster, "made-stopped", &server, &s3).await?;
    let stopped = stopped.with(&json!({"state": "Stopped"}));
    paused.create().await?;
    stopped.create().await?;
    let kind = ConditionType::Paused;
    stopped.says(kind, ConditionStatus::True, &["Stopped"], SETTLED).await?;
    paused.says(kind, ConditionStatus::True, &["Paused"], SETTLED).await?;
    assert!(paused.archive().list("").await?.is_empty());
    throughout("nothing is begun", Duration::from_secs(3), || async {
        let (pods, objects) = (stopped.pods().await?.len(), paused.archive().list("").await?.len());
        Ok::<_, Failure>(Look::holds((pods, objects) == (0, 0), || {
            format!("{pods} pods, {objects} objects")
        }))
    })
    .await?;
    paused.stop().await?;
    assert!(paused.archive().list("").await?.is_empty());
    let done = burst(&server, 71).await?;
    for stream in [&paused, &stopped] {
        stream.set_state("Running").await?;
        stream.ready().await?;
    }
    finish(&paused, &server, false, done.changes).await?;
    stopped.stop().await
}
