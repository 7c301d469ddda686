//! Answers of the text protocol, with a bound.

use std::sync::Arc;

use tokio::io::AsyncRead;

use crate::error::{ServerError, SourceError};
use crate::wire::Wire;

/// Most rows of one answer: a server has some thousand binlogs at most.
const MAX_ROWS: usize = 200_000;
/// Most bytes of one answer, as they lie in memory.
const MAX_BYTES: usize = 64 << 20;
/// What a cell takes beyond its bytes: a million empty ones are not nothing.
const CELL: usize = 32;
/// Most columns: the protocol's own limit.
const MAX_COLUMNS: u64 = 4096;

/// What a statement was answered with.
pub(crate) enum Answer {
    Done { affected: u64 },
    Rows(ResultSet),
}

type Cells = Vec<Option<Vec<u8>>>;

/// Rows in memory.
#[derive(Clone, Debug)]
pub struct ResultSet {
    doing: String,
    columns: Arc<[String]>,
    rows: Vec<Cells>,
}

/// One row of a [`ResultSet`].
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    set: &'a ResultSet,
    cells: &'a Cells,
}

impl ResultSet {
    pub(crate) fn empty(doing: String) -> Self {
        Self { doing, columns: Arc::new([]), rows: Vec::new() }
    }

    /// Names of the columns, in order.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// All rows, in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        self.rows.iter().map(|cells| Row { set: self, cells })
    }

    /// The first row.
    pub fn first(&self) -> Option<Row<'_>> {
        self.rows().next()
    }

    fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.eq_ignore_ascii_case(name))
    }
}

impl<'a> Row<'a> {
    /// A cell by number: `None` is NULL, or a column that is not there.
    pub fn bytes_at(&self, column: usize) -> Option<&'a [u8]> {
        self.cells.get(column)?.as_deref()
    }

    /// A cell by its column's name in any case: `None` is NULL, or a column that is not there.
    pub fn bytes(&self, column: &str) -> Option<&'a [u8]> {
        self.bytes_at(self.set.column(column)?)
    }

    /// A cell as text, lossily decoded: `None` as in [`Row::bytes`].
    pub fn text(&self, column: &str) -> Option<String> {
        self.bytes(column).map(|cell| String::from_utf8_lossy(cell).into_owned())
    }

    /// A cell by number as text, lossily decoded.
    pub fn text_at(&self, column: usize) -> Option<String> {
        self.bytes_at(column).map(|cell| String::from_utf8_lossy(cell).into_owned())
    }

    /// A cell that must hold text.
    ///
    /// # Errors
    /// NULL, or no such column.
    pub fn required(&self, column: &str) -> Result<String, SourceError> {
        self.text(column).ok_or_else(|| self.bad(column, "is NULL or not there"))
    }

    /// A cell that must hold an unsigned number.
    ///
    /// # Errors
    /// NULL, no such column, or no such number.
    pub fn number(&self, column: &str) -> Result<u64, SourceError> {
        let text = self.required(column)?;
        text.trim().parse().map_err(|_| self.bad(column, "is not an unsigned number"))
    }

    fn bad(&self, column: &str, problem: &str) -> SourceError {
        SourceError::Value {
            doing: self.set.doing.clone(),
            column: column.to_owned(),
            problem: problem.to_owned(),
        }
    }
}

/// Reads the answer to a COM_QUERY. The caller sets the time limit.
pub(crate) async fn read<S: AsyncRead + Unpin>(
    wire: &mut Wire<S>,
    doing: &str,
) -> Result<Answer, SourceError> {
    let count = {
        let packet = wire.packet().await.map_err(|e| SourceError::wire(doing, e))?;
        match packet {
            [0x00, rest @ ..] => {
                let (affected, _) = length_encoded(rest).unwrap_or((0, rest));
                return Ok(Answer::Done { affected });
            }
            [0xff, ..] => return Err(refused(doing, packet)),
            // LOCAL INFILE, which was never offered: a server that asks for a file of ours.
            [0xfb, ..] => return Err(SourceError::protocol(doing, "a request for a local file")),
            _ => length_encoded(packet).map(|(count, _)| count),
        }
    };
    let count = count
        .filter(|count| (1..=MAX_COLUMNS).contains(count))
        .ok_or_else(|| SourceError::protocol(doing, "an impossible number of columns"))?;
    let too_large = |limit, unit| SourceError::TooLarge { doing: doing.to_owned(), limit, unit };
    let mut bytes = 0;
    let mut columns = Vec::new();
    for _ in 0..count {
        let packet = wire.packet().await.map_err(|e| SourceError::wire(doing, e))?;
        let name = column_name(packet)
            .ok_or_else(|| SourceError::protocol(doing, "a column definition cut short"))?;
        bytes += name.len() + CELL;
        if bytes > MAX_BYTES {
            return Err(too_large(MAX_BYTES, "bytes"));
        }
        columns.push(name);
    }
    let packet = wire.packet().await.map_err(|e| SourceError::wire(doing, e))?;
    if !is_end(packet) {
        return Err(SourceError::protocol(doing, "no end after the column definitions"));
    }
    let width = columns.len();
    let mut set = ResultSet { doing: doing.to_owned(), columns: columns.into(), rows: Vec::new() };
    loop {
        let packet = wire.packet().await.map_err(|e| SourceError::wire(doing, e))?;
        if is_end(packet) {
            return Ok(Answer::Rows(set));
        }
        if packet.first() == Some(&0xff) {
            return Err(refused(doing, packet));
        }
        let cells = row(packet, width)
            .ok_or_else(|| SourceError::protocol(doing, "a row that does not fit its columns"))?;
        bytes += packet.len() + cells.len() * CELL;
        set.rows.push(cells);
        if bytes > MAX_BYTES {
            return Err(too_large(MAX_BYTES, "bytes"));
        }
        if set.rows.len() > MAX_ROWS {
            return Err(too_large(MAX_ROWS, "rows"));
        }
    }
}

fn refused(doing: &str, packet: &[u8]) -> SourceError {
    match ServerError::parse(packet) {
        Some(error) => SourceError::server(doing, error),
        None => SourceError::protocol(doing, "an ERR packet cut short"),
    }
}

fn is_end(packet: &[u8]) -> bool {
    packet.first() == Some(&0xfe) && packet.len() < 9
}

/// A length-encoded integer and what follows it.
fn length_encoded(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let width = match first {
        0..=0xfa => return Some((u64::from(*first), rest)),
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        _ => return None,
    };
    let (number, rest) = rest.split_at_checked(width)?;
    let value = number.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
    Some((value, rest))
}

fn length_encoded_bytes(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = length_encoded(bytes)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

/// Catalog, schema, table, original table, then the name.
fn column_name(packet: &[u8]) -> Option<String> {
    let mut rest = packet;
    for _ in 0..4 {
        (_, rest) = length_encoded_bytes(rest)?;
    }
    let (name, _) = length_encoded_bytes(rest)?;
    Some(String::from_utf8_lossy(name).into_owned())
}

fn row(packet: &[u8], width: usize) -> Option<Cells> {
    let mut cells = Vec::with_capacity(width);
    let mut rest = packet;
    for _ in 0..width {
        if let [0xfb, after @ ..] = rest {
            cells.push(None);
            rest = after;
        } else {
            let (cell, after) = length_encoded_bytes(rest)?;
            cells.push(Some(cell.to_vec()));
            rest = after;
        }
    }
    rest.is_empty().then_some(cells)
}

#[cfg(test)]
#[path = "result_set/tests.rs"]
mod tests;
