//! Which rows a range is decoded for again. The change log holds the others.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use binlog::{ChangeRow, ChangeSink, SinkError, TableName};
use changes::ChangeBatch;
use crds::position::FilePosition;

/// A row's place in the binlog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowPlace {
    /// First byte of its group.
    pub group: FilePosition,
    /// Ordinals of its event in the group and of itself in the event.
    pub row: (u32, u32),
}

impl RowPlace {
    /// Whether a row comes before it that is told in the group at `told_at`, or where it stands.
    fn is_behind(&self, row: &ChangeRow<'_>, told_at: Option<&FilePosition>) -> bool {
        let (file, offset) =
            told_at.map_or((row.file, row.position), |at| (at.file.as_str(), at.offset));
        let group = if self.group.file == file {
            offset.cmp(&self.group.offset)
        } else {
            let at = FilePosition::new(file, offset);
            at.cmp_in_lineage(&self.group).unwrap_or(Ordering::Greater)
        };
        group.then((row.event_ordinal, row.row_ordinal).cmp(&self.row)) == Ordering::Less
    }
}

/// From which row on rows are sought, by table and schema; of tables that are not named all are.
#[derive(Clone, Debug, Default)]
pub struct Sought(BTreeMap<String, BTreeMap<String, RowPlace>>);

impl Sought {
    /// Rows of the table before `from` are held. Of several places of a table the first one said counts.
    pub fn insert(&mut self, table: &TableName, from: RowPlace) {
        let by_schema = self.0.entry(table.table.clone()).or_default();
        by_schema.entry(table.schema.clone()).or_insert(from);
    }

    /// Takes rows that are told where they stand, or in the group at `told_at`.
    pub(super) fn sink<'a>(
        &'a self,
        rows: &'a mut ChangeBatch,
        told_at: Option<&'a FilePosition>,
    ) -> Sink<'a> {
        Sink { sought: self, rows, told_at }
    }
}

pub(super) struct Sink<'a> {
    sought: &'a Sought,
    rows: &'a mut ChangeBatch,
    told_at: Option<&'a FilePosition>,
}

impl ChangeSink for Sink<'_> {
    fn push(&mut self, row: &ChangeRow<'_>) -> Result<(), SinkError> {
        let from = self.sought.0.get(row.table).and_then(|by_schema| by_schema.get(row.schema));
        let held = from.is_some_and(|from| from.is_behind(row, self.told_at));
        if held { Ok(()) } else { self.rows.push(row) }
    }
}
