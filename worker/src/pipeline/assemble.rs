//! Event bytes in, parts and cuts out. No I/O and no clock: what a prefix of the stream becomes depends on
//! nothing but that prefix.
//!
//! Invariants
//! - A cut ends at the last boundary seen; bytes and rows of the open group stay behind
//!   (`any_prefix_cut_and_resumed_gives_the_whole`).
//! - A GTID joins `added` when its group ends, never before (P2).
//! - After a resume nothing is taken before the first event was compared with the last committed one
//!   (`a_changed_tail_stops_before_anything_is_taken`).
//! - A group larger than [`GROUP_ALONE`], or with more rows than [`CHANGES_PART`], seals everything before it and
//!   then streams alone; a compressed one is unpacked part by part. So memory does not grow with it (P9,
//!   `a_compressed_transaction_streams_in_parts`).
//! - A prepared transaction's rows are told with its COMMIT, under the identity of the prepared group; ROLLBACK leaves
//!   nothing (`rows_of_a_prepared_transaction_come_with_its_verdict`).
//! - What cannot be decoded costs the rows of its group, by name, never the raw bytes
//!   (`a_group_that_cannot_be_decoded_is_a_named_gap`).

mod checks;
mod groups;
mod names;
mod open;
mod parts;
mod replay;
mod seal;
mod sought;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use archive::entry::RawHead;
use binlog::{
    ChangeDecoder, EndedGroup, Filter, Frame, Framed, Framer, GroupTracker, Meaning, Step,
    StoppedTable, TableName,
};
use changes::ChangeBatch;
use crds::position::{FilePosition, Gtid, GtidSet};

use super::cut::{Closed, ClosedHow, Missed, MissedReason, Tail, tail_of};
use super::error::AssembleError;
use super::held::Held;
use super::prepared::{PreparedSet, XaStep};
use super::raw::RawBuffer;
use checks::ending;
use names::Names;
pub use names::{Naming, PROOF};
use open::OpenGroup;
pub use parts::{Counters, Part, ResumePoint, Seen, Sinks};
use replay::Replay;
pub use replay::Wanted;
pub use sought::{RowPlace, Sought};

/// A group that grows past this many bytes is archived alone.
pub const GROUP_ALONE: u64 = 8 << 20;
/// Plain bytes in one raw object.
pub const RAW_PART: usize = 16 << 20;
/// Estimated bytes of rows in one Parquet file.
pub const CHANGES_PART: usize = 32 << 20;

/// See the module's text.
pub struct Assembler {
    framer: Framer,
    tracker: GroupTracker,
    decoder: ChangeDecoder,
    /// Names our own table on the source.
    own: Filter,
    sinks: Sinks,
    sought: Sought,
    changes_from: Option<FilePosition>,
    held: Option<Held>,
    expect_tail: Option<Tail>,
    /// The dump may begin before what is to be compared: up to here it is passed over.
    compare_from: u64,
    /// How far it was passed over.
    passed: u64,
    /// The file being read, and the end of its last event.
    file: String,
    file_end: u64,
    raw: RawBuffer,
    rows: ChangeBatch,
    ready: VecDeque<Part>,
    open: OpenGroup,
    /// The event taken last, while its rows are still being decoded.
    placed: Option<Placed>,
    /// Transactions that wait for their verdict.
    prepared: PreparedSet,
    /// The one whose verdict is the open group.
    replay: Option<Replay>,
    known_stopped: BTreeSet<TableName>,
    /// Tables whose maps name no columns.
    names: Names,
    /// The last boundary seen.
    at: FilePosition,
    tail: Option<Tail>,
    format_time: Option<u32>,
    executed: Option<GtidSet>,
    /// What has gathered since the last cut, up to the last boundary.
    step: Gathered,
    /// Bytes since the last boundary.
    open_bytes: u64,
    /// The open group streams alone.
    alone: bool,
    cut_wanted: bool,
    proven: bool,
    ending: Option<ClosedHow>,
    last_commit_us: Option<i64>,
    counters: Counters,
}

/// What an event was found to be, for when its rows are decoded.
struct Placed {
    span: Range<u64>,
    ended: Option<EndedGroup>,
    /// Set at a boundary.
    tail: Option<Tail>,
}

/// What stands between the last cut and the last boundary.
#[derive(Debug, Default)]
struct Gathered {
    from: Option<FilePosition>,
    /// What the head of a lineage's first file says was executed before it.
    before: Option<GtidSet>,
    added: Vec<Gtid>,
    closed: Vec<Closed>,
    missed: Vec<Missed>,
    xa: XaStep,
    event_time_us: Option<i64>,
    transactions: u64,
    /// Rows handed out since the last cut do not stand.
    rows_void: bool,
    bytes: u64,
    /// Something that is worth an entry: not only our own checkpoint traffic.
    worthwhile: bool,
}

impl Assembler {
    /// Begins at `start`.
    pub fn new(
        start: ResumePoint,
        tracker: GroupTracker,
        mut decoder: ChangeDecoder,
        own: Filter,
        rows: ChangeBatch,
        sinks: Sinks,
    ) -> Self {
        for (table, why) in &start.tables.stopped {
            decoder.stop_table(table.clone(), why.clone());
        }
        for (table, known) in &start.tables.described {
            if let Some(description) = &known.description {
                decoder.describe(table.clone(), description.clone());
            }
        }
        let known_stopped = decoder.stopped().keys().cloned().collect();
        let expect_tail = start.tail.clone().filter(|_| start.next_file.is_none());
        let from = start.dump_from();
        Self {
            framer: Framer::new(&from),
            passed: from.offset,
            compare_from: match &start.next_file {
                Some(_) => 0,
                None => expect_tail.as_ref().map_or(start.at.offset, |tail| tail.pos),
            },
            tracker,
            decoder,
            own,
            sinks,
            sought: Sought::default(),
            file: start.at.file.clone(),
            file_end: start.at.offset,
            open: OpenGroup::default(),
            placed: None,
            prepared: start.prepared,
            replay: None,
            known_stopped,
            names: Names::new(&start.tables),
            changes_from: start.changes_from,
            held: start.held,
            expect_tail,
            raw: RawBuffer::new(&start.at.file, start.at.offset),
            rows,
            ready: VecDeque::new(),
            at: start.at.clone(),
            tail: start.tail.clone(),
            format_time: start.format_time,
            executed: start.executed,
            step: Gathered::default(),
            open_bytes: 0,
            alone: false,
            cut_wanted: false,
            proven: false,
            ending: start.tail.as_ref().and_then(ending),
            last_commit_us: None,
            counters: Counters::default(),
        }
    }

    /// Takes only rows that are sought: the others are in the change log.
    #[must_use]
    pub fn seeking(mut self, sought: Sought) -> Self {
        self.sought = sought;
        self
    }

    /// The decoder, to be told what is known of a table.
    pub fn decoder(&mut self) -> &mut ChangeDecoder {
        &mut self.decoder
    }

    /// Takes one event as the dump sent it.
    pub fn accept(&mut self, event: &[u8]) -> Result<Seen, AssembleError> {
        // Who does not hand over in between gets all of the event before at once.
        while self.is_unpacking() {
            if self.wanted_bytes().is_some() {
                self.lose("nobody gave its bytes");
            }
            if self.unnamed().is_some() {
                self.name(Naming::Refused("nobody asked the source for them".to_owned()));
            }
            self.go_on()?;
        }
        match self.framer.accept(event)? {
            Framed::Heartbeat { .. } => Ok(Seen::Heartbeat),
            Framed::FileStart { file, position } if file == self.file => {
                self.passed = position;
                Ok(Seen::Nothing)
            }
            Framed::FileStart { file, .. } => {
                self.check_seen()?;
                self.compare_from = 0;
                self.change_file(file);
                Ok(Seen::Nothing)
            }
            Framed::Artificial(frame) => {
                self.check_format(&frame)?;
                Ok(Seen::Nothing)
            }
            Framed::Event(frame) if frame.from < self.compare_from => {
                self.check_format(&frame)?;
                self.passed = frame.to;
                Ok(Seen::Nothing)
            }
            Framed::Event(frame) => {
                self.compare_from = 0;
                self.file_end = frame.to;
                let seen = match self.expect_tail.take() {
                    Some(tail) => self.check_tail(&tail, &frame).map(|()| Seen::Nothing),
                    None => self.take(&frame),
                }?;
                self.proven = true;
                Ok(seen)
            }
        }
    }

    /// One event of the file: bytes that are not in the archive yet.
    fn take(&mut self, frame: &Frame<'_>) -> Result<Seen, AssembleError> {
        self.counters.events += 1;
        self.counters.bytes += frame.bytes.len() as u64;
        self.open_bytes += frame.bytes.len() as u64;
        if self.sinks.raw {
            self.raw.push(frame.bytes);
        }
        let Step { boundary, ended, meaning } = self.tracker.observe(&self.file, frame)?;
        self.note(&meaning, frame)?;
        self.note_definitions(frame);
        if self.decodes() {
            self.decode(frame);
        }
        if let Some(ended) = &ended {
            self.begin_replay(ended, frame.to);
        }
        let tail = boundary.then(|| tail_of(frame));
        self.placed = Some(Placed { span: frame.from..frame.to, ended, tail });
        self.go_on()
    }

    /// Decodes more of the event taken last, up to a full part.
    pub fn go_on(&mut self) -> Result<Seen, AssembleError> {
        let mut seen = Seen::Nothing;
        // The rows that made the group stream alone.
        if self.alone {
            self.seal_what_is_full()?;
        }
        if self.unpack()
            && let Some(Placed { span, ended, tail }) = self.placed.take()
        {
            let end = span.end;
            if let Some(ended) = ended {
                seen = self.end_group(ended, span);
            }
            if let Some(tail) = tail {
                self.reach_boundary(end, tail);
            }
        }
        self.seal_what_is_full()?;
        match self.unproven(None) {
            Some(error) => Err(error),
            None => Ok(seen),
        }
    }

    /// What the event says about the file or the stream as a whole.
    fn note(&mut self, meaning: &Meaning, frame: &Frame<'_>) -> Result<(), AssembleError> {
        let span = frame.from..frame.to;
        match meaning {
            Meaning::TableMap => self.open.announce(frame),
            Meaning::Payload => self.open.unlisted = true,
            Meaning::Savepoint { name } => self.open.savepoint(name, self.rows.savepoint()),
            Meaning::RollbackTo { name } => self.roll_back_to(name),
            Meaning::FormatDescription => self.format_time = Some(frame.header.timestamp),
            Meaning::PreviousGtids(set) | Meaning::GtidList(set) => self.check_executed(set)?,
            Meaning::Rotate { .. } => self.ending = Some(ClosedHow::Rotate),
            Meaning::Stop => self.ending = Some(ClosedHow::Stop),
            Meaning::StatementDml { table } => {
                if table.as_ref().is_none_or(|name| self.own.wants(&name.schema, &name.table)) {
                    self.miss(table.as_ref(), MissedReason::StatementDml, span);
                }
            }
            Meaning::Incident => self.miss(None, MissedReason::Incident, span),
            Meaning::Rows | Meaning::RowsQuery | Meaning::Ddl | Meaning::Other => {}
        }
        Ok(())
    }

    fn reach_boundary(&mut self, end: u64, tail: Tail) {
        self.drop_pending();
        self.step.from.get_or_insert_with(|| self.at.clone());
        self.step.bytes += self.open_bytes;
        // A file's head and end prove continuity: they are worth an entry.
        self.step.worthwhile |= self.tracker.group().is_none();
        self.open_bytes = 0;
        self.at = FilePosition::new(self.file.clone(), end);
        self.tail = Some(tail);
        self.raw.mark();
        self.rows.mark();
        if self.alone {
            self.alone = false;
            self.cut_wanted = true;
        }
        self.reach_proofs();
    }

    /// The source went on to another file: the one before it has ended.
    fn change_file(&mut self, next: String) {
        let how = self.ending.take().unwrap_or(ClosedHow::Crash);
        // A crash can leave a group without its end; nobody ever saw it commit.
        if self.tracker.is_open() {
            // The last boundary's event is not the file's last: there is nothing to compare at its end.
            self.tail = None;
        }
        self.tracker.reset();
        self.give_up_rows();
        self.drop_pending();
        if how != ClosedHow::Rotate {
            self.end_definitions();
        }
        self.forget_group();
        self.cut_wanted |= std::mem::take(&mut self.alone);
        self.step.from.get_or_insert_with(|| self.at.clone());
        self.step.bytes += self.open_bytes;
        self.step.worthwhile = true;
        self.open_bytes = 0;
        self.at = FilePosition::new(self.file.clone(), self.file_end);
        self.step.closed.push(Closed { file: self.file.clone(), size: self.file_end, how });
        self.raw.mark();
        self.ready.extend(self.raw.seal().map(Part::Raw));
        self.raw = RawBuffer::new(&next, 0);
        (self.file, self.file_end) = (next, FilePosition::FIRST_EVENT);
        self.format_time = None;
    }

    /// Size in memory of the next full part, in bytes; `None` when there is none.
    pub fn next_part_bytes(&self) -> Option<usize> {
        self.ready.front().map(Part::bytes)
    }

    /// The next full part, in order. It belongs to the cut that comes next.
    pub fn next_part(&mut self) -> Option<Part> {
        self.ready.pop_front()
    }

    /// The source has sent an event that continues the archive.
    pub fn is_proven(&self) -> bool {
        self.proven
    }

    /// Parts or a cut wait to be handed over: take no further event before.
    pub fn must_hand_over(&self) -> bool {
        self.cut_wanted || !self.ready.is_empty() || self.is_unpacking()
    }

    /// The event taken last is not decoded whole: hand over, then [`Self::go_on`].
    pub fn is_unpacking(&self) -> bool {
        self.placed.is_some()
    }

    /// The open group streams alone: parts of it were handed out before it ended.
    pub fn streams_alone(&self) -> bool {
        self.alone
    }

    /// A boundary was reached since the last cut.
    pub fn has_boundary(&self) -> bool {
        self.step.from.is_some()
    }

    /// A cut must be made now, whatever the clock says.
    pub fn cut_wanted(&self) -> bool {
        self.cut_wanted
    }

    /// Whether something stands before the last boundary that is worth an entry.
    pub fn has_news(&self) -> bool {
        self.step.worthwhile && self.step.from.is_some()
    }

    /// Bytes since the last cut, the open group's too.
    pub fn pending_bytes(&self) -> u64 {
        self.step.bytes + self.open_bytes
    }

    /// Where to go on after the connection was lost: the last boundary, once everything before it is cut.
    pub fn resume_point(&self) -> ResumePoint {
        ResumePoint {
            at: self.at.clone(),
            tail: self.tail.clone(),
            format_time: self.format_time,
            changes_from: self.changes_from.clone(),
            held: self.held.clone(),
            executed: self.executed.clone(),
            prepared: self.prepared.clone(),
            next_file: None,
            tables: self.tables(),
        }
    }

    /// The last boundary seen.
    pub fn at(&self) -> &FilePosition {
        &self.at
    }

    /// Transactions executed at the last boundary.
    pub fn executed(&self) -> Option<&GtidSet> {
        self.executed.as_ref()
    }

    /// What the log keeps of the format description of the file being read, once it came.
    pub fn raw_head(&self) -> Option<RawHead> {
        self.framer.format().map(|format| RawHead {
            file: self.file.clone(),
            fde_time: format.timestamp,
            server_id: format.server_id,
            server_version: format.server_version.clone(),
        })
    }

    /// Commit time of the last group, microseconds since 1970.
    pub fn last_commit_us(&self) -> Option<i64> {
        self.last_commit_us
    }

    /// Counts since the last call.
    pub fn take_counters(&mut self) -> Counters {
        std::mem::take(&mut self.counters)
    }

    /// Tables whose rows are skipped.
    pub fn stopped(&self) -> &BTreeMap<TableName, StoppedTable> {
        self.decoder.stopped()
    }
}
