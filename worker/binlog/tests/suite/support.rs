//! Recordings, and the crate's parts put together as a worker does it.

use std::collections::BTreeMap;

use binlog::{
    ChangeDecoder, ChangeRow, ChangeSink, EndedGroup, Filter, Frame, Framed, Framer, GroupTracker,
    Header, Meaning, Op, SinkError, StoppedTable, TableName,
};
use crds::position::{FilePosition, Flavor};

pub const FILE: &str = "binlog.000002";

pub struct Recording {
    pub name: &'static str,
    pub flavor: Flavor,
    pub bytes: &'static [u8],
    /// What the server's tables held afterwards, one JSON object a line.
    pub select: &'static str,
}

macro_rules! recording {
    ($name:literal, $flavor:expr) => {
        Recording {
            name: $name,
            flavor: $flavor,
            bytes: include_bytes!(concat!("../data/", $name, ".binlog")),
            select: include_str!(concat!("../data/", $name, ".select")),
        }
    };
}

pub const MYSQL: Recording = recording!("mysql-9.7.4", Flavor::MySQL);
pub const MARIADB: Recording = recording!("mariadb-11.8.6", Flavor::MariaDB);
pub const OLD_MARIADB: Recording = recording!("mariadb-10.11.18", Flavor::MariaDB);
pub const LTS_MARIADB: Recording = recording!("mariadb-11.4.5", Flavor::MariaDB);
pub const ALL: [Recording; 4] = [MYSQL, MARIADB, OLD_MARIADB, LTS_MARIADB];

impl Recording {
    /// The file's events.
    pub fn events(&self) -> Vec<&'static [u8]> {
        events(self.bytes)
    }
}

/// The events of a binlog file.
pub fn events(binlog: &'static [u8]) -> Vec<&'static [u8]> {
    let mut rest = binlog.strip_prefix(b"\xfebin").unwrap();
    let mut events = Vec::new();
    while let Some(header) = Header::parse(rest) {
        let (event, tail) = rest.split_at(header.length as usize);
        events.push(event);
        rest = tail;
    }
    assert!(rest.is_empty());
    events
}

/// A row change that owns its parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub op: Op,
    pub table: String,
    pub pk: Option<String>,
    pub pk_hash: Option<u64>,
    pub before: Option<String>,
    pub after: Option<String>,
    pub changed: Vec<String>,
    pub gtid: Option<String>,
    pub position: u64,
    pub event: u32,
    pub nth: u32,
    pub commit_time_us: i64,
    pub fingerprint: String,
    pub statement: Option<String>,
}

#[derive(Default)]
pub struct Rows(pub Vec<Row>);

impl ChangeSink for Rows {
    fn push(&mut self, row: &ChangeRow<'_>) -> Result<(), SinkError> {
        let own = |text: Option<&str>| text.map(str::to_owned);
        self.0.push(Row {
            op: row.op,
            table: format!("{}.{}", row.schema, row.table),
            pk: own(row.pk_text),
            pk_hash: row.pk_hash,
            before: own(row.before),
            after: own(row.after),
            changed: row.changed.iter().map(ToString::to_string).collect(),
            gtid: own(row.gtid),
            position: row.position,
            event: row.event_ordinal,
            nth: row.row_ordinal,
            commit_time_us: row.commit_time_us,
            fingerprint: row.fingerprint.to_owned(),
            statement: own(row.statement),
        });
        Ok(())
    }
}

/// Framer, tracker and decoder in line.
pub struct Reader {
    pub framer: Framer,
    pub groups: GroupTracker,
    pub decoder: ChangeDecoder,
}

/// What came of one event.
#[derive(Debug)]
pub struct Outcome {
    pub boundary: bool,
    pub ended: Option<EndedGroup>,
    pub meaning: Meaning,
    pub to: u64,
}

impl Reader {
    pub fn new(flavor: Flavor, filter: Filter) -> Self {
        Self {
            framer: Framer::new(&FilePosition::new(FILE, FilePosition::FIRST_EVENT)),
            groups: GroupTracker::new(flavor),
            decoder: ChangeDecoder::new(flavor, filter),
        }
    }

    pub fn read(&mut self, event: &[u8], rows: &mut Rows) -> Result<Option<Outcome>, String> {
        self.take(event, rows)
    }

    /// As [`Self::read`], to any sink.
    pub fn take(
        &mut self,
        event: &[u8],
        rows: &mut dyn ChangeSink,
    ) -> Result<Option<Outcome>, String> {
        match self.framer.accept(event).map_err(|error| error.to_string())? {
            Framed::Event(frame) | Framed::Artificial(frame) => self.step(&frame, rows).map(Some),
            Framed::FileStart { .. } | Framed::Heartbeat { .. } => Ok(None),
        }
    }

    fn step(&mut self, frame: &Frame<'_>, rows: &mut dyn ChangeSink) -> Result<Outcome, String> {
        let step = self.groups.observe(FILE, frame).map_err(|error| error.to_string())?;
        if let Some(group) = self.groups.group() {
            let decoded = self.decoder.decode(FILE, frame, group, rows);
            decoded.map_err(|error| error.to_string())?;
            while self.decoder.unpack(group, rows).map_err(|error| error.to_string())? {}
        }
        let binlog::Step { boundary, ended, meaning } = step;
        Ok(Outcome { boundary, ended, meaning, to: frame.to })
    }
}

/// Everything a recording gives.
pub struct Played {
    pub rows: Vec<Row>,
    pub ended: Vec<EndedGroup>,
    pub meanings: Vec<Meaning>,
    pub stopped: BTreeMap<TableName, StoppedTable>,
}

pub fn play(recording: &Recording, filter: Filter) -> Played {
    let mut reader = Reader::new(recording.flavor, filter);
    let mut rows = Rows::default();
    let (mut ended, mut meanings) = (Vec::new(), Vec::new());
    for event in recording.events() {
        let outcome = reader.read(event, &mut rows).unwrap().unwrap();
        ended.extend(outcome.ended);
        meanings.push(outcome.meaning);
    }
    Played { rows: rows.0, ended, meanings, stopped: reader.decoder.stopped().clone() }
}

pub fn tables(names: &[&str]) -> Filter {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    Filter::new(&[], &names, &[]).unwrap()
}

/// Writes a right CRC32 at the event's end.
pub fn reseal(event: &mut [u8]) {
    let length = event.len();
    event[9..13].copy_from_slice(&(length as u32).to_le_bytes());
    let (covered, checksum) = event.split_at_mut(length - 4);
    checksum.copy_from_slice(&crc32fast::hash(covered).to_le_bytes());
}

/// An event with a right CRC32.
pub fn event(event_type: u8, log_pos: u32, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut event = vec![0; 4];
    event.push(event_type);
    event.extend(7_u32.to_le_bytes());
    event.extend(0_u32.to_le_bytes());
    event.extend(log_pos.to_le_bytes());
    event.extend(flags.to_le_bytes());
    event.extend(body);
    event.extend([0; 4]);
    reseal(&mut event);
    event
}
