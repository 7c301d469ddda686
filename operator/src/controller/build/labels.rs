//! Names, labels and annotations of a stream's objects.

use std::collections::BTreeMap;

use crds::annotations::{OWNER_UID, STREAM_LABEL};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;

use crate::controller::validate::ValidStream;

/// Label with the name of the stream.
pub const STREAM: &str = STREAM_LABEL;
/// Label with the part an object plays.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// The part of everything a worker consists of.
pub const WORKER: &str = "worker";
/// The part of the checkpoint ConfigMap.
pub const CHECKPOINT: &str = "checkpoint";
/// The part of the archive's claim.
pub const ARCHIVE: &str = "archive";
/// Annotation: digest of what was last applied; equal means that nothing needs to be sent.
pub const DIGEST: &str = "binlogstream.io/applied-digest";
/// Annotation of the Deployment: what its pod template was made from, see `rollout::record`.
pub const MADE_FROM: &str = "binlogstream.io/made-from";
/// Annotation of the Deployment while a change of ours is being rolled out, see `rollout::record`.
pub const ROLL: &str = "binlogstream.io/roll";
/// Annotation of the worker's ConfigMap: digest of what people asked for when it was written.
pub const ASKED: &str = "binlogstream.io/asked";
/// Selects every object the operator makes.
pub const SELECTOR: &str = "app.kubernetes.io/managed-by=binlog-operator";

const NAME: &str = "app.kubernetes.io/name";
/// Label with the application an object is taken for a member of; never on what outlives the stream.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const OPERATOR: &str = "binlog-operator";
const BINLOG_WORKER: &str = "binlog-worker";

/// Name of everything that makes up the worker: `<stream>-worker`.
pub fn worker(stream: &str) -> String {
    format!("{stream}-worker")
}

/// Name of the checkpoint ConfigMap: `<stream>-checkpoint`.
pub fn checkpoint(stream: &str) -> String {
    format!("{stream}-checkpoint")
}

/// Name of the claim the operator makes: `<stream>-archive`.
pub fn archive(stream: &str) -> String {
    format!("{stream}-archive")
}

/// The labels by which a worker's pods are found; part of a Deployment's selector, so fixed for
/// ever.
pub fn selector(stream: &str) -> BTreeMap<String, String> {
    labels([(NAME, BINLOG_WORKER), (STREAM, stream)])
}

/// All labels of an object that goes with the stream, pods included.
pub fn of_worker(stream: &str) -> BTreeMap<String, String> {
    let mut labels = of_part(stream, WORKER);
    labels.insert(INSTANCE.to_owned(), stream.to_owned());
    labels
}

/// Labels of an object that plays `part`, without the instance: Argo CD takes what carries its
/// application's name there for a member, and prunes members that its source does not hold.
fn of_part(stream: &str, part: &str) -> BTreeMap<String, String> {
    labels([(NAME, BINLOG_WORKER), (COMPONENT, part), (MANAGED_BY, OPERATOR), (STREAM, stream)])
}

/// Metadata of an object that goes with the stream.
pub fn owned(stream: &ValidStream) -> ObjectMeta {
    ObjectMeta {
        owner_references: Some(vec![owner(stream)]),
        annotations: Some([(OWNER_UID.to_owned(), stream.uid.clone())].into()),
        labels: Some(of_worker(&stream.name)),
        ..kept(stream, worker(&stream.name), WORKER)
    }
}

/// Metadata of an object that outlives the stream: no owner, no instance by which somebody would
/// prune it, and nothing in it that would change when a stream of this name is made again.
pub fn kept(stream: &ValidStream, name: String, part: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(stream.namespace.clone()),
        labels: Some(of_part(&stream.name, part)),
        ..ObjectMeta::default()
    }
}

/// The stream as owner of its children.
pub fn owner(stream: &ValidStream) -> OwnerReference {
    use kube::Resource as _;
    type Stream = crds::v1alpha1::BinlogStream;
    OwnerReference {
        api_version: Stream::api_version(&()).into_owned(),
        kind: Stream::kind(&()).into_owned(),
        name: stream.name.clone(),
        uid: stream.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

fn labels<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
