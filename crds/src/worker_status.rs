//! What a worker answers at `/status`. The operator builds every field of the resource's status and
//! every condition from it; nothing in it is a secret or a value of a row.
//!
//! Each facet carries a `reason` of the closed list and a `message` that names the mend. A reason
//! or word that a newer worker knows and this reader does not reads as `Unknown`, and an unknown
//! field is skipped: operator and worker are upgraded at different times
//! (`status_of_a_newer_worker_is_read` in `tests/worker_status.rs`).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::conditions::Reason;
use crate::position::{FilePosition, Flavor};
pub use crate::v1alpha1::{ArchiveState, FenceKind, LagState, SourceRole, StartMode, StartOrigin};

/// Version of this record.
pub const STATUS_VERSION: u32 = 1;

/// The worker's report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerStatus {
    /// Version of this record, [`STATUS_VERSION`].
    pub version: u32,
    /// Version of the worker program.
    pub worker_version: String,
    /// Instance id with which the worker claims.
    pub instance: String,
    /// Uid of the pod; absent outside Kubernetes.
    pub pod_uid: Option<String>,
    /// Epoch of the worker's claim; absent before the claim.
    pub epoch: Option<u64>,
    /// Generation of the BinlogStream that the configuration in use was made from.
    pub config_generation: Option<i64>,
    /// Why a newer configuration is not in use: field, value and mend. Absent: the newest one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_error: Option<String>,
    /// When the report was made, by the worker's clock.
    pub observed_at: Timestamp,
    /// What the worker is doing.
    pub phase: Phase,
    /// Why, when it is not streaming.
    pub reason: Reason,
    /// Why, and what mends it.
    pub message: String,
    /// The source and the connection to it.
    pub source: SourceFacet,
    /// Where the stream began; absent before it is resolved.
    pub start: Option<StartFacet>,
    /// Last position received.
    pub received: Option<PositionFacet>,
    /// Last position that is durable.
    pub durable: Option<PositionFacet>,
    /// How far `received` is behind the source.
    pub lag: LagFacet,
    /// The archive.
    pub archive: ArchiveFacet,
    /// The checkpoint.
    pub checkpoint: CheckpointFacet,
    /// Decoding.
    pub decoding: DecodingFacet,
    /// The newest gaps, open ones first, at most [`MAX_LISTED`].
    #[serde(default)]
    pub gaps: Vec<GapFacet>,
    /// Gaps in the archive, acknowledged or not.
    #[serde(default)]
    pub gap_count: u32,
    /// Gaps that wait for acknowledgement.
    #[serde(default)]
    pub open_gap_count: u32,
    /// Who fenced this worker; absent while it is not fenced.
    pub fenced: Option<FencedFacet>,
    /// What went through since the process began.
    pub counters: Counters,
    /// The last action that was asked for.
    pub last_handled_action: Option<ActionFacet>,
    /// What became of the request to reset or set the checkpoint with which the worker started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_action: Option<ActionFacet>,
}

/// Most gaps and most stopped tables in a report.
pub const MAX_LISTED: usize = crate::v1alpha1::MAX_LISTED;

/// What the worker is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "&'static str")]
pub enum Phase {
    /// Reading its archive, checking the source, claiming.
    #[default]
    Starting,
    /// Streaming.
    Streaming,
    /// Told to pause.
    Paused,
    /// Committing what it holds, then ending.
    Draining,
    /// Replaced by another instance.
    Fenced,
    /// Waiting for something that somebody must change, or that may come back.
    Waiting,
    /// A phase that a newer worker knows.
    Unknown,
}

impl From<Phase> for &'static str {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Starting => "Starting",
            Phase::Streaming => "Streaming",
            Phase::Paused => "Paused",
            Phase::Draining => "Draining",
            Phase::Fenced => "Fenced",
            Phase::Waiting => "Waiting",
            Phase::Unknown => "Unknown",
        }
    }
}

impl From<String> for Phase {
    fn from(text: String) -> Self {
        match text.as_str() {
            "Starting" => Self::Starting,
            "Streaming" => Self::Streaming,
            "Paused" => Self::Paused,
            "Draining" => Self::Draining,
            "Fenced" => Self::Fenced,
            "Waiting" => Self::Waiting,
            _ => Self::Unknown,
        }
    }
}

/// The source and the connection to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceFacet {
    /// Whether the replication connection is up and proven alive.
    pub connected: bool,
    /// Why, or why not.
    pub reason: Reason,
    /// Why, and what mends it.
    pub message: String,
    /// Address and port of the open connection.
    pub address: Option<String>,
    /// UUID of the server (MySQL).
    pub server_uuid: Option<Uuid>,
    /// Server id of the server.
    pub server_id: Option<u32>,
    /// Server id with which the worker registers.
    pub own_server_id: Option<u32>,
    /// Version of the server.
    pub version: Option<String>,
    /// Kind of the server.
    pub flavor: Option<Flavor>,
    /// Whether it takes writes itself.
    pub role: Option<SourceRole>,
    /// How long it keeps its binlog, in seconds; 0 = for ever.
    pub binlog_retention_seconds: Option<u64>,
    /// Estimate of how long until it purges the oldest file still needed, in seconds.
    pub purge_headroom_seconds: Option<u64>,
    /// Whether the connection is encrypted.
    pub encrypted: Option<bool>,
    /// When the last event arrived, by the worker's clock.
    pub last_event_at: Option<Timestamp>,
    /// When the last heartbeat arrived, by the worker's clock.
    pub last_heartbeat_at: Option<Timestamp>,
    /// Connections made since the process began.
    #[serde(default)]
    pub connects: u64,
}

/// Where the stream began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartFacet {
    /// Which of the ways to begin was used.
    pub mode: StartMode,
    /// The position it led to.
    pub position: FilePosition,
    /// Where the position came from.
    pub origin: StartOrigin,
    /// When it was resolved.
    pub resolved_at: Timestamp,
}

/// A place in the binlog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PositionFacet {
    /// Binlog file.
    pub file: String,
    /// Byte offset in the file.
    pub offset: u64,
    /// GTID set up to here, cut to 1024 characters.
    pub gtid_set: Option<String>,
    /// Whether `gtid_set` was cut.
    #[serde(default)]
    pub gtid_set_truncated: bool,
    /// Commit time of the last transaction up to here, by the source's clock.
    pub event_time: Option<Timestamp>,
}

impl PositionFacet {
    /// A position with its GTID set cut to what a status may hold.
    pub fn new(at: &FilePosition, gtid_set: Option<&str>, event_time: Option<Timestamp>) -> Self {
        let most = crate::v1alpha1::MAX_GTID_SET_TEXT;
        Self {
            file: at.file.clone(),
            offset: at.offset,
            gtid_set: gtid_set.map(|set| set.chars().take(most).collect()),
            gtid_set_truncated: gtid_set.is_some_and(|set| set.len() > most),
            event_time,
        }
    }
}

/// How far reading is behind the source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LagFacet {
    /// In one word.
    pub state: LagState,
    /// In seconds, when it is known.
    pub seconds: Option<u64>,
    /// When it was observed.
    pub observed_at: Option<Timestamp>,
}

/// The archive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveFacet {
    /// Whether what was received becomes durable in time.
    pub healthy: bool,
    /// Why, or why not.
    pub reason: Reason,
    /// Why, and what mends it.
    pub message: String,
    /// In one word.
    pub state: ArchiveState,
    /// Id of the archive.
    pub archive_id: Option<Uuid>,
    /// Number of the newest entry of the log.
    pub n: Option<u64>,
    /// When the newest entry became durable.
    pub last_commit_time: Option<Timestamp>,
    /// Commit time of the oldest change that can be restored.
    pub recoverable_from: Option<Timestamp>,
    /// Commit time of the newest change that can be restored.
    pub recoverable_until: Option<Timestamp>,
    /// Bytes received and not yet durable.
    #[serde(default)]
    pub pending_bytes: u64,
    /// When the oldest of them arrived, by the worker's clock.
    pub oldest_pending_at: Option<Timestamp>,
    /// How a second writer is kept out.
    pub fence: Option<FenceKind>,
}

/// The checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointFacet {
    /// Whether it follows the log.
    pub healthy: bool,
    /// Why, or why not.
    pub reason: Reason,
    /// Why, and what mends it.
    pub message: String,
    /// Entry number that it names.
    pub n: Option<u64>,
    /// When it was written.
    pub saved_at: Option<Timestamp>,
}

/// Decoding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecodingFacet {
    /// Whether every table of the filter is decoded.
    pub healthy: bool,
    /// Why, or why not.
    pub reason: Reason,
    /// Why, and what mends it.
    pub message: String,
    /// Tables that are stopped.
    #[serde(default)]
    pub stopped_count: u32,
    /// The first of them, at most [`MAX_LISTED`].
    #[serde(default)]
    pub stopped: Vec<StoppedTableFacet>,
}

/// A table that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoppedTableFacet {
    /// Schema and table.
    pub table: String,
    /// Why.
    pub reason: Reason,
    /// What mends it.
    #[serde(default)]
    pub message: String,
    /// Position of the first row that is missing.
    pub since: FilePosition,
}

/// A hole in the archive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GapFacet {
    /// Its name.
    pub id: String,
    /// Why it came to be.
    pub reason: Reason,
    /// Last position before it.
    pub from: FilePosition,
    /// First position after it, when known.
    pub to: Option<FilePosition>,
    /// When it was detected.
    pub detected_at: Timestamp,
    /// When somebody acknowledged it.
    pub acknowledged_at: Option<Timestamp>,
    /// Whether the stream went on behind it.
    #[serde(default)]
    pub passed: bool,
}

/// Who fenced this worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FencedFacet {
    /// Instance id of the other one.
    pub by: String,
    /// Its epoch.
    pub epoch: u64,
    /// When this worker learnt of it.
    pub at: Timestamp,
}

/// What went through since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Counters {
    /// Events received.
    pub events: u64,
    /// Transactions received.
    pub transactions: u64,
    /// Row changes decoded.
    pub rows: u64,
    /// Bytes of binlog received.
    pub bytes: u64,
    /// Log entries written.
    pub commits: u64,
}

/// The last action that was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionFacet {
    /// Which action: the key of the consent, like `acknowledge-gap`.
    #[serde(rename = "type")]
    pub type_: String,
    /// The value that was given.
    pub requested: String,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// How it ended.
    pub outcome: Outcome,
    /// What was done, or why not.
    pub message: String,
}

/// How an action ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Carried out.
    Done,
    /// Not carried out, and it will not be: the request does not fit.
    Refused,
    /// Tried, and tried again later.
    Failed,
}
