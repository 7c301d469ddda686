//! The API `binlogstream.io/v1alpha1`: what a person writes and what the operator reports.
//!
//! Rules of this version: no field exists before it does something; schema defaults only for
//! meaning (pod defaults are the chart's); every list, map and text has a bound; enums are words
//! that YAML does not take for booleans.

// Each print column has a type and a priority; the lint takes them for repetitions.
#![allow(clippy::duplicated_attributes)]

mod archive;
mod checkpoint;
mod filter;
mod refs;
mod source;
mod start;
mod status;
mod worker;

pub use archive::{
    ArchiveSpec, ChangesSpec, CommitSpec, ForeignWriters, RawSpec, S3CredentialsRef, S3Spec,
    ServerSideEncryption, SseAlgorithm, VolumeSpec,
};
pub use checkpoint::{CheckpointSpec, CheckpointStoreKind, StreamStateSpec};
pub use filter::FilterSpec;
pub use refs::{CaKind, CaRef, LocalRef, UserPasswordRef};
pub use source::{SourceSpec, TlsMode, TlsSpec};
pub use start::{FilePositionSpec, StartMode, StartSpec};
pub use status::{
    ArchiveState, ArchiveStatus, BinlogStreamStatus, Condition, ConditionStatus, FenceKind,
    GapStatus, HandledAction, LagState, LagStatus, MAX_GTID_SET_TEXT, MAX_LISTED, PositionStatus,
    SourceRole, SourceStatus, StartOrigin, StartStatus, StoppedTableStatus, TablesStatus,
    WorkerPodStatus,
};
pub use worker::{
    ComputeResources, LogLevel, PodMetadata, ProxySpec, ResourceQuantity, SecurityContextSpec,
    ServiceAccountSpec, SpoolSpec, WorkerSpec,
};

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What to stream, from where, and where to.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "binlogstream.io",
    version = "v1alpha1",
    kind = "BinlogStream",
    plural = "binlogstreams",
    singular = "binlogstream",
    shortname = "streams",
    shortname = "stream",
    shortname = "bls",
    category = "binlog",
    namespaced,
    derive = "PartialEq",
    status = "BinlogStreamStatus",
    doc = "A BinlogStream keeps the binlog of one MySQL or MariaDB server: every byte and every row \
           change, in S3 or on a volume.",
    selectable = ".spec.state",
    selectable = ".spec.source.host",
    selectable = ".status.reason",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Streaming, archived, checkpointed, no gap waiting."
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.reason",
        description = "Reason of the Ready condition."
    ),
    printcolumn(
        name = "Lag",
        type_ = "string",
        json_path = ".status.lag.text",
        description = "How far reading is behind the source: 0s, <10s, 2m, idle, ?."
    ),
    printcolumn(
        name = "Archived",
        type_ = "string",
        json_path = ".status.archive.text",
        description = "How far the archive is behind reading: current, behind 2m, failing, ?."
    ),
    printcolumn(
        name = "Gaps",
        type_ = "integer",
        json_path = ".status.gapCount",
        description = "Holes in the archive, acknowledged or not."
    ),
    printcolumn(
        name = "Source",
        type_ = "string",
        json_path = ".spec.source.host",
        priority = 1,
        description = "Host of the source."
    ),
    printcolumn(
        name = "Position",
        type_ = "string",
        json_path = ".status.position.text",
        priority = 1,
        description = "Durable position."
    ),
    printcolumn(
        name = "ServerId",
        type_ = "integer",
        json_path = ".status.serverId",
        priority = 1,
        description = "Server id with which the worker registers at the source."
    ),
    printcolumn(
        name = "Pod",
        type_ = "string",
        json_path = ".status.worker.pod",
        priority = 1,
        description = "Pod of the worker."
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        description = "Message of the Ready condition."
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since creation."
    )
)]
#[serde(rename_all = "camelCase")]
pub struct BinlogStreamSpec {
    /// The server to read from.
    pub source: SourceSpec,
    /// Server id with which the worker registers at the source as a replica. It must differ from
    /// the id of the source and of every other replica. Absent: the operator allots one and shows
    /// it in status.serverId.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub server_id: Option<u32>,
    /// Where reading starts if there is neither a checkpoint nor an archive. Fixed once resolved.
    #[serde(default)]
    pub start: StartSpec,
    /// Which tables go into the change log. The raw archive is not filtered: it holds every byte of
    /// the binlog; set archive.raw.enabled to false if that must not be.
    #[serde(default, skip_serializing_if = "FilterSpec::is_empty")]
    pub filter: FilterSpec,
    /// How events are handed over inside the worker.
    #[serde(default)]
    pub batch: BatchSpec,
    /// Where the worker notes how far it has come.
    #[serde(default)]
    pub checkpoint: CheckpointSpec,
    /// Where the binlog and its changes are kept.
    pub archive: ArchiveSpec,
    /// What to do when the source has purged events that are not archived yet. Stop waits for
    /// an acknowledgement; Resume goes on at the oldest event the source still has, once the gap is
    /// recorded in the archive.
    #[serde(default)]
    pub on_gap: OnGap,
    /// Running streams. Paused closes the connection to the source and keeps the pod. Stopped
    /// removes the pod.
    #[serde(default)]
    pub state: StreamState,
    /// The worker's pod. What is absent comes from the operator's defaults and is shown in
    /// status.worker.
    #[serde(default, skip_serializing_if = "WorkerSpec::is_empty")]
    pub worker: WorkerSpec,
}

/// Hand-over inside the worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchSpec {
    /// Most events handed over at once. It never delays durability; archive.commit decides that.
    #[serde(default = "default_max_events")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_events: u32,
}

const fn default_max_events() -> u32 {
    1000
}

impl Default for BatchSpec {
    fn default() -> Self {
        Self { max_events: default_max_events() }
    }
}

/// What to do about events that the source has purged before they were archived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum OnGap {
    /// Wait until the gap is acknowledged.
    #[default]
    Stop,
    /// Record the gap, then go on at the oldest event the source has.
    Resume,
}

/// Whether the stream should run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum StreamState {
    /// Stream.
    #[default]
    Running,
    /// Close the connection to the source; keep the pod and its claim on the archive.
    Paused,
    /// No pod.
    Stopped,
}
