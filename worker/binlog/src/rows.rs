//! Rows events: from the bytes of an image to the JSON text of a row.

use crate::event::EventType;
use crate::plan::{Column, Kind, Plan};
use crate::reader::{Reader, Short};
use crate::table_map::{bit, count_bits};
use crate::value::json_text::JsonText;
use crate::value::{BadValue, decimal, integer, json, members, temporal, text};
use crate::{change::Op, inflate, json_diff};

/// How a type of rows event is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) op: Op,
    /// Version 2: extra data stands in the header.
    extra: bool,
    pub(crate) compressed: bool,
    /// The after image may hold JSON diffs.
    pub(crate) partial: bool,
}

impl Layout {
    /// The layout of a type of event; `None` if it is no rows event that is known.
    pub(crate) const fn of(event_type: EventType) -> Option<Self> {
        let (op, extra, compressed) = match event_type {
            EventType::WRITE_ROWS_V1 => (Op::Insert, false, false),
            EventType::UPDATE_ROWS_V1 => (Op::Update, false, false),
            EventType::DELETE_ROWS_V1 => (Op::Delete, false, false),
            EventType::WRITE_ROWS => (Op::Insert, true, false),
            EventType::UPDATE_ROWS | EventType::PARTIAL_UPDATE_ROWS => (Op::Update, true, false),
            EventType::DELETE_ROWS => (Op::Delete, true, false),
            EventType::WRITE_ROWS_COMPRESSED_V1 => (Op::Insert, false, true),
            EventType::UPDATE_ROWS_COMPRESSED_V1 => (Op::Update, false, true),
            EventType::DELETE_ROWS_COMPRESSED_V1 => (Op::Delete, false, true),
            EventType::WRITE_ROWS_COMPRESSED => (Op::Insert, true, true),
            EventType::UPDATE_ROWS_COMPRESSED => (Op::Update, true, true),
            EventType::DELETE_ROWS_COMPRESSED => (Op::Delete, true, true),
            _ => return None,
        };
        let partial = matches!(event_type, EventType::PARTIAL_UPDATE_ROWS);
        Some(Self { op, extra, compressed, partial })
    }
}

/// A rows event without its rows' bytes taken apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowsEvent<'a> {
    pub(crate) table_id: u64,
    flags: u16,
    pub(crate) columns: usize,
    /// Columns in the first image: before, or after an insert.
    pub(crate) first: &'a [u8],
    /// Columns in the second image of an update.
    pub(crate) second: &'a [u8],
    pub(crate) rows: &'a [u8],
}

impl<'a> RowsEvent<'a> {
    pub(crate) fn parse(layout: Layout, body: &'a [u8]) -> Result<Self, Short> {
        let mut reader = Reader::new(body);
        let table_id = reader.u48()?;
        let flags = reader.u16()?;
        if layout.extra {
            let length = usize::from(reader.u16()?);
            reader.take(length.checked_sub(2).ok_or(Short)?)?;
        }
        let columns = usize::try_from(reader.lenenc()?).map_err(|_| Short)?;
        let first = reader.take(columns.div_ceil(8))?;
        let second = if layout.op == Op::Update { reader.take(columns.div_ceil(8))? } else { &[] };
        Ok(Self { table_id, flags, columns, first, second, rows: reader.rest() })
    }
}

impl RowsEvent<'_> {
    /// Whether the next statement will announce its tables anew.
    pub(crate) const fn ends_statement(&self) -> bool {
        self.flags & 1 != 0
    }

    /// MySQL writes an event without a table only to end a statement.
    pub(crate) const fn is_dummy(&self) -> bool {
        matches!(self.table_id, 0x00ff_ffff | 0xffff_ffff_ffff) && self.rows.is_empty()
    }
}

/// Where a column's value stands: in the event's bytes and in the image's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) state: CellState,
    bytes: (usize, usize),
    text: (usize, usize),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CellState {
    /// The image does not hold the column.
    #[default]
    Absent,
    Null,
    Value,
    /// The same as in the image before.
    Unchanged,
    /// An update by JSON diff of a document that the image before lacks: changed, nobody knows to what.
    Unknown,
}

/// One row image as JSON text; its buffers are used again and again.
#[derive(Debug, Default)]
pub(crate) struct Image {
    pub(crate) text: String,
    pub(crate) cells: Vec<Cell>,
    inflated: Vec<u8>,
}

/// The image before an update's, with the bytes it was read from.
#[derive(Clone, Copy)]
pub(crate) struct Before<'a> {
    pub(crate) image: &'a Image,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Before<'a> {
    /// The text of a column whose value stands at the front of `rows` again, and how many bytes it takes. A value's
    /// bytes say themselves where they end, so that equal bytes are an equal value.
    #[inline]
    fn again(self, index: usize, rows: &Reader<'_>) -> Option<(&'a str, usize)> {
        let cell = self.image.cells.get(index).filter(|cell| cell.state == CellState::Value)?;
        let bytes = self.bytes.get(cell.bytes.0..cell.bytes.1)?;
        let text = self.image.text.get(cell.text.0..cell.text.1)?;
        rows.rest().starts_with(bytes).then_some((text, bytes.len()))
    }
}

/// Buffers up to so many bytes are kept for the next row.
const LARGE: usize = 1 << 20;

/// A value that could not be decoded: column and problem.
pub(crate) type Fault = (usize, BadValue);

impl Image {
    /// Reads one image off the front of `rows`. Of an update's second one, what did not change is not decoded again.
    pub(crate) fn read(
        &mut self,
        plan: &Plan,
        present: &[u8],
        rows: &mut Reader<'_>,
        before: Option<Before<'_>>,
    ) -> Result<(), Fault> {
        let length = rows.len();
        self.read_with(plan, present, rows, length, |_| false, before)
    }

    /// Reads the after image of a PARTIAL_UPDATE_ROWS: JSON columns may come as diffs, which are
    /// applied to the document before. Where the image before lacks it, the column is left out.
    pub(crate) fn read_partial(
        &mut self,
        plan: &Plan,
        present: &[u8],
        rows: &mut Reader<'_>,
        before: Before<'_>,
    ) -> Result<(), Fault> {
        let length = rows.len();
        let options = rows.lenenc().map_err(|short| (0, short.into()))?;
        let diffs = if options & 1 == 0 {
            &[]
        } else {
            rows.take(plan.json_columns.div_ceil(8)).map_err(|short| (0, short.into()))?
        };
        let is_diff = |json_index| bit(diffs, json_index);
        self.read_with(plan, present, rows, length, is_diff, Some(before))
    }

    /// `length` is what `rows` held at the image's first byte.
    fn read_with(
        &mut self,
        plan: &Plan,
        present: &[u8],
        rows: &mut Reader<'_>,
        length: usize,
        is_diff: impl Fn(usize) -> bool,
        before: Option<Before<'_>>,
    ) -> Result<(), Fault> {
        let columns = plan.columns.len();
        let count = count_bits(present, columns);
        let nulls = rows.take(count.div_ceil(8)).map_err(|short| (0, short.into()))?;
        self.cells.clear();
        self.cells.resize(columns, Cell::default());
        let mut out = JsonText::within(std::mem::take(&mut self.text));
        out.push(b'{');
        let (mut nth, mut nth_json) = (0, 0);
        for (index, (column, cell)) in plan.columns.iter().zip(&mut self.cells).enumerate() {
            let json_index = nth_json;
            nth_json += usize::from(matches!(column.kind, Kind::Json { .. }));
            if !bit(present, index) {
                continue;
            }
            let (null, start) = (bit(nulls, nth), length - rows.len());
            let diffs = match column.kind {
                Kind::Json { .. } if is_diff(json_index) && !null => {
                    Some(rows.prefixed(4).map_err(|short| (index, short.into()))?)
                }
                _ => None,
            };
            let old = diffs.and_then(|_| before?.image.value(index));
            if let (Some(diffs), None) = (diffs, old) {
                cell.state = if diffs.is_empty() { CellState::Absent } else { CellState::Unknown };
                nth += 1;
                continue;
            }
            // The first one without its comma.
            let label = if out.len() > 1 { &column.label } else { column.label_alone() };
            out.push_str(label);
            let text_start = out.len();
            if null {
                out.push_str("null");
                cell.state = CellState::Null;
            } else if let (Some(diffs), Some(old)) = (diffs, old) {
                push_document(old, diffs, &mut out).map_err(|bad| (index, bad))?;
                let same = out.since(text_start) == old.as_bytes();
                cell.state = if same { CellState::Unchanged } else { CellState::Value };
            } else if let Some((text, taken)) = before.and_then(|before| before.again(index, rows))
            {
                rows.take(taken).map_err(|short| (index, short.into()))?;
                out.push_str(text);
                cell.state = CellState::Unchanged;
            } else {
                push_value(column, rows, &mut out, &mut self.inflated)
                    .map_err(|bad| (index, bad))?;
                cell.state = CellState::Value;
            }
            nth += 1;
            cell.bytes = (start, length - rows.len());
            cell.text = (text_start, out.len());
        }
        out.push(b'}');
        self.text = out.finish().map_err(|bad| (0, bad))?;
        Ok(())
    }

    /// Gives back what only a large row needed.
    pub(crate) fn release(&mut self) {
        self.text.shrink_to(LARGE);
        self.inflated.shrink_to(LARGE);
    }

    /// The JSON text of a column's value, if the image holds the column.
    pub(crate) fn value(&self, index: usize) -> Option<&str> {
        let known = |cell: &&Cell| !matches!(cell.state, CellState::Absent | CellState::Unknown);
        let cell = self.cells.get(index).filter(known)?;
        self.text.get(cell.text.0..cell.text.1)
    }
}

/// Whether a column changed, by the bytes of both images. `before_at` and `after_at` are the images'
/// own bytes.
pub(crate) fn differs(before: Cell, before_at: &[u8], after: Cell, after_at: &[u8]) -> bool {
    match (before.state, after.state) {
        (_, CellState::Absent | CellState::Unchanged) => false,
        (CellState::Value, CellState::Value) => {
            before_at.get(before.bytes.0..before.bytes.1)
                != after_at.get(after.bytes.0..after.bytes.1)
        }
        (before, after) => before != after,
    }
}

/// The document after its diffs; those of an unchanged column are none.
fn push_document(before: &str, diffs: &[u8], out: &mut JsonText) -> Result<(), BadValue> {
    if diffs.is_empty() {
        out.push_str(before);
        return Ok(());
    }
    let start = out.len();
    json_diff::apply(json::unwrapped(before), diffs, out)?;
    json::wrap(out, start);
    Ok(())
}

#[inline]
fn push_value(
    column: &Column,
    rows: &mut Reader<'_>,
    out: &mut JsonText,
    inflated: &mut Vec<u8>,
) -> Result<(), BadValue> {
    match &column.kind {
        Kind::Integer { bytes, unsigned } => integer::integer(rows, *bytes, *unsigned, out),
        Kind::Text { prefix, charset } => {
            text::push_text(rows.prefixed(usize::from(*prefix))?, *charset, out);
            Ok(())
        }
        Kind::DateTime { fraction } => temporal::datetime(rows, *fraction, out),
        Kind::Timestamp { fraction } => temporal::timestamp(rows, *fraction, out),
        Kind::Decimal { precision, scale } => decimal::push_quoted(rows, *precision, *scale, out),
        Kind::Float => integer::float(rows, out),
        Kind::Double => integer::double(rows, out),
        Kind::Bits { bytes } => integer::bits(rows, *bytes, out),
        Kind::Year => integer::year(rows, out),
        Kind::Date => temporal::date(rows, out),
        Kind::Time { fraction } => temporal::time(rows, *fraction, out),
        Kind::OldTime => temporal::old_time(rows, out),
        Kind::OldDateTime => temporal::old_datetime(rows, out),
        Kind::OldTimestamp => temporal::old_timestamp(rows, out),
        Kind::Bytes { prefix, length } => {
            text::push_bytes(rows.prefixed(usize::from(*prefix))?, usize::from(*length), out);
            Ok(())
        }
        Kind::Packed { prefix, charset } => {
            let packed = rows.prefixed(usize::from(*prefix))?;
            let plain = inflate::column(packed, inflated)
                .map_err(|_| BadValue("its compressed value cannot be inflated"))?;
            match charset {
                Some(charset) => text::push_text(plain, *charset, out),
                None => text::push_bytes(plain, 0, out),
            }
            Ok(())
        }
        Kind::Enum { bytes, members } => members::one(rows, *bytes, members, out),
        Kind::Set { bytes, members } => members::many(rows, *bytes, members, out),
        Kind::Json { prefix } => json::push_column(rows.prefixed(usize::from(*prefix))?, out),
    }
}
