//! One entry of the log, as it is stored: one line of JSON.
//!
//! - V3 One byte string per (epoch, n): an entry is turned into bytes once, and those bytes are
//!   what is sent, digested and folded (`an_ambiguous_create_sends_the_same_bytes` in
//!   `tests/suite/interleavings.rs`).
//! - Unknown fields survive reading and writing (`unknown_fields_are_kept`).
//! - An unknown `kind` or `format` is read as such and refuses to be written after
//!   (`a_newer_kind_refuses_to_write` in `fold/tests.rs`); one with another unknown word is not read, by the name of who
//!   wrote it (`a_word_of_a_newer_version_is_no_damage` in `tests/suite/archives.rs`).
//! - What was written once is read for ever (`golden_entries_read_and_write_the_same_bytes` in
//!   `tests/suite/golden.rs`).
//! - Entries hold no row values.

mod events;
mod objects;
mod snapshot;

pub use events::{
    By, Claim, ClaimConfig, Consent, ConsentKind, Coverage, GapBody, GapPhase, Holder, LineageBody,
    LineageCause, Maintain, MaintainOp, Missing, Proof, ServerId, TakesOver,
};
pub use objects::{
    ChangeFile, ChangeSpan, ClosedFile, FileEnd, ListRef, Objects, RawObject, RawSpan, TableGap,
    XaClosed, XaOpened, XaPart,
};
pub use snapshot::{FullGtid, OpenGap, RawHead, Snapshot, Stint};

use bytes::Bytes;
pub use crds::checkpoint::Tail;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Version of an entry.
pub const ENTRY_FORMAT: u32 = 1;
/// Most bytes of one entry.
pub const MAX_ENTRY_BYTES: usize = 1 << 20;
/// No entry has a larger number or epoch: counting on from one that was read cannot overflow
/// (`a_number_that_nobody_gave_is_refused` in `tests/suite/fuzz.rs`).
pub const MAX_NUMBER: u64 = 1 << 62;

/// What an entry does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A writer takes the next epoch.
    Claim,
    /// Objects become part of the archive.
    Commit,
    /// Events are missing, or a decision about it.
    Gap,
    /// A stint on one server history begins.
    Lineage,
    /// Objects are rewritten or retired.
    Maintain,
    /// Written by a newer version.
    Unknown(String),
}

impl EntryKind {
    /// The word in `kind`.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Claim => "claim",
            Self::Commit => "commit",
            Self::Gap => "gap",
            Self::Lineage => "lineage",
            Self::Maintain => "maintain",
            Self::Unknown(word) => word,
        }
    }
}

impl Serialize for EntryKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for EntryKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Ok(match word.as_str() {
            "claim" => Self::Claim,
            "commit" => Self::Commit,
            "gap" => Self::Gap,
            "lineage" => Self::Lineage,
            "maintain" => Self::Maintain,
            _ => Self::Unknown(word),
        })
    }
}

/// A byte position in one lineage: up to it, exclusively, when it ends a range.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// Id of the lineage.
    pub lineage: String,
    /// Binlog file.
    pub file: String,
    /// Byte offset in the file; its magic is bytes 0 to 4.
    pub pos: u64,
}

impl Point {
    /// A point from its parts.
    pub fn new(lineage: impl Into<String>, file: impl Into<String>, pos: u64) -> Self {
        Self { lineage: lineage.into(), file: file.into(), pos }
    }

    /// The position without its lineage.
    pub fn position(&self) -> crds::position::FilePosition {
        crds::position::FilePosition::new(self.file.clone(), self.pos)
    }
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{} of lineage {}", self.file, self.pos, self.lineage)
    }
}

/// What an entry adds to the GTID set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GtidStep {
    /// Text of what is added, on MariaDB with the last transaction of each server; empty for nothing.
    #[serde(default)]
    pub added: String,
    /// Where a text that is too long for the entry is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<ListRef>,
    /// SHA-256 of the canonical text of the full set after this entry, in hex.
    pub digest: String,
}

/// Where the archive stands after an entry: the least of the enabled cursors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct At {
    /// Id of the lineage.
    pub lineage: String,
    /// Binlog file.
    pub file: String,
    /// Byte offset in the file.
    pub pos: u64,
    /// The GTID set at this position.
    pub gtid: GtidStep,
    /// The last committed event before the position, to be compared on resume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<Tail>,
    /// Commit time of the last transaction, by the source's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time: Option<Timestamp>,
}

impl At {
    /// The position.
    pub fn point(&self) -> Point {
        Point::new(self.lineage.clone(), self.file.clone(), self.pos)
    }
}

/// Who wrote an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Writer {
    /// Instance id: UID of the pod, or a UUID kept in the working directory.
    pub instance: String,
    /// Version of the program.
    pub version: String,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Version, [`ENTRY_FORMAT`].
    pub format: u32,
    /// Id of the archive.
    pub archive: Uuid,
    /// Number, dense from 0.
    pub n: u64,
    /// Epoch of the writer, from 1.
    pub epoch: u64,
    /// What it does.
    pub kind: EntryKind,
    /// SHA-256 of the bytes of entry n-1, in hex; null in entry 0.
    pub prev: Option<String>,
    /// When it was made, by the writer's clock, never before the entry before it.
    pub time: Timestamp,
    /// Who wrote it.
    pub writer: Writer,
    /// Where the archive stands after it; absent until there is a lineage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<At>,
    /// Raw bytes added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<RawSpan>,
    /// Row changes added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<ChangeSpan>,
    /// Prepared transactions begun and decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xa: Option<XaPart>,
    /// Ranges of tables that are missing in the change log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<TableGap>,
    /// Where they stand when there are too many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap_list: Option<ListRef>,
    /// Where the objects of `raw` and `changes` are listed when there are too many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<ListRef>,
    /// Body of a claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// Body of a gap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<GapBody>,
    /// Body of a lineage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<LineageBody>,
    /// Body of a maintenance step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintain: Option<Maintain>,
    /// A consent that was given and is now used up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consents: Vec<Consent>,
    /// The whole folded state after this entry: in claims, lineages and every 1000th entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Box<Snapshot>>,
    /// Fields of newer versions.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Entry {
    /// The bytes that are stored: one line of JSON, with its line end.
    ///
    /// # Errors
    /// Serialisation failed; it does not for this type.
    pub fn to_bytes(&self) -> Result<Bytes, serde_json::Error> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(Bytes::from(line))
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// The bytes are no entry: torn, or of something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let entry: Self = serde_json::from_slice(bytes)?;
        if entry.n > MAX_NUMBER || entry.epoch > MAX_NUMBER {
            return Err(serde::de::Error::custom(
                "its number or epoch is none that was ever given",
            ));
        }
        Ok(entry)
    }

    /// Who wrote entry `n`, where its head can be read whatever its body holds.
    pub(crate) fn writer_of(bytes: &[u8], n: u64) -> Option<Writer> {
        #[derive(Deserialize)]
        struct Head {
            n: u64,
            epoch: u64,
            writer: Writer,
        }
        let head: Head = serde_json::from_slice(bytes).ok()?;
        (head.n == n && head.epoch <= MAX_NUMBER).then_some(head.writer)
    }

    /// Every list object that it refers to.
    pub fn lists(&self) -> impl Iterator<Item = &ListRef> {
        let whole = [self.list.as_ref(), self.gap_list.as_ref()];
        let added = self.at.as_ref().and_then(|at| at.gtid.list.as_ref());
        let schemas = self.changes.as_ref().and_then(|span| span.schema_list.as_ref());
        let missing = self.gap.as_ref().and_then(|gap| gap.missing.as_ref()?.list.as_ref());
        let begins = self.lineage.iter().flat_map(|body| {
            [body.gtid.as_ref(), body.held.as_ref(), body.held_by_server.as_ref()]
        });
        let state = self.state.iter().flat_map(|state| {
            let stints = state.lineages.iter();
            let held = stints.flat_map(|stint| [&stint.held, &stint.held_by_server]);
            held.map(Option::as_ref).chain([Some(&state.gtid)])
        });
        let sets = begins.chain(state).flatten().filter_map(|full| full.list.as_ref());
        let open = self.state.as_ref().and_then(|state| state.table_gap_list.as_ref());
        let held = self.state.as_ref().and_then(|state| state.xa_list.as_ref());
        let opened = self.xa.as_ref().and_then(|xa| xa.opened_list.as_ref());
        let closed = self.xa.as_ref().and_then(|xa| xa.closed_list.as_ref());
        let single = [added, schemas, missing, open, held, opened, closed];
        whole.into_iter().chain(single).flatten().chain(sets)
    }

    /// Whether this program knows all that the entry means.
    pub fn is_known(&self) -> bool {
        self.format == ENTRY_FORMAT && !matches!(self.kind, EntryKind::Unknown(_))
    }
}

/// An entry as it is stored, with the digest of its bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// What it says.
    pub entry: Entry,
    /// SHA-256 of its bytes, in hex.
    pub digest: String,
}

/// SHA-256 in lower-case hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
