//! Is what comes a continuation of what is held? Nothing is taken before these say so.

use binlog::{EventType, Frame};
use crds::position::GtidSet;

use super::super::cut::{ClosedHow, Tail, tail_of};
use super::super::error::AssembleError;
use super::Assembler;

impl Assembler {
    pub(super) fn check_tail(&self, tail: &Tail, frame: &Frame<'_>) -> Result<(), AssembleError> {
        if tail_of(frame) == *tail {
            return Ok(());
        }
        Err(self.history_changed(frame.from, "holds another event than the archive"))
    }

    /// The file must not end before what is to be compared.
    pub(super) fn check_seen(&self) -> Result<(), AssembleError> {
        if self.expect_tail.is_none() && self.passed >= self.compare_from {
            return Ok(());
        }
        Err(self.history_changed(self.passed, "is the file's end, the archive holds more of it"))
    }

    pub(super) fn check_format(&self, frame: &Frame<'_>) -> Result<(), AssembleError> {
        let same = match self.format_time {
            Some(time) if frame.header.event_type == EventType::FORMAT_DESCRIPTION => {
                time == frame.header.timestamp
            }
            _ => true,
        };
        if same {
            return Ok(());
        }
        Err(self.history_changed(0, "was begun at another time than the archived file"))
    }

    fn history_changed(&self, offset: u64, what: &'static str) -> AssembleError {
        AssembleError::HistoryChanged { file: self.file.clone(), offset, what }
    }

    /// The head of a file names what was executed before it: neither more nor less than we hold.
    pub(super) fn check_executed(&mut self, before: &GtidSet) -> Result<(), AssembleError> {
        let Some(executed) = &self.executed else {
            self.executed = Some(before.clone());
            self.step.before = Some(before.clone());
            return Ok(());
        };
        let continues = before.is_subset_of(executed) && executed.is_subset_of(before);
        // With a ROTATE or STOP seen the bytes themselves prove it: sets can be edited by hand.
        let proven = self.step.closed.last().is_some_and(|last| last.how != ClosedHow::Crash);
        let missing = before.subtract(executed).ok().filter(|missing| !missing.is_empty());
        if continues || proven {
            self.executed = Some(before.clone());
            // The log must hold it too: a crash of the source is judged by the log's set.
            self.step.before = match (self.step.before.take(), missing) {
                (Some(held), Some(missing)) => held.union(&missing).ok(),
                (held, missing) => held.or(missing),
            };
            return Ok(());
        }
        Err(AssembleError::Discontinuity { file: self.file.clone(), missing })
    }
}

/// How a file ends whose last event is this one.
pub(super) fn ending(last: &Tail) -> Option<ClosedHow> {
    match EventType(last.type_code) {
        EventType::ROTATE => Some(ClosedHow::Rotate),
        EventType::STOP => Some(ClosedHow::Stop),
        _ => None,
    }
}
