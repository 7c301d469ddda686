//! What the operator reports. The operator is the only writer; every list and text has a bound.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::start::StartMode;
use super::worker::ComputeResources;
use crate::conditions::{ConditionType, Reason};
use crate::position::Flavor;

/// Most gaps and most stopped tables listed in a status; the counts tell the whole number.
pub const MAX_LISTED: usize = 16;
/// Longest GTID set in a status, in characters.
pub const MAX_GTID_SET_TEXT: usize = 1024;

/// What is known about the stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BinlogStreamStatus {
    /// Generation of the specification that this status describes; -1 before the first report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Version of the operator that wrote this status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub operator_version: Option<String>,
    /// Reason of the Ready condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub reason: Option<String>,
    /// Facts, one per type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Server id with which the worker registers at the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_id: Option<u32>,
    /// Where the stream began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartStatus>,
    /// Durable position: everything up to it is in the archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<PositionStatus>,
    /// How far reading is behind the source, by the source's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<LagStatus>,
    /// The archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveStatus>,
    /// Holes in the archive, acknowledged or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap_count: Option<u32>,
    /// Holes that wait for acknowledgement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_gap_count: Option<u32>,
    /// The newest holes, open ones first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub gaps: Vec<GapStatus>,
    /// Tables that cannot be decoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<TablesStatus>,
    /// The server that is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceStatus>,
    /// The worker's pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerPodStatus>,
    /// The last action that was asked for by annotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_action: Option<HandledAction>,
    /// The last request to reset or set the checkpoint: Pending from when it was asked, while the
    /// stream is stopped, until the worker's next start carries it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_action: Option<HandledAction>,
}

/// One fact about the stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What the condition speaks about.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z]+$"))]
    pub type_: String,
    /// True, False or Unknown.
    pub status: ConditionStatus,
    /// Why, as one word of a closed list.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z]+$"))]
    pub reason: String,
    /// Why, and what mends it.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// When the status last changed.
    pub last_transition_time: Time,
    /// Generation of the specification that the condition describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

impl Condition {
    /// The type, if it is one of ours.
    pub fn kind(&self) -> Option<ConditionType> {
        self.type_.parse().ok()
    }

    /// The reason, if it is one of ours.
    pub fn known_reason(&self) -> Option<Reason> {
        self.reason.parse().ok()
    }
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It is not known.
    Unknown,
}

impl ConditionStatus {
    /// True or False.
    pub const fn of(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// Where the stream began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StartStatus {
    /// Which of the ways to begin was used.
    pub mode: StartMode,
    /// The position it led to.
    #[schemars(length(max = 320))]
    pub position: String,
    /// Where the position came from.
    pub origin: StartOrigin,
    /// When it was resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Time>,
}

/// Where a start position came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum StartOrigin {
    /// From spec.start.
    Spec,
    /// From a checkpoint.
    Checkpoint,
    /// From an archive.
    Archive,
}

/// A place in the binlog.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PositionStatus {
    /// Binlog file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub file: Option<String>,
    /// Byte offset in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// GTID set up to here; cut when it is longer than 1024 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub gtid_set: Option<String>,
    /// Whether gtidSet was cut; the whole set is in the archive and in the checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gtid_set_truncated: Option<bool>,
    /// Commit time of the last transaction up to here, by the source's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time: Option<Time>,
    /// File and offset in one text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 320))]
    pub text: Option<String>,
}

/// How far reading is behind the source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LagStatus {
    /// In one word.
    pub state: LagState,
    /// In seconds, when it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// In words: 0s, <10s, 2m, idle, ?.
    #[schemars(length(max = 32))]
    pub text: String,
    /// When it was observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Time>,
}

/// Lag in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum LagState {
    /// Everything was read.
    CaughtUp,
    /// Older events are being read.
    CatchingUp,
    /// The source writes nothing; heartbeats prove the connection.
    Idle,
    /// There is more to read and nothing arrives.
    Stalled,
    /// Not known.
    Unknown,
}

/// The archive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveStatus {
    /// In one word.
    pub state: ArchiveState,
    /// In words: current, behind 2m, failing, ?.
    #[schemars(length(max = 32))]
    pub text: String,
    /// Id of the archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub archive_id: Option<String>,
    /// Number of the newest entry in the archive's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<u64>,
    /// When the newest entry was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_commit_time: Option<Time>,
    /// Commit time of the oldest change that can be restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recoverable_from: Option<Time>,
    /// Commit time of the newest change that can be restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recoverable_until: Option<Time>,
    /// Bytes received and not yet durable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_bytes: Option<u64>,
    /// How a second writer is kept out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<FenceKind>,
}

/// The archive in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ArchiveState {
    /// What was received is durable, or will be within the commit delay.
    Current,
    /// It becomes durable too late.
    Behind,
    /// It does not become durable.
    Failing,
    /// Switched off.
    Disabled,
    /// Not known.
    Unknown,
}

/// How a second writer is kept out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum FenceKind {
    /// By conditional creates of the object store.
    ConditionalCreate,
    /// By exclusive creates of the file system.
    ExclusiveCreate,
}

/// A hole in the archive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GapStatus {
    /// Its name, for acknowledging it.
    #[schemars(length(min = 1, max = 64))]
    pub id: String,
    /// Why it came to be.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// Last position before it.
    #[schemars(length(max = 320))]
    pub from: String,
    /// First position after it, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 320))]
    pub to: Option<String>,
    /// When it was detected.
    pub detected_at: Time,
    /// When somebody acknowledged it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_at: Option<Time>,
}

/// Tables that cannot be decoded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TablesStatus {
    /// How many there are.
    pub stopped_count: u32,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub stopped: Vec<StoppedTableStatus>,
}

/// A table that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoppedTableStatus {
    /// Schema and table.
    #[schemars(length(min = 1, max = 133))]
    pub name: String,
    /// Why.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// Position of the first row that is missing.
    #[schemars(length(max = 320))]
    pub since: String,
}

/// The server that is read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// Address and port of the open connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 320))]
    pub address: Option<String>,
    /// UUID of the server (MySQL).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub server_uuid: Option<String>,
    /// Server id of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_id: Option<u32>,
    /// Version of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub version: Option<String>,
    /// Kind of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flavor: Option<Flavor>,
    /// Whether it takes writes itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<SourceRole>,
    /// How long it keeps its binlog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub binlog_retention: Option<String>,
    /// How long until it purges the oldest file that is still needed, estimated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub purge_headroom: Option<String>,
}

/// Whether a server takes writes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SourceRole {
    /// It takes writes.
    Primary,
    /// It repeats another server's writes.
    Replica,
    /// Not known.
    Unknown,
}

/// The worker's pod, with the defaults that are in effect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerPodStatus {
    /// Name of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub pod: Option<String>,
    /// Node of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub node: Option<String>,
    /// Image of the worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub image: Option<String>,
    /// Number of the worker's claim on the archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Value of the stream's restart annotation that was last carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub restarted_at: Option<String>,
    /// Restarts of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u32>,
    /// CPU and memory in effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ComputeResources>,
    /// Size of the spool in effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub spool: Option<String>,
}

/// The last action that was asked for by annotation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HandledAction {
    /// Which action.
    #[serde(rename = "type")]
    #[schemars(length(max = 64))]
    pub type_: String,
    /// The value of the annotation.
    #[schemars(length(max = 1024))]
    pub requested: String,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
    /// How it ended: Done, Refused or Failed; Pending while it waits for the worker's next start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub outcome: Option<String>,
    /// What was done, or why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

impl HandledAction {
    /// The outcome of what waits for the worker's next start.
    pub const PENDING: &'static str = "Pending";

    /// Whether it waits for the worker's next start.
    pub fn is_pending(&self) -> bool {
        self.outcome.as_deref() == Some(Self::PENDING)
    }

    /// Whether it is about this value of this action.
    pub fn is_of(&self, action: &str, value: &str) -> bool {
        self.type_ == action && self.requested == value
    }
}
