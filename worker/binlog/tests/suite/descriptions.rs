//! Table maps without column names, and where their names come from.

use std::collections::BTreeSet;

use binlog::{
    EventType, Filter, Finding, Frame, HEADER_LENGTH, Header, Op, Survey, TableDescription,
    TableName,
};

use crate::support::{ALL, MARIADB, MYSQL, Reader, Recording, Row, Rows, event, play};

/// Where the optional fields of a table map begin.
fn optional_at(body: &[u8]) -> usize {
    let mut at = 8;
    for _ in 0..2 {
        at += usize::from(body[at]) + 2;
    }
    // Lengths of one byte, or of three.
    let number = |at: &mut usize| {
        let first = usize::from(body[*at]);
        *at += 1;
        if first < 0xfb {
            return first;
        }
        assert_eq!(first, 0xfc);
        *at += 2;
        usize::from(u16::from_le_bytes([body[*at - 2], body[*at - 1]]))
    };
    let columns = number(&mut at);
    at += columns;
    let metadata = number(&mut at);
    at + metadata + columns.div_ceil(8)
}

/// A table map's body as the source writes it without `binlog_row_metadata=FULL`: `kept` are the codes of the
/// optional fields that it has.
fn reduced(body: &[u8], kept: &[u8]) -> Vec<u8> {
    let at = optional_at(body);
    let (mut out, mut rest) = (body[..at].to_vec(), &body[at..]);
    while let [code, first, ..] = rest {
        let (head, length) = match *first {
            0xfc => (4, usize::from(u16::from_le_bytes([rest[2], rest[3]]))),
            length => (2, usize::from(length)),
        };
        if kept.contains(code) {
            out.extend(&rest[..head + length]);
        }
        rest = &rest[head + length..];
    }
    out
}

/// The fields that MySQL writes with MINIMAL; MariaDB writes none with `NO_LOG`.
const MINIMAL: &[u8] = &[1, 2, 3, 7];
pub const NO_LOG: &[u8] = &[];

fn body(event: &[u8]) -> &[u8] {
    &event[HEADER_LENGTH..event.len() - 4]
}

fn is(event: &[u8], event_type: EventType) -> bool {
    Header::parse(event).unwrap().event_type == event_type
}

fn maps(recording: &Recording) -> Vec<&'static [u8]> {
    recording
        .events()
        .into_iter()
        .filter(|event| is(event, EventType::TABLE_MAP))
        .map(body)
        .collect()
}

/// The recording's events with reduced table maps. Positions are left out: the lengths have changed.
pub fn reduce(recording: &Recording, kept: &[u8]) -> Vec<Vec<u8>> {
    let events = recording.events().into_iter();
    let reduce = |bytes: &'static [u8]| {
        let header = Header::parse(bytes).unwrap();
        let plain = match header.event_type {
            EventType::FORMAT_DESCRIPTION | EventType::ROTATE | EventType::STOP => {
                return bytes.to_vec();
            }
            EventType::TABLE_MAP => reduced(body(bytes), kept),
            _ => body(bytes).to_vec(),
        };
        let mut made = event(header.event_type.0, 0, header.flags, &plain);
        made[..4].copy_from_slice(&bytes[..4]);
        made[5..9].copy_from_slice(&bytes[5..9]);
        crate::support::reseal(&mut made);
        made
    };
    events.map(reduce).collect()
}

fn frame(bytes: &[u8]) -> Frame<'_> {
    let header = Header::parse(bytes).unwrap();
    Frame { header, bytes, body: body(bytes), from: 0, to: 1 }
}

/// What a survey of these tables finds in the events.
fn survey(events: &[Vec<u8>], tables: impl IntoIterator<Item = TableName>) -> Vec<Finding> {
    let mut survey = Survey::new(tables);
    survey.begin(0);
    for (at, event) in events.iter().enumerate() {
        survey.observe(at as u64, &frame(event));
    }
    survey.finish()
}

fn table(name: &str) -> TableName {
    TableName { schema: "t".to_owned(), table: name.to_owned() }
}

fn tables_of(recording: &Recording) -> Vec<TableName> {
    let name = |body: &[u8]| {
        let schema = usize::from(body[8]);
        let rest = &body[8 + schema + 2..];
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        TableName {
            schema: text(&body[9..9 + schema]),
            table: text(&rest[1..=usize::from(rest[0])]),
        }
    };
    maps(recording).into_iter().map(name).collect()
}

#[test]
fn rows_are_those_of_a_whole_table_map_when_what_it_lacks_is_known() {
    for (recording, kept) in
        ALL.iter().flat_map(|recording| [MINIMAL, NO_LOG].map(|kept| (recording, kept)))
    {
        let whole = play(recording, Filter::default());
        let events: Vec<Vec<u8>> = recording.events().iter().map(|event| event.to_vec()).collect();
        let findings = survey(&events, tables_of(recording));
        let mut findings = findings.into_iter().peekable();
        let mut reader = Reader::new(recording.flavor, Filter::default());
        let mut rows = Rows::default();
        for (at, event) in reduce(recording, kept).iter().enumerate() {
            while let Some(found) = findings.next_if(|found| found.event <= at as u64) {
                match found.description {
                    Some(known) => reader.decoder.describe(found.table, known),
                    None => reader.decoder.forget(&found.table),
                }
            }
            if is(event, EventType::ROTATE) || is(event, EventType::STOP) {
                continue;
            }
            reader.read(event, &mut rows).unwrap();
        }
        assert_eq!(reader.decoder.stopped().len(), whole.stopped.len(), "{}", recording.name);
        assert_eq!(rows.0.len(), whole.rows.len(), "{}", recording.name);
        for (ours, theirs) in rows.0.iter().zip(&whole.rows) {
            // Offsets differ with the lengths of the events.
            let theirs = crate::support::Row { position: ours.position, ..theirs.clone() };
            assert_eq!(*ours, theirs, "{}", recording.name);
        }
    }
}

#[test]
fn without_it_a_table_stops() {
    let mut reader = Reader::new(MYSQL.flavor, Filter::default());
    let mut rows = Rows::default();
    for event in reduce(&MYSQL, MINIMAL).iter().filter(|event| !is(event, EventType::ROTATE)) {
        if !is(event, EventType::STOP) {
            reader.read(event, &mut rows).unwrap();
        }
    }
    // A statement about a whole table needs no description.
    let single = |row: &&Row| matches!(row.op, Op::Insert | Op::Update | Op::Delete);
    assert_eq!(rows.0.iter().find(single), None);
    let whole = play(&MYSQL, Filter::default());
    let with_rows: BTreeSet<_> = whole.rows.iter().filter(single).map(|row| &row.table).collect();
    assert!(reader.decoder.stopped().len() >= with_rows.len());
}

/// Why `t.t` stops when its map says this, though it is described as `(a INT)`.
fn stands(fixed: &[u8], optional: &[u8]) -> Option<String> {
    let mut reader = Reader::new(MYSQL.flavor, Filter::default());
    let known = map("a");
    reader.decoder.describe(table("t"), TableDescription::of(body(&known)).unwrap());
    let head = [&[7, 0, 0, 0, 0, 0, 1, 0][..], b"\x01t\0\x01t\0"].concat();
    let map = event(EventType::TABLE_MAP.0, 0, 0, &[&head, fixed, optional].concat());
    let row = [7, 0, 0, 0, 0, 0, 1, 0, 2, 0, 1, 1, 0, 5, 0, 0, 0];
    let row = event(EventType::WRITE_ROWS.0, 0, 0, &row);
    let mut rows = Rows::default();
    for event in [MYSQL.events()[0], &statement("BEGIN"), &map, &row] {
        reader.read(event, &mut rows).unwrap();
    }
    let stopped = reader.decoder.stopped().values().next().map(|why| why.reason.clone());
    assert_eq!(rows.0.len(), usize::from(stopped.is_none()));
    assert!(rows.0.iter().all(|row| row.after.as_deref() == Some(r#"{"a":5}"#)));
    stopped
}

#[test]
fn a_description_fits_its_own_table_map_only() {
    assert_eq!(stands(&[1, 3, 0, 0], &[]), None);
    assert_eq!(stands(&[1, 3, 0, 0], &[1, 1, 0]), None);
    for (fixed, optional) in [
        // Another type, another nullability, another sign.
        (&[1, 9, 0, 0], &[][..]),
        (&[1, 3, 0, 1], &[]),
        (&[1, 3, 0, 0], &[1, 1, 0x80]),
    ] {
        let why = stands(fixed, optional).unwrap();
        assert!(why.contains("contradicts"), "{fixed:?} {optional:?}: {why}");
    }
    let two = stands(&[2, 3, 3, 0, 0], &[]).unwrap();
    assert!(two.contains("contradicts"), "{two}");
    // The recording has tables without names too.
    let named: Vec<_> =
        maps(&MARIADB).into_iter().filter(|map| TableDescription::of(map).is_some()).collect();
    assert!(named.len() > 3);
    assert!(named.iter().all(|map| TableDescription::of(&reduced(map, MINIMAL)).is_none()));
}

/// A table map of `t.t (a INT)`, or whatever the column is called.
fn map(column: &str) -> Vec<u8> {
    let head =
        [&[7, 0, 0, 0, 0, 0, 1, 0][..], b"\x01t\0\x01t\0", &[1, 3, 0, 0], &[1, 1, 0]].concat();
    let name = [&[4, column.len() as u8 + 1, column.len() as u8][..], column.as_bytes()].concat();
    event(EventType::TABLE_MAP.0, 0, 0, &[head, name].concat())
}

fn statement(text: &str) -> Vec<u8> {
    let body = [&[0; 8][..], &[1, 0, 0, 0, 0], b"t\0", text.as_bytes()].concat();
    event(EventType::QUERY.0, 0, 0, &body)
}

/// From which event on the table is described, or not.
fn parts(events: &[Vec<u8>]) -> Vec<(u64, bool)> {
    let found = survey(events, [table("t")]);
    found.into_iter().map(|found| (found.event, found.description.is_some())).collect()
}

#[test]
fn a_description_ends_at_a_statement_about_the_table() {
    let events = [statement("BEGIN"), map("a"), statement("ALTER TABLE t RENAME COLUMN a TO b")];
    assert_eq!(parts(&events), [(0, true), (3, false)]);
    let others = [map("a"), statement("ALTER TABLE other ADD c INT"), map("a")];
    assert_eq!(parts(&others), [(0, true)]);
    let later = [statement("CREATE TABLE t (a INT)"), statement("RENAME TABLE x TO t"), map("b")];
    assert_eq!(parts(&later), [(0, false), (1, false), (2, true)]);
    let named = [map("a"), statement("SAVEPOINT `t`"), statement("ROLLBACK TO `t`")];
    assert_eq!(parts(&named), [(0, true)], "a savepoint is no table");
}

#[test]
fn maps_that_contradict_each_other_describe_nothing() {
    assert_eq!(parts(&[map("a"), map("b")]), [(0, false)]);
    assert_eq!(
        parts(&[map("a"), map("b"), statement("DROP TABLE t"), map("b")]),
        [(0, false), (3, true)]
    );
}
