//! XA transactions: their rows come with the verdict, wherever it comes.

use binlog::{EventType, TableName};
use worker::pipeline::assemble::{RowPlace, Sought};
use worker::pipeline::prepared::Decided;

use super::made::*;
use super::*;

const XID: &str = "X'78',X'',1";

fn verdict(word: &str) -> Vec<u8> {
    query("s", &format!("XA {word} {XID}"))
}

/// The ids that each cut opens and the verdicts that it gives.
fn steps(taken: &Taken) -> Vec<(usize, Vec<(&str, bool)>)> {
    let verdict =
        |decided: &'_ Decided| -> (String, bool) { (decided.xid.clone(), decided.committed) };
    let all = taken.cuts.iter().map(|cut| {
        let decided = cut.xa.decided.iter().map(verdict);
        assert!(decided.clone().all(|(xid, _)| xid == XID));
        (cut.xa.opened.len(), decided.map(|(_, committed)| (XID, committed)).collect())
    });
    all.collect()
}

/// Takes the made file, with a cut and a new connection behind every event.
fn taken_in_pieces(made: &Made) -> Taken {
    let (mut taken, mut resume) = (Taken::reading_back(70), from_the_start());
    for event in &made.events {
        let mut connection = mysql(resume.clone());
        let from = resume.dump_from().offset;
        taken.accept(&mut connection, &rotate(from)).unwrap();
        if from > 4 {
            taken.accept(&mut connection, &format_of(made)).unwrap();
        }
        let sent = made.events.iter().filter(|sent| sent.start as u64 >= from);
        for sent in sent.take_while(|sent| sent.start <= event.start) {
            taken.accept(&mut connection, &made.bytes[sent.clone()]).unwrap();
        }
        taken.cut(&mut connection);
        resume = connection.resume_point();
    }
    taken
}

/// The format description as it is sent again.
fn format_of(made: &Made) -> Vec<u8> {
    let mut event = made.bytes[made.events[0].clone()].to_vec();
    event[13..17].fill(0);
    seal(&mut event);
    event
}

#[test]
fn rows_of_a_prepared_transaction_come_with_its_verdict() {
    let three = [row(1), row(1), row(1)];
    let plain = xa(three.clone(), xa_prepare());
    for prepared in [plain.clone(), vec![payload(&plain)]] {
        for (word, rows) in [("COMMIT", 3), ("ROLLBACK", 0)] {
            let mut made = Made::file(0);
            made.group(prepared.clone());
            made.transaction([row(1)]);
            let held = taken(&made);
            assert_eq!((held.rows, held.missed(), held.cuts.len()), (1, vec![], 1));
            assert_eq!(steps(&held), [(1, vec![])]);
            made.group([verdict(word)]);
            made.transaction([row(1)]);
            let whole = taken(&made);
            assert_eq!((whole.rows, whole.missed()), (2 + rows, vec![]), "{word}");
            assert_eq!(steps(&whole), [(0, vec![])], "both within one cut");
            assert_eq!(whole.cuts[0].transactions, 2 + rows / 3);
            assert_eq!(whole.cuts[0].added.len(), 4);
        }
    }
}

#[test]
fn a_verdict_after_a_resume_finds_what_was_prepared_before_it() {
    for word in ["COMMIT", "ROLLBACK"] {
        let mut made = Made::file(0);
        made.group(xa([row(1), row(100)], xa_prepare()));
        made.transaction([row(1)]);
        made.group([verdict(word)]);
        made.transaction([row(1)]);
        let taken = taken_in_pieces(&made);
        let committed = word == "COMMIT";
        assert_eq!((taken.rows, taken.missed()), (2 + 2 * u64::from(committed), vec![]));
        let told = steps(&taken).into_iter().filter(|step| *step != (0, vec![]));
        assert_eq!(told.collect::<Vec<_>>(), [(1, vec![]), (0, vec![(XID, committed)])]);
        assert_eq!(taken.raw[FILE], made.bytes);
    }
}

#[test]
fn a_transaction_in_one_phase_is_a_commit() {
    let one = xa([row(1)], xa_one_phase());
    let mut made = Made::file(0);
    made.group(one.clone());
    made.group([payload(&one)]);
    let taken = taken(&made);
    assert_eq!((taken.rows, taken.missed(), steps(&taken)), (2, vec![], vec![(0, vec![])]));
}

#[test]
fn a_verdict_about_what_was_prepared_before_the_start_is_a_named_gap() {
    let mut made = Made::file(0);
    made.transaction([row(1)]);
    made.group([verdict("ROLLBACK")]);
    made.group([verdict("COMMIT")]);
    let taken = taken(&made);
    assert_eq!((taken.rows, taken.missed()), (1, vec![(None, "XaPreparedBeforeStart")]));
    assert_eq!(taken.cuts[0].missed[0].from.offset, made.events[9].start as u64);
}

#[test]
fn a_large_prepared_transaction_is_read_back_in_pieces_and_told_in_parts() {
    const MIB: usize = 1 << 20;
    let rows = std::iter::repeat_with(|| row(MIB)).take(20);
    let mut made = Made::file(0);
    made.group(xa(rows, xa_prepare()));
    made.transaction([row(1)]);
    made.group([verdict("COMMIT")]);
    made.transaction([row(1)]);
    let mut taken = Taken::reading_back(3 * MIB / 2);
    taken.read(&mut mysql(from_the_start()), &made);
    assert_eq!((taken.rows, taken.missed()), (22, vec![]));
    assert!(taken.recalls >= 14, "{}", taken.recalls);
    assert!(taken.parts.iter().all(|part| *part < 48 * MIB), "{:?}", taken.parts);
    let told = steps(&taken).into_iter().filter(|step| *step != (0, vec![]));
    assert_eq!(told.collect::<Vec<_>>(), [(1, vec![]), (0, vec![(XID, true)])]);
    assert_eq!(taken.raw[FILE], made.bytes);
}

#[test]
fn bytes_that_are_not_to_be_had_any_more_are_a_named_gap() {
    let mut made = Made::file(0);
    made.group(xa([row(1)], xa_prepare()));
    made.group([verdict("COMMIT")]);
    let mut first = mysql(from_the_start());
    let (last, before) = made.events.split_last().unwrap();
    first.accept(&rotate(4)).unwrap();
    for event in &before[..before.len() - 1] {
        first.accept(&made.bytes[event.clone()]).unwrap();
    }
    // The next life knows of it from the log alone.
    let resume = first.resume_point();
    let mut again = mysql(ResumePoint { prepared: forgotten(), ..resume.clone() });
    again.accept(&rotate(resume.dump_from().offset)).unwrap();
    again.accept(&format_of(&made)).unwrap();
    let tail = &made.events[before.len() - 2];
    for event in [tail, &before[before.len() - 1], last] {
        again.accept(&made.bytes[event.clone()]).unwrap();
    }
    assert!(again.is_unpacking());
    assert_eq!(again.wanted_bytes().unwrap().group.offset, made.events[2].start as u64);
    again.lose("its object is missing");
    again.go_on().unwrap();
    let cut = again.cut().unwrap().unwrap();
    assert_eq!((cut.transactions, cut.missed.len()), (0, 1));
    assert_eq!(cut.missed[0].reason.as_str(), "DecodingFailed");
    assert!(cut.missed[0].reason.detail().unwrap().contains("its object is missing"));
}

/// What the log says of it.
fn forgotten() -> PreparedSet {
    let open = serde_json::json!([{
        "xid": XID, "gtid": format!("{SID}:1"), "lineage": "0001-test", "file": FILE,
        "from": made_from(), "to": made_from() + 400, "crc32": true,
    }]);
    PreparedSet::of(&serde_json::from_value::<Vec<archive::entry::XaOpened>>(open).unwrap())
}

fn made_from() -> usize {
    Made::file(0).bytes.len()
}

fn table() -> TableName {
    TableName { schema: "s".into(), table: "t".into() }
}

/// What was told between the two stands: the gap begins with the verdict.
#[test]
fn a_table_that_stops_with_a_verdict_stops_at_the_verdict() {
    let named = table_map();
    let unnamed = inner(EventType::TABLE_MAP, &named[HEADER..named.len() - 7]);
    let mut made = Made::file(0);
    let mut prepared = xa([row(1)], xa_prepare());
    prepared[1] = unnamed;
    made.group(prepared);
    let between = made.bytes.len() as u64;
    made.transaction([row(1)]);
    let verdict_from = made.bytes.len() as u64;
    made.group([verdict("COMMIT")]);
    // What was prepared before the start is not decoded then.
    let begin = FilePosition::new(FILE, between);
    let mut taken = Taken::default();
    taken.read(&mut mysql(ResumePoint { changes_from: Some(begin), ..from_the_start() }), &made);
    assert_eq!((taken.rows, taken.missed()), (1, vec![(Some("s.t"), "TableStopped")]));
    assert_eq!(taken.cuts[0].missed[0].from.offset, verdict_from);
}

#[test]
fn rows_of_a_prepared_transaction_are_sought_by_the_place_of_their_verdict() {
    let mut made = Made::file(0);
    let prepared_from = made.bytes.len() as u64;
    made.group(xa([row(1), row(1)], xa_prepare()));
    let between = made.bytes.len() as u64;
    made.transaction([row(1)]);
    let verdict_from = made.bytes.len() as u64;
    made.group([verdict("COMMIT")]);
    let found = |group: u64, row: (u32, u32)| {
        let mut sought = Sought::default();
        sought.insert(&table(), RowPlace { group: FilePosition::new(FILE, group), row });
        let mut taken = Taken::default();
        taken.read(&mut mysql(from_the_start()).seeking(sought), &made);
        taken.rows
    };
    assert_eq!(found(prepared_from, (1, 0)), 3, "none of them was told where it was prepared");
    assert_eq!(found(between, (0, 0)), 3);
    assert_eq!(found(verdict_from, (0, 0)), 2);
    assert_eq!(found(verdict_from, (1, 0)), 1, "the first one is held");
    assert_eq!(found(made.bytes.len() as u64, (0, 0)), 0);
}
