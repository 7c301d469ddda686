//! The one table of condition types and of reasons. Both lists are closed: a word that is not here
//! is not written into a status, a log entry or a metric.
//!
//! Adding a reason: one line in the table of `conditions/reason.rs`, together with the code that gives
//! it (`every_reason_is_given_by_somebody` in the house tests). Its text is part of the API and is
//! never renamed (`every_reason_parses_back` and the golden list in `tests/conditions.rs`).

mod reason;

pub use reason::{Reason, ReasonClass};

use serde::{Deserialize, Serialize};

/// What a condition speaks about.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
pub enum ConditionType {
    /// Streaming with recent proof, archive and checkpoint healthy, no open gap.
    Ready,
    /// A roll-out or an action is in progress (kstatus).
    Reconciling,
    /// No retry helps until somebody changes something (kstatus).
    Stalled,
    /// The replication connection is up and proven alive by events or heartbeats.
    SourceConnected,
    /// The checkpoint follows the log.
    CheckpointHealthy,
    /// What was received becomes durable in time.
    ArchiveHealthy,
    /// Every table of the filter is decoded.
    DecodingHealthy,
    /// The worker has read all that the source has written. Not part of Ready.
    CaughtUp,
    /// A latched hole in the archive waits for somebody.
    GapDetected,
    /// `spec.state` is not Running.
    Paused,
}

impl ConditionType {
    /// Every type, in the order in which a status lists them.
    pub const ALL: [Self; 10] = [
        Self::Ready,
        Self::Reconciling,
        Self::Stalled,
        Self::SourceConnected,
        Self::CheckpointHealthy,
        Self::ArchiveHealthy,
        Self::DecodingHealthy,
        Self::CaughtUp,
        Self::GapDetected,
        Self::Paused,
    ];

    /// The word in `type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::SourceConnected => "SourceConnected",
            Self::CheckpointHealthy => "CheckpointHealthy",
            Self::ArchiveHealthy => "ArchiveHealthy",
            Self::DecodingHealthy => "DecodingHealthy",
            Self::CaughtUp => "CaughtUp",
            Self::GapDetected => "GapDetected",
            Self::Paused => "Paused",
        }
    }

    /// Whether `True` is the good state.
    pub const fn true_is_good(self) -> bool {
        !matches!(self, Self::Reconciling | Self::Stalled | Self::GapDetected | Self::Paused)
    }

    /// What the condition says, in one line.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Ready => {
                "streaming with recent proof, archive and checkpoint healthy, no gap waiting"
            }
            Self::Reconciling => "a roll-out or an action is in progress",
            Self::Stalled => "no retry helps until somebody changes something",
            Self::SourceConnected => "the replication connection is up and proven alive",
            Self::CheckpointHealthy => "the checkpoint follows the log",
            Self::ArchiveHealthy => "what was received becomes durable in time",
            Self::DecodingHealthy => "every table of the filter is decoded",
            Self::CaughtUp => "everything the source has written was read; not part of Ready",
            Self::GapDetected => "a hole in the archive waits for acknowledgement",
            Self::Paused => "spec.state is not Running",
        }
    }
}

impl std::fmt::Display for ConditionType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is in no table of this module.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no known {1}")]
pub struct UnknownWord(String, &'static str);

impl std::str::FromStr for ConditionType {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| UnknownWord(text.to_owned(), "condition type"))
    }
}
