//! How fast row images become text, beside mysql_common's decoder in the same run: `cargo bench -p binlog`.
//!
//! The transactions of each recorded file of `tests/data`, one after the other many times over, events in memory, one
//! thread. Only the table of numbers is decoded: the other decoder does not read every type
//! (`tests/suite/oracle.rs`). Both must see the same count of images; the medians of the rounds are printed. Ours
//! checks each event's checksum, unpacks compressed transactions and writes JSON text; the other gives a value a
//! cell. The shapes of load of real servers are not here.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "prints figures; a bench may panic"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use binlog::{
    ChangeDecoder, ChangeRow, ChangeSink, Filter, Framed, Framer, GroupTracker, Header, SinkError,
};
use crds::position::{FilePosition, Flavor};
use mysql_common::binlog::EventStreamReader;
use mysql_common::binlog::consts::BinlogVersion;
use mysql_common::binlog::events::EventData;

const FILE: &str = "binlog.000002";
const SCHEMA: &str = "rec";
const TABLE: &str = "numbers";
const ROUNDS: usize = 7;
/// How often the transactions stand in the file.
const REPEATS: u32 = 2_000;

const RECORDINGS: [(&str, Flavor, &[u8]); 3] = [
    ("mysql-9.7.4", Flavor::MySQL, include_bytes!("../tests/data/mysql-9.7.4.binlog")),
    ("mariadb-10.11.18", Flavor::MariaDB, include_bytes!("../tests/data/mariadb-10.11.18.binlog")),
    ("mariadb-11.8.6", Flavor::MariaDB, include_bytes!("../tests/data/mariadb-11.8.6.binlog")),
];

/// Counts images and keeps the compiler from leaving them out.
#[derive(Default)]
struct Images(u64);

impl ChangeSink for Images {
    fn push(&mut self, row: &ChangeRow<'_>) -> Result<(), SinkError> {
        self.0 += [row.before, row.after]
            .into_iter()
            .flatten()
            .map(|image| black_box(image).len().min(1) as u64)
            .sum::<u64>();
        Ok(())
    }
}

/// The recorded head, then the transactions again and again, with positions and checksums that fit.
fn events(file: &[u8]) -> Vec<Vec<u8>> {
    const ROTATE: u8 = 4;
    const STOP: u8 = 3;
    /// Of MySQL, without a number, of MariaDB.
    const GTIDS: [u8; 3] = [33, 34, 162];
    let mut rest = file.strip_prefix(b"\xfebin").unwrap();
    let mut recorded = Vec::new();
    while let Some(header) = Header::parse(rest) {
        let (event, tail) = rest.split_at(header.length as usize);
        if ![ROTATE, STOP].contains(&event[4]) {
            recorded.push(event.to_vec());
        }
        rest = tail;
    }
    let first = recorded.iter().position(|event| GTIDS.contains(&event[4])).unwrap();
    let body = recorded.split_off(first);
    let mut end = 4 + recorded.iter().map(|event| event.len() as u32).sum::<u32>();
    for event in (0..REPEATS).flat_map(|_| &body) {
        let mut event = event.clone();
        end += event.len() as u32;
        event[13..17].copy_from_slice(&end.to_le_bytes());
        let covered = event.len() - 4;
        let checksum = crc32fast::hash(&event[..covered]);
        event[covered..].copy_from_slice(&checksum.to_le_bytes());
        recorded.push(event);
    }
    recorded
}

/// Framed, grouped and decoded to JSON text, as the worker does it.
fn ours(flavor: Flavor, events: &[Vec<u8>]) -> u64 {
    let filter = Filter::new(&[], &[format!("{SCHEMA}.{TABLE}")], &[]).unwrap();
    let mut framer = Framer::new(&FilePosition::new(FILE, FilePosition::FIRST_EVENT));
    let mut groups = GroupTracker::new(flavor);
    let mut decoder = ChangeDecoder::new(flavor, filter);
    let mut images = Images::default();
    for event in events {
        let (Framed::Event(frame) | Framed::Artificial(frame)) = framer.accept(event).unwrap()
        else {
            continue;
        };
        groups.observe(FILE, &frame).unwrap();
        if let Some(group) = groups.group() {
            decoder.decode(FILE, &frame, group, &mut images).unwrap();
            while decoder.unpack(group, &mut images).unwrap() {}
        }
    }
    images.0
}

/// Decoded to a value a cell, without text.
fn theirs(events: &[Vec<u8>]) -> u64 {
    let mut reader = EventStreamReader::new(BinlogVersion::Version4);
    let mut images = 0;
    for event in events {
        let event = reader.read(event.as_slice()).unwrap().unwrap();
        let Ok(Some(EventData::RowsEvent(rows))) = event.read_data() else { continue };
        let Some(table) = reader.get_tme(rows.table_id()) else { continue };
        if table.table_name() != TABLE {
            continue;
        }
        for row in rows.rows(table) {
            let (before, after) = row.unwrap();
            images += [before, after].into_iter().flatten().map(black_box).count() as u64;
        }
    }
    images
}

/// Images, and the median rate in MB of binlog a second.
fn median(bytes: usize, read: impl Fn() -> u64) -> (u64, f64) {
    let images = read();
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            black_box(read());
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    (images, bytes as f64 / 1e6 / times[ROUNDS / 2].as_secs_f64())
}

fn main() {
    println!(
        "{:<18} {:>6} {:>8} {:>10} {:>18} {:>6}",
        "recording", "MB", "images", "ours MB/s", "mysql_common MB/s", "ratio"
    );
    for (name, flavor, file) in RECORDINGS {
        let events = events(file);
        let bytes = events.iter().map(Vec::len).sum();
        let (images, own) = median(bytes, || ours(flavor, &events));
        let (same, other) = median(bytes, || theirs(&events));
        assert_eq!(images, same, "{name}: the decoders disagree on what there is");
        let (size, ratio) = (bytes as f64 / 1e6, own / other);
        println!("{name:<18} {size:>6.0} {images:>8} {own:>10.0} {other:>18.0} {ratio:>5.1}x");
    }
}
