//! Growing columns that can be cut back and split, and become Arrow arrays without a copy.
//!
//! Arrow's own builders only grow; undoing a rolled back transaction needs a `truncate`.

use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, DictionaryArray, Int32Array, Int64Array, ListArray, StringArray};
use arrow_buffer::{Buffer, NullBuffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::ArrowError;

use crate::schema::text_element;

/// Texts, some of them null.
#[derive(Debug)]
pub(super) struct TextColumn {
    bytes: Vec<u8>,
    /// One more than rows; `offsets[i]..offsets[i + 1]` is row i.
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
}

impl Default for TextColumn {
    fn default() -> Self {
        TextColumn { bytes: Vec::new(), offsets: vec![0], nulls: NullBufferBuilder::new(0) }
    }
}

impl TextColumn {
    /// Adds a row. The caller keeps the column below `i32::MAX` bytes.
    pub(super) fn push(&mut self, text: Option<&str>) {
        match text {
            Some(text) => {
                self.bytes.extend_from_slice(text.as_bytes());
                self.nulls.append_non_null();
            }
            None => self.nulls.append_null(),
        }
        self.offsets.push(self.bytes.len() as i32);
    }

    pub(super) fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        self.bytes.capacity() + self.offsets.capacity() * 4
    }

    fn start_of(&self, row: usize) -> usize {
        self.offsets[row] as usize
    }

    /// Bytes of the last row; none when there is no row.
    fn last(&self) -> Option<&[u8]> {
        let row = self.rows().checked_sub(1)?;
        Some(&self.bytes[self.start_of(row)..])
    }

    fn bytes_of(&self, row: usize) -> &[u8] {
        &self.bytes[self.start_of(row)..self.start_of(row + 1)]
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        if rows < self.rows() {
            self.bytes.truncate(self.start_of(rows));
            self.offsets.truncate(rows + 1);
            self.nulls.truncate(rows);
        }
    }

    /// Keeps the first `rows` rows and returns the others.
    pub(super) fn split_off(&mut self, rows: usize) -> TextColumn {
        let mut tail = TextColumn::default();
        let cut = self.start_of(rows);
        for row in rows..self.rows() {
            tail.offsets.push((self.start_of(row + 1) - cut) as i32);
            tail.nulls.append(self.nulls.is_valid(row));
        }
        tail.bytes = self.bytes.split_off(cut);
        self.truncate(rows);
        tail
    }

    fn into_strings(mut self) -> Result<StringArray, ArrowError> {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        StringArray::try_new(offsets, Buffer::from_vec(self.bytes), self.nulls.finish())
    }

    pub(super) fn into_array(self) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(self.into_strings()?))
    }
}

/// Texts that repeat from row to row: a run of equal ones is stored once.
#[derive(Debug, Default)]
pub(super) struct RepeatedColumn {
    /// Index into `values`, never falling; [`NULL_KEY`] for null.
    keys: Vec<i32>,
    values: TextColumn,
}

const NULL_KEY: i32 = -1;

impl RepeatedColumn {
    pub(super) fn push(&mut self, text: Option<&str>) {
        let Some(text) = text else {
            self.keys.push(NULL_KEY);
            return;
        };
        if !self.ends_with(text) {
            self.values.push(Some(text));
        }
        self.keys.push(self.values.rows() as i32 - 1);
    }

    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        self.values.allocated() + self.keys.capacity() * 4
    }

    /// Number of the run that the last row belongs to.
    pub(super) fn run(&self) -> i32 {
        self.values.rows() as i32
    }

    /// Whether the newest text is `text`.
    pub(super) fn ends_with(&self, text: &str) -> bool {
        self.values.last() == Some(text.as_bytes())
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.keys.truncate(rows);
        let last = self.keys.iter().rev().find(|key| **key != NULL_KEY);
        self.values.truncate(last.map_or(0, |key| *key as usize + 1));
    }

    pub(super) fn split_off(&mut self, rows: usize) -> Result<RepeatedColumn, ArrowError> {
        let mut tail = RepeatedColumn::default();
        for key in &self.keys[rows..] {
            let text = match *key {
                NULL_KEY => None,
                key => Some(
                    std::str::from_utf8(self.values.bytes_of(key as usize))
                        .map_err(|error| ArrowError::InvalidArgumentError(error.to_string()))?,
                ),
            };
            tail.push(text);
        }
        self.truncate(rows);
        Ok(tail)
    }

    pub(super) fn into_array(self) -> Result<ArrayRef, ArrowError> {
        let nulls: NullBuffer = self.keys.iter().map(|key| *key != NULL_KEY).collect();
        let nulls = Some(nulls).filter(|nulls| nulls.null_count() > 0);
        let keys = Int32Array::try_new(ScalarBuffer::from(self.keys), nulls)?;
        let values = Arc::new(self.values.into_strings()?);
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, values)?))
    }
}

/// Signed 64-bit numbers, some of them null.
#[derive(Debug)]
pub(super) struct LongColumn {
    values: Vec<i64>,
    nulls: NullBufferBuilder,
}

impl Default for LongColumn {
    fn default() -> Self {
        LongColumn { values: Vec::new(), nulls: NullBufferBuilder::new(0) }
    }
}

impl LongColumn {
    pub(super) fn push(&mut self, value: Option<i64>) {
        self.nulls.append(value.is_some());
        self.values.push(value.unwrap_or_default());
    }

    /// The last row's value, null as 0.
    pub(super) fn last(&self) -> Option<i64> {
        self.values.last().copied()
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        if rows < self.values.len() {
            self.values.truncate(rows);
            self.nulls.truncate(rows);
        }
    }

    pub(super) fn split_off(&mut self, rows: usize) -> LongColumn {
        let mut tail = LongColumn::default();
        for row in rows..self.values.len() {
            tail.push(self.nulls.is_valid(row).then_some(self.values[row]));
        }
        self.truncate(rows);
        tail
    }

    /// Smallest and largest value, nulls counted as 0; none when empty.
    pub(super) fn range(&self) -> Option<(i64, i64)> {
        let min = self.values.iter().min()?;
        let max = self.values.iter().max()?;
        Some((*min, *max))
    }

    pub(super) fn into_longs(mut self) -> Result<Int64Array, ArrowError> {
        Int64Array::try_new(ScalarBuffer::from(self.values), self.nulls.finish())
    }
}

/// Lists of texts, some lists null, no text null.
#[derive(Debug)]
pub(super) struct TextsColumn {
    /// One more than rows; `ends[i]..ends[i + 1]` are the texts of row i.
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
    texts: TextColumn,
}

impl Default for TextsColumn {
    fn default() -> Self {
        TextsColumn {
            offsets: vec![0],
            nulls: NullBufferBuilder::new(0),
            texts: TextColumn::default(),
        }
    }
}

impl TextsColumn {
    pub(super) fn push<'a>(&mut self, texts: Option<impl IntoIterator<Item = &'a str>>) {
        self.nulls.append(texts.is_some());
        for text in texts.into_iter().flatten() {
            self.texts.push(Some(text));
        }
        self.offsets.push(self.texts.rows() as i32);
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        if rows + 1 < self.offsets.len() {
            self.offsets.truncate(rows + 1);
            self.nulls.truncate(rows);
            self.texts.truncate(self.offsets[rows] as usize);
        }
    }

    pub(super) fn split_off(&mut self, rows: usize) -> TextsColumn {
        let mut tail = TextsColumn::default();
        let cut = self.offsets[rows];
        for row in rows..self.offsets.len() - 1 {
            tail.offsets.push(self.offsets[row + 1] - cut);
            tail.nulls.append(self.nulls.is_valid(row));
        }
        tail.texts = self.texts.split_off(cut as usize);
        self.truncate(rows);
        tail
    }

    pub(super) fn into_array(mut self) -> Result<ArrayRef, ArrowError> {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        let texts = Arc::new(self.texts.into_strings()?);
        let field = Arc::new(text_element());
        Ok(Arc::new(ListArray::try_new(field, offsets, texts, self.nulls.finish())?))
    }
}
