//! What a group's events mean for the change log: which rows are wanted, which stand, which are missed.

use std::ops::Range;

use binlog::{EndedGroup, Frame, TableName, Verdict};
use crds::position::FilePosition;

use super::super::cut::{Missed, MissedReason};
use super::open::OpenGroup;
use super::{Assembler, CHANGES_PART, Seen};
use crate::fault::chain;

impl Assembler {
    /// Whether the rows of the event's group belong into the change log.
    pub(super) fn wanted(&self) -> bool {
        let Some(group) = self.tracker.group() else { return true };
        let early = self.changes_from.as_ref().is_some_and(|from| {
            group.from.cmp_in_lineage(from).is_some_and(std::cmp::Ordering::is_lt)
        });
        let held = match (&self.held, &group.gtid) {
            (Some(held), Some(gtid)) => held.contains(gtid),
            _ => false,
        };
        !early && !held
    }

    pub(super) fn decode(&mut self, frame: &Frame<'_>) {
        let Some(group) = self.tracker.group() else { return };
        let before = self.rows.rows();
        let mut rows = self.sought.sink(&mut self.rows, None);
        let outcome = self.decoder.decode(&self.file, frame, group, &mut rows);
        self.count_rows(before);
        if let Err(error) = outcome {
            self.undecodable(chain(&error));
        }
    }

    /// Unpacks a compressed or a prepared group until its rows are a part of their own; `true` when nothing is left.
    pub(super) fn unpack(&mut self) -> bool {
        // An unnamed table is answered for before its rows.
        while self.unnamed().is_none() && self.unpack_next() {
            if self.rows.open_bytes() >= CHANGES_PART {
                return false;
            }
        }
        if self.replay.is_some() || self.unnamed().is_some() {
            return false;
        }
        if self.open.unlisted {
            self.open.tables.extend(self.decoder.group_tables());
            self.open.unlisted = !self.decodes();
        }
        true
    }

    /// Decodes the next event out of a compressed or a prepared group; `false` if there is none here.
    fn unpack_next(&mut self) -> bool {
        let group = match &self.replay {
            Some(replay) => replay.group(),
            None => self.tracker.group(),
        };
        let before = self.rows.rows();
        let unpacked = match group {
            Some(group) => {
                let mut rows = self.sought.sink(&mut self.rows, group.told_at.as_ref());
                self.decoder.unpack(group, &mut rows)
            }
            None => Ok(false),
        };
        let more = match unpacked {
            Ok(more) => more || self.replay_next(),
            Err(error) => {
                self.undecodable(chain(&error));
                true
            }
        };
        self.check_replayed();
        self.count_rows(before);
        more
    }

    /// Whether the rows of the open group are decoded.
    pub(super) fn decodes(&self) -> bool {
        self.sinks.changes && self.open.void.is_none() && self.wanted()
    }

    fn count_rows(&mut self, before: u64) {
        let decoded = self.rows.rows().saturating_sub(before);
        self.counters.rows += decoded;
        self.open.rows += decoded;
    }

    /// What the group did since the savepoint is undone.
    pub(super) fn roll_back_to(&mut self, savepoint: &str) {
        match self.open.place_of(savepoint) {
            _ if self.open.void.is_some() => {}
            // Parts that were handed out cannot be shortened.
            Some(place) if !self.alone => {
                let before = self.rows.rows();
                self.rows.rollback_to(place);
                self.open.rows = self.open.rows.saturating_sub(before - self.rows.rows());
            }
            _ => self.void(MissedReason::RolledBackGroup),
        }
    }

    pub(super) fn undecodable(&mut self, what: String) {
        tracing::warn!(error = %what, "the rows of a transaction are left out and named as a gap");
        self.end_replay();
        self.void(MissedReason::Undecoded(what));
    }

    /// The open group's rows leave; if it commits its tables are named.
    fn void(&mut self, reason: MissedReason) {
        self.open.void.get_or_insert(reason);
        self.give_up_rows();
    }

    /// The rows of the open group do not stand, those in parts handed out neither.
    pub(super) fn give_up_rows(&mut self) {
        self.rows.rollback();
        self.open.rows = 0;
        self.step.rows_void |= self.alone;
    }

    pub(super) fn end_group(&mut self, ended: EndedGroup, span: Range<u64>) -> Seen {
        let EndedGroup { gtid, verdict, from: _, event_time, commit_time_us } = ended;
        let torn = verdict == Verdict::Torn;
        self.end_names();
        if matches!(verdict, Verdict::Committed | Verdict::XaVerdict { .. }) {
            self.name_unknown_values(&span);
        }
        match verdict {
            Verdict::Committed => self.drop_void(span),
            Verdict::RolledBack => self.drop_rows(&MissedReason::RolledBackGroup, span),
            Verdict::XaPrepared { xid } if self.follows_xa() => self.hold_prepared(xid, span.end),
            Verdict::XaPrepared { .. } if !self.sinks.changes => {}
            Verdict::XaPrepared { .. } => self.drop_rows(&MissedReason::XaTransaction, span),
            Verdict::XaVerdict { xid, committed } => {
                self.drop_void(span);
                self.settle_prepared(xid, committed);
            }
            Verdict::Torn => self.give_up_rows(),
        }
        self.name_stopped_tables();
        if let (Some(gtid), false) = (gtid, torn) {
            if self.executed.as_mut().is_some_and(|executed| executed.add(&gtid).is_err()) {
                self.executed = None;
            }
            self.step.added.push(gtid);
        }
        let commit_us = commit_time_us.unwrap_or(i64::from(event_time) * 1_000_000);
        self.counters.transactions += 1;
        self.step.transactions += u64::from(self.open.rows > 0);
        self.step.event_time_us = Some(commit_us);
        self.last_commit_us = Some(commit_us);
        self.step.worthwhile |= !self.only_own_table();
        self.forget_group();
        Seen::Transaction(commit_us)
    }

    /// The group changed nothing but our own state on the source: no reason for an entry.
    pub(super) fn only_own_table(&self) -> bool {
        let OpenGroup { tables, unlisted, .. } = &self.open;
        !unlisted
            && !tables.is_empty()
            && tables.iter().all(|name| self.own.is_own_table(&name.schema, &name.table))
    }

    pub(super) fn forget_group(&mut self) {
        self.open = OpenGroup::default();
        self.decoder.reset_group();
    }

    pub(super) fn name_stopped_tables(&mut self) {
        let stopped = self.decoder.stopped();
        if stopped.len() == self.known_stopped.len() {
            return;
        }
        for (table, why) in stopped {
            if self.known_stopped.insert(table.clone()) {
                self.step.worthwhile = true;
                self.step.missed.push(Missed {
                    table: Some(table.to_string()),
                    reason: MissedReason::TableStopped(why.reason.clone()),
                    from: why.since.clone(),
                    to: None,
                    from_row: Some(why.since_row).filter(|row| *row != (0, 0)),
                });
            }
        }
    }

    /// Values that no event tells: their rows are there, without them.
    fn name_unknown_values(&mut self, span: &Range<u64>) {
        for (table, column) in self.decoder.take_unknown_values() {
            self.miss(Some(&table), MissedReason::ValueUnknown(column), span.clone());
        }
    }

    /// The group committed, but its rows are not told.
    fn drop_void(&mut self, span: Range<u64>) {
        if let Some(reason) = self.open.void.take() {
            self.drop_rows(&reason, span);
        }
    }

    /// Rows that were decoded but do not stand: they leave, and each table is named.
    fn drop_rows(&mut self, reason: &MissedReason, span: Range<u64>) {
        self.give_up_rows();
        let tables = std::mem::take(&mut self.open.tables);
        if self.open.unlisted {
            self.miss(None, reason.clone(), span.clone());
        }
        for table in tables {
            self.miss(Some(&table), reason.clone(), span.clone());
        }
    }

    pub(super) fn miss(
        &mut self,
        table: Option<&TableName>,
        reason: MissedReason,
        span: Range<u64>,
    ) {
        let from = match self.tracker.group() {
            Some(group) => group.from.clone(),
            None => FilePosition::new(self.file.clone(), span.start),
        };
        let to = Some(FilePosition::new(self.file.clone(), span.end));
        let table = table.map(ToString::to_string);
        self.step.missed.push(Missed { table, reason, from, to, from_row: None });
        self.step.worthwhile = true;
    }
}
