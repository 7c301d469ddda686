//! What keeps a stream from running, in one form: which facet shows it, the closed reason, and the mend.

use std::time::Duration;

use crds::conditions::Reason;

use crate::board::Board;
use crate::metrics::{Metrics, ReasonLabel};

/// The facet of the report that shows a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Facet {
    /// The source or the way to it.
    Source,
    /// The archive.
    Archive,
    /// The checkpoint store.
    Checkpoint,
}

/// A fault that is waited out inside the worker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Fault {
    /// Who shows it.
    pub facet: Facet,
    /// A reason of the closed list.
    pub reason: Reason,
    /// What is wrong and what mends it. Never a secret, never a value of a row.
    pub message: String,
}

impl Fault {
    /// A fault of the source.
    pub fn source(reason: Reason, message: impl Into<String>) -> Self {
        Self { facet: Facet::Source, reason, message: message.into() }
    }

    /// A fault of the archive.
    pub fn archive(reason: Reason, message: impl Into<String>) -> Self {
        Self { facet: Facet::Archive, reason, message: message.into() }
    }

    /// A fault of the checkpoint store.
    pub fn checkpoint(reason: Reason, message: impl Into<String>) -> Self {
        Self { facet: Facet::Checkpoint, reason, message: message.into() }
    }

    /// Shortest wait until the next try: an account that was refused must not be kept locked, or be locked, by us.
    pub fn least_wait(&self) -> Duration {
        match self.reason {
            Reason::AuthFailed => Duration::from_secs(10),
            _ => Duration::ZERO,
        }
    }

    /// Shows and counts the fault.
    pub fn show(&self, board: &Board, metrics: &Metrics) {
        metrics.faults.get_or_create(&ReasonLabel { reason: self.reason.as_str() }).inc();
        match self.facet {
            Facet::Source => board.source_lost(self.reason, &self.message),
            Facet::Archive => board.archive_failing(self.reason, &self.message),
            Facet::Checkpoint => board.update(|facts| {
                facts.report.checkpoint.healthy = false;
                facts.report.checkpoint.reason = self.reason;
                facts.report.checkpoint.message.clone_from(&self.message);
            }),
        }
    }
}

impl From<source::SourceError> for Fault {
    fn from(error: source::SourceError) -> Self {
        Self::source(error.reason(), chain(&error))
    }
}

impl From<archive::OpenError> for Fault {
    fn from(error: archive::OpenError) -> Self {
        Self::archive(error.reason(), chain(&error))
    }
}

impl From<archive::ClaimError> for Fault {
    fn from(error: archive::ClaimError) -> Self {
        Self::archive(error.reason(), chain(&error))
    }
}

impl From<archive::LogError> for Fault {
    fn from(error: archive::LogError) -> Self {
        Self::archive(error.reason(), chain(&error))
    }
}

impl From<archive::read_back::ReadBackError> for Fault {
    fn from(error: archive::read_back::ReadBackError) -> Self {
        Self::archive(error.reason(), chain(&error))
    }
}

impl From<archive::StoreError> for Fault {
    fn from(error: archive::StoreError) -> Self {
        Self::archive(error.reason(), chain(&error))
    }
}

/// An error with its causes, as one line. Causes already in the text are not repeated.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
