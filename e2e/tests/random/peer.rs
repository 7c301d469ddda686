//! mysql_common's decoder over the same binlog files, row by row and value by value.
//!
//! What it is known to read otherwise is left out here, and counted:
//! - negative MEDIUMINT (-8388608 comes out as 8388608), YEAR 0 (as 1900), TIMESTAMP past 2038 (as before 1901);
//! - text behind a VECTOR of MySQL or a GEOMETRY of MariaDB: it does not count them among the columns that have a
//!   character set, and gives what stands behind them the one of a neighbour;
//! - JSON documents with decimals, times or bytes in them, which have no form there;
//! - events of a table with a DATE or a type of MariaDB's own, which it cannot read at all, and of one with a TIME(1) or
//!   TIME(2): below zero its fraction wraps around, or ends the program where overflows are checked.
//!
//! It gives text, ENUM and SET undecoded: the bytes of text in UTF-8 are compared, the others stand for themselves.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::iter::Peekable;

use e2e::oracle::Listed;
use e2e::server::Server;
use e2e::types::{SCHEMA, numbers_as_texts};
use e2e::{Context, Failure, Result};
use mysql_common::binlog::BinlogFile;
use mysql_common::binlog::consts::BinlogVersion;
use mysql_common::binlog::events::{EventData, RowsEventData, TableMapEvent};
use mysql_common::binlog::row::BinlogRow;
use mysql_common::binlog::value::BinlogValue;
use mysql_common::constants::ColumnType;
use mysql_common::value::Value as Theirs;
use serde_json::Value;

/// What came of a comparison.
#[derive(Debug, Default)]
pub struct Agreed {
    events: u64,
    undecoded: u64,
    values: u64,
    left_out: u64,
    differing: Vec<String>,
}

impl Agreed {
    /// Whether it could read most events, and most values of them.
    pub fn is_mostly_read(&self) -> bool {
        self.undecoded * 2 < self.events && self.left_out * 2 < self.values
    }
}

impl fmt::Display for Agreed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, undecoded, values, left_out, .. } = self;
        write!(
            f,
            "of {events} events it cannot read {undecoded}; {values} values agree, {left_out} are known to be read \
             otherwise or given undecoded"
        )
    }
}

/// Of a value: as ours, otherwise, or not to be compared.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Same,
    Other,
    LeftOut,
}

impl Verdict {
    fn of(same: bool) -> Self {
        if same { Self::Same } else { Self::Other }
    }
}

/// Compares the change log with what the other decoder reads from this position on.
pub async fn compare(
    server: &Server,
    from: &(String, u64),
    ours: impl Iterator<Item = Result<Listed>>,
) -> Result<Agreed> {
    let query = "SELECT ID FROM information_schema.COLLATIONS \
                 WHERE CHARACTER_SET_NAME IN ('utf8mb4', 'utf8mb3', 'utf8', 'ascii')";
    let ids = server.rows(query).await?.into_iter().filter_map(|row| row.into_iter().next()?);
    let unicode: BTreeSet<u16> = ids.filter_map(|id| id.parse().ok()).collect();
    let mut agreed = Agreed::default();
    let mut ours = ours.peekable();
    for (file, _) in server.binlogs().await? {
        if file < from.0 {
            continue;
        }
        let start = if file == from.0 { from.1 } else { 0 };
        one_file(server, &file, start, &unicode, &mut ours, &mut agreed)?;
    }
    if let Some(left) = ours.next() {
        return Err(Failure::new(format!("a change that is in no binlog: {:?}", left?)));
    }
    if !agreed.differing.is_empty() {
        return Err(Failure::new(format!("mysql_common reads otherwise: {:#?}", agreed.differing)));
    }
    Ok(agreed)
}

fn one_file(
    server: &Server,
    file: &str,
    start: u64,
    unicode: &BTreeSet<u16>,
    ours: &mut Peekable<impl Iterator<Item = Result<Listed>>>,
    agreed: &mut Agreed,
) -> Result<()> {
    let bytes = File::open(server.binlog(file)).context(|| format!("open {file}"))?;
    let mut binlog = BinlogFile::new(BinlogVersion::Version4, BufReader::new(bytes))?;
    let mut at = 4;
    while let Some(event) = binlog.next() {
        let event = event.context(|| format!("read {file} at {at}"))?;
        let began = at;
        at += u64::from(event.header().event_size());
        if began < start {
            continue;
        }
        let Ok(Some(EventData::RowsEvent(rows))) = event.read_data() else { continue };
        let Some(table) = binlog.reader().get_tme(rows.table_id()) else { continue };
        if table.database_name() != SCHEMA || rows.rows_data().is_empty() {
            continue;
        }
        agreed.events += 1;
        let ours = next_event(ours)?;
        let place = format!("{file} at {began}");
        one_event(&place, &rows, table, unicode, &ours, agreed)?;
    }
    Ok(())
}

/// Changes of the next rows event.
fn next_event(ours: &mut Peekable<impl Iterator<Item = Result<Listed>>>) -> Result<Vec<Listed>> {
    let first = ours.next().context(|| "the change log ends before the binlog")??;
    let place = (first.file.clone(), first.position, first.event_ordinal);
    let mut changes = vec![first];
    let same = |next: &Result<Listed>| match next {
        Ok(next) => (&next.file, next.position, next.event_ordinal) == (&place.0, place.1, place.2),
        Err(_) => true,
    };
    while let Some(next) = ours.next_if(same) {
        changes.push(next?);
    }
    Ok(changes)
}

fn one_event(
    place: &str,
    rows: &RowsEventData<'_>,
    table: &TableMapEvent<'_>,
    unicode: &BTreeSet<u16>,
    ours: &[Listed],
    agreed: &mut Agreed,
) -> Result<()> {
    let name = table.table_name();
    if ours.iter().any(|change| change.table != name) {
        return Err(Failure::new(format!(
            "{place}: rows of {name} are told of {:?}",
            ours[0].table
        )));
    }
    let theirs = if has_short_time(table) {
        None
    } else {
        rows.rows(table).collect::<std::io::Result<Vec<_>>>().ok()
    };
    let Some(theirs) = theirs else {
        agreed.undecoded += 1;
        return Ok(());
    };
    if theirs.len() != ours.len() {
        let (ours, theirs) = (ours.len(), theirs.len());
        return Err(Failure::new(format!("{place}: {ours} rows of {name}, not {theirs}")));
    }
    for (ours, (before, after)) in ours.iter().zip(&theirs) {
        for (ours, theirs) in [(&ours.before, before), (&ours.after, after)] {
            match (ours, theirs) {
                (None, None) => {}
                (Some(ours), Some(theirs)) => {
                    one_image(place, &name, ours, theirs, unicode, agreed)?;
                }
                _ => return Err(Failure::new(format!("{place}: an image of {name} is missing"))),
            }
        }
    }
    Ok(())
}

/// Whether a column is a TIME of one or two digits behind the second.
fn has_short_time(table: &TableMapEvent<'_>) -> bool {
    (0..table.columns_count() as usize).any(|column| {
        matches!(table.get_column_type(column), Ok(Some(ColumnType::MYSQL_TYPE_TIME2)))
            && matches!(table.get_column_metadata(column), Some([1 | 2, ..]))
    })
}

fn one_image(
    place: &str,
    table: &str,
    ours: &str,
    theirs: &BinlogRow,
    unicode: &BTreeSet<u16>,
    agreed: &mut Agreed,
) -> Result<()> {
    const SHOWN: usize = 20;
    let ours = numbers_as_texts(ours)?;
    let columns = theirs.columns_ref();
    let shifted = columns.iter().any(|column| {
        matches!(
            column.column_type(),
            ColumnType::MYSQL_TYPE_GEOMETRY | ColumnType::MYSQL_TYPE_VECTOR
        )
    });
    let fields = ours.as_object().context(|| format!("{place}: an image is no object"))?;
    if fields.len() != columns.len() {
        let (ours, theirs) = (fields.len(), columns.len());
        return Err(Failure::new(format!("{place}: {ours} columns of {table}, not {theirs}")));
    }
    for (index, (column, (name, ours))) in columns.iter().zip(fields).enumerate() {
        let Some(value) = theirs.as_ref(index) else { continue };
        let is_unicode = !shifted && unicode.contains(&column.character_set());
        let verdict = if column.name_str() == name.as_str() {
            judged(column.column_type(), is_unicode, ours, value)
        } else {
            Verdict::Other
        };
        match verdict {
            Verdict::Same => agreed.values += 1,
            Verdict::LeftOut => agreed.left_out += 1,
            Verdict::Other if agreed.differing.len() < SHOWN => {
                let (theirs, kind) = (column.name_str(), column.column_type());
                agreed.differing.push(format!(
                    "{place}: {table}.{name} ({theirs}, {kind:?}): {ours} is {value:?}"
                ));
            }
            Verdict::Other => {}
        }
    }
    Ok(())
}

fn judged(kind: ColumnType, is_unicode: bool, ours: &Value, theirs: &BinlogValue<'_>) -> Verdict {
    let number = ours["#"].as_str();
    let value = match theirs {
        BinlogValue::Value(value) => value,
        BinlogValue::Jsonb(document) => {
            let Ok(theirs) = Value::try_from(document.clone()) else { return Verdict::LeftOut };
            return Verdict::of(same_document(unwrapped(ours), &theirs));
        }
        // Ours is the document after it.
        BinlogValue::JsonDiff(_) => return Verdict::LeftOut,
    };
    Verdict::of(match (kind, value) {
        (_, Theirs::NULL) => ours.is_null(),
        (ColumnType::MYSQL_TYPE_ENUM, Theirs::Int(theirs)) => match number {
            Some(ours) => ours == theirs.to_string(),
            None => return Verdict::LeftOut,
        },
        (ColumnType::MYSQL_TYPE_SET, Theirs::Bytes(_)) => return Verdict::LeftOut,
        (ColumnType::MYSQL_TYPE_INT24, _) if number.is_some_and(|ours| ours.starts_with('-')) => {
            return Verdict::LeftOut;
        }
        (ColumnType::MYSQL_TYPE_YEAR, _) if number == Some("0") => return Verdict::LeftOut,
        (_, Theirs::Int(theirs)) => number == Some(theirs.to_string().as_str()),
        (_, Theirs::UInt(theirs)) => number == Some(theirs.to_string().as_str()),
        (_, Theirs::Float(theirs)) => {
            let ours = number.and_then(|ours| ours.parse::<f32>().ok());
            ours.map(f32::to_bits) == Some(theirs.to_bits())
        }
        (_, Theirs::Double(theirs)) => {
            let ours = number.and_then(|ours| ours.parse::<f64>().ok());
            ours.map(f64::to_bits) == Some(theirs.to_bits())
        }
        (_, Theirs::Date(year, month, day, hour, minute, second, micros)) => is_start_of(
            ours,
            &format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}"),
        ),
        (_, Theirs::Time(negative, days, hours, minutes, seconds, micros)) => {
            let (sign, hours) = (if *negative { "-" } else { "" }, days * 24 + u32::from(*hours));
            is_start_of(ours, &format!("{sign}{hours:02}:{minutes:02}:{seconds:02}.{micros:06}"))
        }
        (_, Theirs::Bytes(theirs)) => return bytes(kind, is_unicode, ours, theirs),
    })
}

fn bytes(kind: ColumnType, is_unicode: bool, ours: &Value, theirs: &[u8]) -> Verdict {
    let text = std::str::from_utf8(theirs).ok();
    let number = ours["#"].as_str();
    Verdict::of(match kind {
        ColumnType::MYSQL_TYPE_BIT => {
            let bits = theirs.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
            number == Some(bits.to_string().as_str())
        }
        ColumnType::MYSQL_TYPE_YEAR => number == text,
        ColumnType::MYSQL_TYPE_NEWDECIMAL => ours.as_str() == text,
        ColumnType::MYSQL_TYPE_TIMESTAMP2 => match text {
            Some(text) if text.starts_with('-') => return Verdict::LeftOut,
            Some(text) => is_start_of(ours, &moment(text)),
            None => false,
        },
        _ => match (ours["$hex"].as_str(), ours.as_str()) {
            (Some(ours), _) => {
                // The server cuts the zeros off that BINARY ends with, and ours has them.
                let theirs = hex::encode(theirs);
                let zeros = ours.strip_prefix(&theirs);
                let is_binary = kind == ColumnType::MYSQL_TYPE_STRING;
                zeros.is_some_and(|zeros| {
                    zeros.is_empty() || is_binary && zeros.bytes().all(|digit| digit == b'0')
                })
            }
            (None, Some(ours)) if is_unicode => Some(ours) == text,
            (None, Some(_)) => return Verdict::LeftOut,
            (None, None) => false,
        },
    })
}

/// Seconds since 1970, as the server prints them, with all digits there can be.
fn moment(seconds: &str) -> String {
    let (whole, micros) = seconds.split_once('.').unwrap_or((seconds, "000000"));
    if whole == "0" && micros == "000000" {
        return "0000-00-00 00:00:00.000000".into();
    }
    let whole = whole.parse().ok().and_then(|whole| jiff::Timestamp::from_second(whole).ok());
    whole.map_or_else(String::new, |at| format!("{}.{micros}", at.strftime("%Y-%m-%d %H:%M:%S")))
}

/// Fractions are as long as the column has them.
fn is_start_of(ours: &Value, theirs: &str) -> bool {
    ours.as_str().is_some_and(|ours| !ours.is_empty() && theirs.starts_with(ours))
}

/// The document itself.
fn unwrapped(ours: &Value) -> &Value {
    match ours.as_object() {
        Some(fields) if fields.len() == 1 => fields.get("$json").unwrap_or(ours),
        _ => ours,
    }
}

/// Ours has its numbers as texts, theirs as serde_json keeps them.
fn same_document(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Object(ours), Value::Number(theirs)) => {
            let ours = ours.get("#").and_then(Value::as_str);
            let double = ours.and_then(|ours| ours.parse::<f64>().ok());
            ours == Some(theirs.to_string().as_str())
                || theirs.is_f64() && double == theirs.as_f64()
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().all(|(name, ours)| {
                    theirs.get(name).is_some_and(|theirs| same_document(ours, theirs))
                })
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().zip(theirs).all(|(ours, theirs)| same_document(ours, theirs))
        }
        (ours, theirs) => ours == theirs,
    }
}
