//! First stage: everything the others need, from the caches. One request at most, and only while
//! the worker was asked and does not speak: the checkpoint object, to show how far it had come.

use std::{sync::Arc, time::Duration};

use crds::checkpoint::Checkpoint;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt};
use kube_runtime::reflector::ObjectRef;

use super::{Error, build::labels};
use crate::{
    answers::Answer,
    applied::Child,
    caches::Caches,
    context::Context,
    rollout::record::Notes,
    status::{pod, voice::STALE_AFTER},
    watched::{Observed, OfStream, WatchedDeployment, WatchedPod},
};

/// Limit of the one request.
const REQUEST: Duration = Duration::from_secs(5);
/// How long after the end of its grace a pod is still expected to go.
const OVERDUE: Duration = Duration::from_secs(15);

/// What is known about a stream's surroundings.
pub struct Found {
    /// The streams that may hold what this one takes for itself.
    pub peers: Vec<Arc<Observed>>,
    /// Its children.
    pub children: Children,
    /// Its Deployment.
    pub deployment: Option<Arc<WatchedDeployment>>,
    /// The pod that should be the worker.
    pub pod: Option<Arc<WatchedPod>>,
    /// Another pod of the stream that was told to end and has not.
    pub leaving: Option<Arc<WatchedPod>>,
    /// A pod of an older stream of this name that may still write.
    pub older_pod: Option<String>,
    /// The worker's last good answer.
    pub answer: Option<Answer>,
    /// The worker ran before this process led, and had no time to answer it yet.
    pub unasked: bool,
    /// The checkpoint object's record.
    pub checkpoint: Option<Checkpoint>,
}

/// A stream's children as the caches show them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Children {
    /// ServiceAccount.
    pub service_account: Option<Child>,
    /// Role.
    pub role: Option<Child>,
    /// RoleBinding.
    pub role_binding: Option<Child>,
    /// The worker's ConfigMap.
    pub config: Option<Child>,
    /// The checkpoint's ConfigMap.
    pub checkpoint: Option<Child>,
    /// The archive's claim.
    pub volume_claim: Option<Child>,
    /// Deployment.
    pub deployment: Option<Child>,
    /// Service.
    pub service: Option<Child>,
}

/// Gathers it.
///
/// # Errors
/// When the caches are not filled yet.
pub async fn dereference(stream: &Observed, context: &Context) -> Result<Found, Error> {
    let namespace = stream.metadata.namespace.clone().unwrap_or_default();
    let name = stream.metadata.name.clone().unwrap_or_default();
    let uid = stream.metadata.uid.clone().unwrap_or_default();
    let caches = context.caches(&namespace).ok_or(Error::NotWatched)?;
    caches.filled().await?;

    let worker = labels::worker(&name);
    let key = (namespace.clone(), name.clone());
    let deployment = caches.deployments.get(&ObjectRef::new(&worker).within(&namespace));
    let seen = deployment.as_ref().map(|seen| describe(&seen.metadata, generation(&seen.metadata)));
    let children = Children { deployment: seen, ..caches.kin.row(&key) };
    let answer = context.answers.get(&key);
    let pod = worker_pod(caches, &namespace, &name, &uid);
    let fresh = answer.as_ref().is_some_and(|answer| answer.age() <= STALE_AFTER);
    // Without its pod the last answer is older than what the worker wrote when it drained.
    let speaks = fresh && pod.is_some();
    let now = context.now();
    let started = pod.as_deref().and_then(|pod| pod::running_since(pod, now));
    let unasked = started.is_some_and(|at| context.answers.is_unasked(&key, at));
    let checkpoint = match &children.checkpoint {
        Some(_) if !speaks && !unasked => read_checkpoint(context, &namespace, &name).await,
        _ => None,
    };
    Ok(Found {
        peers: context.peers(stream),
        deployment,
        leaving: leaving(caches, &namespace, &name, &uid, pod.as_deref()),
        pod,
        older_pod: older_pod(caches, &namespace, &name, &uid, now),
        children,
        answer,
        unasked,
        checkpoint,
    })
}

/// The stream's pod: one that is not ending before one that is, the newest of several. Pods of an
/// older stream of this name do not count.
pub fn worker_pod(
    caches: &Caches,
    namespace: &str,
    stream: &str,
    uid: &str,
) -> Option<Arc<WatchedPod>> {
    let ours = |pod: &WatchedPod| belongs(pod, namespace, stream) && owner_of(pod) == Some(uid);
    let pods = caches.pods_of(namespace, stream);
    pods.into_iter().filter(|pod| ours(pod)).max_by_key(|pod| {
        let ended = matches!(pod.status.phase.as_deref(), Some("Failed" | "Succeeded"));
        let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (!ended, pod.metadata.deletion_timestamp.is_none(), created)
    })
}

/// A pod of the stream beside `pod` that was told to end and has not.
fn leaving(
    caches: &Caches,
    namespace: &str,
    stream: &str,
    uid: &str,
    pod: Option<&WatchedPod>,
) -> Option<Arc<WatchedPod>> {
    let chosen = pod.and_then(|pod| pod.metadata.uid.as_deref());
    let leaving = |other: &WatchedPod| {
        belongs(other, namespace, stream)
            && owner_of(other) == Some(uid)
            && other.metadata.deletion_timestamp.is_some()
            && other.metadata.uid.as_deref() != chosen
    };
    caches.pods_of(namespace, stream).into_iter().find(|other| leaving(other))
}

/// The name of a pod of an older stream of this name that may still write. Two are not waited for: one whose
/// Deployment was left behind on purpose, for it is taken over and replaces its pod; and one that should have ended by
/// now, for it is on a node that nobody hears of. The archive's fence holds against both.
fn older_pod(
    caches: &Caches,
    namespace: &str,
    stream: &str,
    uid: &str,
    now: Timestamp,
) -> Option<String> {
    let worker = ObjectRef::new(&labels::worker(stream)).within(namespace);
    let left_behind = caches.deployments.get(&worker).is_some();
    let older = |pod: &WatchedPod| {
        belongs(pod, namespace, stream)
            && owner_of(pod).is_some_and(|owner| owner != uid)
            && (pod.metadata.deletion_timestamp.is_some() || !left_behind)
            && may_write(pod, now)
    };
    caches.pods_of(namespace, stream).iter().find(|pod| older(pod)).map(|pod| pod.name_any())
}

/// Whether a container of the pod may still run. A deletion's time is when its grace is over.
fn may_write(pod: &WatchedPod, now: Timestamp) -> bool {
    let ended = matches!(pod.status.phase.as_deref(), Some("Failed" | "Succeeded"));
    let overdue = pod.metadata.deletion_timestamp.as_ref().is_some_and(|by| by.0 + OVERDUE < now);
    !ended && !overdue
}

fn belongs(pod: &WatchedPod, namespace: &str, stream: &str) -> bool {
    pod.metadata.namespace.as_deref() == Some(namespace) && pod.stream() == Some(stream)
}

fn owner_of(pod: &WatchedPod) -> Option<&str> {
    pod.owner_uid()
}

/// A child by its metadata.
pub fn describe(meta: &kube::api::ObjectMeta, version: Option<u64>) -> Child {
    let controller = |owner: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference| {
        owner.controller == Some(true)
    };
    Child {
        uid: meta.uid.clone().unwrap_or_default(),
        owner_uid: meta
            .owner_references
            .iter()
            .flatten()
            .find(controller)
            .map(|owner| owner.uid.clone()),
        digest: meta.annotations.as_ref().and_then(|all| all.get(labels::DIGEST)).cloned(),
        version,
        deleting: meta.deletion_timestamp.is_some(),
        notes: Notes::read(meta.annotations.as_ref()).map(Box::new),
        asked: meta.annotations.as_ref().and_then(|all| all.get(labels::ASKED)).cloned(),
    }
}

/// The resource version as a number; the API promises that versions of one resource are ordered.
pub fn version(meta: &kube::api::ObjectMeta) -> Option<u64> {
    meta.resource_version.as_deref().and_then(|version| version.parse().ok())
}

/// The generation: moves with the spec only.
pub fn generation(meta: &kube::api::ObjectMeta) -> Option<u64> {
    meta.generation.and_then(|generation| u64::try_from(generation).ok())
}

/// Best effort: what it says is shown, and nothing depends on it.
async fn read_checkpoint(context: &Context, namespace: &str, name: &str) -> Option<Checkpoint> {
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), namespace);
    let object = labels::checkpoint(name);
    let map = tokio::time::timeout(REQUEST, api.get_opt(&object)).await.ok()?.ok()??;
    map.data?.values().find_map(|text| Checkpoint::from_json(text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn pod(phase: &str, deleted: Option<Timestamp>) -> WatchedPod {
        let mut pod = WatchedPod::default();
        pod.status.phase = Some(phase.to_owned());
        pod.metadata.deletion_timestamp = deleted.map(Time);
        pod
    }

    #[test]
    fn an_older_pod_is_waited_for_until_it_ended_or_should_have() {
        let now = Timestamp::UNIX_EPOCH + Duration::from_secs(1_000);
        assert!(may_write(&pod("Running", None), now));
        assert!(may_write(&pod("Running", Some(now + Duration::from_secs(60))), now));
        assert!(may_write(&pod("Pending", Some(now - OVERDUE)), now));
        assert!(!may_write(&pod("Running", Some(now - OVERDUE - Duration::from_secs(1))), now));
        assert!(!may_write(&pod("Failed", None), now));
        assert!(!may_write(&pod("Succeeded", Some(now)), now));
    }
}
