//! Where groups begin and end.

use binlog::{EventType, Filter, Framed, Framer, GroupTracker, Meaning, Verdict};
use crds::position::{FilePosition, Flavor, GtidSet};

use crate::support::{ALL, FILE, MARIADB, MYSQL, Reader, Recording, Rows, event, play};

/// Verdicts other than Committed, with the number of groups before them.
fn odd_verdicts(recording: &Recording) -> Vec<String> {
    let ended = play(recording, Filter::default()).ended;
    ended
        .iter()
        .filter(|group| group.verdict != Verdict::Committed)
        .map(|group| format!("{:?}", group.verdict))
        .collect()
}

#[test]
fn verdicts_of_xa_and_rollback_are_seen() {
    let x1 = "X'7831',X'62',7";
    let prepared = |xid: &str| format!("XaPrepared {{ xid: \"{xid}\" }}");
    let verdict = |xid: &str, committed: bool| {
        format!("XaVerdict {{ xid: \"{xid}\", committed: {committed} }}")
    };
    let packed = "X'7061636b6564',X'',1";
    let x3 = "X'7833',X'',1";
    let xa = [prepared(x1), verdict(x1, true), prepared(x3), verdict(x3, false)];
    let mysql = [&[prepared(packed), verdict(packed, true)][..], &xa].concat();
    assert_eq!(odd_verdicts(&MYSQL), mysql);
    assert_eq!(odd_verdicts(&MARIADB), xa);
}

#[test]
fn a_group_may_end_in_rollback() {
    for recording in &ALL {
        let mut reader = Reader::new(recording.flavor, Filter::default());
        let statement = [&[0; 13][..], b"\0ROLLBACK"].concat();
        for bytes in recording.events() {
            if bytes[4] == EventType::XID.0 {
                let rollback = event(EventType::QUERY.0, 0, 0, &statement);
                let outcome = reader.read(&rollback, &mut Rows::default()).unwrap().unwrap();
                assert_eq!(outcome.ended.unwrap().verdict, Verdict::RolledBack);
                assert!(outcome.boundary);
                break;
            }
            reader.read(bytes, &mut Rows::default()).unwrap();
        }
        assert!(!reader.groups.is_open());
    }
}

#[test]
fn a_gtid_is_handed_out_at_the_groups_end() {
    for recording in &ALL {
        let mut set = GtidSet::new(recording.flavor);
        let mut reader = Reader::new(recording.flavor, Filter::default());
        for event in recording.events() {
            let outcome = reader.read(event, &mut Rows::default()).unwrap().unwrap();
            if let Meaning::PreviousGtids(before) | Meaning::GtidList(before) = &outcome.meaning {
                set = before.clone();
            }
            if let Some(gtid) = outcome.ended.and_then(|ended| ended.gtid) {
                assert!(!set.contains(&gtid), "{gtid} comes twice or was in {set}");
                set.add(&gtid).unwrap();
                assert!(outcome.boundary);
            }
        }
        match recording.flavor {
            Flavor::MySQL => assert!(set.to_string().contains(":mytag:1"), "{set}"),
            Flavor::MariaDB => assert!(set.to_string().contains("5-77-2"), "{set}"),
        }
    }
}

#[test]
fn every_boundary_is_a_restart_point() {
    for recording in &ALL {
        let events = recording.events();
        let whole = play(recording, Filter::default());
        let mut reader = Reader::new(recording.flavor, Filter::default());
        let (mut rows, mut groups) = (Rows::default(), 0);
        for index in 0..events.len() {
            let outcome = reader.read(events[index], &mut rows).unwrap().unwrap();
            groups += usize::from(outcome.ended.is_some());
            if !outcome.boundary {
                continue;
            }
            let mut again = Reader::new(recording.flavor, Filter::default());
            again.framer.accept(events[0]).unwrap();
            again.framer = resumed(events[0], outcome.to);
            for (name, stopped) in reader.decoder.stopped() {
                again.decoder.stop_table(name.clone(), stopped.clone());
            }
            let mut rest = Rows::default();
            let mut ended = Vec::new();
            for event in &events[index + 1..] {
                ended.extend(again.read(event, &mut rest).unwrap().unwrap().ended);
            }
            assert_eq!(ended, whole.ended[groups..]);
            assert_eq!([&rows.0[..], &rest.0].concat(), whole.rows);
            assert_eq!(again.decoder.stopped(), &whole.stopped);
        }
        assert_eq!(groups, whole.ended.len());
    }
}

/// A framer that got the format description of a dump from inside the file.
fn resumed(format: &[u8], offset: u64) -> Framer {
    let mut again = format.to_vec();
    again[13..17].fill(0);
    crate::support::reseal(&mut again);
    let mut framer = Framer::new(&FilePosition::new(FILE, offset));
    assert!(matches!(framer.accept(&again), Ok(Framed::Artificial(_))));
    framer
}

#[test]
fn statements_that_change_rows_are_named() {
    for recording in &ALL {
        let played = play(recording, Filter::default());
        let count = |meaning| played.meanings.iter().filter(|seen| **seen == meaning).count();
        assert_eq!(count(Meaning::StatementDml { table: None }), 1, "{}", recording.name);
        assert!(count(Meaning::Ddl) >= 8, "{}", recording.name);
        assert!(count(Meaning::Rows) >= 10, "{}", recording.name);
        let last = played.meanings.last();
        assert_eq!(last, Some(&Meaning::Rotate { next_file: "binlog.000003".to_owned() }));
    }
}

#[test]
fn savepoints_are_seen_where_the_server_logs_a_return_to_one() {
    for (recording, expected) in [(MYSQL, vec![]), (MARIADB, vec!["b"])] {
        let meanings = play(&recording, Filter::default()).meanings;
        let back = meanings.iter().filter_map(|meaning| match meaning {
            Meaning::RollbackTo { name } => Some(name.as_str()),
            _ => None,
        });
        assert_eq!(back.collect::<Vec<_>>(), expected, "{}", recording.name);
        assert!(
            expected.is_empty() || meanings.contains(&Meaning::Savepoint { name: "b".to_owned() })
        );
    }
}

#[test]
fn a_group_torn_by_a_crash_ends_with_the_next_file() {
    for recording in &ALL {
        let events = recording.events();
        let mut reader = Reader::new(recording.flavor, Filter::default());
        let cut =
            (1..events.len()).find(|index| events[*index][4] == EventType::TABLE_MAP.0).unwrap();
        for event in &events[..=cut] {
            reader.read(event, &mut Rows::default()).unwrap();
        }
        assert!(reader.groups.is_open());
        let body = [&4_u64.to_le_bytes()[..], b"binlog.000003"].concat();
        reader.framer.accept(&event(EventType::ROTATE.0, 0, 0x20, &body)).unwrap();
        let outcome = reader.read(events[0], &mut Rows::default()).unwrap().unwrap();
        let ended = outcome.ended.unwrap();
        assert_eq!((ended.verdict, outcome.boundary), (Verdict::Torn, true));
        assert!(ended.gtid.is_some());
    }
}

#[test]
fn events_that_cannot_be_placed_are_errors() {
    let place = |flavor, event_type: u8, flags, body: &[u8], after: &[&[u8]]| {
        let mut framer = Framer::new(&FilePosition::new(FILE, 4));
        let mut groups = GroupTracker::new(flavor);
        let format = MYSQL.events()[0];
        framer.accept(format).unwrap();
        for before in after {
            let Framed::Event(frame) = framer.accept(before).unwrap() else { panic!() };
            groups.observe(FILE, &frame).unwrap();
        }
        let bytes = event(event_type, 0, flags, body);
        let Framed::Event(frame) = framer.accept(&bytes).unwrap() else { panic!() };
        groups.observe(FILE, &frame).map(|step| step.boundary)
    };
    let gtid = event(EventType::GTID.0, 0, 0, &[&[0; 17][..], &1_u64.to_le_bytes()].concat());
    let mysql = Flavor::MySQL;
    assert!(place(mysql, EventType::XID.0, 0, &[0; 8], &[]).is_err());
    assert_eq!(place(mysql, EventType::XID.0, 0, &[0; 8], &[&gtid]), Ok(true));
    assert!(place(mysql, EventType::GTID.0, 0, &gtid[19..44], &[&gtid]).is_err());
    assert!(place(mysql, EventType::GTID.0, 0, &[0; 25], &[]).is_err(), "number 0");
    assert!(place(mysql, EventType::MARIADB_GTID.0, 0, &[0; 19], &[]).is_err());
    assert!(place(Flavor::MariaDB, EventType::GTID.0, 0, &gtid[19..44], &[]).is_err());
    assert!(place(mysql, 200, 0, &[], &[]).is_err());
    assert_eq!(place(mysql, 200, 0x80, &[], &[]), Ok(true), "ignorable");
    assert_eq!(place(mysql, 200, 0x80, &[], &[&gtid]), Ok(false), "ignorable");
}
