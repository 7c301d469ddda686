//! The first way through the range: how its tables were described when, and what of them has no verdict.
//!
//! Table maps with names tell it, and the archive's records of what the source was asked, each from the table map on
//! that it stands at. A record without a proof counts once the range itself has shown that no statement came in
//! between. A file that did not end with a rotation ends what is known: a source that went down may have changed a
//! table without logging it.

use std::collections::{BTreeMap, VecDeque};

use archive::read_back::{Leg, Stretch};
use archive::{Point, State, Store};
use binlog::{
    EventType, Finding, Frame, Framed, Framer, GroupTracker, Survey, TableDescription, TableName,
    Verdict,
};
use crds::conditions::Reason;
use crds::position::{FilePosition, Flavor};

use super::feed::Taker;
use super::undecided::Undecided;
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

/// What the range was found to say.
#[derive(Debug, Default)]
pub(super) struct Learned {
    /// How its tables are described, by number of event.
    pub(super) findings: Vec<Finding>,
    /// XA transactions without a verdict, by their ids, with rows that a later worker cannot tell: only the range says
    /// what their table maps mean.
    pub(super) undecided: BTreeMap<String, Undecided>,
}

/// Follows the events and asks each what it says of the tables.
pub(super) struct Learner<'a> {
    survey: Survey,
    tracker: GroupTracker,
    undecided: BTreeMap<String, Undecided>,
    framer: Framer,
    events: u64,
    lineage: String,
    /// The last event is the end of its file.
    rotated: bool,
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
    pub(super) fn new(
        flavor: Flavor,
        tables: impl IntoIterator<Item = TableName>,
        records: &'a Records,
    ) -> Self {
        let nowhere = FilePosition::new("", FilePosition::FIRST_EVENT);
        let tables: Vec<TableName> = tables.into_iter().collect();
        Self {
            survey: Survey::new(tables.clone()),
            tracker: GroupTracker::new(flavor),
            undecided: BTreeMap::new(),
            framer: Framer::new(&nowhere),
            events: 0,
            lineage: String::new(),
            rotated: false,
            records,
            tables,
            file: String::new(),
            ahead: VecDeque::new(),
            waiting: Vec::new(),
        }
    }

    /// What was learned.
    pub(super) fn finish(self) -> Learned {
        Learned { findings: self.survey.finish(), undecided: self.undecided }
    }

    /// Another file follows.
    fn change_file(&mut self, file: String) {
        if !self.rotated {
            self.survey.begin(self.events + 1);
        }
        self.tracker.reset();
        self.survey.take_unnamed();
        self.file = file;
    }

    /// Keeps account of prepared transactions.
    fn decide(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let step = self.tracker.observe(&self.file, frame).map_err(|error| damaged(&error))?;
        let Some(ended) = step.ended else { return Ok(()) };
        let tables = self.survey.take_unnamed();
        match ended.verdict {
            Verdict::XaPrepared { xid } if !tables.is_empty() => {
                let at = Point::new(&self.lineage, &ended.from.file, ended.from.offset);
                self.undecided.entry(xid).or_insert(Undecided { at, tables });
            }
            Verdict::XaVerdict { xid, .. } => drop(self.undecided.remove(&xid)),
            _ => {}
        }
        Ok(())
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
        self.tracker.reset();
        self.waiting.clear();
        self.lineage.clone_from(&stretch.at.lineage);
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
        let taken = match self.framer.accept(event).map_err(|error| damaged(&error))? {
            Framed::Event(frame) => {
                self.rotated = frame.header.event_type == EventType::ROTATE;
                self.survey.observe(self.events, &frame);
                self.recall(&frame);
                self.decide(&frame)
            }
            Framed::FileStart { file, .. } => {
                self.change_file(file);
                Ok(())
            }
            Framed::Artificial(_) | Framed::Heartbeat { .. } => Ok(()),
        };
        self.events += 1;
        taken
    }

    async fn begin_leg(&mut self, _leg: &Leg) -> Result<(), Fault> {
        Ok(())
    }
}

fn damaged(error: &dyn std::error::Error) -> Fault {
    Fault::archive(Reason::ArchiveDamaged, chain(error))
}
