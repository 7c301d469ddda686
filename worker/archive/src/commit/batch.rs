//! What is handed over to be committed, and how batches become one entry.

use std::collections::HashMap;

use crds::position::GtidSet;
use jiff::Timestamp;

use super::upload::{Uploaded, Uploading};
use crate::entry::{
    ChangeSpan, ClosedFile, EntryKind, Maintain, Point, RawHead, RawSpan, TableGap, Tail, XaPart,
};
use crate::log::Body;
use crate::store::StoreError;

/// Most that joined batches may add to one entry beside what stands in lists, in bytes.
const MAX_WEIGHT: usize = 256 << 10;

/// Everything up to one boundary.
#[derive(Debug, Default)]
pub struct Batch {
    /// Raw bytes, if raw is on.
    pub raw: Option<RawBatch>,
    /// Row changes, if they are on.
    pub changes: Option<ChangesBatch>,
    /// Transactions that join the GTID set.
    pub gtid_added: Option<GtidSet>,
    /// The last event before the end.
    pub tail: Option<Tail>,
    /// Commit time of the last transaction, by the source's clock.
    pub event_time: Option<Timestamp>,
    /// Prepared transactions.
    pub xa: XaPart,
    /// Table gaps that begin or end in it.
    pub gaps: Vec<TableGap>,
}

/// Raw bytes of a batch.
#[derive(Debug)]
pub struct RawBatch {
    /// First byte: the end of the batch before.
    pub from: Point,
    /// Byte after the last one.
    pub to: Point,
    /// The parts, in order; they cover the range.
    pub parts: Vec<Uploading>,
    /// Files that ended in it.
    pub closed: Vec<ClosedFile>,
    /// Format description of the file that begins last in it.
    pub head: Option<RawHead>,
}

/// Row changes of a batch.
#[derive(Debug)]
pub struct ChangesBatch {
    /// First byte: the end of the batch before.
    pub from: Point,
    /// Byte after the last one.
    pub to: Point,
    /// The files; none if the range holds no row.
    pub parts: Vec<Uploading>,
    /// Transactions with at least one row.
    pub transactions: u64,
    /// Fingerprints of column descriptions first used in it.
    pub schemas: Vec<String>,
}

/// A step of maintenance with the change files that it adds.
#[derive(Debug)]
pub struct Maintenance {
    /// What is done; its `add` is filled in with the files.
    pub maintain: Maintain,
    /// The files, in the order in which they were begun.
    pub parts: Vec<Uploading>,
    /// Table gaps that begin later now, or that are new.
    pub gaps: Vec<TableGap>,
}

impl Maintenance {
    /// Waits for all files.
    pub(super) async fn resolve(self) -> Result<Resolved, StoreError> {
        let Self { mut maintain, parts, gaps } = self;
        let mut uploads = Vec::new();
        for part in parts {
            uploads.push(part.id());
            if let Uploaded::Change(file) = part.finished().await? {
                maintain.add.push(file);
            }
        }
        Ok(Resolved { body: Body { gaps, ..Body::maintain(maintain) }, uploads })
    }
}

impl Batch {
    /// Whether all parts are acknowledged, or one has failed.
    pub(super) fn is_settled(&mut self) -> bool {
        self.parts().all(Uploading::is_settled)
    }

    fn parts(&mut self) -> impl Iterator<Item = &mut Uploading> {
        let raw = self.raw.iter_mut().flat_map(|raw| raw.parts.iter_mut());
        let changes = self.changes.iter_mut().flat_map(|changes| changes.parts.iter_mut());
        raw.chain(changes)
    }

    /// Waits for all parts.
    pub(super) async fn resolve(self) -> Result<Resolved, StoreError> {
        let Self { raw, changes, gtid_added, tail, event_time, xa, gaps } = self;
        let mut uploads = Vec::new();
        let gaps = coalesce(gaps);
        let mut body = Body { gtid_added, tail, event_time, gaps, ..Body::new(EntryKind::Commit) };
        if let Some(RawBatch { from, to, parts, closed, head }) = raw {
            let mut objects = Vec::with_capacity(parts.len());
            for part in parts {
                uploads.push(part.id());
                if let Uploaded::Raw(object) = part.finished().await? {
                    objects.push(object);
                }
            }
            body.raw = Some(RawSpan { from, to, objects, closed, head });
        }
        if let Some(ChangesBatch { from, to, parts, transactions, schemas }) = changes {
            let mut files = Vec::with_capacity(parts.len());
            for part in parts {
                uploads.push(part.id());
                if let Uploaded::Change(file) = part.finished().await? {
                    files.push(file);
                }
            }
            let rows = files.iter().map(|file| file.rows).sum();
            let schema_list = None;
            body.changes =
                Some(ChangeSpan { from, to, files, rows, transactions, schemas, schema_list });
        }
        body.xa = (!xa.is_empty()).then_some(xa);
        Ok(Resolved { body, uploads })
    }
}

/// A batch whose parts are all acknowledged.
pub(super) struct Resolved {
    pub(super) body: Body,
    pub(super) uploads: Vec<u64>,
}

impl Resolved {
    /// Appends the batch that follows on this one.
    pub(super) fn join(&mut self, next: Self) {
        let Self { body, uploads } = next;
        self.uploads.extend(uploads);
        let moves = body.raw.is_some() || body.changes.is_some();
        let ours = &mut self.body;
        match (&mut ours.raw, body.raw) {
            (Some(raw), Some(next)) => {
                raw.to = next.to;
                raw.objects.extend(next.objects);
                raw.closed.extend(next.closed);
                raw.head = next.head.or(raw.head.take());
            }
            (raw, next) => *raw = raw.take().or(next),
        }
        match (&mut ours.changes, body.changes) {
            (Some(changes), Some(next)) => {
                changes.to = next.to;
                changes.files.extend(next.files);
                changes.rows += next.rows;
                changes.transactions += next.transactions;
                changes.schemas.extend(next.schemas);
            }
            (changes, next) => *changes = changes.take().or(next),
        }
        if let Some(next) = body.xa {
            ours.xa.get_or_insert_default().join(next);
        }
        ours.gaps.extend(body.gaps);
        // With a cursor moved the event before it is the next one's or unknown, never the one further back.
        ours.tail = if moves { body.tail } else { body.tail.or(ours.tail.take()) };
        ours.event_time = body.event_time.or(ours.event_time);
    }

    /// What an entry says of it that goes to no list, in bytes, roughly.
    fn weight(&self) -> usize {
        let closed = self.body.raw.as_ref().map_or(0, |raw| raw.closed.len());
        let schemas = self.body.changes.as_ref().map_or(0, |changes| changes.schemas.len());
        closed * 128 + schemas * 80
    }

    /// Whether the next one continues this one, so that both fit into one entry: cursors touch, the
    /// GTID sets are of one flavor, and this one is not long already.
    pub(super) fn continues(&self, next: &Batch) -> bool {
        if self.weight() > MAX_WEIGHT {
            return false;
        }
        let touches = |ours: Option<&Point>, theirs: Option<&Point>| match (ours, theirs) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        };
        let raw = touches(
            self.body.raw.as_ref().map(|raw| &raw.to),
            next.raw.as_ref().map(|raw| &raw.from),
        );
        let changes = touches(
            self.body.changes.as_ref().map(|changes| &changes.to),
            next.changes.as_ref().map(|changes| &changes.from),
        );
        raw && changes && self.union(next.gtid_added.as_ref()).is_ok()
    }

    /// The sets of both; fails only for sets of different flavors.
    pub(super) fn union(&self, next: Option<&GtidSet>) -> Result<Option<GtidSet>, ()> {
        match (&self.body.gtid_added, next) {
            (Some(ours), Some(next)) => ours.union(next).map(Some).map_err(|_| ()),
            (ours, next) => Ok(ours.as_ref().or(next).cloned()),
        }
    }
}

/// Ranges of one table, missing for one reason, that touch are one range.
fn coalesce(gaps: Vec<TableGap>) -> Vec<TableGap> {
    let mut joined: Vec<TableGap> = Vec::new();
    let mut newest = HashMap::new();
    for gap in gaps {
        let what = (gap.scope.clone(), gap.table.clone(), gap.reason.clone(), gap.missing.clone());
        let last = newest.get(&what).and_then(|at: &usize| joined.get_mut(*at));
        let touched =
            last.and_then(|last| last.to.as_mut()).zip(gap.to.as_ref()).filter(|(end, _)| {
                (&end.lineage, &end.file) == (&gap.from.lineage, &gap.from.file)
                    && gap.from.pos <= end.pos
            });
        if let Some((end, to)) = touched {
            let further = end.position().cmp_in_lineage(&to.position());
            if further == Some(std::cmp::Ordering::Less) {
                *end = to.clone();
            }
            continue;
        }
        newest.insert(what, joined.len());
        joined.push(gap);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(table: &str, from: u64, to: u64) -> TableGap {
        let point = |pos| Point::new("0001-7", "b.000001", pos);
        TableGap {
            id: format!("{table}-{from}"),
            scope: "group".to_owned(),
            table: Some(table.to_owned()),
            reason: "RolledBackGroup".to_owned(),
            from: point(from),
            to: Some(point(to)),
            missing: None,
            by: None,
            since: None,
            from_row: None,
        }
    }

    #[test]
    fn only_ranges_of_one_table_that_touch_become_one() {
        let gaps = [("a", 0, 10), ("b", 10, 20), ("a", 5, 20), ("a", 20, 30), ("a", 31, 40)];
        let joined = coalesce(gaps.map(|(table, from, to)| gap(table, from, to)).to_vec());
        assert_eq!(joined, [gap("a", 0, 30), gap("b", 10, 20), gap("a", 31, 40)]);
        let open = TableGap { to: None, ..gap("a", 0, 0) };
        assert_eq!(coalesce(vec![open.clone(), gap("a", 0, 9)]), [open, gap("a", 0, 9)]);
    }
}
