//! First stage: everything the others need, from the caches. One request at most, and only while
//! the worker was asked and does not speak: the checkpoint object, to show how far it had come.

use std::{sync::Arc, time::Duration};

use crds::checkpoint::Checkpoint;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;

use super::{Error, build::labels};
use crate::{
    answers::Answer,
    applied::Child,
    context::Context,
    kin::Row,
    pods::worker,
    rollout::record::Notes,
    status::{pod, voice::STALE_AFTER},
    watched::{Deployed, KeptPod, KeptStream, Observed},
};

/// Limit of the one request.
const REQUEST: Duration = Duration::from_secs(5);
/// How long after the end of its grace a pod is still expected to go.
const OVERDUE: Duration = Duration::from_secs(15);

/// What is known about a stream's surroundings.
pub struct Found {
    /// The streams that may hold what this one takes for itself.
    pub peers: Vec<Arc<KeptStream>>,
    /// Its children.
    pub children: Children,
    /// More of its Deployment.
    pub deployed: Option<Arc<Deployed>>,
    /// The pod that should be the worker.
    pub pod: Option<Arc<KeptPod>>,
    /// Another pod of the stream that was told to end and has not.
    pub leaving: Option<Arc<KeptPod>>,
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

    let key = (namespace.clone(), name.clone());
    let Row { children, deployed } = caches.kin.row(&key);
    let pods = caches.pods.of(&key);
    let answer = context.answers.get(&key);
    let pod = worker(&pods, &uid).cloned();
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
        peers: context.peers(stream).await,
        leaving: leaving(&pods, &uid, pod.as_deref()),
        pod,
        older_pod: older_pod(&pods, &uid, children.deployment.is_some(), now),
        children,
        deployed,
        answer,
        unasked,
        checkpoint,
    })
}

/// A pod of the stream beside `pod` that was told to end and has not.
fn leaving(pods: &[Arc<KeptPod>], uid: &str, pod: Option<&KeptPod>) -> Option<Arc<KeptPod>> {
    let leaving = |other: &KeptPod| {
        other.owner_uid.as_deref() == Some(uid)
            && other.deleted.is_some()
            && pod.is_none_or(|pod| pod.uid != other.uid)
    };
    pods.iter().find(|other| leaving(other)).cloned()
}

/// The name of a pod of an older stream of this name that may still write. Two are not waited for: one whose
/// Deployment was left behind on purpose, for it is taken over and replaces its pod; and one that should have ended by
/// now, for it is on a node that nobody hears of. The archive's fence holds against both.
fn older_pod(
    pods: &[Arc<KeptPod>],
    uid: &str,
    left_behind: bool,
    now: Timestamp,
) -> Option<String> {
    let older = |pod: &KeptPod| {
        pod.owner_uid.as_deref().is_some_and(|owner| owner != uid)
            && (pod.deleted.is_some() || !left_behind)
            && may_write(pod, now)
    };
    pods.iter().find(|pod| older(pod)).map(|pod| pod.name.to_string())
}

/// Whether a container of the pod may still run. A deletion's time is when its grace is over.
fn may_write(pod: &KeptPod, now: Timestamp) -> bool {
    let overdue = pod.deleted.is_some_and(|by| by + OVERDUE < now);
    !pod.has_ended() && !overdue
}

/// A child by its metadata.
pub fn describe(meta: &kube::api::ObjectMeta, version: Option<u64>) -> Child {
    let controller = |owner: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference| {
        owner.controller == Some(true)
    };
    let noted = |digest: &str| meta.annotations.as_ref()?.get(digest)?.parse().ok();
    let owner = meta.owner_references.iter().flatten().find(controller);
    Child {
        uid: meta.uid.as_deref().unwrap_or_default().into(),
        owner_uid: owner.map(|owner| owner.uid.as_str().into()),
        digest: noted(labels::DIGEST),
        version,
        deleting: meta.deletion_timestamp.is_some(),
        notes: Notes::read(meta.annotations.as_ref()).map(Arc::new),
        asked: noted(labels::ASKED),
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

    fn pod(phase: &str, deleted: Option<Timestamp>) -> KeptPod {
        let mut pod = KeptPod { deleted, ..KeptPod::default() };
        pod.status.phase = Some(phase.into());
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
