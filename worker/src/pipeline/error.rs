//! Why the stream cannot be assembled further.

use binlog::{FrameError, GroupError, TableName};
use crds::conditions::Reason;
use crds::position::{FilePosition, GtidSet};

/// See the variants. Nothing of what was taken before the error is lost: it can still be cut.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The bytes do not continue the bytes before them.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The order of the events makes no sense.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// Rows could not be sealed.
    #[error(transparent)]
    Rows(#[from] changes::BatchError),
    /// The source serves other bytes than the archive holds.
    #[error("{file}:{offset} {what}: the source's history is not the one in the archive")]
    HistoryChanged {
        /// File of the difference.
        file: String,
        /// Offset of the difference.
        offset: u64,
        /// What differs.
        what: &'static str,
    },
    /// What the source said of tables does not hold for the step: it is read again, and they stop.
    #[error("{} does not decode from here on: {why}", .tables.first().map(|(table, _)| table.to_string()).unwrap_or_default())]
    Unproven {
        /// The tables, and where their table maps stand.
        tables: Vec<(TableName, FilePosition)>,
        /// Why not.
        why: String,
    },
    /// The file's own list of earlier transactions does not continue what we hold.
    #[error("{file} does not continue where the file before it ended")]
    Discontinuity {
        /// The file.
        file: String,
        /// What the source executed and we never saw; `None` = we hold more than the source knows.
        missing: Option<GtidSet>,
    },
}

impl AssembleError {
    /// The condition's reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Frame(FrameError::Checksum { .. }) => Reason::ChecksumMismatch,
            Self::Frame(FrameError::RawDiscontinuity { .. }) => Reason::RawDiscontinuity,
            Self::Frame(_) | Self::Group(_) => Reason::ProtocolError,
            Self::Rows(_) => Reason::DecodingFailed,
            Self::Unproven { .. } => Reason::SchemaUnknown,
            Self::HistoryChanged { .. } => Reason::DivergentHistory,
            Self::Discontinuity { missing: Some(_), .. } => Reason::BinlogPurged,
            Self::Discontinuity { missing: None, .. } => Reason::DivergentHistory,
        }
    }
}

#[cfg(test)]
mod tests {
    use binlog::EventType;

    use super::*;

    #[test]
    fn bytes_that_are_wrong_are_told_from_bytes_that_do_not_fit() {
        let broken = FrameError::Checksum {
            file: "binlog.000001".to_owned(),
            offset: 4,
            event_type: EventType(15),
            expected: 1,
            found: 2,
        };
        assert_eq!(AssembleError::Frame(broken).reason(), Reason::ChecksumMismatch);
        let short =
            FrameError::Length { file: "binlog.000001".to_owned(), offset: 4, got: 1, said: 40 };
        assert_eq!(AssembleError::Frame(short).reason(), Reason::ProtocolError);
    }
}
