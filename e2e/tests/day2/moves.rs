//! A worker moves: evicted while rows are written, from a node that is lost, from a node that is deleted; and one that
//! cannot, for its volume is held elsewhere. Nothing is lost or doubled, and the status names why.

use std::time::Instant;

use crds::worker_status::Phase;
use e2e::cluster::SecondNode;
use e2e::process::Signal;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::api::{EvictParams, ListParams, Patch, PatchParams};

use super::*;

/// A node is lost after 50 s without a word, its pods leave it after 30 s more.
const LEFT: Duration = Duration::from_secs(120);
/// Pods of a node that is deleted are collected after 40 s, and each 20 s.
const COLLECTED: Duration = Duration::from_secs(120);
/// A container that is not created for a minute waits for a volume.
const WAITS: Duration = Duration::from_secs(100);

/// Whether an event of the stream says this.
async fn was_told(stream: &StreamResource, words: &str) -> Result<bool> {
    let events: Api<Event> = stream.api();
    let events = events.list(&ListParams::default()).await?.items;
    Ok(events.iter().any(|event| {
        event.involved_object.name.as_deref() == Some(&stream.name)
            && event.message.as_deref().is_some_and(|message| message.contains(words))
    }))
}

/// Waits until the stream runs in another pod.
async fn moved(stream: &StreamResource, from: &Worker, limit: Duration) -> Result<Worker> {
    until(format!("{} has moved", stream.name), limit, || async {
        let now = worker(stream).await?;
        let moved = now.pod != from.pod && now.epoch > from.epoch;
        let state = format!("{now:?}");
        Ok::<_, Failure>(Look::from_option(moved.then_some(now), || state))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evicted_worker_resumes_elsewhere_and_loses_nothing() -> Result<()> {
    const EVICTIONS: u32 = 3;
    const BY_NAME: &str = "EvictionByEvictionAPI";
    let stage = Stage::set(ServerKind::MySql97, &["evicted"]).await?;
    let stream = stage.stream("evicted").await?;
    stream.create().await?;
    stream.ready().await?;
    let pods: Api<Pod> = stream.api();
    let evictions = async {
        for _ in 0..EVICTIONS {
            let before = worker(&stream).await?;
            let pod = stream.pod().await?.metadata.name.unwrap_or_default();
            let began = Instant::now();
            pods.evict(&pod, &EvictParams::default()).await?;
            let after = moved(&stream, &before, SETTLED).await?;
            assert_eq!(after.restarts, 0);
            stream.ready().await?;
            println!("evicted: Ready again after {:?}", began.elapsed());
        }
        Ok(())
    };
    let ((), done) = under_load(&stage.server, evictions).await?;
    assert!(was_told(&stream, BY_NAME).await?, "no event says {BY_NAME}");
    stage.finish(&stream, done, &[]).await
}

/// The stream runs on this node.
async fn runs_on(stream: &StreamResource, node: &str) -> Result<()> {
    until(format!("{} is shown on {node}", stream.name), SHOWN, || async {
        let shown = stream.status().await?.worker.and_then(|worker| worker.node);
        Ok::<_, Failure>(Look::holds(shown.as_deref() == Some(node), || format!("{shown:?}")))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_leaves_a_lost_node_and_a_deleted_one() -> Result<()> {
    let stage = Stage::set(ServerKind::MariaDb118, &["lost"]).await?;
    let node = SecondNode::start(stage.cluster).await?;
    let there = json!({"worker": SecondNode::preferred()});
    let stream = stage.stream("lost").await?.with(&there);
    stream.create().await?;
    stream.ready().await?;
    runs_on(&stream, SecondNode::NAME).await?;
    let mut done = workload::large(&stage.server, 100, 100).await?;
    stream.archived_all_of(&stage.server, ARCHIVED).await?;
    // Of a pod that never was ready the control plane takes nothing away when its node is lost.
    until("its node calls the pod ready", SETTLED, || async {
        let conditions = stream.pod().await?.status.and_then(|status| status.conditions);
        let ready =
            conditions.iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True");
        Ok::<_, Failure>(Look::holds(ready, || format!("{conditions:?}")))
    })
    .await?;
    let (before, old) = (worker(&stream).await?, stream.pod().await?);
    let name = old.metadata.name.clone().unwrap_or_default();

    // The node loses its power, as far as anybody can see.
    let began = Instant::now();
    node.freeze()?;
    node.signal("lost", &name, "worker", Signal::STOP).await?;
    stream.says(READY, UNKNOWN, &["StatusStale"], SHOWN).await?;
    let status = stream.says(READY, UNKNOWN, &["NodeLost"], LEFT).await?;
    let message = &said(&status, READY)?.message;
    println!("lost: {message} ({:?})", began.elapsed());
    assert!(message.contains(SecondNode::NAME), "the node is not named: {message}");
    done += workload::large(&stage.server, 100, 100).await?;
    let after = moved(&stream, &before, LEFT).await?;
    stream.ready().await?;
    println!("lost: Ready elsewhere after {:?}", began.elapsed());
    runs_on(&stream, e2e::cluster::NODE).await?;
    assert!(was_told(&stream, "DeletionByTaintManager").await?, "no event says why it moved");
    stream.archived_all_of(&stage.server, ARCHIVED).await?;

    // The power is back: the old worker finds that it was replaced, and writes nothing.
    node.signal("lost", &name, "worker", Signal::CONT).await?;
    until("the old worker is fenced", SETTLED, || async {
        let report = stream.report_of(&name).await?;
        let fenced = report.phase == Phase::Fenced && report.epoch.is_none();
        Ok::<_, Failure>(Look::holds(fenced, || format!("{:?}", report.phase)))
    })
    .await?;
    assert_eq!(worker(&stream).await?, after);
    node.thaw()?;
    until("the old pod is gone", SETTLED, || async {
        let left = stream.api::<Pod>().get_opt(&name).await?;
        Ok::<_, Failure>(Look::holds(left.is_none(), || "it is still there".into()))
    })
    .await?;

    // Back to the node, which is then deleted as a cloud's controller deletes one whose machine is gone.
    let nodes: Api<Node> = Api::all(stage.cluster.client().await?);
    until("the node takes pods again", SETTLED, || async {
        let taints = nodes.get(SecondNode::NAME).await?.spec.and_then(|spec| spec.taints);
        let own = taints.iter().flatten().count() == 1;
        Ok::<_, Failure>(Look::holds(own, || format!("{taints:?}")))
    })
    .await?;
    let pod = stream.pod().await?.metadata.name.unwrap_or_default();
    stream.api::<Pod>().delete(&pod, &DeleteParams::default()).await?;
    let before = moved(&stream, &after, SETTLED).await?;
    runs_on(&stream, SecondNode::NAME).await?;
    nodes.delete(SecondNode::NAME, &DeleteParams::default()).await?;
    done += workload::large(&stage.server, 100, 100).await?;
    moved(&stream, &before, COLLECTED).await?;
    stream.ready().await?;
    runs_on(&stream, e2e::cluster::NODE).await?;
    stage.finish(&stream, done, &[]).await
}

/// A node that is nothing but its object, and a pod on it that holds a volume for one node at a time.
async fn hold_volume(stage: &Stage, stream: &StreamResource) -> Result<()> {
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Node", "metadata": {
            "name": "far",
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}},
         "spec": {"taints": [{"key": "e2e/far", "effect": "NoSchedule"}]}},
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "far"}, "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            "storageClassName": "", "persistentVolumeReclaimPolicy": "Retain",
            "csi": {"driver": "disks.example", "volumeHandle": "far"}}},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim",
         "metadata": {"name": "far", "namespace": stream.name}, "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": "far",
            "resources": {"requests": {"storage": "1Gi"}}}},
        {"apiVersion": "v1", "kind": "Pod",
         "metadata": {"name": "holder", "namespace": stream.name}, "spec": {
            "nodeName": "far", "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "main", "image": "docker.io/local/pause:1",
                "securityContext": {
                    "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "far"}}]}},
    ]});
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), objects.to_string())?;
    let path = file.path().display().to_string();
    stage.cluster.kubectl(&["apply", "--server-side", "-f", &path]).await?;
    // This is the driver: it attaches the disk.
    let attachments: Api<VolumeAttachment> = Api::all(stage.cluster.client().await?);
    until("the volume is attached to the other node", SETTLED, || async {
        let all = attachments.list(&ListParams::default()).await?.items;
        let Some(ours) = all.iter().find(|one| one.spec.node_name == "far") else {
            return Ok(Look::NotYet(format!("{} attachments", all.len())));
        };
        let name = ours.metadata.name.clone().unwrap_or_default();
        let attached = Patch::Merge(json!({"status": {"attached": true}}));
        attachments.patch_status(&name, &PatchParams::default(), &attached).await?;
        Ok::<_, Failure>(Look::Yes(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_another_node_holds_is_named_and_hinders_no_deletion() -> Result<()> {
    let stage = Stage::set(ServerKind::MariaDb1011, &["held"]).await?;
    let claim = json!({"archive": {"s3": null, "volume": {"claimName": "far"}}});
    let stream = stage.stream("held").await?.with(&claim);
    hold_volume(&stage, &stream).await?;
    stream.create().await?;
    until("the cluster refuses to attach it twice", SETTLED, || async {
        let events = stream.api::<Event>().list(&ListParams::default()).await?.items;
        let messages = events.iter().filter_map(|event| event.message.as_deref());
        let said: Vec<_> = messages.filter(|said| said.contains("Multi-Attach error")).collect();
        Ok::<_, Failure>(Look::holds(!said.is_empty(), || format!("{} events", events.len())))
    })
    .await?;
    let status = stream.says(READY, NOT, &["VolumeNotAttached"], WAITS).await?;
    println!("held: {}", said(&status, READY)?.message);
    delete_whole(&stream).await?;
    gone(&stream, SHOWN).await?;
    stage.operator.check_log(&[], &[SECRET_KEY])
}
