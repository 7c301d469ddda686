//! Rows of open and ended transactions, kept in Arrow builders until they are sealed into a file.
//!
//! - [`ChangeBatch::seal`] gives rows up to the last [`ChangeBatch::mark`], never past it; the rest
//!   is carried. Held by `seal_gives_marked_rows_and_carries_the_rest`.
//! - [`ChangeBatch::rollback`] and [`ChangeBatch::rollback_to`] drop every row after the mark or the
//!   savepoint and no other. Held by `any_run_of_calls_gives_the_marked_rows_once_and_in_order`.
//! - A row that does not fit leaves the batch as it was. Held by `a_full_batch_refuses_and_stays`.
//! - Carried rows do not keep the sealed ones in memory. Held by `carried_rows_are_copied_out`.

mod columns;
mod encode;
mod rows;

use binlog::{ChangeRow, ChangeSink, SinkError};
use bytes::Bytes;

use rows::Rows;

/// Bytes of text one batch may hold. Arrow's text offsets are 32-bit; a batch is cut long before.
const MAX_BYTES: usize = 1 << 30;

/// How files are written. The defaults are chosen by measurement, see ARCHITECTURE.md.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParquetSettings {
    /// zstd level, 1 to 22.
    pub zstd_level: i32,
    /// Most rows in one row group.
    pub row_group_rows: usize,
    /// A row group is closed when its encoded size passes this many bytes.
    pub row_group_bytes: usize,
}

impl Default for ParquetSettings {
    fn default() -> Self {
        ParquetSettings { zstd_level: 1, row_group_rows: 1 << 17, row_group_bytes: 32 << 20 }
    }
}

/// What sealing a batch can say.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// The rows could not be brought into Arrow or Parquet form; a bug, retrying does not help.
    #[error("write change rows as parquet: {0}")]
    Encode(String),
    /// A part of an open transaction was asked for while ended transactions wait.
    #[error(
        "seal part of an open transaction: {0} rows of ended transactions wait; seal them first"
    )]
    MarkedRows(u64),
}

/// One finished Parquet file of change rows.
#[derive(Clone, Debug)]
pub struct ChangeFile {
    /// The whole file.
    pub bytes: Bytes,
    /// SHA-256 of `bytes`, lower-case hex.
    pub sha256: String,
    /// Rows in the file, at least 1.
    pub rows: u64,
    /// Smallest commit time, microseconds since 1970 UTC.
    pub min_time_us: i64,
    /// Largest commit time, microseconds since 1970 UTC.
    pub max_time_us: i64,
}

/// Rows taken out of a batch, not yet encoded: what to hand to a blocking thread.
#[derive(Debug)]
pub struct Cut {
    rows: Rows,
    settings: ParquetSettings,
}

impl Cut {
    /// Rows in the cut, at least 1.
    pub fn rows(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Writes the rows as one Parquet file. Pure CPU: half a second to a second per million rows.
    pub fn encode(self) -> Result<ChangeFile, BatchError> {
        encode::encode(self.rows, &self.settings)
    }
}

/// A place among the rows of the open transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Savepoint {
    rows: usize,
    bytes: usize,
}

/// Change rows waiting to be sealed. One owner, no locks; not async.
#[derive(Debug)]
pub struct ChangeBatch {
    settings: ParquetSettings,
    lineage: String,
    rows: Rows,
    bytes: usize,
    /// Most bytes; [`MAX_BYTES`] outside tests.
    max_bytes: usize,
    /// Of all rows, the first so many belong to ended transactions.
    marked_rows: usize,
    marked_bytes: usize,
}

impl ChangeBatch {
    /// An empty batch whose rows belong to `lineage`.
    pub fn new(lineage: &str, settings: ParquetSettings) -> ChangeBatch {
        ChangeBatch {
            settings,
            lineage: lineage.to_owned(),
            rows: Rows::default(),
            bytes: 0,
            max_bytes: MAX_BYTES,
            marked_rows: 0,
            marked_bytes: 0,
        }
    }

    /// The lineage that rows pushed now belong to.
    pub fn lineage(&self) -> &str {
        &self.lineage
    }

    /// Rows pushed from now on belong to `lineage`.
    pub fn set_lineage(&mut self, lineage: &str) {
        lineage.clone_into(&mut self.lineage);
    }

    /// A transaction ended: the rows so far may be sealed.
    pub fn mark(&mut self) {
        self.marked_rows = self.rows.len();
        self.marked_bytes = self.bytes;
    }

    /// Drops the rows of the open transaction that are still here.
    pub fn rollback(&mut self) {
        self.rollback_to(Savepoint::default());
    }

    /// Behind the newest row. Good until the transaction ends, is rolled back, or a part of it is taken.
    pub fn savepoint(&self) -> Savepoint {
        Savepoint { rows: self.rows.len() - self.marked_rows, bytes: self.open_bytes() }
    }

    /// Drops the rows of the open transaction that came after `savepoint`.
    pub fn rollback_to(&mut self, savepoint: Savepoint) {
        self.rows.truncate(self.marked_rows + savepoint.rows);
        self.bytes = self.marked_bytes + savepoint.bytes;
    }

    /// Memory that all rows take, in bytes, before encoding.
    pub fn estimated_bytes(&self) -> usize {
        self.bytes
    }

    /// Memory that the rows of the open transaction take, in bytes.
    pub fn open_bytes(&self) -> usize {
        self.bytes - self.marked_bytes
    }

    /// Rows in the batch, those of the open transaction included.
    pub fn rows(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Rows of ended transactions: what [`ChangeBatch::cut`] would take.
    pub fn marked_rows(&self) -> u64 {
        self.marked_rows as u64
    }

    /// Takes the rows of ended transactions; none if there are none.
    pub fn cut(&mut self) -> Result<Option<Cut>, BatchError> {
        if self.marked_rows == 0 {
            return Ok(None);
        }
        let open = self.rows.split_off(self.marked_rows).map_err(encode::failed)?;
        let rows = std::mem::replace(&mut self.rows, open);
        self.bytes = self.open_bytes();
        self.marked_rows = 0;
        self.marked_bytes = 0;
        Ok(Some(Cut { rows, settings: self.settings.clone() }))
    }

    /// Takes the rows of the open transaction as a part of it; none if there are none.
    ///
    /// A part is worth nothing until its transaction's entry names it. Refused while rows of ended
    /// transactions wait, so that an abandoned part never holds committed rows.
    pub fn cut_part(&mut self) -> Result<Option<Cut>, BatchError> {
        if self.marked_rows > 0 {
            return Err(BatchError::MarkedRows(self.marked_rows as u64));
        }
        if self.rows.len() == 0 {
            return Ok(None);
        }
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        Ok(Some(Cut { rows, settings: self.settings.clone() }))
    }

    /// [`ChangeBatch::cut`], encoded on this thread.
    pub fn seal(&mut self) -> Result<Option<ChangeFile>, BatchError> {
        self.cut()?.map(Cut::encode).transpose()
    }

    /// [`ChangeBatch::cut_part`], encoded on this thread.
    pub fn seal_part(&mut self) -> Result<Option<ChangeFile>, BatchError> {
        self.cut_part()?.map(Cut::encode).transpose()
    }
}

impl ChangeSink for ChangeBatch {
    fn push(&mut self, row: &ChangeRow<'_>) -> Result<(), SinkError> {
        let cost = self.rows.cost(row);
        if self.bytes + cost > self.max_bytes {
            return Err(SinkError::new(format!(
                "collect change rows: a batch of {} bytes cannot take a row of {cost} bytes; \
                 seal it first",
                self.bytes
            )));
        }
        self.rows.push(row, &self.lineage);
        self.bytes += cost;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
