//! What goes into the assembler and what comes out of it.

use crds::position::{FilePosition, GtidSet};

use super::super::cut::Tail;
use super::super::held::Held;
use super::super::prepared::PreparedSet;
use super::super::raw::RawPart;
use crate::names::Tables;

/// Where the assembler begins and what it must find there.
#[derive(Debug, Clone)]
pub struct ResumePoint {
    /// The last boundary already archived; offset 0 = a file from its first byte.
    pub at: FilePosition,
    /// The last event before `at`: the dump starts with it, and it must be the same.
    pub tail: Option<Tail>,
    /// Header time of the format description of `at.file`, seconds; the source must still send that one.
    pub format_time: Option<u32>,
    /// Rows of groups that start before this position are not wanted.
    pub changes_from: Option<FilePosition>,
    /// Rows of these transactions are in the archive already, or were excluded by the start.
    pub held: Option<Held>,
    /// What the source had executed at `at`; `None` = not known, taken from the file's head.
    pub executed: Option<GtidSet>,
    /// XA transactions that were prepared before `at` and have no verdict yet.
    pub prepared: PreparedSet,
    /// `at` is the end of its file, which the source has purged since: go on with this one.
    pub next_file: Option<String>,
    /// What is known of tables at `at`, beside what the log says.
    pub tables: Tables,
}

impl ResumePoint {
    /// Where to ask the source to start. A dump names its position in 32 bits: a file that is longer is read from
    /// its head, and what is in the archive already is passed over.
    pub fn dump_from(&self) -> FilePosition {
        if let Some(next) = &self.next_file {
            return FilePosition::new(next.clone(), FilePosition::FIRST_EVENT);
        }
        let offset =
            self.tail.as_ref().map_or(self.at.offset.max(FilePosition::FIRST_EVENT), |t| t.pos);
        let nameable = u32::try_from(offset).is_ok();
        let offset = if nameable { offset } else { FilePosition::FIRST_EVENT };
        FilePosition::new(self.at.file.clone(), offset)
    }
}

/// What one event meant for those who watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Nothing to report.
    Nothing,
    /// The source is idle.
    Heartbeat,
    /// A transaction ended, committed at this time (microseconds since 1970).
    Transaction(i64),
}

/// A part that may be uploaded. It becomes visible only with the entry that names it.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a few exist at a time, each with megabytes behind it"
)]
pub enum Part {
    /// Raw bytes.
    Raw(RawPart),
    /// Rows, not yet encoded, and the memory that they take in bytes.
    Changes(changes::Cut, usize),
}

impl Part {
    /// Memory that the part takes, in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Raw(raw) => raw.bytes.len(),
            Self::Changes(_, bytes) => *bytes,
        }
    }
}

/// Which sinks are on.
#[derive(Debug, Clone, Copy)]
pub struct Sinks {
    /// `archive.raw.enabled`.
    pub raw: bool,
    /// `archive.changes.enabled`.
    pub changes: bool,
}

/// Counts of what was received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Events of the binlog.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Groups that ended.
    pub transactions: u64,
    /// Row changes decoded.
    pub rows: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64, tail: Option<u64>) -> ResumePoint {
        let tail = tail.map(|pos| Tail { pos, type_code: 16, length: 31, crc: 7 });
        ResumePoint {
            at: FilePosition::new("binlog.000007", offset),
            tail,
            format_time: None,
            changes_from: None,
            held: None,
            executed: None,
            prepared: PreparedSet::default(),
            next_file: None,
            tables: Tables::default(),
        }
    }

    #[test]
    fn past_4_gib_the_file_is_read_from_its_head() {
        const LAST: u64 = u32::MAX as u64;
        let from = |point: &ResumePoint| point.dump_from().offset;
        assert_eq!(from(&at(0, None)), 4);
        assert_eq!(from(&at(900, Some(869))), 869);
        assert_eq!(from(&at(LAST + 31, Some(LAST))), LAST);
        assert_eq!(from(&at(LAST + 32, Some(LAST + 1))), 4);
        assert_eq!(from(&at(LAST + 1, None)), 4);
        let next = ResumePoint { next_file: Some("binlog.000008".into()), ..at(LAST + 9, None) };
        assert_eq!(next.dump_from(), FilePosition::new("binlog.000008", 4));
    }
}
