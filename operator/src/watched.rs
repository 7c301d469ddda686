//! The slim forms in which the operator watches objects.
//!
//! Two rules: one BinlogStream that cannot be decoded never stops the watch of the others
//! (`undecodable_stream_keeps_its_metadata`), and of pods and Deployments little more than metadata and
//! status is kept, so that ten thousand streams fit in memory.

use std::{borrow::Cow, collections::BTreeMap};

use crds::{
    annotations::{DOMAIN, OWNER_UID, RESTARTED_AT, STREAM_LABEL},
    v1alpha1::BinlogStream,
};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{Deployment, DeploymentStatus},
        core::v1::{ContainerStatus, Pod, PodStatus},
    },
};
use kube::{Resource, ResourceExt, api::ObjectMeta, core::PartialObjectMeta};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

/// kubectl's copy of what it applied, as large as the rest.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A BinlogStream as the watch delivers it, decoded or not.
///
/// kube's own guard buffers through `serde_value`, which cannot carry the numbers of a build in
/// which any crate turns on serde_json's `arbitrary_precision`; `Value` can.
#[derive(Debug, Clone)]
pub struct Observed {
    /// Metadata, without managedFields, labels and kubectl's copy of the spec.
    pub metadata: ObjectMeta,
    /// The stream, or why it could not be decoded.
    pub stream: Result<Box<BinlogStream>, String>,
}

impl<'de> Deserialize<'de> for Observed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut object = Value::deserialize(deserializer)?;
        let metadata: ObjectMeta = match object.get_mut("metadata") {
            Some(metadata) => {
                if let Value::Object(fields) = metadata {
                    fields.remove("managedFields");
                    fields.remove("labels");
                }
                if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
                    annotations.remove(LAST_APPLIED);
                }
                ObjectMeta::deserialize(&*metadata).map_err(D::Error::custom)?
            }
            None => ObjectMeta::default(),
        };
        Ok(Observed { metadata, stream: decode(object) })
    }
}

/// A status that cannot be read (another version wrote it) is dropped: it is output, and we are
/// about to write it anew. A spec that cannot be read is reported on the resource.
fn decode(mut object: Value) -> Result<Box<BinlogStream>, String> {
    if let Ok(stream) = BinlogStream::deserialize(&object) {
        return Ok(Box::new(stream));
    }
    if let Value::Object(fields) = &mut object {
        fields.remove("status");
    }
    BinlogStream::deserialize(object).map(Box::new).map_err(|error| error.to_string())
}

/// A Deployment's metadata, size and status, and the annotations of its pods.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct WatchedDeployment {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// The part of its spec the operator reads.
    #[serde(default)]
    pub spec: DeploymentPart,
    /// Status, as the Deployment controller writes it.
    #[serde(default)]
    pub status: DeploymentStatus,
}

impl WatchedDeployment {
    /// When somebody asked for a restart, by kubectl's annotation.
    pub fn restarted_at(&self) -> Option<&str> {
        let annotations = self.spec.template.metadata.annotations.as_ref()?;
        annotations.get(crds::annotations::RESTARTED_AT).map(String::as_str)
    }
}

/// The part of a Deployment's spec the operator reads.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct DeploymentPart {
    /// Pods asked for.
    pub replicas: Option<i32>,
    /// What its pods are made from.
    #[serde(default)]
    pub template: TemplatePart,
}

/// The part of a pod template the operator reads.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct TemplatePart {
    /// Metadata of the pods.
    #[serde(default)]
    pub metadata: TemplateMetadata,
}

/// Metadata of pods that are to be made.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct TemplateMetadata {
    /// Annotations.
    pub annotations: Option<BTreeMap<String, String>>,
}

/// A pod's metadata, node and status.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct WatchedPod {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// Its stream and that one's UID, once label and annotation are dropped.
    #[serde(skip)]
    of: Option<(Box<str>, Box<str>)>,
    /// Where it runs.
    #[serde(default)]
    pub spec: PodPlace,
    /// Status, as kubelet and scheduler write it.
    #[serde(default)]
    pub status: PodStatus,
}

impl WatchedPod {
    /// UID of the stream it was made for.
    pub fn owner_uid(&self) -> Option<&str> {
        match &self.of {
            Some((_, uid)) => Some(uid),
            None => self.annotations().get(OWNER_UID).map(String::as_str),
        }
    }
}

/// What belongs to a stream.
pub trait OfStream {
    /// Name of the stream: checkpoint and archive claim have no owner reference.
    fn stream(&self) -> Option<&str>;
}

impl<K> OfStream for PartialObjectMeta<K> {
    fn stream(&self) -> Option<&str> {
        stream_label(&self.metadata)
    }
}

impl OfStream for WatchedDeployment {
    fn stream(&self) -> Option<&str> {
        stream_label(&self.metadata)
    }
}

impl OfStream for WatchedPod {
    fn stream(&self) -> Option<&str> {
        match &self.of {
            Some((stream, _)) => Some(stream),
            None => stream_label(&self.metadata),
        }
    }
}

fn stream_label(metadata: &ObjectMeta) -> Option<&str> {
    metadata.labels.as_ref()?.get(STREAM_LABEL).map(String::as_str)
}

/// The part of a pod's spec the operator reads.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodPlace {
    /// Node the pod is bound to.
    pub node_name: Option<String>,
}

/// What drops the parts of itself that nobody reads, before it is kept.
pub trait Slim {
    /// Drops them.
    fn slim(&mut self);
}

impl Slim for WatchedDeployment {
    fn slim(&mut self) {
        slim_metadata(&mut self.metadata);
    }
}

impl Slim for WatchedPod {
    fn slim(&mut self) {
        slim_metadata(&mut self.metadata);
        self.of =
            self.stream().zip(self.owner_uid()).map(|(stream, uid)| (stream.into(), uid.into()));
        if self.of.is_some() {
            // A map of one entry takes as much as all the rest.
            self.metadata.labels = None;
            let annotations = self.metadata.annotations.take().map(|mut all| {
                all.remove(OWNER_UID);
                all
            });
            self.metadata.annotations = annotations.filter(|all| !all.is_empty());
        }
        self.metadata.owner_references = None;
        let PodStatus { phase, pod_ip, reason, message, conditions, container_statuses, .. } =
            std::mem::take(&mut self.status);
        // A condition that holds says nothing that the phase does not, but of a pod that is taken away, or whose node
        // does not report any more.
        let conditions = conditions.map(|mut all| {
            let unready = all.iter().any(|one| one.type_ == "Ready" && one.status != "True");
            all.retain(|one| match one.type_.as_str() {
                "DisruptionTarget" => true,
                "ContainersReady" => unready,
                _ => one.status != "True",
            });
            all.shrink_to_fit();
            all
        });
        let container_statuses =
            container_statuses.map(|all| all.into_iter().map(slim_container).collect());
        self.status = PodStatus {
            phase,
            pod_ip,
            reason,
            message,
            conditions,
            container_statuses,
            ..PodStatus::default()
        };
    }
}

fn slim_container(container: ContainerStatus) -> ContainerStatus {
    let ContainerStatus { name, ready, restart_count, state, last_state, .. } = container;
    ContainerStatus { name, ready, restart_count, state, last_state, ..ContainerStatus::default() }
}

/// Labels and annotations of others, and who wrote what when.
fn slim_metadata(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    metadata.generate_name = None;
    for map in [&mut metadata.labels, &mut metadata.annotations].into_iter().flatten() {
        map.retain(|key, _| key.starts_with(DOMAIN) || key == RESTARTED_AT);
    }
}

macro_rules! stands_for {
    ($slim:ty, $full:ty) => {
        impl Resource for $slim {
            type DynamicType = ();
            type Scope = NamespaceResourceScope;

            fn kind((): &()) -> Cow<'_, str> {
                <$full>::kind(&())
            }
            fn group((): &()) -> Cow<'_, str> {
                <$full>::group(&())
            }
            fn version((): &()) -> Cow<'_, str> {
                <$full>::version(&())
            }
            fn plural((): &()) -> Cow<'_, str> {
                <$full>::plural(&())
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

stands_for!(Observed, BinlogStream);
stands_for!(WatchedDeployment, Deployment);
stands_for!(WatchedPod, Pod);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn undecodable_stream_keeps_its_metadata() {
        let observed: Observed = serde_json::from_value(json!({
            "apiVersion": "binlogstream.io/v1alpha1", "kind": "BinlogStream",
            "metadata": {"name": "a", "namespace": "b", "generation": 3,
                "managedFields": [{"manager": "kubectl"}]},
            "spec": {"source": {"port": "not a number"}},
        }))
        .unwrap();
        assert_eq!(observed.metadata.name.as_deref(), Some("a"));
        assert_eq!(observed.metadata.generation, Some(3));
        assert_eq!(observed.metadata.managed_fields, None);
        assert!(observed.stream.is_err());
    }

    #[test]
    fn a_restart_that_was_asked_for_on_the_deployment_is_seen() {
        let deployment = |template: serde_json::Value| -> WatchedDeployment {
            let object =
                json!({"metadata": {"name": "a"}, "spec": {"replicas": 1, "template": template}});
            serde_json::from_value(object).unwrap()
        };
        let at = "2026-11-27T10:00:00Z";
        let restarted = json!({"metadata": {"creationTimestamp": null, "annotations": {
            "kubectl.kubernetes.io/restartedAt": at}}, "spec": {"containers": []}});
        assert_eq!(deployment(restarted).restarted_at(), Some(at));
        assert_eq!(deployment(json!({"metadata": {"annotations": null}})).restarted_at(), None);
    }

    #[test]
    fn of_a_pod_that_is_well_little_is_kept_and_of_one_that_is_not_the_reason() {
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status});
        let mut pod: WatchedPod = serde_json::from_value(json!({
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
        pod.slim();
        assert_eq!((pod.stream(), pod.owner_uid()), (Some("orders"), Some("u")));
        assert_eq!(pod.metadata.labels, None);
        let kept: Vec<_> = pod.metadata.annotations.unwrap_or_default().into_keys().collect();
        assert_eq!(kept, [RESTARTED_AT], "the worker's restart is told by it");
        let status = pod.status;
        assert_eq!((status.pod_ip.as_deref(), status.pod_ips), (Some("10.0.0.5"), None));
        let conditions: Vec<_> = status.conditions.unwrap().into_iter().map(|c| c.type_).collect();
        assert_eq!(conditions, ["PodScheduled"]);
        let container = status.container_statuses.unwrap().remove(0);
        assert_eq!((container.restart_count, container.image.as_str()), (2, ""));
        assert!(container.state.unwrap().waiting.is_some());
    }

    #[test]
    fn unreadable_status_does_not_make_a_stream_undecodable() {
        let observed: Observed = serde_json::from_str(
            r#"{"metadata": {"name": "a", "namespace": "b"},
                "spec": {"source": {"host": "db", "port": 3307, "credentialsSecretRef": {"name": "c"}},
                         "archive": {"s3": {"bucket": "history"}}},
                "status": {"conditions": "from the future"}}"#,
        )
        .unwrap();
        let stream = observed.stream.unwrap();
        assert_eq!(stream.spec.source.port, 3307);
        assert!(stream.status.is_none());
    }
}
