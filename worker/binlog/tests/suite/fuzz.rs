//! Hostile input, at length: mutations of what real servers wrote, for every parser of the crate.
//!
//! The corpus is the recordings. An input is a selector of two bytes and the body of one event, which is put
//! in the place of a recorded event of the kinds the target is about; its group goes on around it as it was
//! recorded, so that what a damaged table map does to its rows is seen too.

use std::sync::{Arc, LazyLock};

use binlog::{
    ChangeRow, ChangeSink, EventType, Filter, Frame, Framer, HEADER_LENGTH, Header, SinkError,
    SourceColumn, SourceTable, TableDescription, TableName,
};
use crds::position::{FilePosition, Flavor};
use fuzz::{Bound, Target, outcome};

use crate::descriptions::{NO_LOG, reduce};
use crate::foreign;
use crate::support::{ALL, FILE, MYSQL, Reader, Recording, event, reseal};

/// Of MySQL, without a number, tagged, of MariaDB: each begins a group.
const GTIDS: [u8; 4] = [33, 34, 42, 162];
const CHECKSUM: usize = 4;

/// Buffers of the decoder; a plan and a row's text take a few times the bytes that describe them.
const PLAIN: Bound = Bound { base: 1 << 20, factor: 600 };
/// Deflate expands a thousand times at most, and text may take six bytes for one.
const INFLATING: Bound = Bound { base: 1 << 20, factor: 16_000 };
/// A zstd block of 128 KiB may take four bytes.
const UNPACKING: Bound = Bound { base: 8 << 20, factor: 400_000 };

#[test]
fn no_input_panics_hangs_or_allocates_without_bound() {
    let shape = |event: &[u8]| matches!(EventType(event[4]), EventType::TABLE_MAP);
    let payload = |event: &[u8]| EventType(event[4]) == EventType::TRANSACTION_PAYLOAD;
    let query = |event: &[u8]| matches!(event[4], 2 | 29 | 160 | 165);
    let gtid = |event: &[u8]| matches!(event[4], 33 | 34 | 35 | 42 | 162 | 163);
    let rows = |event: &[u8]| matches!(event[4], 20..=25 | 30..=32 | 39 | 166..=171);
    let other = move |event: &[u8]| {
        ![shape, payload, query, gtid, rows].iter().any(|kind: &fn(&[u8]) -> bool| kind(event))
    };
    let targets = vec![
        Target::new("frames", frames(), PLAIN, read_frames),
        bodies("table maps", PLAIN, shape),
        bodies("rows", INFLATING, rows),
        bodies("json diffs", PLAIN, |event| event[4] == EventType::PARTIAL_UPDATE_ROWS.0),
        Target::new("descriptions", descriptions(), PLAIN, read_description),
        bodies("payloads", UNPACKING, payload),
        bodies("statements", PLAIN, query),
        Target::new("alters", alters(), PLAIN, follow),
        bodies("gtids", PLAIN, gtid),
        bodies("other events", PLAIN, other),
        Target::new("values", values(), INFLATING, read_value),
        Target::new("json", documents(), PLAIN, |input| read_value(&as_json(input))),
    ];
    fuzz::run(targets).unwrap_or_else(|findings| panic!("{findings}"));
}

/// Takes rows, proves that their text is JSON, and keeps nothing.
#[derive(Debug, Default)]
struct Checked {
    rows: u64,
    text_bytes: usize,
}

impl ChangeSink for Checked {
    fn push(&mut self, row: &ChangeRow<'_>) -> Result<(), SinkError> {
        self.rows += 1;
        for text in [row.before, row.after, row.pk_text].into_iter().flatten() {
            serde_json::from_str::<serde::de::IgnoredAny>(text).unwrap();
            self.text_bytes += text.len();
        }
        Ok(())
    }
}

/// The events of a recording with positions that say nothing, which would only hide what lies deeper.
struct Script {
    recording: &'static Recording,
    events: Vec<Vec<u8>>,
}

impl Script {
    fn all() -> Arc<[Self]> {
        ALL.iter()
            .map(|recording| {
                let unplaced = |event: &&[u8]| {
                    let mut event = event.to_vec();
                    event[13..17].fill(0);
                    reseal(&mut event);
                    event
                };
                Self { recording, events: recording.events().iter().map(unplaced).collect() }
            })
            .collect()
    }

    /// Plays the group around an event with another body in its place.
    fn play(&self, at: usize, body: &[u8]) -> u64 {
        let begins = |event: &Vec<u8>| GTIDS.contains(&event[4]);
        let from = self.events[..=at].iter().rposition(begins).unwrap_or(0);
        let to =
            self.events[at + 1..].iter().position(begins).map_or(self.events.len(), |n| at + 1 + n);
        let mut reader = Reader::new(self.recording.flavor, Filter::default());
        let mut rows = Checked::default();
        let mut said = Vec::new();
        if from > 0 {
            said.push(reader.take(&self.events[0], &mut rows));
        }
        for (index, recorded) in self.events[from..to].iter().enumerate() {
            let result = if from + index == at {
                let flags = u16::from_le_bytes([recorded[17], recorded[18]]);
                reader.take(&event(recorded[4], 0, flags, body), &mut rows)
            } else {
                reader.take(recorded, &mut rows)
            };
            if result.is_err() {
                reader.groups.reset();
                reader.decoder.reset_group();
            }
            said.push(result);
        }
        let reasons: Vec<_> = reader.decoder.stopped().values().map(|stop| &stop.reason).collect();
        outcome(&(said, rows, reasons))
    }
}

/// A target over the bodies of the events that are meant.
fn bodies(name: &'static str, bound: Bound, meant: impl Fn(&[u8]) -> bool) -> Target {
    let scripts = Script::all();
    let places: Vec<(usize, usize)> = scripts
        .iter()
        .enumerate()
        .flat_map(|(nth, script)| (0..script.events.len()).map(move |at| (nth, at)))
        .filter(|(nth, at)| meant(&scripts[*nth].events[*at]))
        .collect();
    let corpus = places.iter().enumerate().map(|(selector, (nth, at))| {
        let event = &scripts[*nth].events[*at];
        [&(selector as u16).to_le_bytes(), &event[HEADER_LENGTH..event.len() - CHECKSUM]].concat()
    });
    let corpus = corpus.collect();
    Target::new(name, corpus, bound, move |input| {
        let Some((selector, body)) = input.split_first_chunk::<2>() else { return 0 };
        let (nth, at) = places[usize::from(u16::from_le_bytes(*selector)) % places.len()];
        scripts[nth].play(at, body)
    })
}

/// Statements about a table `t` of the columns `id`, `a`, `b` and `c`, as servers log them.
fn alters() -> Vec<Vec<u8>> {
    [
        "ALTER TABLE t ADD COLUMN d VARCHAR(40) NOT NULL DEFAULT 'x' AFTER a, DROP c",
        "alter table s.t rename column a to b, rename column b to a",
        "ALTER TABLE `t` CHANGE a `a b` DECIMAL(10, 2) UNSIGNED DEFAULT -1.5 COMMENT 'it''s' FIRST",
        "/* app */ ALTER TABLE t MODIFY c ENUM('x ','y') AFTER id, ADD INDEX i (a(10) DESC, b)",
        "ALTER ONLINE TABLE t ADD d DATETIME(6) NULL ON UPDATE CURRENT_TIMESTAMP(6), LOCK=NONE",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// Follows a statement: what comes of it is a table.
fn follow(text: &[u8]) -> u64 {
    let body = [&[0; 8][..], &[1, 0, 0, 0, 0], b"s\0", text].concat();
    let logged = event(EventType::QUERY.0, 0, 0, &body);
    let (from, to) = (4, 4 + logged.len() as u64);
    let header = Header::parse(&logged).unwrap();
    let frame = Frame { header, bytes: &logged, body: &body, from, to };
    let column = |name: &str| SourceColumn {
        name: name.to_owned(),
        data_type: "int".to_owned(),
        nullable: name != "id",
        ..SourceColumn::default()
    };
    let before = SourceTable {
        columns: ["id", "a", "b", "c"].map(column).to_vec(),
        key: vec!["id".to_owned()],
        is_primary: true,
        collation: Some(45),
    };
    let table = TableName { schema: "s".to_owned(), table: "t".to_owned() };
    let altered = [Flavor::MySQL, Flavor::MariaDB]
        .map(|flavor| binlog::altered(&frame, flavor, &table, &before));
    for after in altered.iter().flatten() {
        let names = after.columns.iter().map(|column| column.name.to_ascii_lowercase());
        let names: std::collections::BTreeSet<_> = names.collect();
        assert_eq!(names.len(), after.columns.len(), "no name stands twice");
        assert!(after.key.iter().all(|key| names.contains(&key.to_ascii_lowercase())));
    }
    outcome(&altered)
}

/// Table maps, as an archive keeps them.
fn descriptions() -> Vec<Vec<u8>> {
    let map = |event: &&[u8]| event[4] == EventType::TABLE_MAP.0;
    let maps = ALL.iter().flat_map(Recording::events).filter(map);
    maps.map(|event| event[HEADER_LENGTH..event.len() - CHECKSUM].to_vec()).collect()
}

/// Tables described by the input, as the archive would, of a source that logs no names.
fn read_description(input: &[u8]) -> u64 {
    static UNNAMED: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let ends = |event: &Vec<u8>| matches!(event[4], 3 | 4);
        reduce(&MYSQL, NO_LOG).into_iter().filter(|event| !ends(event)).collect()
    });
    let Some(description) = TableDescription::of(input) else { return 0 };
    let mut reader = Reader::new(MYSQL.flavor, Filter::default());
    let mut rows = Checked::default();
    let mut said = Vec::new();
    for event in UNNAMED.iter() {
        if event[4] == EventType::TABLE_MAP.0 {
            // A statement about a table ends what is known of it: known again before each map.
            for table in ["numbers", "times", "texts", "diffs", "j"] {
                let name = TableName { schema: "rec".to_owned(), table: table.to_owned() };
                reader.decoder.describe(name, description.clone());
            }
        }
        said.extend(reader.take(event, &mut rows).err());
    }
    let reasons: Vec<_> = reader.decoder.stopped().values().map(|stop| &stop.reason).collect();
    outcome(&(said, rows, reasons))
}

/// The first events of each recording, and small ones whole; a byte before them says whether their checksums are mended.
fn frames() -> Vec<Vec<u8>> {
    let first = |recording: &Recording| {
        let events = recording.events();
        [&[1][..], &events[..events.len().min(12)].concat()].concat()
    };
    let foreign = foreign::ALL.iter().map(|(_, binlog, ..)| [&[1][..], &binlog[4..]].concat());
    ALL.iter().map(first).chain(foreign).collect()
}

fn read_frames(input: &[u8]) -> u64 {
    let Some((mend, mut rest)) = input.split_first() else { return 0 };
    let mut framer = Framer::new(&FilePosition::new(FILE, FilePosition::FIRST_EVENT));
    let mut said = Vec::new();
    while !rest.is_empty() {
        let length = Header::parse(rest).map_or(rest.len(), |header| header.length as usize);
        let (packet, tail) = rest.split_at(length.clamp(1, rest.len()));
        let mut packet = packet.to_vec();
        if mend & 1 == 1 && packet.len() >= HEADER_LENGTH + CHECKSUM {
            reseal(&mut packet);
        }
        said.push(framer.accept(&packet).map(|_| ()).map_err(|error| error.to_string()));
        rest = tail;
    }
    outcome(&said)
}

/// Every type's code, with the ones that table maps hide in others.
const TYPES: [u8; 31] = [
    1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 140, 141, 242, 245, 246, 247,
    248, 249, 250, 251, 252, 253, 254,
];
const JSON: u8 = 245;
const GEOMETRY: u8 = 255;
/// Type, metadata, sign, collation.
const DESCRIBED: usize = 6;

/// A table of one column, described by the first bytes, and one row of it.
fn read_value(input: &[u8]) -> u64 {
    let Some(([code, meta @ .., sign, low, high], value)) = input.split_first_chunk::<DESCRIBED>()
    else {
        return 0;
    };
    let code = TYPES.get(usize::from(*code) % (TYPES.len() + 1)).copied().unwrap_or(GEOMETRY);
    let mut map =
        [&[7, 0, 0, 0, 0, 0, 1, 0][..], b"\x01s\0\x01t\0", &[1, code, 2], meta, &[1]].concat();
    map.extend([1, 1, *sign, 4, 2, 1, b'v']);
    for collations in [2, 10] {
        map.extend([collations, 3, 0xfc, *low, *high]);
    }
    for members in [5, 6] {
        map.extend([members, 5, 2, 1, b'a', 1, b'"']);
    }
    let rows = [&[7, 0, 0, 0, 0, 0, 1, 0, 2, 0, 1, 1, 0][..], value].concat();
    let mut said = Vec::new();
    for recording in &ALL[..2] {
        let mut reader = Reader::new(recording.flavor, Filter::default());
        let mut taken = Checked::default();
        let head = recording.events();
        let mut begin = head.iter().find(|event| GTIDS.contains(&event[4])).unwrap().to_vec();
        begin[13..17].fill(0);
        reseal(&mut begin);
        for event in [
            head[0],
            &begin,
            &event(EventType::TABLE_MAP.0, 0, 0, &map),
            &event(EventType::WRITE_ROWS.0, 0, 0, &rows),
        ] {
            said.push(reader.take(event, &mut taken).err());
        }
        let reasons: Vec<_> = reader.decoder.stopped().values().cloned().collect();
        said.extend(reasons.into_iter().map(|stop| Some(stop.reason)));
        said.push(Some(format!("{taken:?}")));
    }
    outcome(&said)
}

/// Recorded rows as values of every type: what fits one type is damaged for another.
fn values() -> Vec<Vec<u8>> {
    let meta = [[4, 0], [0, 4], [10, 2], [255, 0], [2, 0], [0, 0]];
    let recorded: Vec<&[u8]> = recorded_rows().collect();
    (0..=TYPES.len())
        .flat_map(|code| meta.iter().map(move |meta| (code, meta)))
        .enumerate()
        .map(|(nth, (code, meta))| {
            let row = recorded[nth % recorded.len()];
            let collation = [45, 63, 8, 33][nth % 4];
            let part = &row[..row.len().min(80)];
            [&[code as u8, meta[0], meta[1], 0x80, collation, 0][..], part].concat()
        })
        .collect()
}

fn recorded_rows() -> impl Iterator<Item = &'static [u8]> {
    let rows = |event: &&[u8]| matches!(event[4], 23..=25 | 30..=32);
    let events = ALL.iter().flat_map(Recording::events).filter(rows);
    events.map(|event| &event[HEADER_LENGTH + 10..event.len() - CHECKSUM])
}

/// Whatever in MySQL's recorded rows looks like a document behind its length of four bytes.
fn documents() -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    let rows = MYSQL.events().into_iter().filter(|event| matches!(event[4], 30..=32));
    for row in rows {
        for at in 0..row.len().saturating_sub(6) {
            let length =
                u32::from_le_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]]) as usize;
            let document = row.get(at + 4..at + 4 + length).filter(|bytes| bytes.len() > 1);
            found.extend(document.filter(|bytes| bytes[0] <= 15).map(<[u8]>::to_vec));
        }
    }
    found.sort();
    found.dedup();
    found
}

fn as_json(document: &[u8]) -> Vec<u8> {
    let code = TYPES.iter().position(|code| *code == JSON).unwrap() as u8;
    let length = (document.len() as u32).to_le_bytes();
    [&[code, 4, 0, 0, 63, 0][..], &length, document].concat()
}
