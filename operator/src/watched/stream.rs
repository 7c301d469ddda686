//! BinlogStreams: kept packed, opened when somebody looks at one.

use crds::v1alpha1::BinlogStream;
use kube::api::ObjectMeta;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

use super::stands_for;
use crate::packed::Packed;

/// kubectl's copy of what it applied, as large as the rest.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A BinlogStream as it is kept between two reconciles.
#[derive(Debug, Clone)]
pub struct KeptStream {
    /// Name, namespace, UID and version, and nothing else.
    metadata: ObjectMeta,
    object: Packed<Observed>,
}

impl KeptStream {
    /// The stream, for somebody to look at.
    pub fn open(&self) -> Observed {
        self.object.open().unwrap_or_else(|error| Observed {
            metadata: self.metadata.clone(),
            stream: Err(error.to_string()),
        })
    }
}

impl<'de> Deserialize<'de> for KeptStream {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut object = Value::deserialize(deserializer)?;
        drop_unread(&mut object);
        let text = |field: &str| Some(object.get("metadata")?.get(field)?.as_str()?.to_owned());
        let metadata = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            uid: text("uid"),
            resource_version: text("resourceVersion"),
            ..ObjectMeta::default()
        };
        let object = Packed::of(&object).map_err(D::Error::custom)?;
        Ok(KeptStream { metadata, object })
    }
}

/// A BinlogStream as somebody looks at it, decoded or not.
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
        drop_unread(&mut object);
        let metadata = match object.get("metadata") {
            Some(metadata) => ObjectMeta::deserialize(metadata).map_err(D::Error::custom)?,
            None => ObjectMeta::default(),
        };
        Ok(Observed { metadata, stream: decode(object) })
    }
}

/// Drops what nobody reads.
fn drop_unread(stream: &mut Value) {
    let Some(Value::Object(metadata)) = stream.get_mut("metadata") else { return };
    metadata.remove("managedFields");
    metadata.remove("labels");
    if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
        annotations.remove(LAST_APPLIED);
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

stands_for!(KeptStream, BinlogStream);
stands_for!(Observed, BinlogStream);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::packed::tests::usual;
    use kube::Resource as _;

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
    fn a_stream_is_the_same_before_and_after_it_was_kept() {
        let (mut object, _) = usual();
        object["metadata"]["annotations"] = json!({"example.com/note": "mine"});
        object["metadata"]["managedFields"] = json!([{"manager": "kubectl"}]);
        let observed: Observed = serde_json::from_value(object.clone()).unwrap();
        let kept: KeptStream = serde_json::from_value(object).unwrap();
        assert_eq!(kept.meta().uid, observed.metadata.uid);
        assert_eq!(kept.meta().annotations, None);
        let opened = kept.open();
        assert_eq!(opened.metadata, observed.metadata);
        let (opened, observed) = (opened.stream.unwrap(), observed.stream.unwrap());
        assert_eq!((opened.spec, opened.status), (observed.spec, observed.status));
    }

    #[test]
    fn a_stream_that_cannot_be_decoded_is_kept_with_the_reason() {
        let object = json!({"metadata": {"name": "a", "namespace": "b"}, "spec": {"source": 1}});
        let kept: KeptStream = serde_json::from_value(object).unwrap();
        assert!(kept.open().stream.is_err());
        assert_eq!(kept.meta().name.as_deref(), Some("a"));
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
