//! The assembler against recorded binlog files: whatever prefix was taken when the connection broke, what is cut
//! and what follows after the resume give the whole, once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail as tests do"
)]

#[path = "assemble/files.rs"]
mod files;
#[path = "assemble/groups.rs"]
mod groups;
#[path = "assemble/made.rs"]
mod made;
#[path = "assemble/names.rs"]
mod names;
#[path = "assemble/prepared.rs"]
mod prepared;

use std::path::Path;

use binlog::{ChangeDecoder, Filter, GroupTracker, Header};
use changes::{ChangeBatch, ParquetSettings};
use crds::position::{FilePosition, Flavor};
use proptest::prelude::*;
use worker::pipeline::assemble::{Assembler, Part, ResumePoint, Sinks};
use worker::pipeline::cut::Cut;
use worker::pipeline::error::AssembleError;
use worker::pipeline::prepared::PreparedSet;

const FILE: &str = "binlog.000001";
const HEADER: usize = 19;
const CHECKSUM: usize = 4;

/// A recorded file: its bytes, and where its events begin and end.
struct Recording {
    flavor: Flavor,
    bytes: Vec<u8>,
    events: Vec<std::ops::Range<usize>>,
}

impl Recording {
    fn load(name: &str, flavor: Flavor) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("binlog/tests/data").join(name);
        let mut bytes =
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // On the wire the in-use flag is never set.
        bytes[21] = 0;
        let (mut events, mut at) = (Vec::new(), 4);
        while at < bytes.len() {
            let length = Header::parse(&bytes[at..]).unwrap().length as usize;
            events.push(at..at + length);
            at += length;
        }
        Self { flavor, bytes, events }
    }

    fn all() -> Vec<Self> {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("binlog/tests/data");
        let mut files: Vec<_> = std::fs::read_dir(data)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .filter(|name| {
                name.ends_with(".binlog") || name.rsplit('.').next().unwrap().parse::<u32>().is_ok()
            })
            .collect();
        files.sort();
        assert!(!files.is_empty(), "there are recordings");
        let flavor =
            |name: &str| if name.starts_with("mysql") { Flavor::MySQL } else { Flavor::MariaDB };
        files.iter().map(|name| Self::load(name, flavor(name))).collect()
    }

    fn event(&self, at: usize) -> &[u8] {
        &self.bytes[self.events[at].clone()]
    }

    /// The format description as a dump that begins inside the file sends it again.
    fn format_again(&self) -> Vec<u8> {
        let mut event = self.event(0).to_vec();
        event[13..17].fill(0);
        seal(&mut event);
        event
    }
}

/// The ROTATE that opens each dump.
fn rotate(position: u64) -> Vec<u8> {
    rotate_to(FILE, position)
}

/// The ROTATE that opens each file.
fn rotate_to(file: &str, position: u64) -> Vec<u8> {
    let mut event = vec![0; HEADER];
    event[4] = 4;
    event[17..19].copy_from_slice(&0x20u16.to_le_bytes());
    event.extend_from_slice(&position.to_le_bytes());
    event.extend_from_slice(file.as_bytes());
    let length = (event.len() + CHECKSUM) as u32;
    event[9..13].copy_from_slice(&length.to_le_bytes());
    event.extend_from_slice(&[0; CHECKSUM]);
    seal(&mut event);
    event
}

/// Puts the right CRC32 at the event's end.
fn seal(event: &mut [u8]) {
    let end = event.len() - CHECKSUM;
    let crc = crc32fast::hash(&event[..end]);
    event[end..].copy_from_slice(&crc.to_le_bytes());
}

fn from_the_start() -> ResumePoint {
    ResumePoint {
        at: FilePosition::new(FILE, 0),
        tail: None,
        format_time: None,
        changes_from: None,
        held: None,
        executed: None,
        prepared: PreparedSet::default(),
        next_file: None,
        tables: worker::names::Tables::default(),
    }
}

fn assembler(recording: &Recording, resume: ResumePoint) -> Assembler {
    Assembler::new(
        resume,
        GroupTracker::new(recording.flavor),
        ChangeDecoder::new(recording.flavor, Filter::default()),
        Filter::default(),
        ChangeBatch::new("0001-test", ParquetSettings::default()),
        Sinks { raw: true, changes: true },
    )
}

/// What the archive would hold.
#[derive(Debug, Default, PartialEq, Eq)]
struct Archive {
    raw: Vec<u8>,
    rows: u64,
    transactions: usize,
    to: Option<FilePosition>,
}

impl Archive {
    fn take(&mut self, assembler: &mut Assembler) {
        let cut: Option<Cut> = assembler.cut().unwrap();
        while let Some(part) = assembler.next_part() {
            match part {
                Part::Raw(part) => {
                    assert_eq!(part.range.start, self.raw.len() as u64, "parts are contiguous");
                    self.raw.extend(part.bytes);
                }
                Part::Changes(rows, _) => self.rows += rows.rows(),
            }
        }
        if let Some(cut) = cut {
            assert_eq!(self.to.as_ref().map_or(0, |to| to.offset), cut.from.offset, "cuts meet");
            assert_eq!(self.raw.len() as u64, cut.to.offset, "a cut ends where its bytes end");
            self.transactions += cut.added.len();
            self.to = Some(cut.to);
        }
    }
}

/// Feeds a whole dump from the resume point on, until `stop` events of the file were taken.
fn dump(
    recording: &Recording,
    assembler: &mut Assembler,
    from: &FilePosition,
    stop: usize,
) -> Result<(), AssembleError> {
    assembler.accept(&rotate(from.offset))?;
    let first =
        recording.events.iter().position(|event| event.start as u64 == from.offset).unwrap();
    if first > 0 {
        assembler.accept(&recording.format_again())?;
    }
    for at in first..stop.min(recording.events.len()) {
        assembler.accept(recording.event(at))?;
    }
    Ok(())
}

fn whole(recording: &Recording) -> Archive {
    let (mut archive, start) = (Archive::default(), from_the_start());
    let mut once = assembler(recording, start.clone());
    dump(recording, &mut once, &start.dump_from(), usize::MAX).unwrap();
    archive.take(&mut once);
    archive
}

#[test]
fn a_whole_file_is_archived_byte_for_byte() {
    for recording in Recording::all() {
        let archive = whole(&recording);
        let end = archive.to.as_ref().unwrap().offset as usize;
        assert_eq!(archive.raw, recording.bytes[..end]);
        assert!(archive.rows > 0, "the recording has rows");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_prefix_cut_and_resumed_gives_the_whole(stops in proptest::collection::vec(0.0f64..1.0, 1..6)) {
        for recording in Recording::all() {
            let expected = whole(&recording);
            let (mut archive, mut resume) = (Archive::default(), from_the_start());
            let mut stops: Vec<usize> =
                stops.iter().map(|part| (part * recording.events.len() as f64) as usize).collect();
            stops.sort_unstable();
            stops.push(usize::MAX);
            for stop in stops {
                let mut connection = assembler(&recording, resume.clone());
                dump(&recording, &mut connection, &resume.dump_from(), stop).unwrap();
                archive.take(&mut connection);
                resume = connection.resume_point();
            }
            prop_assert_eq!(&archive, &expected);
        }
    }
}

#[test]
fn a_changed_tail_stops_before_anything_is_taken() {
    for recording in Recording::all() {
        let mut first = assembler(&recording, from_the_start());
        dump(&recording, &mut first, &from_the_start().dump_from(), recording.events.len() / 2)
            .unwrap();
        let mut archive = Archive::default();
        archive.take(&mut first);
        let mut resume = first.resume_point();
        resume.tail.as_mut().unwrap().crc ^= 1;
        let mut again = assembler(&recording, resume.clone());
        let refused = dump(&recording, &mut again, &resume.dump_from(), usize::MAX);
        assert!(matches!(refused, Err(AssembleError::HistoryChanged { .. })), "{refused:?}");
        assert!(again.cut().unwrap().is_none());
        assert!(again.next_part().is_none());
    }
}

#[test]
fn a_file_begun_at_another_time_is_another_history() {
    for recording in Recording::all() {
        let mut first = assembler(&recording, from_the_start());
        dump(&recording, &mut first, &from_the_start().dump_from(), recording.events.len() / 2)
            .unwrap();
        Archive::default().take(&mut first);
        let resume = ResumePoint { format_time: Some(7), ..first.resume_point() };
        let mut again = assembler(&recording, resume.clone());
        let refused = dump(&recording, &mut again, &resume.dump_from(), usize::MAX);
        assert!(matches!(refused, Err(AssembleError::HistoryChanged { .. })), "{refused:?}");
    }
}
