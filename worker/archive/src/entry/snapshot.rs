//! The folded state as it is stored in claims, lineages and every 1000th entry.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    At, ClaimConfig, Consent, GapPhase, Holder, LineageBody, ListRef, Point, ServerId, TableGap,
    XaOpened,
};
use crate::stream_json::Owner;

/// A full GTID set, in the entry or in a list object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FullGtid {
    /// Canonical text; absent when it stands in `list`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
    /// Where a text that is too long for the entry is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<ListRef>,
}

/// One stint, as far as later decisions need it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stint {
    /// Id of the lineage.
    pub id: String,
    /// Its server.
    pub server: ServerId,
    /// Entry that opened it.
    pub n: u64,
    /// Where the change log began.
    pub from_at: Point,
    /// Transactions whose rows are not wanted in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<FullGtid>,
    /// The same by the server that wrote each (MariaDB): a set whose text names every server, and holds
    /// of each what it wrote, not what it covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by_server: Option<FullGtid>,
}

impl Stint {
    /// The stint that a lineage entry opens.
    pub fn of(n: u64, body: &LineageBody) -> Self {
        Self {
            id: body.id.clone(),
            server: body.server.clone(),
            n,
            from_at: body.from_at.clone(),
            held: body.held.clone(),
            held_by_server: body.held_by_server.clone(),
        }
    }
}

/// A gap of the whole stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenGap {
    /// Id.
    pub id: String,
    /// Where it stands.
    pub phase: GapPhase,
    /// A word of the closed list of reasons.
    pub reason: String,
    /// First byte that is missing.
    pub from: Point,
    /// Where the source can go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Point>,
    /// Entry that detected it.
    pub n: u64,
    /// When, by the writer's clock.
    pub detected_at: Timestamp,
    /// When somebody took note of it; absent while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_at: Option<Timestamp>,
}

/// The format description of the raw file that is being written, to be compared on resume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawHead {
    /// Binlog file.
    pub file: String,
    /// Time in the event's header, seconds since 1970.
    pub fde_time: u32,
    /// Server id in the event's header.
    pub server_id: u32,
    /// Server version in the event.
    pub server_version: String,
}

/// Everything that folding the log up to an entry gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Owner by the last claim.
    pub owner: Owner,
    /// Settings of the last claim.
    pub config: ClaimConfig,
    /// The last holders, the newest last.
    pub holders: Vec<Holder>,
    /// Where the archive stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<At>,
    /// The full GTID set.
    pub gtid: FullGtid,
    /// Raw bytes are held up to here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<Point>,
    /// Row changes are held up to here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Point>,
    /// The newest stints, at most 64, the current one last; only that one says what is held.
    pub lineages: Vec<Stint>,
    /// Stints in all.
    pub lineage_count: u64,
    /// Prepared transactions without a verdict.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub xa: Vec<XaOpened>,
    /// Where they stand when there are too many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xa_list: Option<ListRef>,
    /// Gaps of the stream that wait for somebody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<OpenGap>,
    /// The newest gaps that somebody acknowledged, at most 16, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acknowledged: Vec<OpenGap>,
    /// Gaps of tables that are open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub table_gaps: Vec<TableGap>,
    /// Where they stand when there are too many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_gap_list: Option<ListRef>,
    /// Gaps of the stream in all, since entry 0.
    pub gap_count: u64,
    /// Format description of the raw file being written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_head: Option<RawHead>,
    /// Commit time at the source from which on nothing is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recoverable_from: Option<Timestamp>,
    /// Newest partition of the change log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// The newest consents, at most 16, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consents: Vec<Consent>,
}
