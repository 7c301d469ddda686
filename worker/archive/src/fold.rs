//! Folding the log: what all entries up to one mean together. Pure.
//!
//! Checked on every entry, one's own before it is sent and all others when they are read:
//! - V1 The log is dense and linked by `prev`; the epoch never falls and rises only in a claim
//!   (`a_hole_a_forged_entry_and_a_falling_epoch_are_refused`).
//! - V2 An entry names only objects of its own epoch (`an_object_of_another_epoch_is_refused`).
//! - V4 `raw.from` and `changes.from` are the last `to` of that cursor, except after a passed gap,
//!   a lineage, or a coverage change in a claim (`a_cursor_never_jumps`).
//! - V5 A transaction joins the GTID set at the entry that names its bytes: the digest of the full
//!   set is the set before and what was added (`a_wrong_gtid_digest_is_refused`).
//! - Folding from the last `state` gives what folding from entry 0 gives
//!   (`fold_from_any_state_equals_fold_from_zero`).

mod apply;
mod check;
#[cfg(test)]
mod tests;

pub(crate) use apply::prepared;

use std::sync::Arc;

use crds::position::{Flavor, GtidSet};
use jiff::Timestamp;
use uuid::Uuid;

use crate::entry::{Entry, Point, Snapshot, Stored, sha256};

/// A `state` is written with every entry whose number is a multiple of this.
pub const STATE_EVERY: u64 = 1_000;
/// Holders kept in a claim.
pub const MAX_HOLDERS: usize = 8;
/// Stints kept in the state.
pub const MAX_STINTS: usize = 64;
/// Acknowledged gaps kept in the state.
pub const MAX_ACKNOWLEDGED: usize = 16;
/// Consents kept in the state.
pub const MAX_CONSENTS: usize = 256;

/// What the log means up to entry `n`.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Id of the archive.
    pub archive: Uuid,
    /// Number of the newest entry.
    pub n: u64,
    /// SHA-256 of its bytes, in hex.
    pub digest: String,
    /// The epoch in force.
    pub epoch: u64,
    /// Instance that wrote the newest entry.
    pub instance: String,
    /// Time of the newest entry.
    pub time: Timestamp,
    /// The full GTID set at the position.
    pub gtid: Arc<GtidSet>,
    /// Everything else. Its `gtid` field is left empty here.
    pub facts: Snapshot,
    /// Why nothing may be written after the newest entry: it is of a newer version.
    pub unwritable: Option<String>,
}

/// Why an entry does not follow on the log before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// The entry is not where or what it says.
    #[error("fold log entry {n}: {problem}")]
    Broken {
        /// Number of the entry.
        n: u64,
        /// Which rule it breaks.
        problem: String,
    },
    /// A GTID set in the entry cannot be read.
    #[error("fold log entry {n}: {source}")]
    Gtid {
        /// Number of the entry.
        n: u64,
        /// What is wrong with the set.
        source: crds::position::GtidError,
    },
}

impl State {
    /// Starts from an entry that carries its `state`, or from entry 0.
    ///
    /// # Errors
    /// The entry has neither, or breaks a rule.
    pub fn begin(flavor: Flavor, stored: &Stored) -> Result<Self, FoldError> {
        apply::begin(flavor, stored)
    }

    /// The state after one more entry.
    ///
    /// # Errors
    /// The entry does not follow, or breaks a rule.
    pub fn apply(&self, stored: &Stored) -> Result<Self, FoldError> {
        apply::apply(self, stored)
    }

    /// Flavor of the source.
    pub fn flavor(&self) -> Flavor {
        self.gtid.flavor()
    }

    /// Where the dump goes on: the least of the enabled cursors; `None` before the first lineage.
    pub fn resume(&self) -> Option<Point> {
        least(self.facts.raw.as_ref(), self.facts.changes.as_ref())
    }

    /// Id of the current lineage.
    pub fn lineage(&self) -> Option<&str> {
        self.facts.lineages.last().map(|stint| stint.id.as_str())
    }

    /// The id that the next lineage gets: ordinal and 8 characters of the server's own id.
    pub fn next_lineage_id(&self, server: &str) -> String {
        let short: String = server.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
        format!("{:04}-{short}", self.facts.lineage_count.saturating_add(1))
    }

    /// The instance that made the newest claim.
    pub fn holder(&self) -> Option<&str> {
        self.facts.holders.last().map(|holder| holder.instance.as_str())
    }
}

/// The lesser of two cursors of one lineage.
pub(crate) fn least(raw: Option<&Point>, changes: Option<&Point>) -> Option<Point> {
    let (Some(raw), Some(changes)) = (raw, changes) else {
        return raw.or(changes).cloned();
    };
    match changes.position().cmp_in_lineage(&raw.position()) {
        Some(std::cmp::Ordering::Less) => Some(changes.clone()),
        _ => Some(raw.clone()),
    }
}

/// SHA-256 of a set's canonical text, in hex.
pub fn gtid_digest(set: &GtidSet) -> String {
    sha256(set.to_string().as_bytes())
}

fn broken(entry: &Entry, problem: impl Into<String>) -> FoldError {
    FoldError::Broken { n: entry.n, problem: problem.into() }
}
