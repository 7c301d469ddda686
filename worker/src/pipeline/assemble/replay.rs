//! The rows of a prepared transaction, told when its COMMIT comes: its bytes are decoded again.
//!
//! Their identity is that of the prepared group, their commit time and place in the log are those of the verdict.

use binlog::{
    CHECKSUM_LENGTH, ChangeDecoder, ChangeSink, Checksum, EndedGroup, Frame, Group, GroupTracker,
    HEADER_LENGTH, Header, Meaning, Verdict,
};
use crds::position::{FilePosition, Flavor};

use super::super::cut::MissedReason;
use super::super::prepared::{Decided, Prepared};
use super::Assembler;

const CUT: &str = "its bytes are cut short";

/// Bytes of a prepared transaction that are needed next, from the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Id of the transaction.
    pub xid: String,
    /// Lineage of its group; `None` = the one that is being read.
    pub lineage: Option<String>,
    /// First byte of its group.
    pub group: FilePosition,
    /// Offset in the same file of the first byte that is needed.
    pub from: u64,
}

/// A prepared group on its way through the decoder.
#[derive(Debug)]
pub(super) struct Replay {
    prepared: Prepared,
    tracker: GroupTracker,
    commit_time_us: Option<i64>,
    /// First byte of the verdict's group.
    told_at: FilePosition,
    group: Option<Group>,
    /// Bytes of the group from `at` on, as many as are here.
    bytes: Vec<u8>,
    read: usize,
    at: u64,
    /// The lineage of the stream itself.
    home: String,
}

/// What the next event of the group is.
enum Next {
    Event(Meaning),
    /// More bytes are needed.
    Short,
    End,
}

impl Replay {
    fn new(prepared: &Prepared, flavor: Flavor, verdict: &EndedGroup, home: &str) -> Self {
        let seconds = i64::from(verdict.event_time);
        Self {
            tracker: GroupTracker::new(flavor),
            commit_time_us: verdict.commit_time_us.or(Some(seconds * 1_000_000)),
            told_at: verdict.from.clone(),
            group: None,
            bytes: prepared.bytes.as_deref().map(<[u8]>::to_vec).unwrap_or_default(),
            read: 0,
            at: prepared.from.offset,
            home: home.to_owned(),
            prepared: Prepared { bytes: None, ..prepared.clone() },
        }
    }

    pub(super) fn group(&self) -> Option<&Group> {
        self.group.as_ref()
    }

    /// Where the group ended, if that was in the lineage being read.
    pub(super) fn end(&self) -> Option<FilePosition> {
        let Prepared { lineage, from, to, .. } = &self.prepared;
        let here = lineage.as_ref().is_none_or(|lineage| *lineage == self.home);
        here.then(|| FilePosition::new(from.file.clone(), *to))
    }

    /// The next event's bytes in `bytes`, once they are here whole.
    fn next_event(&self) -> Option<std::ops::Range<usize>> {
        let rest = self.bytes.get(self.read..)?;
        let length = Header::parse(rest)?.length as usize;
        (length <= rest.len()).then(|| self.read..self.read + length)
    }

    fn step(
        &mut self,
        decoder: &mut ChangeDecoder,
        rows: &mut dyn ChangeSink,
    ) -> Result<Next, String> {
        if self.at >= self.prepared.to {
            return Ok(Next::End);
        }
        let Some(span) = self.next_event() else {
            let rest = self.at + (self.bytes.len() - self.read) as u64;
            return if rest < self.prepared.to { Ok(Next::Short) } else { Err(CUT.to_owned()) };
        };
        let bytes = self.bytes.get(span.clone()).unwrap_or_default();
        let header = Header::parse(bytes).ok_or(CUT)?;
        let end = bytes.len().saturating_sub(if self.prepared.crc32 { CHECKSUM_LENGTH } else { 0 });
        let body = bytes.get(HEADER_LENGTH..end).ok_or(CUT)?;
        let to = self.at + bytes.len() as u64;
        let frame = Frame { header, bytes, body, from: self.at, to };
        let file = &self.prepared.from.file;
        let step = self.tracker.observe(file, &frame).map_err(|error| error.to_string())?;
        self.group = self.tracker.group().map(|group| Group {
            commit_time_us: self.commit_time_us,
            told_at: Some(self.told_at.clone()),
            ..group.clone()
        });
        if let Some(group) = &self.group {
            decoder
                .decode(file, &frame, group, rows)
                .map_err(|error| crate::fault::chain(&error))?;
        }
        (self.read, self.at) = (span.end, to);
        Ok(Next::Event(step.meaning))
    }

    /// Adds bytes that follow on those given before.
    fn feed(&mut self, more: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        let held = self.at + self.bytes.len() as u64;
        let need = usize::try_from(self.prepared.to.saturating_sub(held)).unwrap_or(usize::MAX);
        self.bytes.extend(more.iter().take(need));
    }
}

impl Assembler {
    /// Whether prepared transactions can be followed: their bytes are kept in the raw archive.
    pub(super) fn follows_xa(&self) -> bool {
        self.sinks.raw && self.sinks.changes
    }

    /// The open group was prepared: none of its rows is told before its verdict.
    pub(super) fn hold_prepared(&mut self, xid: String, to: u64) {
        self.give_up_rows();
        let Some(group) = self.tracker.group() else { return };
        let bytes = self.raw.open();
        // A group that streamed alone is not here whole.
        let whole = !self.alone && bytes.len() as u64 == to - group.from.offset;
        let prepared = Prepared {
            xid,
            gtid: group.gtid_text.clone(),
            lineage: None,
            from: group.from.clone(),
            to,
            crc32: self.framer.format().is_some_and(|format| format.checksum == Checksum::Crc32),
            bytes: whole.then(|| bytes.into()),
        };
        let seen = !self.wanted();
        if self.prepared.prepare(&prepared, seen) {
            self.step.xa.opened.push(Prepared { bytes: None, ..prepared });
        }
    }

    /// Begins to tell the rows of the transaction that the open group commits.
    pub(super) fn begin_replay(&mut self, ended: &EndedGroup, to: u64) {
        let Verdict::XaVerdict { xid, committed: true } = &ended.verdict else { return };
        if !self.decodes() {
            return;
        }
        if let Some(prepared) = self.prepared.get(xid).filter(|_| self.follows_xa()) {
            let flavor = self.tracker.flavor();
            self.replay = Some(Replay::new(prepared, flavor, ended, self.rows.lineage()));
            if let Some(lineage) = &prepared.lineage {
                self.rows.set_lineage(lineage);
            }
            self.open.unlisted = true;
        } else {
            let from = ended.from.offset;
            self.miss(None, MissedReason::XaPreparedBeforeStart, from..to);
        }
    }

    /// Decodes one more event of the prepared group; `false` when nothing is left, or its bytes are wanted.
    pub(super) fn replay_next(&mut self) -> bool {
        let Some(replay) = &mut self.replay else { return false };
        let told_at = replay.told_at.clone();
        let mut rows = self.sought.sink(&mut self.rows, Some(&told_at));
        match replay.step(&mut self.decoder, &mut rows) {
            Ok(Next::Event(Meaning::Savepoint { name })) => {
                self.open.savepoint(&name, self.rows.savepoint());
            }
            Ok(Next::Event(Meaning::RollbackTo { name })) => self.roll_back_to(&name),
            Ok(Next::Event(_)) => {}
            Ok(Next::Short) => return false,
            Ok(Next::End) => {
                self.end_replay();
                return false;
            }
            Err(problem) => self.undecodable(problem),
        }
        true
    }

    pub(super) fn end_replay(&mut self) {
        if let Some(replay) = self.replay.take() {
            self.rows.set_lineage(&replay.home);
        }
    }

    /// The verdict's group has ended.
    pub(super) fn settle_prepared(&mut self, xid: String, committed: bool) {
        if self.prepared.take(&xid).is_some() {
            self.step.xa.decide(Decided { xid, committed });
        }
    }

    /// Bytes that are wanted from the archive before decoding can go on: [`Self::feed`], or [`Self::lose`].
    pub fn wanted_bytes(&self) -> Option<Wanted> {
        let replay = self.replay.as_ref()?;
        let from = replay.at + (replay.bytes.len() - replay.read) as u64;
        (from < replay.prepared.to && replay.next_event().is_none()).then(|| Wanted {
            xid: replay.prepared.xid.clone(),
            lineage: replay.prepared.lineage.clone(),
            group: replay.prepared.from.clone(),
            from,
        })
    }

    /// The wanted bytes, and perhaps what stands behind them in the file.
    pub fn feed(&mut self, bytes: &[u8]) {
        if let Some(replay) = &mut self.replay {
            replay.feed(bytes);
        }
    }

    /// The wanted bytes are not to be had: the transaction's rows are named as a gap.
    pub fn lose(&mut self, why: &str) {
        self.undecodable(format!("read a prepared transaction back from the archive: {why}"));
    }
}
