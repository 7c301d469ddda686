//! What a cut holds: one step of the archive, from boundary to boundary.

use binlog::{Frame, SchemaRecord};
pub use crds::checkpoint::Tail;
use crds::position::{FilePosition, Gtid, GtidSet};

use super::prepared::XaStep;
use crate::names::NameRecord;

/// What is kept of the last event before a boundary: a resume must find it again at the source.
pub fn tail_of(frame: &Frame<'_>) -> Tail {
    Tail {
        pos: frame.from,
        type_code: frame.header.event_type.0,
        length: frame.header.length,
        crc: crc32fast::hash(frame.bytes),
    }
}

/// How a binlog file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedHow {
    /// With a ROTATE event.
    Rotate,
    /// With a STOP event: the server shut down.
    Stop,
    /// With neither: the server crashed.
    Crash,
}

/// A binlog file that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Name of the file.
    pub file: String,
    /// Its size in bytes.
    pub size: u64,
    /// How it ended.
    pub how: ClosedHow,
}

/// Rows that are in the raw archive but not in the change log, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// `schema.table`; `None` when the statement names no single table.
    pub table: Option<String>,
    /// One of the log's closed words.
    pub reason: MissedReason,
    /// First position concerned.
    pub from: FilePosition,
    /// Behind the last one; `None` while the table stays stopped.
    pub to: Option<FilePosition>,
    /// The first row concerned at `from`, where rows before it are held: ordinals of event and row.
    pub from_row: Option<(u32, u32)>,
}

/// Why rows are missed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MissedReason {
    /// The table cannot be decoded; the text says why.
    TableStopped(String),
    /// The source logged a statement where it should log rows, or the statement never logs any (TRUNCATE).
    StatementDml,
    /// A group ended by ROLLBACK: what it did to non-transactional tables stays at the source. Or it went back to
    /// a savepoint when its rows were handed out already.
    RolledBackGroup,
    /// A value was changed by a JSON diff whose document before was not logged; the text names the column.
    ValueUnknown(String),
    /// An event of the group cannot be decoded; the text says why.
    Undecoded(String),
    /// An XA transaction, prepared while its bytes are not kept: its verdict cannot be followed.
    XaTransaction,
    /// An XA transaction was committed that was prepared before anything of it was kept.
    XaPreparedBeforeStart,
    /// The source lost events.
    Incident,
}

impl MissedReason {
    /// The word in the log.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::TableStopped(_) => "TableStopped",
            Self::StatementDml => "StatementDml",
            Self::RolledBackGroup => "RolledBackGroup",
            Self::ValueUnknown(_) => "ValueUnknown",
            Self::Undecoded(_) => "DecodingFailed",
            Self::XaTransaction => "XaTransaction",
            Self::XaPreparedBeforeStart => "XaPreparedBeforeStart",
            Self::Incident => "Incident",
        }
    }

    /// What is known beside the word; never a value of a row.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::TableStopped(why) | Self::ValueUnknown(why) | Self::Undecoded(why) => Some(why),
            _ => None,
        }
    }
}

/// One step of the archive: everything between two boundaries.
#[derive(Debug)]
pub struct Cut {
    /// Where the step before it ended.
    pub from: FilePosition,
    /// A boundary: end of a group, or of an event outside a group.
    pub to: FilePosition,
    /// The last event before `to`.
    pub tail: Option<Tail>,
    /// What was executed before the lineage's first file, if the step holds its head.
    pub before: Option<GtidSet>,
    /// Transactions that ended in the step, in order.
    pub added: Vec<Gtid>,
    /// Files that ended in the step.
    pub closed: Vec<Closed>,
    /// What the change log lacks of the step.
    pub missed: Vec<Missed>,
    /// XA transactions prepared and decided.
    pub xa: XaStep,
    /// Table schemas met for the first time.
    pub schemas: Vec<SchemaRecord>,
    /// What the source said of tables whose maps name no columns, and where that ended.
    pub names: Vec<NameRecord>,
    /// Commit time of the last group, microseconds since 1970.
    pub event_time_us: Option<i64>,
    /// Groups that ended with at least one row in the change log.
    pub transactions: u64,
    /// Rows of the step's parts do not stand: the group that streamed alone was no commit.
    pub rows_void: bool,
}
