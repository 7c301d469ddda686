//! What publishing can say, and what to do about it.

use archive::StoreError;
use archive::log::ReadError;
use crds::conditions::Reason;

/// What a caller does about a [`PublishError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Try again later with [`super::Publisher::catch_up`].
    Transient,
    /// Somebody has to mend the table first; trying again is cheap and does no harm.
    Permanent,
}

/// Why the table was not published. The log and its objects are safe whatever this says.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The store did not answer, or refused.
    #[error("publish delta table: {0}")]
    Store(#[from] StoreError),
    /// The log, or a list that an entry refers to, could not be read.
    #[error("publish delta table: {0}")]
    Log(#[from] ReadError),
    /// The entries given do not follow on what is published.
    #[error("publish delta table: entry {expected} comes next, but entry {given} was given")]
    Hole {
        /// The entry that must come next.
        expected: u64,
        /// The one that came.
        given: u64,
    },
    /// Other writers took every version that was tried.
    #[error("publish delta table: {0} versions were taken by other writers; trying again later")]
    Contended(u32),
    /// The folder holds the table of somebody else.
    #[error(
        "publish delta table: changes/_delta_log holds table {0}, not this archive's; \
         move it away, and the table is published anew"
    )]
    ForeignTable(String),
    /// Somebody changed the table's protocol to one that we do not write.
    #[error(
        "publish delta table: another writer raised the table's protocol to reader {reader}, \
         writer {writer} with features unknown here; delete changes/_delta_log, and the table is \
         published anew"
    )]
    ForeignProtocol {
        /// The table's minReaderVersion.
        reader: i32,
        /// The table's minWriterVersion.
        writer: i32,
    },
    /// The Delta log cannot be read.
    #[error("publish delta table: {0}; delete changes/_delta_log, and the table is published anew")]
    Broken(String),
    /// A checkpoint could not be made or read.
    #[error("delta checkpoint: {0}")]
    Checkpoint(String),
}

impl PublishError {
    /// Whether trying again may help by itself.
    pub fn class(&self) -> Class {
        match self {
            PublishError::Store(error) if error.is_transient() => Class::Transient,
            PublishError::Log(ReadError::Store { source, .. }) if source.is_transient() => {
                Class::Transient
            }
            PublishError::Hole { .. }
            | PublishError::Contended(_)
            | PublishError::Checkpoint(_) => Class::Transient,
            PublishError::Store(_)
            | PublishError::Log(_)
            | PublishError::ForeignTable(_)
            | PublishError::ForeignProtocol { .. }
            | PublishError::Broken(_) => Class::Permanent,
        }
    }

    /// The reason that a status shows.
    pub fn reason(&self) -> Reason {
        match self {
            PublishError::Store(error) => error.reason(),
            PublishError::Log(error) => error.reason(),
            PublishError::ForeignTable(_)
            | PublishError::ForeignProtocol { .. }
            | PublishError::Contended(_) => Reason::ForeignTableWriter,
            PublishError::Hole { .. } | PublishError::Checkpoint(_) => Reason::InternalError,
            PublishError::Broken(_) => Reason::ArchiveDamaged,
        }
    }
}
