//! Where a new stream begins.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::rule_at;

/// Where reading starts if there is neither a checkpoint nor an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule_at(
        ".filePosition",
        "(self.mode == 'FilePosition') == has(self.filePosition)",
        "start.filePosition and start.mode FilePosition belong together; set both or neither",
    ),
    rule_at(
        ".gtidSet",
        "(self.mode == 'GtidSet') == has(self.gtidSet)",
        "start.gtidSet and start.mode GtidSet belong together; set both or neither",
    ),
]))]
pub struct StartSpec {
    /// Latest: from now on. Earliest: from the oldest event the source has. FilePosition: from a
    /// file and an offset. GtidSet: after a set of transactions.
    #[serde(default)]
    pub mode: StartMode,
    /// The file and the offset, for mode FilePosition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_position: Option<FilePositionSpec>,
    /// The transactions that are already processed, for mode GtidSet: a MySQL set (tags allowed) or
    /// a MariaDB list like 0-1-270. The first one after them is the first one read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16384))]
    pub gtid_set: Option<String>,
}

/// Which of the ways to begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum StartMode {
    /// From now on.
    #[default]
    Latest,
    /// From the oldest event the source has.
    Earliest,
    /// From a file and an offset.
    FilePosition,
    /// After a set of transactions.
    GtidSet,
}

/// A binlog file and an offset in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FilePositionSpec {
    /// Name of the binlog file at the source, like binlog.000042.
    #[schemars(length(max = 255), regex(pattern = r"^[^/\\]+\.[0-9]{6,10}$"))]
    pub file: String,
    /// Byte offset of an event in the file; 4 is the first one. Inside a transaction the stream
    /// begins with that transaction.
    #[serde(default = "first_event")]
    #[schemars(range(min = 4, max = 9_007_199_254_740_991_u64))]
    pub position: u64,
}

const fn first_event() -> u64 {
    crate::position::FilePosition::FIRST_EVENT
}
