//! Why an archive was not opened.

use std::time::Duration;

use crds::conditions::Reason;
use crds::position::Flavor;

use crate::entry::Holder;
use crate::fold::FoldError;
use crate::log::ReadError;
use crate::store::StoreError;
use crate::stream_json::Owner;

/// Why an archive was not opened. Nothing was written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// The store gave no answer, or refused.
    #[error("open archive")]
    Store(#[source] StoreError),
    /// An entry or a list is missing or altered.
    #[error("open archive")]
    Read(#[from] ReadError),
    /// An entry does not follow on those before it.
    #[error("open archive: the log is not sound; restore its objects from a copy")]
    Fold(#[from] FoldError),
    /// `stream.json` is not what it should be.
    #[error("open archive at {at}: {problem}")]
    Identity {
        /// Where.
        at: String,
        /// What is wrong.
        problem: String,
    },
    /// There is a log and no `stream.json`.
    #[error("open archive at {at}: there is a log but no stream.json; restore it from a copy")]
    NoIdentity {
        /// Where.
        at: String,
    },
    /// A newer version wrote it.
    #[error("open archive: {problem}")]
    Newer {
        /// What is unknown.
        problem: String,
    },
    /// The source is of another flavor.
    #[error("open archive: it holds {archived}, the source is {found}; use another prefix")]
    Flavor {
        /// Flavor of the archive.
        archived: Flavor,
        /// Flavor of the source.
        found: Flavor,
    },
    /// Another owner holds it.
    #[error(
        "open archive: it belongs to {owner}; use another prefix, or consent to take it over with \
         binlogstream.io/adopt-archive: {archive}"
    )]
    OwnedElsewhere {
        /// Who holds it.
        owner: Owner,
        /// Id of the archive.
        archive: String,
    },
    /// The checkpoint knows entries that the log lacks.
    #[error(
        "open archive: the checkpoint is at entry {checkpoint} of archive {archive}, {found}; check \
         bucket and prefix, restore the objects, or consent to go on with what is there with \
         binlogstream.io/accept-archive: {consent}"
    )]
    BehindCheckpoint {
        /// Entry of the checkpoint.
        checkpoint: u64,
        /// Archive of the checkpoint.
        archive: String,
        /// What was found instead.
        found: String,
        /// The value that consents.
        consent: String,
    },
    /// The checkpoint is of another history.
    #[error(
        "open archive: {problem}; check bucket and prefix, or consent to go on with what is there \
         with binlogstream.io/accept-archive: {consent}"
    )]
    Forked {
        /// How they differ.
        problem: String,
        /// The value that consents.
        consent: String,
    },
    /// This instance was superseded, and the archive is in use.
    #[error(
        "open archive: instance {} took it over with epoch {} and it was written {}s ago; this \
         instance stays fenced", by.instance, by.epoch, age.as_secs()
    )]
    Superseded {
        /// Who holds it.
        by: Holder,
        /// Time since it was last written, by the store's clock.
        age: Duration,
    },
}

impl OpenError {
    /// The reason that a status shows.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Store(error) => error.reason(),
            Self::Read(error) => error.reason(),
            Self::Fold(_) | Self::Identity { .. } | Self::NoIdentity { .. } => {
                Reason::ArchiveDamaged
            }
            Self::Newer { .. } => Reason::FormatUnsupported,
            Self::Flavor { .. } => Reason::FlavorMismatch,
            Self::OwnedElsewhere { .. } => Reason::ArchiveOwnedElsewhere,
            Self::BehindCheckpoint { .. } => Reason::ArchiveBehindCheckpoint,
            Self::Forked { .. } => Reason::ArchiveForked,
            Self::Superseded { .. } => Reason::Fenced,
        }
    }

    /// Whether coming back may help without anybody's change.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) | Self::Read(ReadError::Store { source: error, .. }) => {
                error.is_transient()
            }
            _ => false,
        }
    }
}
