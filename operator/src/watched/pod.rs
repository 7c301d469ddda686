//! Pods: where they run, how they are, and why.

use crds::annotations::{OWNER_UID, RESTARTED_AT};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, Pod, PodCondition,
};
use kube::api::ObjectMeta;
use serde::{Deserialize, Deserializer};

use super::{OfStream, stands_for, stream_label};

/// A pod's metadata, node and status.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct WatchedPod {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// Where it runs.
    #[serde(default)]
    pub spec: PodPlace,
    /// The part of its status the operator reads.
    #[serde(default)]
    pub status: PodPart,
}

/// What is kept of a pod.
#[derive(Debug, Clone, Default)]
pub struct KeptPod {
    /// Its name.
    pub name: Box<str>,
    /// Its UID.
    pub uid: Box<str>,
    /// UID of the stream it was made for.
    pub owner_uid: Option<Box<str>>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When its grace ends, once it was told to end.
    pub deleted: Option<Timestamp>,
    /// The restart that it carries out, by kubectl's annotation.
    pub restarted_at: Option<Box<str>>,
    /// Node it is bound to.
    pub node: Option<Box<str>>,
    /// Its status, without the conditions that say nothing.
    pub status: PodPart,
}

impl From<&WatchedPod> for KeptPod {
    fn from(pod: &WatchedPod) -> Self {
        let WatchedPod { metadata, spec, status } = pod.clone();
        let text = |text: Option<String>| text.map(String::into_boxed_str);
        let mut annotations = metadata.annotations.unwrap_or_default();
        KeptPod {
            name: text(metadata.name).unwrap_or_default(),
            uid: text(metadata.uid).unwrap_or_default(),
            owner_uid: text(annotations.remove(OWNER_UID)),
            created: metadata.creation_timestamp.map(|time| time.0),
            deleted: metadata.deletion_timestamp.map(|time| time.0),
            restarted_at: text(annotations.remove(RESTARTED_AT)),
            node: spec.node_name,
            status: PodPart { conditions: telling(status.conditions), ..status },
        }
    }
}

impl KeptPod {
    /// Whether no container of it runs, or will.
    pub fn has_ended(&self) -> bool {
        matches!(self.status.phase.as_deref(), Some("Failed" | "Succeeded"))
    }
}

/// A condition that holds says nothing that the phase does not, but of a pod that is taken away, or whose node does
/// not report any more.
fn telling(mut conditions: Vec<PodCondition>) -> Vec<PodCondition> {
    let unready = conditions.iter().any(|one| one.type_ == "Ready" && one.status != "True");
    conditions.retain(|one| match one.type_.as_str() {
        "DisruptionTarget" => true,
        "ContainersReady" => unready,
        _ => one.status != "True",
    });
    conditions.shrink_to_fit();
    conditions
}

/// The part of a pod's spec the operator reads.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodPlace {
    /// Node the pod is bound to.
    pub node_name: Option<Box<str>>,
}

/// The part of a pod's status the operator reads.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodPart {
    /// Pending, Running, Succeeded or Failed.
    pub phase: Option<Box<str>>,
    /// Its address.
    #[serde(rename = "podIP")]
    pub pod_ip: Option<Box<str>>,
    /// Why it is in this phase, in a word.
    pub reason: Option<Box<str>>,
    /// Why, in words.
    pub message: Option<Box<str>>,
    /// Conditions.
    #[serde(default, deserialize_with = "or_none")]
    pub conditions: Vec<PodCondition>,
    /// Its containers.
    #[serde(default, deserialize_with = "or_none")]
    pub container_statuses: Vec<ContainerPart>,
}

/// The part of a container's status the operator reads.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerPart {
    /// Its name.
    pub name: Box<str>,
    /// How often it was started again.
    #[serde(default)]
    pub restart_count: i32,
    /// How it is.
    #[serde(default)]
    pub state: StatePart,
    /// How it was before.
    #[serde(default)]
    pub last_state: StatePart,
}

/// A container's state; at most one of them is there.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct StatePart {
    /// It runs.
    pub running: Option<ContainerStateRunning>,
    /// It ended.
    pub terminated: Option<Box<ContainerStateTerminated>>,
    /// It does not run yet.
    pub waiting: Option<Box<ContainerStateWaiting>>,
}

/// A list that may be null.
fn or_none<'de, D: Deserializer<'de>, T: Deserialize<'de>>(list: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(list)?.unwrap_or_default())
}

impl OfStream for WatchedPod {
    fn stream(&self) -> Option<&str> {
        stream_label(&self.metadata)
    }
}

stands_for!(WatchedPod, Pod);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_a_pod_that_is_well_little_is_kept_and_of_one_that_is_not_the_reason() {
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status});
        let pod: WatchedPod = serde_json::from_value(json!({
            "metadata": {
                "name": "orders-worker-1", "generateName": "orders-worker-",
                "labels": {"binlogstream.io/stream": "orders", "pod-template-hash": "6d"},
                "annotations": {
                    "binlogstream.io/owner-uid": "u", "example.com/note": "long", RESTARTED_AT: "now",
                },
            },
            "status": {
                "phase": "Pending", "podIP": "10.0.0.5", "podIPs": [{"ip": "10.0.0.5"}],
                "conditions": [condition("PodScheduled", "False"), condition("Initialized", "True")],
                "containerStatuses": [{
                    "name": "worker", "image": "i", "imageID": "d", "ready": false,
                    "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                }],
            },
        }))
        .unwrap();
        assert_eq!(pod.stream(), Some("orders"));
        let KeptPod { owner_uid, restarted_at, status, .. } = KeptPod::from(&pod);
        assert_eq!(owner_uid.as_deref(), Some("u"));
        assert_eq!(restarted_at.as_deref(), Some("now"), "the worker's restart is told by it");
        assert_eq!(status.pod_ip.as_deref(), Some("10.0.0.5"));
        let conditions: Vec<_> = status.conditions.into_iter().map(|one| one.type_).collect();
        assert_eq!(conditions, ["PodScheduled"]);
        let [container] = &status.container_statuses[..] else { panic!("one container") };
        assert_eq!(container.restart_count, 2);
        assert!(container.state.waiting.is_some());
    }
}
