//! All columns of a batch side by side: a row in, a record batch out.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::ArrowError;
use binlog::{ChangeRow, Op};

use super::columns::{LongColumn, RepeatedColumn, TextColumn, TextsColumn};
use crate::schema::file_schema;

/// Statements up to this length stand on every row of theirs; longer ones on the first row of a
/// file only, because one statement can change a million rows.
const REPEATED_STATEMENT_BYTES: usize = 4096;

/// Bytes a row costs beside its texts: numbers, offsets and dictionary keys.
const FIXED_ROW_BYTES: usize = 96;

/// Rows as columns, in the order of [`file_schema`].
#[derive(Debug, Default)]
pub(super) struct Rows {
    count: usize,
    /// File run, position and event of the row before, if its statement was a long one.
    long_statement: Option<(i32, u64, u32)>,
    commit_time: LongColumn,
    op: RepeatedColumn,
    schema: RepeatedColumn,
    table: RepeatedColumn,
    primary_key: TextColumn,
    primary_key_hash: LongColumn,
    before: TextColumn,
    after: TextColumn,
    changed: TextsColumn,
    gtid: RepeatedColumn,
    file: RepeatedColumn,
    position: LongColumn,
    event_ordinal: LongColumn,
    row_ordinal: LongColumn,
    fingerprint: RepeatedColumn,
    server_id: LongColumn,
    lineage: RepeatedColumn,
    statement: RepeatedColumn,
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// What a row will take in memory, in bytes; short texts that repeat the row before are over-counted.
    pub(super) fn cost(&self, row: &ChangeRow<'_>) -> usize {
        let text = |text: Option<&str>| text.map_or(0, str::len);
        let changed: usize = row.changed.iter().map(|name| name.len() + 4).sum();
        // One statement can stand behind a million rows: it is kept once, and compared once per event.
        let same_event = self.position.last() == Some(row.position.cast_signed())
            && self.event_ordinal.last() == Some(i64::from(row.event_ordinal));
        let statement = row.statement.filter(|text| !same_event && !self.statement.ends_with(text));
        FIXED_ROW_BYTES
            + text(row.pk_text)
            + text(row.before)
            + text(row.after)
            + text(statement)
            + changed
    }

    /// Adds a row; the caller has checked that it fits.
    pub(super) fn push(&mut self, row: &ChangeRow<'_>, lineage: &str) {
        let ChangeRow {
            commit_time_us,
            op,
            schema,
            table,
            pk_text,
            pk_hash,
            before,
            after,
            changed,
            gtid,
            file,
            position,
            event_ordinal,
            row_ordinal,
            fingerprint,
            server_id,
            statement: _,
        } = row;
        self.count += 1;
        self.commit_time.push(Some(*commit_time_us));
        self.op.push(Some(op.as_str()));
        self.schema.push(Some(schema));
        self.table.push(Some(table));
        self.primary_key.push(*pk_text);
        // The hash keeps its 64 bits; Delta has no unsigned numbers.
        self.primary_key_hash.push(pk_hash.map(u64::cast_signed));
        self.before.push(*before);
        self.after.push(*after);
        self.changed.push((*op == Op::Update).then(|| changed.iter().copied()));
        self.gtid.push(*gtid);
        self.file.push(Some(file));
        self.position.push(Some(position.cast_signed()));
        self.event_ordinal.push(Some(i64::from(*event_ordinal)));
        self.row_ordinal.push(Some(i64::from(*row_ordinal)));
        self.fingerprint.push(Some(fingerprint));
        self.server_id.push(Some(i64::from(*server_id)));
        self.lineage.push(Some(lineage));
        self.push_statement(row);
    }

    /// Adds the statement to the row whose other columns are in place.
    fn push_statement(&mut self, row: &ChangeRow<'_>) {
        let Some(text) = row.statement.filter(|text| text.len() > REPEATED_STATEMENT_BYTES) else {
            self.long_statement = None;
            self.statement.push(row.statement);
            return;
        };
        let at = (self.file.run(), row.position, row.event_ordinal);
        // All rows of one event share one statement, so a megabyte is compared once per event.
        let goes_on = self.long_statement.is_some_and(|before| {
            before == at || ((before.0, before.1) == (at.0, at.1) && self.statement.ends_with(text))
        });
        self.long_statement = Some(at);
        self.statement.push((!goes_on).then_some(text));
    }

    /// Drops all rows after the first `rows`.
    pub(super) fn truncate(&mut self, rows: usize) {
        let Rows {
            count,
            long_statement,
            commit_time,
            op,
            schema,
            table,
            primary_key,
            primary_key_hash,
            before,
            after,
            changed,
            gtid,
            file,
            position,
            event_ordinal,
            row_ordinal,
            fingerprint,
            server_id,
            lineage,
            statement,
        } = self;
        *count = rows.min(*count);
        *long_statement = None;
        commit_time.truncate(rows);
        op.truncate(rows);
        schema.truncate(rows);
        table.truncate(rows);
        primary_key.truncate(rows);
        primary_key_hash.truncate(rows);
        before.truncate(rows);
        after.truncate(rows);
        changed.truncate(rows);
        gtid.truncate(rows);
        file.truncate(rows);
        position.truncate(rows);
        event_ordinal.truncate(rows);
        row_ordinal.truncate(rows);
        fingerprint.truncate(rows);
        server_id.truncate(rows);
        lineage.truncate(rows);
        statement.truncate(rows);
    }

    /// Keeps the first `rows` rows and returns the others.
    pub(super) fn split_off(&mut self, rows: usize) -> Result<Rows, ArrowError> {
        let tail = Rows {
            count: self.count.saturating_sub(rows),
            long_statement: None,
            commit_time: self.commit_time.split_off(rows),
            op: self.op.split_off(rows)?,
            schema: self.schema.split_off(rows)?,
            table: self.table.split_off(rows)?,
            primary_key: self.primary_key.split_off(rows),
            primary_key_hash: self.primary_key_hash.split_off(rows),
            before: self.before.split_off(rows),
            after: self.after.split_off(rows),
            changed: self.changed.split_off(rows),
            gtid: self.gtid.split_off(rows)?,
            file: self.file.split_off(rows)?,
            position: self.position.split_off(rows),
            event_ordinal: self.event_ordinal.split_off(rows),
            row_ordinal: self.row_ordinal.split_off(rows),
            fingerprint: self.fingerprint.split_off(rows)?,
            server_id: self.server_id.split_off(rows),
            lineage: self.lineage.split_off(rows)?,
            statement: self.statement.split_off(rows)?,
        };
        self.count = rows.min(self.count);
        self.long_statement = None;
        Ok(tail)
    }

    /// Bytes allocated for the longest columns.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        self.before.allocated() + self.after.allocated() + self.gtid.allocated()
    }

    /// Smallest and largest commit time, microseconds; none when empty.
    pub(super) fn time_range(&self) -> Option<(i64, i64)> {
        self.commit_time.range()
    }

    /// The rows as one record batch, without copying texts.
    pub(super) fn into_batch(self) -> Result<RecordBatch, ArrowError> {
        let long = |column: LongColumn| -> Result<ArrayRef, ArrowError> {
            Ok(Arc::new(column.into_longs()?))
        };
        let times = self.commit_time.into_longs()?;
        let times = TimestampMicrosecondArray::new(times.values().clone(), None);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(times.with_timezone("UTC")),
            self.op.into_array()?,
            self.schema.into_array()?,
            self.table.into_array()?,
            self.primary_key.into_array()?,
            long(self.primary_key_hash)?,
            self.before.into_array()?,
            self.after.into_array()?,
            self.changed.into_array()?,
            self.gtid.into_array()?,
            self.file.into_array()?,
            long(self.position)?,
            long(self.event_ordinal)?,
            long(self.row_ordinal)?,
            self.fingerprint.into_array()?,
            long(self.server_id)?,
            self.lineage.into_array()?,
            self.statement.into_array()?,
        ];
        RecordBatch::try_new(file_schema(), columns)
    }
}
