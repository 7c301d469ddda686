//! Files made for a test, and an archive that takes them as the worker does.

use super::*;

use binlog::EventType;
use worker::pipeline::cut::{Missed, MissedReason};

pub const NEXT: &str = "binlog.000002";
/// Server id of the made transactions, as it stands in a GTID.
pub const SID: &str = "11111111-1111-1111-1111-111111111111";

/// An event as it stands in a payload: without a checksum.
pub fn inner(event_type: EventType, body: &[u8]) -> Vec<u8> {
    let mut event = 1_700_000_000u32.to_le_bytes().to_vec();
    event.push(event_type.0);
    event.extend(1u32.to_le_bytes());
    event.extend((HEADER as u32 + body.len() as u32).to_le_bytes());
    event.extend([0; 6]);
    event.extend(body);
    event
}

pub fn query(schema: &str, text: &str) -> Vec<u8> {
    let mut body = vec![0; 8];
    body.push(schema.len() as u8);
    body.extend([0; 4]);
    body.extend(schema.as_bytes());
    body.push(0);
    body.extend(text.as_bytes());
    inner(EventType::QUERY, &body)
}

/// Announces `s.t (v LONGTEXT)`.
pub fn table_map() -> Vec<u8> {
    let head = [&[7, 0, 0, 0, 0, 0, 1, 0][..], b"\x01s\0\x01t\0", &[1, 252, 1, 4, 0]].concat();
    // Its character set is utf8mb4, its name v.
    inner(EventType::TABLE_MAP, &[&head[..], &[2, 1, 45], &[4, 2, 1, b'v']].concat())
}

/// One row of so many characters, each six in JSON.
pub fn row(length: usize) -> Vec<u8> {
    let mut body = vec![7, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 1, 0];
    body.extend((length as u32).to_le_bytes());
    body.resize(body.len() + length, 1);
    inner(EventType::WRITE_ROWS, &body)
}

pub fn xid() -> Vec<u8> {
    inner(EventType::XID, &[0; 8])
}

/// The events of an XA transaction up to its end, `events` in between.
pub fn xa(events: impl IntoIterator<Item = Vec<u8>>, last: Vec<u8>) -> Vec<Vec<u8>> {
    let mut all = vec![query("s", "XA START X'78',X'',1"), table_map()];
    all.extend(events);
    all.extend([query("s", "XA END X'78',X'',1"), last]);
    all
}

pub fn xa_prepare() -> Vec<u8> {
    xa_end(0)
}

pub fn xa_one_phase() -> Vec<u8> {
    xa_end(1)
}

fn xa_end(one_phase: u8) -> Vec<u8> {
    let body =
        [&[one_phase][..], &1u32.to_le_bytes(), &1u32.to_le_bytes(), &0u32.to_le_bytes(), b"x"];
    inner(EventType::XA_PREPARE, &body.concat())
}

/// The events as one, packed but not compressed.
pub fn payload(events: &[Vec<u8>]) -> Vec<u8> {
    inner(
        EventType::TRANSACTION_PAYLOAD,
        &[&[2, 3, 0xfc, 255, 0, 0][..], &events.concat()].concat(),
    )
}

/// A file under way: its events as the dump sends them.
pub struct Made {
    pub bytes: Vec<u8>,
    pub events: Vec<std::ops::Range<usize>>,
    transactions: u64,
}

impl Made {
    /// A file behind `before` transactions.
    pub fn file(before: u64) -> Self {
        let recorded = Recording::load("mysql-9.7.4.binlog", Flavor::MySQL);
        let format = recorded.event(0);
        let bytes = [&recorded.bytes[..4], format].concat();
        let events: Vec<_> = std::iter::once(4..bytes.len()).collect();
        let mut made = Self { bytes, events, transactions: before };
        let mut held = u64::from(before > 0).to_le_bytes().to_vec();
        if before > 0 {
            held.extend([0x11; 16]);
            for number in [1, 1, before + 1] {
                held.extend(number.to_le_bytes());
            }
        }
        made.push(inner(EventType::PREVIOUS_GTIDS, &held));
        made
    }

    pub fn push(&mut self, mut event: Vec<u8>) {
        event.extend([0; CHECKSUM]);
        let (from, length) = (self.bytes.len(), event.len());
        event[9..13].copy_from_slice(&(length as u32).to_le_bytes());
        event[13..17].copy_from_slice(&((from + length) as u32).to_le_bytes());
        seal(&mut event);
        self.bytes.extend(event);
        self.events.push(from..from + length);
    }

    /// The id of the next transaction, and these events.
    pub fn group(&mut self, events: impl IntoIterator<Item = Vec<u8>>) {
        self.transactions += 1;
        let body = [&[0][..], &[0x11; 16], &self.transactions.to_le_bytes()].concat();
        self.push(inner(EventType::GTID, &body));
        events.into_iter().for_each(|event| self.push(event));
    }

    /// A transaction of these events.
    pub fn transaction(&mut self, events: impl IntoIterator<Item = Vec<u8>>) {
        self.group([query("s", "BEGIN"), table_map()]);
        events.into_iter().for_each(|event| self.push(event));
        self.push(xid());
    }

    pub fn rotate(&mut self) {
        let body = [&4u64.to_le_bytes()[..], NEXT.as_bytes()].concat();
        self.push(inner(EventType::ROTATE, &body));
    }
}

/// What the worker would have committed.
#[derive(Default)]
pub struct Taken {
    pub raw: std::collections::BTreeMap<String, Vec<u8>>,
    pub rows: u64,
    /// Memory of each part of rows.
    pub parts: Vec<usize>,
    pub cuts: Vec<Cut>,
    waiting: u64,
    /// Bytes that are read back at once, and how often they were.
    recalled: usize,
    pub recalls: usize,
}

impl Taken {
    /// Reads prepared transactions back in pieces of so many bytes.
    pub fn reading_back(recalled: usize) -> Self {
        Self { recalled, ..Self::default() }
    }

    pub fn missed(&self) -> Vec<(Option<&str>, &'static str)> {
        let all = self.cuts.iter().flat_map(|cut| &cut.missed);
        all.map(|Missed { table, reason, .. }| (table.as_deref(), MissedReason::as_str(reason)))
            .collect()
    }

    fn parts(&mut self, assembler: &mut Assembler) {
        while let Some(part) = assembler.next_part() {
            match part {
                Part::Raw(part) => {
                    let file = self.raw.entry(part.file).or_default();
                    assert_eq!(part.range.start, file.len() as u64, "parts are contiguous");
                    file.extend(part.bytes);
                }
                Part::Changes(rows, bytes) => {
                    self.parts.push(bytes);
                    self.waiting += rows.rows();
                }
            }
        }
    }

    /// What is full, and the cut that is wanted, if it may be made.
    pub fn hand_over(&mut self, assembler: &mut Assembler) {
        self.parts(assembler);
        if assembler.cut_wanted() && assembler.may_cut() {
            self.cut(assembler);
        }
    }

    pub fn cut(&mut self, assembler: &mut Assembler) {
        let cut = assembler.cut().unwrap();
        self.parts(assembler);
        if let Some(cut) = cut {
            self.rows += if cut.rows_void { 0 } else { self.waiting };
            self.waiting = 0;
            let raw = self.raw.get(&cut.to.file).map_or(0, |file| file.len() as u64);
            assert_eq!(raw, cut.to.offset, "a cut ends where its bytes end");
            self.cuts.push(cut);
        }
    }

    /// Takes one event as the stream does: what is full is handed over before the next.
    pub fn accept(&mut self, assembler: &mut Assembler, event: &[u8]) -> Result<(), AssembleError> {
        assembler.accept(event)?;
        loop {
            self.hand_over(assembler);
            if !assembler.is_unpacking() {
                return Ok(());
            }
            if let Some(wanted) = assembler.wanted_bytes() {
                self.cut(assembler);
                // As little as shows that events may come in pieces.
                let rest = &self.raw[&wanted.group.file][wanted.from as usize..];
                assembler.feed(&rest[..rest.len().min(self.recalled)]);
                self.recalls += 1;
            }
            assembler.go_on()?;
        }
    }

    /// The made file as a dump from its head, and a cut behind it.
    pub fn read(&mut self, assembler: &mut Assembler, made: &Made) {
        self.accept(assembler, &rotate(4)).unwrap();
        for event in &made.events {
            self.accept(assembler, &made.bytes[event.clone()]).unwrap();
        }
        self.cut(assembler);
    }
}

pub fn mysql(resume: ResumePoint) -> Assembler {
    assembler(&Recording { flavor: Flavor::MySQL, bytes: Vec::new(), events: Vec::new() }, resume)
}

/// Everything of a made file.
pub fn taken(made: &Made) -> Taken {
    let mut taken = Taken::default();
    taken.read(&mut mysql(from_the_start()), made);
    assert_eq!(taken.raw[FILE], made.bytes, "raw goes on whatever the rows");
    taken
}
