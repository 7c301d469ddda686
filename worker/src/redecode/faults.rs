//! Why decoding ends early, as the worker says it.

use archive::LogError;
use archive::commit::{CommitEnd, Committer};
use archive::entry::Holder;
use crds::conditions::Reason;

use crate::fault::{Fault, chain};
use crate::pipeline::error::AssembleError;

pub(super) fn internal(message: impl Into<String>) -> Fault {
    Fault::archive(Reason::InternalError, message)
}

/// What the archive holds cannot be followed.
pub(super) fn broken(error: &AssembleError) -> Fault {
    Fault::archive(error.reason(), chain(error))
}

/// Why the committer takes no more.
pub(super) fn ended(committer: &Committer) -> Fault {
    match committer.ended().borrow().clone() {
        Some(CommitEnd::Fenced(by)) => fenced(&by),
        Some(CommitEnd::Log(error)) => log_fault(committer, &error),
        Some(CommitEnd::Upload(error)) => error.into(),
        Some(CommitEnd::Drained | CommitEnd::Cancelled) | None => {
            internal("the hand-over to the archive ended early")
        }
    }
}

pub(super) fn log_fault(committer: &Committer, error: &LogError) -> Fault {
    match error {
        LogError::Fenced { by, .. } => fenced(by),
        // Its own end says why.
        LogError::Cancelled { .. } if committer.ended().borrow().is_some() => ended(committer),
        error => Fault::archive(error.reason(), chain(error)),
    }
}

pub(super) fn fenced(by: &Holder) -> Fault {
    let message = format!("instance {} holds the archive since epoch {}", by.instance, by.epoch);
    Fault::archive(Reason::Fenced, message)
}
