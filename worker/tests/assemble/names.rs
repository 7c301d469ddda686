//! Tables whose maps name no columns: from where on the source's answer counts, and what becomes of it.

use binlog::{SourceColumn, SourceTable, StoppedTable, TableDescription, TableName};
use worker::names::NameRecord;
use worker::pipeline::assemble::{Naming, PROOF};

use super::made::*;
use super::*;

/// Announces `s.t` with one LONGTEXT, without its name and character set.
fn unnamed() -> Vec<u8> {
    let named = table_map();
    let length = named.len() - 7;
    inner(binlog::EventType::TABLE_MAP, &named[HEADER..length])
}

fn table() -> TableName {
    TableName { schema: "s".into(), table: "t".into() }
}

/// Where the event begins.
fn start(made: &Made, event: usize) -> u64 {
    made.events[event].start as u64
}

fn at(offset: u64) -> FilePosition {
    FilePosition::new(FILE, offset)
}

/// A row of `s.t` in a transaction of its own.
fn insert(made: &mut Made) {
    made.group([query("s", "BEGIN"), unnamed(), row(3), xid()]);
}

fn statement(made: &mut Made, text: &str) {
    made.group([query("s", text)]);
}

fn asking(resume: ResumePoint) -> Assembler {
    let decoder = ChangeDecoder::new(Flavor::MySQL, Filter::default()).asking();
    let rows = ChangeBatch::new("0001-test", ParquetSettings::default());
    let sinks = Sinks { raw: true, changes: true };
    Assembler::new(
        resume,
        GroupTracker::new(Flavor::MySQL),
        decoder,
        Filter::default(),
        rows,
        sinks,
    )
}

/// A reading of a made file, with the source's answers.
struct Reading {
    assembler: Assembler,
    taken: Taken,
    asked: Vec<FilePosition>,
    /// Where the source stands when it is asked, and how far that is.
    until: u64,
    ahead: u64,
    /// The columns that it tells beside the description.
    columns: SourceTable,
}

impl Reading {
    fn of(resume: ResumePoint, until: u64) -> Self {
        let (assembler, taken) = (asking(resume), Taken::default());
        let mut reading = Self {
            assembler,
            taken,
            asked: Vec::new(),
            until,
            ahead: 1,
            columns: SourceTable::default(),
        };
        reading.accept(&rotate(4)).unwrap();
        reading
    }

    fn answer(&self) -> Naming {
        let description = TableDescription::of(&table_map()[HEADER..]).unwrap();
        let (until, ahead, columns) = (at(self.until), self.ahead, self.columns.clone());
        Naming::Described { description, columns, until, ahead, limit: 1 << 30 }
    }

    fn accept(&mut self, event: &[u8]) -> Result<(), AssembleError> {
        self.assembler.accept(event)?;
        loop {
            self.taken.hand_over(&mut self.assembler);
            if !self.assembler.is_unpacking() {
                return Ok(());
            }
            if !self.assembler.name_by_statements() {
                self.asked.push(self.assembler.unnamed_at());
                let answer = self.answer();
                self.assembler.name(answer);
            }
            self.assembler.go_on()?;
        }
    }

    fn events(&mut self, made: &Made, events: std::ops::Range<usize>) -> Result<(), AssembleError> {
        let mut events = events.map(|event| &made.bytes[made.events[event].clone()]);
        events.try_for_each(|event| self.accept(event))
    }

    /// Cuts, and says what was recorded.
    fn cut(&mut self) -> Vec<NameRecord> {
        assert!(self.assembler.may_cut());
        self.taken.cut(&mut self.assembler);
        self.taken.cuts.last().map(|cut| cut.names.clone()).unwrap_or_default()
    }
}

/// Two inserts: events 2 to 6, and 7 to 11.
fn two_inserts() -> Made {
    let mut made = Made::file(0);
    insert(&mut made);
    insert(&mut made);
    made
}

/// A statement between two inserts, the first one's columns told whole and proven by the statement.
fn altered_between_inserts(text: &str) -> (Made, Reading) {
    let mut made = Made::file(0);
    insert(&mut made);
    statement(&mut made, text);
    insert(&mut made);
    let mut reading = Reading::of(from_the_start(), start(&made, 7));
    reading.columns.columns.push(SourceColumn {
        name: "v".into(),
        data_type: "longtext".into(),
        collation: Some(45),
        ..SourceColumn::default()
    });
    (made, reading)
}

#[test]
fn nothing_is_cut_before_the_answer_is_proven() {
    let made = two_inserts();
    let mut reading = Reading::of(from_the_start(), made.bytes.len() as u64);
    reading.events(&made, 0..6).unwrap();
    assert!(reading.assembler.may_cut(), "what is before the group may");
    reading.events(&made, 6..11).unwrap();
    assert!(!reading.assembler.may_cut());
    reading.events(&made, 11..12).unwrap();
    let records = reading.cut();
    let map = at(start(&made, 4));
    assert_eq!(
        records.iter().map(|record| (&record.from, &record.until)).collect::<Vec<_>>(),
        [(&map, &None)]
    );
    assert_eq!(reading.asked, [map], "it is asked for once");
    assert_eq!((reading.taken.rows, reading.taken.missed()), (2, vec![]));
}

#[test]
fn an_answer_ends_at_a_statement_about_its_table() {
    let mut made = Made::file(0);
    insert(&mut made);
    statement(&mut made, "ALTER TABLE other ADD c INT");
    insert(&mut made);
    statement(&mut made, "RENAME TABLE t TO t_old, t_new TO t");
    insert(&mut made);
    let mut reading = Reading::of(from_the_start(), start(&made, 7));
    reading.events(&made, 0..15).unwrap();
    assert_eq!(reading.asked, [at(start(&made, 4))]);
    reading.until = made.bytes.len() as u64;
    reading.events(&made, 15..made.events.len()).unwrap();
    let (renamed, map) = (at(start(&made, 15)), at(start(&made, 18)));
    assert_eq!(reading.asked, [at(start(&made, 4)), map.clone()]);
    let records = reading.cut();
    let told: Vec<_> = records.iter().map(|record| (&record.from, record.map.is_some())).collect();
    assert_eq!(told, [(&at(start(&made, 4)), true), (&renamed, false), (&map, true)]);
}

#[test]
fn a_statement_that_is_understood_is_followed() {
    for (text, bears_out) in [
        ("ALTER TABLE t RENAME COLUMN v TO w", true),
        // The map that follows has one column.
        ("ALTER TABLE t ADD w INT", false),
        ("ALTER TABLE t RENAME COLUMN v TO w, FROBNICATE", false),
    ] {
        let (made, mut reading) = altered_between_inserts(text);
        reading.events(&made, 0..7).unwrap();
        reading.until = made.bytes.len() as u64;
        reading.events(&made, 7..made.events.len()).unwrap();

        let maps = [at(start(&made, 4)), at(start(&made, 11))];
        let asked = if bears_out { &maps[..1] } else { &maps[..] };
        assert_eq!(reading.asked, asked, "{text}");
        let records = reading.cut();
        let last = records.iter().rfind(|record| record.map.is_some()).unwrap();
        assert_eq!(last.from, maps[1], "{text}");
        let name = if bears_out { "w" } else { "v" };
        let bytes = last.description().unwrap().as_bytes().to_vec();
        assert!(bytes.windows(2).any(|part| part == [1, name.as_bytes()[0]]), "{text}");
        assert_eq!(reading.taken.rows, 2, "{text}");
    }
}

#[test]
fn what_the_archive_says_ends_there_even_if_it_was_forgotten_here() {
    // Known behind the first insert, redefined by a statement that is followed; a cut falls into the second one's group.
    let (made, mut reading) = altered_between_inserts("ALTER TABLE t RENAME COLUMN v TO w");
    reading.events(&made, 0..12).unwrap();
    assert_eq!(reading.asked.len(), 1, "the second map is named by the statement");
    let told = reading.cut();
    assert_eq!(told.iter().filter(|record| record.columns.is_some()).count(), 3);
    let kept = reading.assembler.resume_point().tables;
    let known =
        kept.described.get(&table()).expect("what holds since the statement outlasts the cut");
    assert!(known.since < at(start(&made, 11)) && known.description.is_some());

    // The same process connects again and knows nothing of the table any more.
    let mut forgotten = kept;
    forgotten.described.clear();
    let mut again = Made::file(0);
    insert(&mut again);
    statement(&mut again, "ALTER TABLE t RENAME COLUMN w TO x");
    let mut resume = from_the_start();
    resume.tables = forgotten;
    let mut reading = Reading::of(resume, 1 << 40);
    reading.ahead = (1 << 30) + 1;
    reading.events(&again, 0..again.events.len()).unwrap();
    let ended = reading.cut().into_iter().rfind(|record| record.until.is_none()).unwrap();
    assert_eq!((ended.map, ended.columns), (None, None));
}

#[test]
fn a_statement_before_the_proof_makes_the_answer_void() {
    let mut made = two_inserts();
    statement(&mut made, "ALTER TABLE t RENAME COLUMN v TO w");
    let mut reading = Reading::of(from_the_start(), made.bytes.len() as u64);
    let error = reading.events(&made, 0..made.events.len()).unwrap_err();
    let AssembleError::Unproven { tables, .. } = error else { panic!("{error}") };
    assert_eq!(tables, [(table(), at(start(&made, 4)))]);
    assert!(!reading.assembler.may_cut());
}

#[test]
fn an_answer_from_far_ahead_is_kept_for_later_and_stops_the_table() {
    let made = two_inserts();
    let mut reading = Reading::of(from_the_start(), 1 << 40);
    reading.ahead = (1 << 30) + 1;
    reading.events(&made, 0..made.events.len()).unwrap();
    let records = reading.cut();
    assert_eq!(
        records.iter().map(|record| record.until.clone()).collect::<Vec<_>>(),
        [Some(at(1 << 40))]
    );
    assert_eq!(reading.taken.missed(), [(Some("s.t"), "TableStopped")]);
    let mut reading = Reading::of(from_the_start(), 1 << 40);
    reading.ahead = PROOF + 100_000;
    let error = reading.events(&made, 0..made.events.len()).unwrap_err();
    assert!(matches!(error, AssembleError::Unproven { .. }), "{error}");
}

#[test]
fn a_connection_knows_what_the_one_before_it_was_told() {
    let made = two_inserts();
    let mut first = Reading::of(from_the_start(), start(&made, 7));
    first.events(&made, 0..7).unwrap();
    first.cut();
    let mut second = Reading::of(first.assembler.resume_point(), 0);
    second.taken = first.taken;
    let from = made.events.iter().position(|event| event.start as u64 == start(&made, 6)).unwrap();
    let mut format = made.bytes[made.events[0].clone()].to_vec();
    format[13..17].fill(0);
    seal(&mut format);
    second.assembler.accept(&rotate(start(&made, 6))).unwrap();
    second.accept(&format).unwrap();
    second.events(&made, from..made.events.len()).unwrap();
    second.cut();
    assert_eq!((second.asked.len(), second.taken.rows), (0, 2));
}

#[test]
fn a_stopped_table_has_one_gap_over_a_reconnect() {
    let made = two_inserts();
    let mut first = Reading::of(from_the_start(), 1 << 40);
    first.ahead = 1 << 31;
    first.events(&made, 0..7).unwrap();
    first.cut();
    assert_eq!(first.taken.missed().len(), 1);
    let resume = first.assembler.resume_point();
    let since = resume.tables.stopped.values().map(|StoppedTable { since, .. }| since.clone());
    assert_eq!(since.collect::<Vec<_>>(), [at(start(&made, 2))]);
    let mut second = Reading::of(resume, 1 << 40);
    second.ahead = 1 << 31;
    second.taken = first.taken;
    let mut format = made.bytes[made.events[0].clone()].to_vec();
    format[13..17].fill(0);
    seal(&mut format);
    second.assembler.accept(&rotate(start(&made, 6))).unwrap();
    second.accept(&format).unwrap();
    second.events(&made, 6..made.events.len()).unwrap();
    second.cut();
    assert_eq!(second.taken.missed(), [(Some("s.t"), "TableStopped")]);
}

/// What is to be given up of the group that streams alone is all that the cut holds.
#[test]
fn rows_behind_a_large_group_without_rows_are_told() {
    let mut made = Made::file(0);
    let savepoint = |text| query("s", text);
    made.group([
        query("s", "BEGIN"),
        savepoint("SAVEPOINT `a`"),
        unnamed(),
        row(5 << 20),
        row(5 << 20),
        savepoint("ROLLBACK TO `a`"),
        xid(),
    ]);
    insert(&mut made);
    insert(&mut made);
    let (last, end) = (made.events.len() - 5, made.events.len());
    let mut reading = Reading::of(from_the_start(), start(&made, last));
    reading.events(&made, 0..end).unwrap();
    reading.cut();
    assert_eq!(reading.taken.rows, 2, "{:?}", reading.taken.missed());
}

#[test]
fn a_large_group_is_not_held_in_memory_for_the_answer_to_another() {
    let mut made = Made::file(0);
    insert(&mut made);
    made.group(
        [query("s", "BEGIN"), unnamed()]
            .into_iter()
            .chain([row(4 << 20), row(4 << 20), row(4 << 20)])
            .chain([xid()]),
    );
    let mut reading = Reading::of(from_the_start(), 1 << 40);
    let error = reading.events(&made, 0..made.events.len()).unwrap_err();
    let AssembleError::Unproven { tables, .. } = error else { panic!("{error}") };
    assert_eq!(tables, [(table(), at(start(&made, 4)))]);
}

/// The engine may have kept a statement whose event was lost, and nothing was logged meanwhile.
#[test]
fn a_server_that_went_down_may_have_changed_every_table() {
    let mut made = Made::file(0);
    insert(&mut made);
    let mut reading = Reading::of(from_the_start(), start(&made, 6));
    reading.events(&made, 0..made.events.len()).unwrap();
    reading.accept(&rotate_to(NEXT, 4)).unwrap();
    let records = reading.cut();
    let told: Vec<_> = records.iter().map(|record| (&record.from, record.map.is_some())).collect();
    let end = at(made.bytes.len() as u64);
    assert_eq!(told, [(&at(start(&made, 4)), true), (&end, false)]);
    assert!(reading.assembler.resume_point().tables.described.is_empty());
}

/// Announces `s.NAME` with one LONGTEXT, without its column's name; and with it.
fn maps_of(name: &str) -> (Vec<u8>, Vec<u8>) {
    let length = [name.len() as u8];
    let head =
        [&[7, 0, 0, 0, 0, 0, 1, 0][..], b"\x01s\0", &length, name.as_bytes(), b"\0"].concat();
    let bare = [&head[..], &[1, 252, 1, 4, 0]].concat();
    let named = [&bare[..], &[2, 1, 45], &[4, 2, 1, b'v']].concat();
    (inner(binlog::EventType::TABLE_MAP, &bare), named)
}

/// Each new table is asked for before the answer about the one before it is proven, for as long as that goes on.
#[test]
fn questions_that_overlap_put_off_a_cut_no_further_than_to_their_bound() {
    const TABLES: u64 = 80;
    let mut made = Made::file(0);
    let mut until = Vec::new();
    for n in 0..TABLES {
        let (unnamed, _) = maps_of(&format!("t{n}"));
        made.group([query("s", "BEGIN"), unnamed, row(1), xid()]);
        // The source has written this when it answers about the table before.
        until.push(made.bytes.len() as u64);
        let long = inner(binlog::EventType::ROWS_QUERY, &vec![b'x'; 1 << 20]);
        made.group([query("s", "BEGIN"), long, xid()]);
    }
    let mut reading = Reading::of(from_the_start(), 0);
    let (mut asked, mut put_off) = (0, None);
    for event in made.events.clone() {
        reading.assembler.accept(&made.bytes[event]).unwrap();
        while reading.assembler.is_unpacking() {
            if reading.assembler.unnamed().is_some() {
                let description = TableDescription::of(&maps_of(&format!("t{asked}")).1).unwrap();
                let until = until.get(asked + 1).map_or_else(|| made.bytes.len() as u64, |at| *at);
                asked += 1;
                reading.assembler.name(Naming::Described {
                    description,
                    columns: SourceTable::default(),
                    until: at(until),
                    ahead: 2 << 20,
                    limit: 1 << 30,
                });
            }
            reading.assembler.go_on().unwrap();
            reading.taken.hand_over(&mut reading.assembler);
        }
        let pending = reading.assembler.pending_bytes();
        if asked > 1 && put_off.is_none() && reading.assembler.may_cut() {
            put_off = Some(pending);
            reading.cut();
        }
    }
    let put_off = put_off.expect("it is put off for ever");
    assert!(put_off > PROOF && put_off < PROOF + (4 << 20), "{put_off}");
    reading.cut();
    // The first one beyond the bound stands by name.
    assert_eq!(reading.taken.missed(), [(Some("s.t64"), "TableStopped")]);
}
