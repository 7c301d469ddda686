//! The slim forms in which the operator watches objects.
//!
//! Two rules: one BinlogStream that cannot be decoded never stops the watch of the others
//! (`undecodable_stream_keeps_its_metadata`), and of pods and Deployments only metadata and status
//! are kept, so that ten thousand streams fit in memory.

use std::borrow::Cow;

use crds::v1alpha1::BinlogStream;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{Deployment, DeploymentStatus},
        core::v1::{Pod, PodStatus},
    },
};
use kube::{Resource, api::ObjectMeta};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

/// A BinlogStream as the watch delivers it, decoded or not.
///
/// kube's own guard buffers through `serde_value`, which cannot carry the numbers of a build in
/// which any crate turns on serde_json's `arbitrary_precision`; `Value` can.
#[derive(Debug, Clone)]
pub struct Observed {
    /// Metadata, without managedFields.
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

/// A Deployment's metadata, size and status.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct WatchedDeployment {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// How many pods it is to have.
    #[serde(default)]
    pub spec: DeploymentSize,
    /// Status, as the Deployment controller writes it.
    #[serde(default)]
    pub status: DeploymentStatus,
}

/// The part of a Deployment's spec the operator reads.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct DeploymentSize {
    /// Pods asked for.
    pub replicas: Option<i32>,
}

/// A pod's metadata, node and status.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct WatchedPod {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// Where it runs.
    #[serde(default)]
    pub spec: PodPlace,
    /// Status, as kubelet and scheduler write it.
    #[serde(default)]
    pub status: PodStatus,
}

/// The part of a pod's spec the operator reads.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodPlace {
    /// Node the pod is bound to.
    pub node_name: Option<String>,
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
