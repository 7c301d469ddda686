//! What of a group gets into the change log, and what is named instead.

use binlog::EventType;

use super::made::*;
use super::*;

const MIB: usize = 1 << 20;
const PART: usize = worker::pipeline::assemble::CHANGES_PART;

#[test]
fn a_compressed_transaction_streams_in_parts() {
    // Short as it came, long as it is decoded.
    let mut made = Made::file(0);
    made.transaction([row(1)]);
    let rows = std::iter::repeat_with(|| row(MIB)).take(7);
    let events = [query("s", "BEGIN"), table_map()].into_iter().chain(rows).chain([xid()]);
    made.group([payload(&events.collect::<Vec<_>>())]);
    made.transaction([row(1), row(1)]);
    let taken = taken(&made);
    assert_eq!(taken.rows, 1 + 7 + 2);
    assert_eq!(taken.missed(), []);
    let ends: Vec<_> = taken.cuts.iter().map(|cut| cut.added.len()).collect();
    assert_eq!(ends, [1, 1, 1], "the transaction stands alone in its entry");
    assert!(taken.parts.len() >= 4, "{:?}", taken.parts);
    assert!(taken.parts.iter().all(|bytes| *bytes < PART + 7 * MIB), "{:?}", taken.parts);
}

#[test]
fn a_connection_lost_while_a_transaction_is_unpacked_goes_back_to_its_start() {
    let mut made = Made::file(0);
    let rows = std::iter::repeat_with(|| row(MIB)).take(7);
    let events = [query("s", "BEGIN"), table_map()].into_iter().chain(rows).chain([xid()]);
    made.group([payload(&events.collect::<Vec<_>>())]);
    let mut lost = mysql(from_the_start());
    lost.accept(&rotate(4)).unwrap();
    for event in &made.events {
        lost.accept(&made.bytes[event.clone()]).unwrap();
    }
    assert!(lost.is_unpacking());
    let cut = lost.cut().unwrap().unwrap();
    assert_eq!((cut.to.offset, cut.added.len()), (made.events[1].end as u64, 0));
    assert_eq!(lost.resume_point().at, cut.to);
}

#[test]
fn a_group_that_cannot_be_decoded_is_a_named_gap() {
    let old = || inner(EventType::PRE_GA_WRITE_ROWS, &[0; 20]);
    let mut made = Made::file(0);
    made.transaction([row(1), old(), row(1)]);
    made.transaction([row(1)]);
    made.group([payload(&[query("s", "BEGIN"), table_map(), row(1), old(), row(1), xid()])]);
    made.group([payload(&[b"no event".to_vec()])]);
    made.transaction([row(1)]);
    let taken = taken(&made);
    assert_eq!(taken.rows, 2);
    let (named, unnamed) = ((Some("s.t"), "DecodingFailed"), (None, "DecodingFailed"));
    // Behind the place in a payload there may be other tables.
    assert_eq!(taken.missed(), [named, unnamed, named, unnamed]);
    let cut = &taken.cuts[0];
    assert_eq!((cut.added.len(), cut.transactions), (5, 2), "the transactions themselves are held");
    let why = cut.missed[0].reason.detail().unwrap();
    assert!(why.contains("this type may carry rows and is not decoded"), "{why}");
}

#[test]
fn partial_rows_of_mariadb_12_3_are_refused_by_name() {
    // A rows event of 12.3 that is too long for one packet comes in pieces: their count, the number of this one, flags.
    let piece = |number: u32| {
        let head = [&2_u32.to_le_bytes()[..], &number.to_le_bytes(), &[0]].concat();
        inner(EventType::PARTIAL_ROW_DATA, &[&head[..], &row(1)[HEADER..]].concat())
    };
    let mut made = Made::file(0);
    made.transaction([piece(1), piece(2)]);
    made.transaction([row(1)]);
    let taken = taken(&made);
    assert_eq!((taken.rows, taken.missed()), (1, vec![(Some("s.t"), "DecodingFailed")]));
    let why = taken.cuts[0].missed[0].reason.detail().unwrap();
    assert!(why.contains("PARTIAL_ROW_DATA (172)"), "{why}");
}

#[test]
fn rows_undone_by_a_savepoint_are_left_out() {
    let undone = |before: Vec<Vec<u8>>| {
        let text = |text: &str| query("s", text);
        let mut events = before;
        events.extend([row(1), text("SAVEPOINT `a`"), row(1), text("SAVEPOINT `b`"), row(1)]);
        events.extend([text("ROLLBACK TO `A`"), row(1)]);
        events
    };
    let mut made = Made::file(0);
    made.transaction([row(1)]);
    made.transaction(undone(vec![]));
    let short = taken(&made);
    assert_eq!((short.rows, short.missed()), (1 + 2, vec![]));
    assert_eq!(short.cuts[0].transactions, 2);

    // Once it streams alone its rows may be on their way already.
    let mut made = Made::file(0);
    made.transaction([row(1)]);
    let long = (0..9).map(|_| row(MIB)).collect();
    made.transaction(undone(long));
    made.transaction([row(1)]);
    let gap = (Some("s.t"), "RolledBackGroup");
    let long = taken(&made);
    assert_eq!((long.rows, long.missed()), (2, vec![gap]));

    let mut made = Made::file(0);
    let events = [vec![query("s", "BEGIN"), table_map()], undone(vec![]), vec![xid()]].concat();
    made.group([payload(&events)]);
    let packed = taken(&made);
    assert_eq!(packed.rows, 0);
    assert_eq!(packed.missed(), [(None, "DecodingFailed"), (Some("s.t"), "DecodingFailed")]);
}

#[test]
fn a_table_that_is_emptied_is_a_change_and_one_that_is_emptied_in_part_is_named() {
    let mut made = Made::file(0);
    made.group([query("shop", "TRUNCATE TABLE `orders`")]);
    made.group([query("shop", "ALTER TABLE log.hits DROP PARTITION p0")]);
    made.group([query("shop", "ALTER TABLE orders ADD c INT")]);
    let taken = taken(&made);
    assert_eq!((taken.rows, taken.cuts[0].transactions), (1, 1));
    assert_eq!(taken.missed(), [(Some("log.hits"), "StatementDml")]);
}

#[test]
fn a_gap_inside_an_open_group_outlives_a_cut_without_a_boundary() {
    let mut made = Made::file(0);
    made.transaction([row(1), query("s", "DELETE FROM u"), row(1)]);
    let mut taken = Taken::default();
    let mut assembler = mysql(from_the_start());
    taken.accept(&mut assembler, &rotate(4)).unwrap();
    for event in &made.events {
        taken.accept(&mut assembler, &made.bytes[event.clone()]).unwrap();
        taken.cut(&mut assembler);
    }
    assert_eq!((taken.rows, taken.missed()), (2, vec![(None, "StatementDml")]));
}
