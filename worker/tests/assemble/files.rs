//! From file to file, and back into a file.

use std::sync::LazyLock;

use super::made::*;
use super::*;

/// A ROTATE that the server makes up: the file before it ended without one.
fn moved_on() -> Vec<u8> {
    let mut event = rotate(4);
    let name = event.len() - CHECKSUM - NEXT.len();
    event[name..name + NEXT.len()].copy_from_slice(NEXT.as_bytes());
    seal(&mut event);
    event
}

#[test]
fn a_group_torn_while_it_streams_alone_leaves_no_rows_and_the_next_file_follows() {
    let mut torn = Made::file(0);
    torn.transaction([row(1)]);
    torn.group([query("s", "BEGIN"), table_map()]);
    (0..40).for_each(|_| torn.push(row(1 << 20)));
    let mut next = Made::file(1);
    next.transaction([row(1), row(1)]);

    let (mut taken, mut first) = (Taken::default(), mysql(from_the_start()));
    taken.accept(&mut first, &rotate(4)).unwrap();
    for event in &torn.events {
        taken.accept(&mut first, &torn.bytes[event.clone()]).unwrap();
    }
    assert!(first.streams_alone());
    taken.accept(&mut first, &moved_on()).unwrap();
    assert!(!first.streams_alone());
    assert!(!first.must_hand_over(), "what was shipped of it is cut before the next file's rows");
    assert_eq!(taken.rows, 1);
    let resume = first.resume_point();
    assert_eq!((resume.at.offset, &resume.tail), (torn.bytes.len() as u64, &None));

    let mut again = mysql(resume.clone());
    assert_eq!(resume.dump_from(), resume.at);
    taken.accept(&mut again, &rotate(resume.at.offset)).unwrap();
    taken.accept(&mut again, &moved_on()).unwrap();
    for event in &next.events {
        taken.accept(&mut again, &next.bytes[event.clone()]).unwrap();
    }
    taken.cut(&mut again);
    assert_eq!((taken.rows, taken.missed()), (3, vec![]));
    assert_eq!((&taken.raw[FILE], &taken.raw[NEXT]), (&torn.bytes, &next.bytes));
}

static RECORDING: LazyLock<Recording> =
    LazyLock::new(|| Recording::load("mysql-9.7.4.binlog", Flavor::MySQL));

/// The archive of the recording's first half, and where it goes on.
fn half() -> (Archive, ResumePoint) {
    let (mut archive, mut first) = (Archive::default(), assembler(&RECORDING, from_the_start()));
    let half = RECORDING.events.len() / 2;
    dump(&RECORDING, &mut first, &from_the_start().dump_from(), half).unwrap();
    archive.take(&mut first);
    (archive, first.resume_point())
}

#[test]
fn a_dump_from_the_head_of_the_file_passes_over_what_is_held() {
    let (mut archive, resume) = half();
    for resume in [resume.clone(), ResumePoint { tail: None, ..resume }] {
        let mut again = assembler(&RECORDING, resume);
        let held = archive.raw.len() as u64;
        assert_eq!(again.at().offset, held);
        dump(&RECORDING, &mut again, &from_the_start().dump_from(), usize::MAX).unwrap();
        let (raw, rows, transactions) = (archive.raw.clone(), archive.rows, archive.transactions);
        archive.take(&mut again);
        assert_eq!(archive, whole(&RECORDING));
        let to = Some(FilePosition::new(FILE, held));
        archive = Archive { raw, rows, transactions, to };
    }
}

#[test]
fn another_file_read_from_its_head_is_told_at_the_tail() {
    let (_, mut resume) = half();
    resume.tail.as_mut().unwrap().crc ^= 1;
    let mut again = assembler(&RECORDING, resume.clone());
    let refused = dump(&RECORDING, &mut again, &from_the_start().dump_from(), usize::MAX);
    assert!(matches!(refused, Err(AssembleError::HistoryChanged { .. })), "{refused:?}");

    // One that ends before it.
    let (_, resume) = half();
    for resume in [resume.clone(), ResumePoint { tail: None, ..resume }] {
        let mut again = assembler(&RECORDING, resume);
        dump(&RECORDING, &mut again, &from_the_start().dump_from(), 3).unwrap();
        let refused = again.accept(&moved_on());
        assert!(matches!(refused, Err(AssembleError::HistoryChanged { .. })), "{refused:?}");
        assert!(again.cut().unwrap().is_none());
    }
}

#[test]
fn ids_that_only_a_files_head_names_join_the_log() {
    let mut first = Made::file(0);
    first.transaction([row(1)]);
    first.rotate();
    // Somebody set gtid_purged meanwhile.
    let mut next = Made::file(5);
    next.transaction([row(1)]);
    let (mut taken, mut assembler) = (Taken::default(), mysql(from_the_start()));
    taken.read(&mut assembler, &first);
    taken.accept(&mut assembler, &moved_on()).unwrap();
    for event in &next.events {
        taken.accept(&mut assembler, &next.bytes[event.clone()]).unwrap();
    }
    taken.cut(&mut assembler);
    let added = taken.cuts.last().unwrap();
    let before = added.before.as_ref().map(ToString::to_string);
    assert_eq!(before, Some(format!("{SID}:2-5")));
    assert_eq!(added.added.len(), 1);
    assert_eq!(assembler.executed().map(ToString::to_string), Some(format!("{SID}:1-6")));
}
