//! mysql_common's decoder as a second opinion. Left out is what it is known to read otherwise: negative
//! MEDIUMINT (-8388608 comes out as 8388608), YEAR 0, TIMESTAMP past 2038, BIT as bytes, MariaDB's own
//! events. What the servers themselves return decides: see `recorded.rs`.

use mysql_common::Value;
use mysql_common::binlog::EventStreamReader;
use mysql_common::binlog::consts::BinlogVersion;
use mysql_common::binlog::events::EventData;
use mysql_common::binlog::row::BinlogRow;
use mysql_common::binlog::value::BinlogValue;

use crate::support::{ALL, Recording, play, tables};

/// Integers, floats and decimals of `rec.numbers`: the columns in front of BIT and YEAR.
const COLUMNS: usize = 17;

#[test]
fn numbers_agree_with_another_decoder() {
    for recording in &ALL {
        let ours: Vec<_> = play(recording, tables(&["rec.numbers"]))
            .rows
            .iter()
            .flat_map(|row| [row.before.clone(), row.after.clone()])
            .flatten()
            .collect();
        let theirs = theirs(recording);
        assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(theirs) {
            for (name, cell) in theirs.into_iter().filter(|(name, _)| name != "mi") {
                assert_eq!(text_of(ours, &name), cell, "{} {name}", recording.name);
            }
        }
    }
}

/// A number's text as it stands in the image: a JSON parser would round it.
fn text_of<'a>(image: &'a str, name: &str) -> &'a str {
    let (_, rest) = image.split_once(&format!("\"{name}\":")).unwrap();
    rest.split([',', '}']).next().unwrap().trim_matches('"')
}

/// (name, text) of each value present in each image.
fn theirs(recording: &Recording) -> Vec<Vec<(String, String)>> {
    let mut reader = EventStreamReader::new(BinlogVersion::Version4);
    let mut images = Vec::new();
    for event in recording.events() {
        let event = reader.read(event).unwrap().unwrap();
        let Ok(Some(EventData::RowsEvent(rows))) = event.read_data() else { continue };
        let Some(table) = reader.get_tme(rows.table_id()) else { continue };
        if table.table_name() != "numbers" {
            continue;
        }
        for row in rows.rows(table) {
            let (before, after) = row.unwrap();
            images.extend([before, after].into_iter().flatten().map(|image| cells(&image)));
        }
    }
    images
}

fn cells(image: &BinlogRow) -> Vec<(String, String)> {
    let names = image.columns_ref().iter().map(|column| column.name_str().into_owned());
    names
        .enumerate()
        .take(COLUMNS)
        .filter_map(|(index, name)| Some((name, text(image.as_ref(index)?))))
        .collect()
}

fn text(value: &BinlogValue<'_>) -> String {
    let BinlogValue::Value(value) = value else { panic!("{value:?}") };
    match value {
        Value::NULL => "null".to_owned(),
        Value::Bytes(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        Value::Int(number) => number.to_string(),
        Value::UInt(number) => number.to_string(),
        Value::Float(number) => serde_json::to_string(number).unwrap(),
        Value::Double(number) => serde_json::to_string(number).unwrap(),
        other => panic!("{other:?}"),
    }
}
