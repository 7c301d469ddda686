//! Bodies of claims, gaps, lineages and maintenance steps.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ChangeFile, FullGtid, ListRef, Point, RawObject};
use crate::stream_json::Owner;

/// Who decided something: `config`, `annotation`, `onGap`, or a person's name where one is known.
pub type By = String;

/// A writer takes the next epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// Who holds the archive from here on.
    pub owner: Owner,
    /// Whom it takes over from; absent in the first claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takes_over: Option<TakesOver>,
    /// The last holders, the newest (this one) last; at most 8.
    pub holders: Vec<Holder>,
    /// What is captured from here on.
    pub config: ClaimConfig,
    /// Sinks that begin here, with the position they begin at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub coverage: Vec<Coverage>,
    /// When the store passed the probe, and by what it fences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Value>,
    /// Oldest partition of the change log that this writer may write into; absent: the newest. What it leaves
    /// behind there is swept by its successors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions_from: Option<String>,
}

/// The holder before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TakesOver {
    /// Its epoch.
    pub epoch: u64,
    /// Its instance id.
    pub instance: String,
}

/// One that held the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// Instance id.
    pub instance: String,
    /// The epoch of its newest claim.
    pub epoch: u64,
}

/// What a writer captures. Stored with each claim, so that it is known for every range.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimConfig {
    /// The filter of the change log, as in the specification.
    pub filter: Value,
    /// Raw bytes are kept.
    pub raw: bool,
    /// Row changes are kept.
    pub changes: bool,
    /// SHA-256 of the settings that decide what is captured, in hex.
    pub digest: String,
}

/// A sink that begins at a claim because it was off before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// `raw` or `changes`.
    pub sink: String,
    /// Where it begins.
    pub from: Point,
}

/// What was consented to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ConsentKind {
    /// Take over an archive of another owner.
    AdoptArchive,
    /// Go on with an archive that contradicts the checkpoint.
    AcceptArchive,
    /// Go on with another server.
    AcceptSource,
    /// Go on although events are missing.
    AcknowledgeGap,
    /// Begin again where the configuration's start leads.
    ResetCheckpoint,
    /// Go on at a position further ahead.
    SetCheckpoint,
}

impl ConsentKind {
    /// Whether the value itself tells that it is spent: it names the newest entry, and the entry that uses it up
    /// follows on that.
    pub fn is_spent_by_its_entry(self) -> bool {
        matches!(self, Self::ResetCheckpoint | Self::SetCheckpoint)
    }

    /// Whether it says that what is missing in a passed gap is known and accepted.
    pub fn accepts_a_gap(self) -> bool {
        matches!(self, Self::AcknowledgeGap) || self.is_spent_by_its_entry()
    }
}

/// A consent that was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Consent {
    /// What was consented to.
    pub kind: ConsentKind,
    /// The value given: an archive id, `id@n`, `id@n/position`, a server, a gap id.
    pub value: String,
    /// Who gave it.
    pub by: By,
}

/// Where a gap stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GapPhase {
    /// Seen; nothing moved.
    Detected,
    /// The cursors moved over it. Without having been detected before it was asked for.
    Passed,
    /// Somebody took note of it after it was passed.
    Acknowledged,
}

/// Events that the source can no longer give, or that somebody gave up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GapBody {
    /// Id, unique in the archive.
    pub id: String,
    /// Where it stands.
    pub phase: GapPhase,
    /// A word of the closed list of reasons.
    pub reason: String,
    /// First byte that is missing.
    pub from: Point,
    /// Where the source can go on; the cursors move here when it is passed. Raw files are whole: within the file
    /// that is being kept raw stays, in another one it begins at byte 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Point>,
    /// What is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<Missing>,
    /// Who decided.
    pub by: By,
}

/// What is missing in a gap, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Missing {
    /// Transactions, as canonical text of a GTID set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gtid: Option<String>,
    /// Where a text that is too long for the entry is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<ListRef>,
    /// Binlog files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}

/// Why a stint begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LineageCause {
    /// The archive's first.
    Start,
    /// Another server of the same history, proven by GTIDs.
    Failover,
    /// Another server, or another history, by consent.
    Consent,
    /// The checkpoint was reset, to a position that is not further ahead.
    Seek,
}

/// The server of a stint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerId {
    /// `server_uuid` (MySQL).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// `server_id`.
    pub id: u32,
    /// `version`.
    pub version: String,
}

/// By what it is known that a switch loses nothing: GTID sets as canonical text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// What the archive holds.
    pub ours: String,
    /// What the new server has executed.
    pub executed: String,
    /// What it has purged.
    pub purged: String,
}

/// A stint on one server history begins. It is never reopened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LineageBody {
    /// `<ordinal, 4 digits>-<8 characters of the server's uuid, or its id>`.
    pub id: String,
    /// Why.
    pub cause: LineageCause,
    /// On which server.
    pub server: ServerId,
    /// The file its raw bytes begin with, at byte 0.
    pub file: String,
    /// Time in the header of that file's format description, seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fde_time: Option<u32>,
    /// Where the change log begins.
    pub from_at: Point,
    /// The full GTID set at that position; absent: the archive's set goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gtid: Option<FullGtid>,
    /// Transactions whose rows are not wanted in this stint: the change log holds them already, or
    /// the start excluded them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<FullGtid>,
    /// The same by the server that wrote each (MariaDB): a set whose text names every server, and holds
    /// of each what it wrote, not what it covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by_server: Option<FullGtid>,
    /// By what the switch is proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// By whose consent it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<Consent>,
}

/// A maintenance step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MaintainOp {
    /// Raw pieces become one object.
    CompactRaw,
    /// Small change files become larger ones.
    CompactChanges,
    /// A stopped table's range is decoded.
    Redecode,
    /// The oldest objects go.
    Retire,
}

/// Objects are rewritten or retired. Moves no cursor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Maintain {
    /// What is done.
    pub op: MaintainOp,
    /// Raw objects added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_raw: Vec<RawObject>,
    /// Change files added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<ChangeFile>,
    /// Keys under the stream's root that are named no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// First and last entry it speaks about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(u64, u64)>,
    /// Id of the table gap that it closes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closes_gap: Option<String>,
    /// The others, where it closes several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closes_gaps: Vec<String>,
    /// Objects older than this are retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Timestamp>,
}

impl Maintain {
    /// A step that does nothing yet.
    pub fn new(op: MaintainOp) -> Self {
        Self {
            op,
            add_raw: Vec::new(),
            add: Vec::new(),
            remove: Vec::new(),
            range: None,
            closes_gap: None,
            closes_gaps: Vec::new(),
            before: None,
        }
    }

    /// Ids of all table gaps that it closes.
    pub fn closed(&self) -> impl Iterator<Item = &String> {
        self.closes_gap.iter().chain(&self.closes_gaps)
    }
}
