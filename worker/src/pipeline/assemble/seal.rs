//! From what has gathered to parts and cuts.

use super::super::cut::Cut;
use super::super::error::AssembleError;
use super::{Assembler, CHANGES_PART, GROUP_ALONE, Part, RAW_PART};

/// Bytes of a large group that are held while what stands before it may not be cut.
const MOST_HELD: usize = 2 * CHANGES_PART;

impl Assembler {
    /// Hands out full parts, so that memory follows the parts and not the batch or the group.
    pub(super) fn seal_what_is_full(&mut self) -> Result<(), AssembleError> {
        if self.alone {
            if self.raw.open_bytes() >= RAW_PART {
                self.ready.extend(self.raw.seal_open().map(Part::Raw));
            }
            if self.rows.estimated_bytes() >= CHANGES_PART {
                let bytes = self.rows.estimated_bytes();
                self.ready.extend(self.rows.cut_part()?.map(|rows| Part::Changes(rows, bytes)));
            }
            return Ok(());
        }
        if self.raw.marked_bytes() >= RAW_PART {
            self.ready.extend(self.raw.seal().map(Part::Raw));
        }
        if self.is_large() {
            // What stands before the group becomes a batch of its own; then the group streams alone.
            self.cut_wanted = true;
            let held =
                self.rows.open_bytes() + usize::try_from(self.open_bytes).unwrap_or(usize::MAX);
            if !self.may_cut() && held > MOST_HELD {
                self.unproven(Some(
                    "a large transaction came before the source's answer was proven",
                ));
            }
        } else if self.rows.estimated_bytes() >= CHANGES_PART {
            self.seal_rows()?;
        }
        Ok(())
    }

    /// The open group is not to wait in memory for its end.
    fn is_large(&self) -> bool {
        self.open_bytes > GROUP_ALONE || self.rows.open_bytes() >= CHANGES_PART
    }

    /// Takes the rows of ended groups.
    fn seal_rows(&mut self) -> Result<(), AssembleError> {
        let bytes = self.rows.estimated_bytes() - self.rows.open_bytes();
        self.ready.extend(self.rows.cut()?.map(|rows| Part::Changes(rows, bytes)));
        Ok(())
    }

    /// Cuts at the last boundary. The parts still held come first: take them before the next event.
    pub fn cut(&mut self) -> Result<Option<Cut>, AssembleError> {
        self.cut_wanted = false;
        let cut = match self.step.from.take() {
            Some(from) => {
                self.ready.extend(self.raw.seal().map(Part::Raw));
                self.seal_rows()?;
                let step = std::mem::take(&mut self.step);
                Some(Cut {
                    from,
                    to: self.at.clone(),
                    tail: self.tail.clone(),
                    before: step.before,
                    added: step.added,
                    closed: step.closed,
                    missed: step.missed,
                    xa: step.xa,
                    schemas: self.decoder.take_new_schemas(),
                    names: std::mem::take(&mut self.names.found),
                    event_time_us: step.event_time_us,
                    transactions: step.transactions,
                    rows_void: step.rows_void,
                })
            }
            // What the open group has brought so far waits for its end.
            None => None,
        };
        // Once parts of the group were handed out it stays alone until its end.
        self.alone |= self.is_large();
        Ok(cut)
    }
}
