//! Streams that cannot run for a reason that the cluster knows: each says which, all at once; and whatever state a
//! stream is in, its deletion ends.

use std::time::Instant;

use crds::conditions::Reason;
use e2e::operator::OPERATOR_IMAGE;
use e2e::process::Signal;
use k8s_openapi::api::core::v1::{ResourceQuota, Service};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::Value;

use super::*;

/// Longest until each of them says what it is: some are told by several controllers in turn.
const SAID: Duration = Duration::from_secs(90);
/// Longest until a deleted stream and all it owned are gone: the shortest grace a worker can have, and what the
/// collector takes.
const DELETED: Duration = Duration::from_secs(60);
/// Keeps an object from going.
const HOLD: &str = "e2e/hold";

/// Specification, reason and what the message holds.
fn cases() -> Vec<(&'static str, Value, Reason, &'static str)> {
    let worker = |part: Value| json!({"worker": part});
    vec![
        (
            "no-node",
            worker(json!({"nodeSelector": {"e2e/nowhere": "yes"}})),
            Reason::PodUnschedulable,
            "node(s) didn't match",
        ),
        (
            "no-image",
            worker(json!({"image": "docker.io/library/binlog-worker:absent"})),
            Reason::ImagePullFailed,
            "check the image's name",
        ),
        (
            "crashes",
            worker(json!({"image": OPERATOR_IMAGE})),
            Reason::WorkerCrashing,
            "exit code 2",
        ),
        (
            "no-class",
            json!({"archive": {"s3": null, "volume": {"size": "1Gi", "storageClassName": "none"}}}),
            Reason::VolumeNotAttached,
            "PersistentVolumeClaim",
        ),
        ("taken", json!({}), Reason::ApplyFailed, "Service taken-worker"),
        ("quota", json!({}), Reason::WorkerNotReady, "exceeded quota"),
        (
            "foreign-image",
            worker(json!({"image": "docker.io/library/other:1"})),
            Reason::ImageNotAllowed,
            "docker.io/library/other:1",
        ),
        (
            "metadata",
            json!({"archive": {"s3": {"endpoint": "http://169.254.169.254"}}}),
            Reason::EndpointNotAllowed,
            "spec.archive.s3.endpoint",
        ),
        (
            "bad-authority",
            json!({"source": {"tls": {"mode": "VerifyCA", "caRef": {"name": "authority"}}}}),
            Reason::SecretInvalid,
            "put a PEM file there",
        ),
        (
            "other-flavor",
            json!({"start": {"gtidSet": "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5"}}),
            Reason::SpecInvalid,
            "start.gtidSet",
        ),
    ]
}

/// What must be there before the stream is.
async fn prepare(stream: &StreamResource) -> Result<()> {
    let create = PostParams::default();
    match stream.name.as_str() {
        "taken" => {
            let service = json!({"metadata": {"name": "taken-worker"},
                "spec": {"clusterIP": "None", "ports": [{"port": 1}]}});
            let services = stream.api::<Service>();
            services.create(&create, &serde_json::from_value(service)?).await?;
        }
        "quota" => {
            let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
            let quotas = stream.api::<ResourceQuota>();
            quotas.create(&create, &serde_json::from_value(quota)?).await?;
            // Until it is counted nothing can be made either, for another reason.
            until("the quota is counted", SHOWN, || async {
                let used = quotas.get("none").await?.status.and_then(|status| status.used);
                Ok::<_, Failure>(Look::from_option(used.map(drop), || "not yet".into()))
            })
            .await?;
        }
        "bad-authority" => {
            stream.set_secret("authority", &[("ca.crt", "no certificate at all")]).await?;
        }
        _ => {}
    }
    Ok(())
}

/// Holds the stream's Service, or lets it go.
async fn hold(stream: &StreamResource, finalizers: &[&str]) -> Result<()> {
    let services: Api<Service> = stream.api();
    let patch = Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    let name = format!("{}-worker", stream.name);
    services.patch(&name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// One that is being deleted and cannot go yet says so, and so does one that waits for what it left behind.
async fn outlives(stream: &StreamResource) -> Result<()> {
    stream.create().await?;
    stream.says(READY, NOT, &["Stopped"], SAID).await?;
    hold(stream, &[HOLD]).await?;
    delete_whole(stream).await?;
    stream.says(READY, NOT, &["Deleting"], SAID).await?;
    stream.says(ConditionType::Reconciling, IS, &["Deleting"], SAID).await?;
    hold(stream, &[]).await?;
    gone(stream, DELETED).await?;

    stream.create().await?;
    stream.says(READY, NOT, &["Stopped"], SAID).await?;
    hold(stream, &[HOLD]).await?;
    stream.delete().await?;
    stream.create().await?;
    stream.says(READY, NOT, &["WaitingForOldChildren"], SAID).await?;
    hold(stream, &[]).await?;
    stream.says(READY, NOT, &["Stopped"], SAID).await?;
    Ok(())
}

/// One that runs says what it has not read yet, and what it has not ended yet.
async fn runs(stream: &StreamResource) -> Result<()> {
    stream.create().await?;
    stream.ready().await?;
    stream.patch(json!({"spec": {"batch": {"maxEvents": 7}}})).await?;
    stream.says(ConditionType::Reconciling, IS, &["ConfigPending"], SAID).await?;
    stream.says(ConditionType::Reconciling, NOT, &["NotReconciling"], SAID).await?;
    stream.ready().await?;

    stream.signal(Signal::STOP).await?;
    stream.set_state("Stopped").await?;
    stream.says(READY, NOT, &["Draining"], SAID).await?;
    stream.says(ConditionType::Paused, NOT, &["Draining"], SAID).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn stuck_streams_name_what_holds_them_and_every_one_can_be_deleted() -> Result<()> {
    let cases = cases();
    let others = ["held-back", "drains", "hangs", "rolls", "rests"];
    let names: Vec<_> = cases.iter().map(|case| case.0).chain(others).collect();
    let server = Server::builder(ServerKind::MariaDb118).start().await?;
    let images = "--image-allow-list=docker.io/library/binlog-worker,\
                  docker.io/library/binlog-operator";
    let stage = Stage::of(server, &names, &[images]).await?;

    let mut streams = Vec::new();
    for (name, change, ..) in &cases {
        let stream = stage.stream(name).await?.with(change);
        prepare(&stream).await?;
        stream.create().await?;
        streams.push(stream);
    }
    let with =
        |state: &str| json!({"state": state, "worker": {"terminationGracePeriodSeconds": 10}});
    let held_back = stage.stream("held-back").await?.with(&with("Stopped"));
    let [drains, hangs, rolls] = ["drains", "hangs", "rolls"].map(|name| stage.stream(name));
    let (drains, hangs, rolls) = tokio::try_join!(drains, hangs, rolls)?;
    let [drains, hangs, rolls] = [drains, hangs, rolls].map(|stream| stream.with(&with("Running")));
    let rests = stage.stream("rests").await?.with(&with("Paused"));
    for stream in [&hangs, &rolls, &rests] {
        stream.create().await?;
    }
    let speak = async {
        for (stream, (_, _, reason, words)) in streams.iter().zip(&cases) {
            let status = stream.says(READY, NOT, &[reason.as_str()], SAID).await?;
            let message = &said(&status, READY)?.message;
            println!("{}: {reason}: {message}", stream.name);
            assert!(message.contains(*words), "{}: no {words:?} in {message}", stream.name);
            let stalled = ConditionStatus::of(reason.is_stalled());
            stream.says(ConditionType::Stalled, stalled, &[stalled_word(*reason)], SAID).await?;
        }
        Ok::<_, Failure>(())
    };
    tokio::try_join!(speak, outlives(&held_back), runs(&drains))?;
    hangs.ready().await?;
    rolls.ready().await?;
    rests.says(READY, NOT, &["Paused"], SAID).await?;
    let shown = stage.cluster.kubectl(&["get", "streams", "-A"]).await?;
    println!("{shown}");

    hangs.signal(Signal::STOP).await?;
    let label = json!({"podMetadata": {"labels": {"e2e": "rolled-out"}}});
    rolls.patch(json!({"spec": {"worker": label}})).await?;
    streams.extend([held_back, drains, hangs, rolls, rests]);
    let began = Instant::now();
    for stream in &streams {
        delete_whole(stream).await?;
    }
    for stream in &streams {
        gone(stream, DELETED.saturating_sub(began.elapsed()).max(PACE)).await?;
        println!("{}: gone after {:?}", stream.name, began.elapsed());
    }
    stage.operator.check_log(&[], &[SECRET_KEY])
}

/// The reason of Stalled beside this one of Ready.
fn stalled_word(reason: Reason) -> &'static str {
    if reason.is_stalled() { reason.as_str() } else { "NotStalled" }
}
