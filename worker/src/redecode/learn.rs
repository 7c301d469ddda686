//! The first way through the range: how its tables were described when.
//!
//! Table maps with names tell it, and the archive's records of what the source was asked, each from the table map on
//! that it stands at. A record without a proof counts once the range itself has shown that no statement came in
//! between.

use std::collections::VecDeque;

use archive::read_back::{Leg, Stretch};
use archive::{State, Store};
use binlog::{Finding, Frame, Framed, Framer, Survey, TableDescription, TableName};
use crds::conditions::Reason;
use crds::position::FilePosition;

use super::feed::Taker;
use crate::fault::{Fault, chain};
use crate::names::{self, NameRecord};

/// What the archive was told of tables, by lineage.
pub(super) type Records = Vec<(String, Vec<NameRecord>)>;

/// The records of every lineage that is known.
pub(super) async fn records(store: &dyn Store, state: &State) -> Result<Records, Fault> {
    let mut all = Records::new();
    for stint in &state.facts.lineages {
        all.push((stint.id.clone(), names::all(store, &stint.id).await?));
    }
    Ok(all)
}

/// Follows the events and asks each what it says of the tables.
pub(super) struct Learner<'a> {
    survey: Survey,
    framer: Framer,
    events: u64,
    records: &'a Records,
    tables: Vec<TableName>,
    /// The file being read.
    file: String,
    /// Records of the lineage being read that lie ahead, in order.
    ahead: VecDeque<NameRecord>,
    waiting: Vec<Waiting>,
}

/// A record whose proof the range still owes.
struct Waiting {
    table: TableName,
    description: TableDescription,
    until: FilePosition,
    stretch: Option<usize>,
}

impl<'a> Learner<'a> {
    pub(super) fn new(tables: impl IntoIterator<Item = TableName>, records: &'a Records) -> Self {
        let nowhere = FilePosition::new("", FilePosition::FIRST_EVENT);
        let tables: Vec<TableName> = tables.into_iter().collect();
        Self {
            survey: Survey::new(tables.clone()),
            framer: Framer::new(&nowhere),
            events: 0,
            records,
            tables,
            file: String::new(),
            ahead: VecDeque::new(),
            waiting: Vec::new(),
        }
    }

    /// What was learned, by number of event.
    pub(super) fn finish(self) -> Vec<Finding> {
        self.survey.finish()
    }

    /// What was asked when the event had come.
    fn recall(&mut self, frame: &Frame<'_>) {
        let (from, to) = (self.place(frame.from), self.place(frame.to));
        while self.ahead.front().is_some_and(|record| record.from <= from) {
            let Some(record) = self.ahead.pop_front() else { return };
            let (table, Some(description)) = (record.name(), record.description()) else {
                continue;
            };
            if record.from != from {
                continue;
            }
            match record.until {
                None => self.survey.tell(&table, description),
                Some(until) => {
                    let stretch = self.survey.stretch(&table);
                    self.waiting.push(Waiting { table, description, until, stretch });
                }
            }
        }
        let survey = &mut self.survey;
        self.waiting.retain(|waiting| {
            let there = waiting.until <= to;
            if there && survey.stretch(&waiting.table) == waiting.stretch {
                survey.tell(&waiting.table, waiting.description.clone());
            }
            !there
        });
    }

    fn place(&self, offset: u64) -> FilePosition {
        FilePosition::new(self.file.clone(), offset)
    }
}

impl Taker for Learner<'_> {
    async fn begin(&mut self, _n: u64, stretch: &Stretch) -> Result<(), Fault> {
        self.survey.begin(self.events);
        self.waiting.clear();
        let all: &Records = self.records;
        let of_it = all.iter().find(|(lineage, _)| *lineage == stretch.at.lineage);
        let records = of_it.map_or(&[][..], |(_, records)| records.as_slice());
        let at = stretch.at.position();
        let ahead = |record: &&NameRecord| record.from > at && self.tables.contains(&record.name());
        let mut ahead: Vec<NameRecord> = records.iter().filter(ahead).cloned().collect();
        ahead.sort_by(|one, other| one.from.cmp(&other.from));
        self.ahead = ahead.into();
        Ok(())
    }

    async fn event(&mut self, event: &[u8]) -> Result<(), Fault> {
        let framed = self
            .framer
            .accept(event)
            .map_err(|error| Fault::archive(Reason::ArchiveDamaged, chain(&error)))?;
        match framed {
            Framed::Event(frame) => {
                self.survey.observe(self.events, &frame);
                self.recall(&frame);
            }
            Framed::FileStart { file, .. } => self.file = file,
            Framed::Artificial(_) | Framed::Heartbeat { .. } => {}
        }
        self.events += 1;
        Ok(())
    }

    async fn begin_leg(&mut self, _leg: &Leg) -> Result<(), Fault> {
        Ok(())
    }
}
