//! Tables whose maps name no columns, decoded by what the source says of them: from where on an answer is proven.
//!
//! The source answers after the table map came, so what it says is right for that map unless a statement redefined the
//! table between the map and the position that the source had reached when it had answered. Until the stream has
//! passed that position rows are decoded but nothing behind the map's group is cut; a statement in between makes the
//! whole step void, and the next reading stops the table there by name. Pure: who asks, and where, is `names::ask`.
//!
//! Invariants
//! - No row is cut under an answer that is not proven (`nothing_is_cut_before_the_answer_is_proven`).
//! - An answer ends at a statement that may redefine its table (`an_answer_ends_at_a_statement_about_its_table`).
//! - A statement before the answer is proven makes it void, for that table only
//!   (`a_statement_before_the_proof_makes_the_answer_void`).
//! - A statement that is understood whole is followed instead, from columns that are proven
//!   (`a_statement_that_is_understood_is_followed`); the next table map must bear it out, or the source is asked.
//! - What the archive says of a table ends in the archive with the next statement about it, even if nothing of it is
//!   known here any more (`what_the_archive_says_ends_there_even_if_it_was_forgotten_here`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use binlog::{Frame, SourceTable, TableDescription, TableName, Unnamed};
use crds::position::FilePosition;

use super::super::error::AssembleError;
use super::Assembler;
use crate::names::{Known, NameRecord, Tables};

/// Bytes of binlog that may be read before an answer is proven, behind the group that asked.
pub const PROOF: u64 = 64 << 20;

/// Columns of all tables that are kept to follow statements, some 200 bytes each. Of more tables the source is asked
/// behind every statement.
const FOLLOWED: usize = 1 << 16;

const MIXED: &str = "its transaction has statements among its rows";

/// What the source said of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Naming {
    /// It is described so, if no statement up to `until` redefines it.
    Described {
        /// How.
        description: TableDescription,
        /// Its columns, of which the description was made.
        columns: SourceTable,
        /// Where the source stood when it had answered.
        until: FilePosition,
        /// Bytes of binlog up to there.
        ahead: u64,
        /// So many are not waited for.
        limit: u64,
    },
    /// It cannot be told, because of this.
    Refused(String),
}

/// An answer on its way to its proof.
#[derive(Debug)]
struct Pending {
    table: TableName,
    description: TableDescription,
    columns: SourceTable,
    /// Its table map, and the group that it stands in.
    from: FilePosition,
    group: FilePosition,
    until: FilePosition,
    /// The count of bytes at which the stream is there.
    until_bytes: u64,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: Arc<BTreeMap<TableName, Known>>,
    /// Columns that are kept of them.
    columns: usize,
    /// Tables of which a record says something.
    recorded: BTreeSet<TableName>,
    /// From where on what a survey of the range found holds.
    surveyed: BTreeMap<TableName, FilePosition>,
    pending: Vec<Pending>,
    /// What is to be recorded with the next cut.
    pub(super) found: Vec<NameRecord>,
    /// Bytes read.
    read: u64,
    void: Option<(Vec<(TableName, FilePosition)>, String)>,
}

impl Pending {
    /// The table map that was asked about.
    fn place(&self) -> (TableName, FilePosition) {
        (self.table.clone(), self.from.clone())
    }

    fn proven(self) -> NameRecord {
        let record = NameRecord::described(&self.table, self.from, &self.description);
        NameRecord { columns: Some(self.columns), ..record }
    }
}

impl Names {
    pub(super) fn new(tables: &Tables) -> Self {
        let mut names = Self { recorded: tables.recorded.clone(), ..Self::default() };
        for (table, known) in &tables.described {
            names.recorded.insert(table.clone());
            names.know(table, known.clone());
        }
        names
    }

    /// Ends what the event redefines, or follows the statement: `follow` tells what it makes of a table's columns. The
    /// tables.
    fn redefine(
        &mut self,
        file: &str,
        frame: &Frame<'_>,
        follow: impl Fn(&TableName, &SourceTable) -> Option<SourceTable>,
    ) -> Vec<TableName> {
        self.read += frame.bytes.len() as u64;
        let mut redefined = if self.known.is_empty() && self.recorded.is_empty() {
            Vec::new()
        } else {
            binlog::redefined(frame, &self.known.keys().chain(&self.recorded))
        };
        redefined.sort_unstable();
        redefined.dedup();
        for table in &redefined {
            let was = self.forget(table);
            if let Some(pending) = self.pending.iter().find(|pending| pending.table == *table) {
                let lost = vec![pending.place()];
                let why = "a statement changed it before the source was asked for its columns";
                self.void.get_or_insert((lost, why.to_owned()));
                continue;
            }
            let since = FilePosition::new(file, frame.from);
            let columns = was.and_then(|was| follow(table, was.columns.as_deref()?)).map(Arc::new);
            let known = self.bounded(Known { since, description: None, columns });
            if known.is_some() {
                self.record(NameRecord::known(table, &known));
                self.know(table, known);
            } else {
                self.end(table, known.since);
            }
        }
        redefined
    }

    /// Records what is known from here on.
    fn record(&mut self, record: NameRecord) {
        self.recorded.insert(record.name());
        self.found.push(record);
    }

    /// Records that nothing is known from here on, if the archive says something.
    fn end(&mut self, table: &TableName, at: FilePosition) {
        if self.recorded.remove(table) {
            self.found.push(NameRecord::ended(table, at));
        }
    }

    /// Ends everything: what came before `at` may not be all that happened.
    fn end_all(&mut self, at: &FilePosition, why: &str) -> Vec<TableName> {
        let known = std::mem::take(Arc::make_mut(&mut self.known));
        self.columns = 0;
        let ended = std::mem::take(&mut self.recorded);
        self.found.extend(ended.iter().map(|table| NameRecord::ended(table, at.clone())));
        if !self.pending.is_empty() {
            let lost = self.pending.iter().map(Pending::place).collect();
            self.void.get_or_insert((lost, why.to_owned()));
        }
        known.into_keys().collect()
    }

    /// From where on the table's description holds.
    fn since(&self, table: &TableName) -> Option<&FilePosition> {
        let known = self.known.get(table).filter(|known| known.description.is_some());
        known.map(|known| &known.since).or_else(|| self.surveyed.get(table))
    }

    fn know(&mut self, table: &TableName, known: Known) {
        self.forget(table);
        let known = self.bounded(known);
        self.columns += known.width();
        Arc::make_mut(&mut self.known).insert(table.clone(), known);
    }

    fn forget(&mut self, table: &TableName) -> Option<Known> {
        let was = Arc::make_mut(&mut self.known).remove(table);
        self.columns -= was.as_ref().map_or(0, Known::width);
        was
    }

    /// Without its columns if too many are kept.
    fn bounded(&self, known: Known) -> Known {
        let kept = self.columns;
        let columns = known.columns.filter(|table| kept + table.columns.len() <= FOLLOWED);
        Known { columns, ..known }
    }

    /// The stream has reached a boundary: what is proven there, and what takes too long.
    fn reach(&mut self, at: &FilePosition) {
        if self.pending.is_empty() {
            return;
        }
        let proven = self.pending.extract_if(.., |pending| pending.until <= *at);
        let records: Vec<_> = proven.map(Pending::proven).collect();
        for record in records {
            self.record(record);
        }
        let far = |pending: &&Pending| pending.until_bytes.saturating_sub(self.read) > PROOF;
        if let Some(pending) = self.pending.iter().find(far) {
            // The next reading asks again, finds it too far at once, and keeps the answer for a redecode.
            self.void.get_or_insert((Vec::new(), too_far(pending.until_bytes - self.read)));
        }
    }
}

/// Why an answer is not waited for.
fn too_far(ahead: u64) -> String {
    format!(
        "the stream was {} MiB behind when the source was asked for its columns, too far to be proven on the way",
        ahead >> 20
    )
}

impl Assembler {
    /// What the event says about definitions, before its rows are decoded.
    pub(super) fn note_definitions(&mut self, frame: &Frame<'_>) {
        let flavor = self.tracker.flavor();
        // The first half of it changes nothing yet.
        let in_halves = self.tracker.group().is_some_and(|group| group.half_of_alter);
        let follow = |table: &TableName, columns: &SourceTable| {
            if in_halves { None } else { binlog::altered(frame, flavor, table, columns) }
        };
        for table in self.names.redefine(&self.file, frame, follow) {
            self.decoder.forget(&table);
        }
    }

    /// The table map in hand names no columns: answer by [`Self::name`] before going on.
    pub fn unnamed(&self) -> Option<&Unnamed> {
        self.decoder.unnamed()
    }

    /// Where that table map stands.
    pub fn unnamed_at(&self) -> FilePosition {
        let from = self.placed.as_ref().map_or(self.file_end, |placed| placed.span.start);
        FilePosition::new(self.file.clone(), from)
    }

    /// Answers with what statements made of the columns that were known. `false`: that does not tell, ask the source.
    pub fn name_by_statements(&mut self) -> bool {
        let Some(unnamed) = self.decoder.unnamed() else { return true };
        let table = unnamed.table.clone();
        let followed = self.names.known.get(&table);
        let followed =
            followed.and_then(|known| Some((known.since.clone(), known.columns.clone()?)));
        let is_moving = self.decoder.mixes_statements()
            || self.replay.is_some()
            || self.decoder.stopped().contains_key(&table);
        let Some((since, columns)) = followed.filter(|_| !is_moving) else { return false };
        let described = unnamed.describe(self.tracker.flavor(), &columns);
        let at = self.unnamed_at();
        let Ok(description) = described else {
            // Nobody shall go on from there.
            self.names.forget(&table);
            self.names.end(&table, at);
            return false;
        };
        // It holds since the statement, and must outlast a cut before the map.
        let known = Known { since, description: Some(description.clone()), columns: Some(columns) };
        self.names.record(NameRecord { from: at, ..NameRecord::known(&table, &known) });
        self.names.know(&table, known);
        if let Err(problem) = self.decoder.answer(Ok(description)) {
            self.undecodable(problem.to_owned());
        }
        true
    }

    /// Takes what the source said of the table.
    pub fn name(&mut self, naming: Naming) {
        let Some(table) = self.decoder.unnamed().map(|unnamed| unnamed.table.clone()) else {
            return;
        };
        let from = self.unnamed_at();
        let columns = match &naming {
            Naming::Described { columns, .. } => Some(columns.clone()),
            Naming::Refused(_) => None,
        };
        let answer = self.judge(&table, &from, naming);
        let description = answer.as_ref().ok().cloned();
        let columns = columns.filter(|_| description.is_some()).map(Arc::new);
        if description.is_none() {
            self.names.end(&table, from.clone());
        }
        self.names.know(&table, Known { since: from, description, columns });
        let answer = answer.map_err(|why| {
            format!("its table map names no columns, and {why}; run SET GLOBAL binlog_row_metadata=FULL on the source")
        });
        if let Err(problem) = self.decoder.answer(answer) {
            self.undecodable(problem.to_owned());
        }
    }

    fn judge(
        &mut self,
        table: &TableName,
        from: &FilePosition,
        naming: Naming,
    ) -> Result<TableDescription, String> {
        let (description, columns, until, ahead, limit) = match naming {
            Naming::Refused(why) => return Err(why),
            Naming::Described { description, columns, until, ahead, limit } => {
                (description, columns, until, ahead, limit)
            }
        };
        if self.decoder.mixes_statements() {
            return Err(MIXED.to_owned());
        }
        let group = self.tracker.group().map_or_else(|| from.clone(), |group| group.from.clone());
        // A table that stands, or stays behind, keeps the answer for a later redecode, which looks for the proof.
        let record = NameRecord {
            until: Some(until.clone()),
            ..NameRecord::described(table, from.clone(), &description)
        };
        if self.decoder.stopped().contains_key(table) {
            self.names.found.push(record);
            return Err("it stands still".to_owned());
        }
        if ahead > limit {
            self.names.found.push(record);
            return Err(too_far(ahead));
        }
        // Questions that overlap could put off every cut for as long as new tables come.
        let late = |pending: &Pending| pending.group != group;
        if self.step.bytes > PROOF && self.names.pending.iter().any(late) {
            self.names.found.push(record);
            return Err("too many tables wait for their proof".to_owned());
        }
        self.names.pending.push(Pending {
            table: table.clone(),
            description: description.clone(),
            columns,
            from: from.clone(),
            group,
            until,
            until_bytes: self.names.read + ahead,
        });
        Ok(description)
    }

    /// The source lost its end, or was down: what it did meanwhile is not in its binlog.
    pub(super) fn end_definitions(&mut self) {
        let at = FilePosition::new(self.file.clone(), self.file_end);
        let why = "the source went down before it was proven";
        for table in self.names.end_all(&at, why) {
            self.decoder.forget(&table);
        }
    }

    /// Where the group that streams alone leaves no rows nobody needs what it asked for; the groups behind it shall not
    /// share its step. No other group's answer waits: the cut before it would have waited too.
    pub(super) fn drop_pending(&mut self) {
        if !(self.alone && self.step.rows_void) {
            return;
        }
        for pending in std::mem::take(&mut self.names.pending) {
            self.names.forget(&pending.table);
            self.decoder.forget(&pending.table);
        }
    }

    /// The open group ends: nobody knows what a statement in it did to the tables that it asked for.
    pub(super) fn end_names(&mut self) {
        if !self.decoder.mixes_statements() {
            return;
        }
        let Some(group) = self.tracker.group() else { return };
        let asked = self.names.pending.iter().filter(|pending| pending.group == group.from);
        let lost: Vec<_> = asked.map(Pending::place).collect();
        if !lost.is_empty() {
            self.names.void.get_or_insert((lost, MIXED.to_owned()));
        }
    }

    pub(super) fn reach_proofs(&mut self) {
        self.names.reach(&self.at);
    }

    /// Whether everything up to the last boundary is proven.
    pub fn may_cut(&self) -> bool {
        self.names.void.is_none()
            && self.names.pending.iter().all(|pending| self.at <= pending.group)
    }

    /// Answers wait for their proof.
    pub fn is_proving(&self) -> bool {
        !self.names.pending.is_empty()
    }

    /// The step so far is void: read again from the last cut. `why`: whatever waits for its proof is given up.
    pub fn unproven(&mut self, why: Option<&str>) -> Option<AssembleError> {
        if let Some(why) = why {
            let lost = self.names.pending.iter().map(Pending::place).collect();
            self.names.void.get_or_insert((lost, why.to_owned()));
        }
        let (tables, why) = self.names.void.clone()?;
        Some(AssembleError::Unproven { tables, why })
    }

    /// What is known at the last boundary.
    pub(super) fn tables(&self) -> Tables {
        let before = |since: &FilePosition| *since < self.at;
        let stopped = self.decoder.stopped().iter();
        let stopped = stopped.filter(|(table, _)| self.known_stopped.contains(*table));
        let described = self.names.known.iter().filter(|(_, known)| before(&known.since));
        // A refusal is asked about again.
        let described = described.filter(|(_, known)| known.is_some());
        Tables {
            stopped: stopped.map(|(table, why)| (table.clone(), why.clone())).collect(),
            described: described.map(|(table, known)| (table.clone(), known.clone())).collect(),
            recorded: self.names.recorded.clone(),
        }
    }

    /// What a survey found of the table, from the next event on; `None`: nothing.
    pub fn learn(&mut self, table: TableName, found: Option<TableDescription>) {
        if let Some(description) = found {
            let at = FilePosition::new(self.file.clone(), self.file_end);
            self.names.surveyed.insert(table.clone(), at);
            self.decoder.describe(table, description);
        } else {
            self.names.surveyed.remove(&table);
            self.decoder.forget(&table);
        }
    }

    /// Table maps of a prepared transaction, whose verdict comes only now: what is known of those that name no columns
    /// must hold for then.
    pub(super) fn check_replayed(&mut self) {
        let Some(replay) = &self.replay else { return };
        // None: it was prepared in another lineage.
        let prepared = replay.end();
        let unknown = self.decoder.unnamed().is_some();
        self.decoder.withdraw();
        let later = self.decoder.unnamed_of_group().any(|table| {
            let since = self.names.since(&table);
            since.is_some_and(|since| prepared.as_ref().is_none_or(|end| since >= end))
        });
        if unknown || later {
            self.undecodable("a table's columns are not known for when it was prepared".to_owned());
        }
    }
}
