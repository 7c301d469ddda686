//! Binlogs of servers that the suites do not run, with what MySQL's own program reads in them.

use binlog::{EventType, HEADER_LENGTH, Op, TableDescription, TableName};
use crds::position::Flavor;
use serde_json::{Map, Value};

use crate::support::{Reader, Row, Rows, events, tables};

/// Name, binlog, columns of its tables, rows.
type Foreign = (&'static str, &'static [u8], &'static str, &'static str);

macro_rules! foreign {
    ($($name:literal),+) => {
        [$((
            $name,
            include_bytes!(concat!("../data/foreign/", $name, ".binlog")).as_slice(),
            include_str!(concat!("../data/foreign/", $name, ".tables")),
            include_str!(concat!("../data/foreign/", $name, ".rows")),
        )),+]
    };
}

pub const ALL: [Foreign; 9] = foreign![
    "mysql-8.0.22-json",
    "mysql-8.0.26-bit",
    "mysql-8.0.26-invisible",
    "mysql-8.0.28-enum-set",
    "mysql-8.0.31-lineitem",
    "mysql-8.0.32-compressed",
    "mysql-8.0.40-minimal",
    "mysql-8.0.40-time",
    "mysql-8.2.0-integers"
];

#[test]
fn rows_are_those_that_mysqls_own_program_reads() {
    for (name, binlog, described, expected) in ALL {
        let described: Map<String, Value> = serde_json::from_str(described).unwrap();
        // By name: some are in the schema `mysql`.
        let names: Vec<&str> = described.keys().map(String::as_str).collect();
        let mut reader = Reader::new(Flavor::MySQL, tables(&names));
        let mut rows = Rows::default();
        for event in events(binlog) {
            if event[4] == EventType::TABLE_MAP.0 {
                describe(&mut reader, &event[HEADER_LENGTH..event.len() - 4], &described);
            } else if event[4] == EventType::TRANSACTION_PAYLOAD.0 {
                describe(&mut reader, PACKED_MAP, &described);
            }
            reader.read(event, &mut rows).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        assert!(reader.decoder.stopped().is_empty(), "{name}: {:?}", reader.decoder.stopped());
        let single = |row: &&Row| matches!(row.op, Op::Insert | Op::Update | Op::Delete);
        let ours: Vec<_> = rows.0.iter().filter(single).map(shown).collect();
        let theirs: Vec<Value> =
            expected.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
        assert_eq!(ours.len(), theirs.len(), "{name}");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs, "{name}");
        }
    }
}

/// The table map inside the compressed transaction: `test.tb1 (c1 INT)`.
const PACKED_MAP: &[u8] = b"\x58\0\0\0\0\0\x01\0\x04test\0\x03tb1\0\x01\x03\0\x01\x01\x01\0";

/// Adds to a table map what MINIMAL metadata leaves out.
fn describe(reader: &mut Reader, map: &[u8], described: &Map<String, Value>) {
    let text = |at: usize| {
        let end = at + 1 + usize::from(map[at]);
        (String::from_utf8(map[at + 1..end].to_vec()).unwrap(), end + 1)
    };
    let (schema, next) = text(8);
    let (table, _) = text(next);
    let columns = described[&format!("{schema}.{table}")].as_array().unwrap();
    let columns: Vec<Vec<&str>> = columns
        .iter()
        .map(|words| words.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect())
        .collect();
    let strings = |words: &[&str]| -> Vec<u8> {
        words.iter().flat_map(|word| [&[word.len() as u8], word.as_bytes()].concat()).collect()
    };
    let field = |code: u8, content: Vec<u8>| [vec![code, content.len() as u8], content].concat();
    let names: Vec<&str> =
        columns.iter().map(|words| words[0].split(':').next().unwrap()).collect();
    let mut whole = [map.to_vec(), field(4, strings(&names))].concat();
    // A SET of four, an ENUM of three: as the one recording that has them.
    for (code, count) in [(5, 4), (6, 3)] {
        if let Some(words) = columns.iter().find(|words| words.len() == count + 1) {
            whole.extend(field(code, [vec![count as u8], strings(&words[1..])].concat()));
        }
    }
    let description = TableDescription::of(&whole).unwrap();
    reader.decoder.describe(TableName { schema, table }, description);
}

fn shown(row: &Row) -> Value {
    let image = |text: &Option<String>| -> Value {
        text.as_deref().map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
    };
    let op = format!("{:?}", row.op).to_lowercase();
    serde_json::json!({
        "table": row.table, "op": op, "before": image(&row.before), "after": image(&row.after)
    })
}
