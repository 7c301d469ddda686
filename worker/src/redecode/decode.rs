//! The second way through the range: rows of the tables that are sought become change files, and their gaps close.
//!
//! Invariants
//! - Rows are decoded by what the stream decodes with, from the same bytes: their identity is what it would have
//!   been (`e2e/tests/redecode.rs`).
//! - Of the group that a gap begins in, rows that the change log holds are left out.
//! - A file holds rows of one partition: that of the entry whose range it covers.
//! - Files and the gaps that they close stand in one entry.
//! - Rows of an XA transaction have the place of its verdict: one that was prepared before the gap is told if it was
//!   committed in it, and one that is prepared in it and decided behind it is left to who reads the verdict. Where the
//!   table map names no columns nobody could tell it then: the gap stays open from there on, by name.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use archive::commit::{ChangePart, Committer, Maintenance, Uploading};
use archive::entry::{Entry, LineageBody, Maintain, MaintainOp, Stint, TableGap};
use archive::read_back::{Leg, ReadBack, Stretch, holds};
use archive::{Point, State, Store};
use binlog::{
    ChangeDecoder, Filter, Finding, GroupTracker, SchemaRecord, StoppedTable, TableDescription,
    TableName,
};
use bytes::Bytes;
use changes::{ChangeBatch, ParquetSettings};
use crds::position::{FilePosition, Flavor};

use super::faults::{broken, ended, internal, log_fault};
use super::feed::Taker;
use super::learn::Learned;
use super::select::{Sought, is_before, is_reached};
use super::undecided::Halts;
use crate::fault::{Fault, chain};
use crate::names::Tables;
use crate::pipeline::assemble::{self, Assembler, Part, ResumePoint, Sinks, Wanted};
use crate::pipeline::cut::{Cut, Missed};
use crate::pipeline::prepared::PreparedSet;
use crate::session::held_back;

/// Files that one entry adds; what is decoded so far is then durable, and its gaps begin later.
const FILES: usize = 256;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) rows: u64,
    pub(super) closed: Vec<TableGap>,
    /// Gaps that stay open, where they begin now, and why.
    pub(super) left: Vec<(TableGap, String)>,
}

/// See the module's text.
pub(super) struct Redecoder<'a> {
    reader: &'a ReadBack,
    committer: &'a Committer,
    store: &'a Arc<dyn Store>,
    flavor: Flavor,
    /// What the range was found to say of its tables, by number of event.
    findings: VecDeque<Finding>,
    sought: Vec<Sought>,
    names: BTreeSet<String>,
    /// The range ends where the change log does: gaps that are read to its end are closed.
    whole: bool,
    running: Option<Running>,
    /// Where tables stop for an XA transaction without a verdict, and why.
    halts: BTreeMap<TableName, (Point, String)>,
    /// The entry that the bytes of a prepared transaction came from last.
    recalled: Option<Entry>,
    known: BTreeMap<TableName, TableDescription>,
    stopped: BTreeMap<TableName, (Point, StoppedTable)>,
    named: Vec<TableGap>,
    missed: Vec<TableGap>,
    /// Files of the rows up to the last cut, and those behind it.
    files: Vec<Uploading>,
    open: Vec<Uploading>,
    open_rows: u64,
    date: Option<String>,
    range: Option<(u64, u64)>,
    at: Option<Point>,
    events: u64,
    outcome: Outcome,
}

/// The stretch being decoded.
struct Running {
    assembler: Assembler,
    lineage: String,
    /// Indexes of what is sought and not reached, in order.
    asleep: VecDeque<usize>,
}

impl<'a> Redecoder<'a> {
    pub(super) fn new(
        reader: &'a ReadBack,
        committer: &'a Committer,
        store: &'a Arc<dyn Store>,
        state: &State,
        sought: Vec<Sought>,
        Learned { findings, undecided }: Learned,
        whole: bool,
    ) -> Self {
        let Halts { ahead: halts, standing: stopped } = Halts::of(&undecided, &sought);
        Self {
            reader,
            committer,
            store,
            flavor: state.flavor(),
            findings: findings.into(),
            names: sought.iter().map(|sought| sought.table.to_string()).collect(),
            sought,
            whole,
            running: None,
            halts,
            recalled: None,
            known: BTreeMap::new(),
            stopped,
            named: Vec::new(),
            missed: Vec::new(),
            files: Vec::new(),
            open: Vec::new(),
            open_rows: 0,
            date: None,
            range: None,
            at: None,
            events: 0,
            outcome: Outcome::default(),
        }
    }

    /// Makes the rest durable and says what came of it.
    pub(super) async fn finish(mut self) -> Result<Outcome, Fault> {
        self.cut().await?;
        self.commit(true).await?;
        Ok(self.outcome)
    }

    async fn assembler(
        &self,
        lineage: &LineageBody,
        stretch: &Stretch,
        n: u64,
    ) -> Result<Assembler, Fault> {
        let filter = Filter::of_tables(self.sought.iter().map(|gap| &gap.table));
        let mut decoder = ChangeDecoder::new(self.flavor, filter.clone());
        let mut places = assemble::Sought::default();
        for gap in &self.sought {
            if gap.from.lineage == lineage.id {
                places.insert(&gap.table, gap.place());
            }
            // Rows before those that are wanted are in the change log.
            let why = StoppedTable {
                reason: String::new(),
                since: gap.from.position(),
                since_row: gap.from_row,
            };
            decoder.stop_table(gap.table.clone(), why);
        }
        let resume = ResumePoint {
            at: stretch.at.position(),
            tail: None,
            format_time: None,
            changes_from: Some(lineage.from_at.position()),
            prepared: PreparedSet::of(&self.reader.prepared_before(n).await?),
            held: held_back(self.flavor, &Stint::of(n, lineage))?,
            executed: None,
            next_file: None,
            tables: Tables::default(),
        };
        let rows = ChangeBatch::new(&lineage.id, ParquetSettings::default());
        let tracker = GroupTracker::new(self.flavor);
        // Its raw parts go nowhere; what is prepared is told from them.
        let sinks = Sinks { raw: true, changes: true };
        let assembler = Assembler::new(resume, tracker, decoder, filter, rows, sinks);
        let mut assembler = assembler.seeking(places);
        for (table, description) in &self.known {
            assembler.learn(table.clone(), Some(description.clone()));
        }
        Ok(assembler)
    }

    /// Tables whose first missing row comes next.
    fn wake(&mut self) {
        let Some(running) = &mut self.running else { return };
        while let Some(next) = running.asleep.front().and_then(|at| self.sought.get(*at)) {
            if !next.is_reached(&running.lineage, running.assembler.at()) {
                return;
            }
            running.assembler.decoder().resume_table(&next.table);
            running.asleep.pop_front();
        }
    }

    /// Tables whose next rows stay open.
    fn halt(&mut self) {
        let Some(running) = &mut self.running else { return };
        let Running { assembler, lineage, .. } = running;
        self.halts.retain(|table, (from, why)| {
            if !is_reached(from, lineage, assembler.at()) {
                return true;
            }
            let (reason, since) = (std::mem::take(why), from.position());
            let stopped = StoppedTable { reason, since, since_row: (0, 0) };
            assembler.decoder().stop_table(table.clone(), stopped);
            false
        });
    }

    /// What was found about the tables holds from the next event on.
    fn learn(&mut self) {
        while self.findings.front().is_some_and(|finding| finding.event <= self.events) {
            let Some(Finding { table, description, .. }) = self.findings.pop_front() else {
                return;
            };
            match &description {
                Some(description) => self.known.insert(table.clone(), description.clone()),
                None => self.known.remove(&table),
            };
            if let Some(running) = &mut self.running {
                running.assembler.learn(table, description);
            }
        }
    }

    /// Takes over what the assembler has ready, until it can go on.
    async fn settle(&mut self) -> Result<(), Fault> {
        loop {
            self.take_parts().await?;
            let Some(running) = &mut self.running else { return Ok(()) };
            if running.assembler.cut_wanted() {
                self.cut().await?;
            }
            let Some(running) = &mut self.running else { return Ok(()) };
            if !running.assembler.is_unpacking() {
                return Ok(());
            }
            if let Some(wanted) = running.assembler.wanted_bytes() {
                let bytes = self.recall(&wanted).await?;
                if let Some(running) = &mut self.running {
                    running.assembler.feed(&bytes);
                }
            }
            let Some(running) = &mut self.running else { return Ok(()) };
            running.assembler.go_on().map_err(|error| broken(&error))?;
        }
    }

    /// Bytes of a prepared transaction, out of the entry that names them.
    async fn recall(&mut self, wanted: &Wanted) -> Result<Vec<u8>, Fault> {
        let here = self.running.as_ref().map(|running| &running.lineage);
        let lineage = wanted.lineage.as_ref().or(here).cloned().unwrap_or_default();
        let at = Point::new(lineage, &wanted.group.file, wanted.from);
        let entry = match self.recalled.take() {
            Some(entry) if holds(&entry, &at) => entry,
            _ => {
                let (_, n) = self.range.unwrap_or_default();
                self.reader.find_up_to(n, &at).await?
            }
        };
        let bytes = self.reader.bytes_from(&entry, &at).await?;
        self.recalled = Some(entry);
        Ok(bytes)
    }

    async fn take_parts(&mut self) -> Result<(), Fault> {
        while let Some(part) =
            self.running.as_mut().and_then(|running| running.assembler.next_part())
        {
            let Part::Changes(rows, _) = part else { continue };
            let encoded = tokio::task::spawn_blocking(move || rows.encode()).await;
            let file = encoded
                .map_err(|error| internal(error.to_string()))?
                .map_err(|error| internal(chain(&error)))?;
            self.open_rows += file.rows;
            let part = ChangePart {
                bytes: file.bytes,
                rows: file.rows,
                min_time_us: file.min_time_us,
                max_time_us: file.max_time_us,
                date: self.date.clone(),
            };
            let uploading = self.committer.upload_change(part).await;
            self.open.push(uploading.map_err(|_| ended(self.committer))?);
        }
        Ok(())
    }

    /// Everything up to the last boundary belongs to the files so far.
    async fn cut(&mut self) -> Result<(), Fault> {
        let Some(running) = &mut self.running else { return Ok(()) };
        let cut = running.assembler.cut().map_err(|error| broken(&error))?;
        self.take_parts().await?;
        let (Some(Cut { to, missed, schemas, rows_void, .. }), Some(running)) =
            (cut, &self.running)
        else {
            return Ok(());
        };
        let point = |at: &FilePosition| Point::new(&running.lineage, &at.file, at.offset);
        self.at = Some(point(&to));
        let asleep: Vec<&TableName> = running
            .asleep
            .iter()
            .filter_map(|at| self.sought.get(*at))
            .map(|gap| &gap.table)
            .collect();
        for (table, why) in running.assembler.stopped() {
            if !asleep.contains(&table) {
                let at = point(&why.since);
                self.stopped.entry(table.clone()).or_insert_with(|| (at, why.clone()));
            }
        }
        let missed = missed.into_iter().filter(|missed| missed.to.is_some());
        let missed = missed.map(|missed| gap(&missed, point));
        let news: Vec<_> = missed.filter(|gap| self.is_news(gap)).collect();
        self.missed.extend(news);
        let (parts, rows) = (std::mem::take(&mut self.open), std::mem::take(&mut self.open_rows));
        if rows_void {
            self.committer.abandon(parts);
        } else {
            self.files.extend(parts);
            self.outcome.rows += rows;
        }
        self.store_schemas(&schemas).await
    }

    /// Also where the table is not known: it may be one of ours.
    fn is_ours(&self, gap: &TableGap) -> bool {
        gap.table.as_ref().is_none_or(|table| self.names.contains(table))
    }

    /// What the stream named when it passed here is named already.
    fn is_news(&self, gap: &TableGap) -> bool {
        let what = |gap: &TableGap| (gap.table.clone(), gap.reason.clone(), gap.from.clone());
        self.is_ours(gap) && !self.named.iter().any(|named| what(named) == what(gap))
    }

    async fn store_schemas(&self, schemas: &[SchemaRecord]) -> Result<(), Fault> {
        for schema in schemas {
            let bytes = serde_json::to_vec(schema).map_err(|error| internal(error.to_string()))?;
            let key = archive::layout::schema(&schema.fingerprint);
            self.store.create(&key, Bytes::from(bytes)).await?;
        }
        Ok(())
    }

    /// One entry: the files so far, and the gaps as they are behind them.
    async fn commit(&mut self, last: bool) -> Result<(), Fault> {
        let Some(at) = self.at.clone() else { return Ok(()) };
        let mut maintain = Maintain { range: self.range, ..Maintain::new(MaintainOp::Redecode) };
        let mut gaps = std::mem::take(&mut self.missed);
        let (mut left, mut closed) = (Vec::new(), Vec::new());
        for sought in &mut self.sought {
            gaps.extend(given_up(sought));
            if let Some((since, why)) = self.stopped.get(&sought.table) {
                (sought.from, sought.from_row) = (since.clone(), why.since_row);
            } else if last && self.whole {
                closed.push(sought.logged.clone());
                continue;
            } else if is_before(&sought.from, &at) {
                (sought.from, sought.from_row) = (at.clone(), (0, 0));
            }
            let mut now = sought.beginning(&sought.from, sought.from_row);
            if let Some((_, why)) = self.stopped.get(&sought.table) {
                now.missing = Some(why.reason.clone());
            }
            if now != sought.logged {
                gaps.push(now.clone());
                sought.logged = now.clone();
            }
            left.push(now);
        }
        let mut ids = closed.iter().map(|gap| gap.id.clone());
        (maintain.closes_gap, maintain.closes_gaps) = (ids.next(), ids.collect());
        let parts = std::mem::take(&mut self.files);
        if !(parts.is_empty() && gaps.is_empty() && closed.is_empty()) {
            let step = Maintenance { maintain, parts, gaps };
            self.committer
                .maintain(step)
                .await
                .map_err(|error| log_fault(self.committer, &error))?;
        }
        if last {
            let why = |gap: TableGap| {
                let is_it = |table: &TableName| gap.table.as_ref() == Some(&table.to_string());
                let stands = self.stopped.iter().find(|(table, _)| is_it(table));
                let why = stands.map(|(_, (_, why))| why.reason.clone());
                (gap, why.unwrap_or_else(|| "what lies behind was not asked for".to_owned()))
            };
            self.outcome.left = left.into_iter().map(why).collect();
            self.outcome.closed = closed;
        }
        self.range = None;
        Ok(())
    }
}

impl Taker for Redecoder<'_> {
    async fn begin(&mut self, n: u64, stretch: &Stretch) -> Result<(), Fault> {
        self.cut().await?;
        let lineage = match &stretch.lineage {
            Some(lineage) => lineage.clone(),
            None => self.reader.lineage(n, &stretch.at.lineage).await?,
        };
        let assembler = self.assembler(&lineage, stretch, n).await?;
        let stopped = |at: &usize| {
            self.sought.get(*at).is_some_and(|gap| !self.stopped.contains_key(&gap.table))
        };
        let asleep = (0..self.sought.len()).filter(stopped).collect();
        self.running = Some(Running { assembler, lineage: lineage.id, asleep });
        Ok(())
    }

    async fn event(&mut self, event: &[u8]) -> Result<(), Fault> {
        self.learn();
        self.wake();
        self.halt();
        self.events += 1;
        if let Some(running) = &mut self.running {
            running.assembler.accept(event).map_err(|error| broken(&error))?;
        }
        self.settle().await
    }

    async fn begin_leg(&mut self, leg: &Leg) -> Result<(), Fault> {
        let full = self.files.len() + self.open.len() >= FILES;
        if full || self.date.as_ref() != Some(&leg.date) {
            self.cut().await?;
            self.date = Some(leg.date.clone());
        }
        if full {
            self.commit(false).await?;
        }
        let first = self.range.map_or(leg.n, |(first, _)| first);
        self.range = Some((first, leg.n));
        let ours: Vec<_> = leg.gaps.iter().filter(|gap| self.is_ours(gap)).cloned().collect();
        self.named.extend(ours);
        Ok(())
    }
}

/// What lies before the first row wanted, as a gap with an end.
fn given_up(sought: &mut Sought) -> Option<TableGap> {
    std::mem::take(&mut sought.gives_up).then(|| TableGap {
        id: format!("redecode-{}", uuid::Uuid::new_v4().simple()),
        to: Some(sought.from.clone()),
        by: Some("redecode".to_owned()),
        ..sought.logged.clone()
    })
}

/// What the change log lacks in spite of it.
fn gap(missed: &Missed, point: impl Fn(&FilePosition) -> Point) -> TableGap {
    TableGap {
        id: format!("redecode-{}", uuid::Uuid::new_v4().simple()),
        scope: "group".to_owned(),
        table: missed.table.clone(),
        reason: missed.reason.as_str().to_owned(),
        from: point(&missed.from),
        to: missed.to.as_ref().map(point),
        from_row: None,
        missing: missed.reason.detail().map(str::to_owned),
        by: Some("redecode".to_owned()),
        since: Some(jiff::Timestamp::now()),
    }
}
