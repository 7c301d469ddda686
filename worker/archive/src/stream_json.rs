//! `stream.json`: which archive this is, and whose. Created once, never changed; the owner in the
//! last claim of the log counts before the one here.

use crds::position::Flavor;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// Version of `stream.json`.
pub const STREAM_FORMAT: u32 = 1;

/// Who an archive belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// UID of the kube-system namespace, or a configured name outside Kubernetes.
    pub cluster: String,
    /// Namespace of the stream.
    pub namespace: String,
    /// Name of the stream.
    pub name: String,
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{} of cluster {}", self.namespace, self.name, self.cluster)
    }
}

/// The identity of an archive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamJson {
    /// Version, [`STREAM_FORMAT`].
    pub format: u32,
    /// Id of the archive, a version 4 UUID.
    pub archive_id: Uuid,
    /// Who made it.
    pub owner: Owner,
    /// Flavor of its source.
    pub flavor: Flavor,
    /// Fields of newer versions.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl StreamJson {
    /// A new archive with a fresh id.
    pub fn new(owner: Owner, flavor: Flavor) -> Self {
        let archive_id = Uuid::new_v4();
        Self { format: STREAM_FORMAT, archive_id, owner, flavor, extra: Map::new() }
    }
}
