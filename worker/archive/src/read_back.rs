//! Raw bytes back out of the archive, by the entries of the log: what no entry names does not exist.
//!
//! - Objects come in the order of the binlog, without a hole and without a byte twice, whatever epochs wrote them
//!   (`raw_comes_back_as_it_was_committed`, `what_no_entry_names_is_not_read`).
//! - What is handed out has the size and the digest that its entry names, and unpacks to exactly its range
//!   (`a_changed_object_is_refused`).
//! - A range that is not held, raw having been off, is an error by name (`a_hole_is_named`); a gap of the stream that
//!   somebody passed, and a new lineage, begin a new stretch.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use crds::conditions::Reason;

use crate::entry::{Entry, GapPhase, LineageBody, Point, RawObject, RawSpan, TableGap, XaOpened};
use crate::fold;
use crate::layout;
use crate::log::{ReadError, read_entry, read_objects, read_range};
use crate::raw::{self, Unread};
use crate::store::{Store, StoreError};

/// Entries read at once when going back.
const STEP_BACK: u64 = 64;

/// Why raw bytes do not come back.
#[derive(Debug, thiserror::Error)]
pub enum ReadBackError {
    /// The log cannot be read.
    #[error("read the raw archive")]
    Log(#[from] ReadError),
    /// The store did not answer, or refused.
    #[error("read the raw archive")]
    Store(#[from] StoreError),
    /// An object is not what its entry says.
    #[error("read raw object {key}: {problem}; restore the archive's objects from a copy")]
    Damaged {
        /// Key under the stream's root.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// The bytes were never archived: raw was off.
    #[error("the raw archive does not hold {from}{}", to.as_ref().map_or_else(String::new, |to| format!(" to {to}")))]
    NotHeld {
        /// First byte that is missing.
        from: Point,
        /// Where raw goes on, if it does.
        to: Option<Point>,
    },
}

impl ReadBackError {
    /// The reason that a status shows.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Log(error) => error.reason(),
            Self::Store(error) => error.reason(),
            Self::Damaged { .. } => Reason::ArchiveDamaged,
            Self::NotHeld { .. } => Reason::BinlogPurged,
        }
    }
}

/// Nothing before it continues into it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stretch {
    /// Its first byte.
    pub at: Point,
    /// The lineage that begins with it.
    pub lineage: Option<LineageBody>,
}

/// A part of an object that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The object.
    pub object: RawObject,
    /// Bytes of the file that are wanted of it.
    pub wanted: Range<u64>,
}

/// What one entry names of the range: it ends at a boundary between transactions.
#[derive(Clone, Debug, PartialEq)]
pub struct Leg {
    /// Number of the entry.
    pub n: u64,
    /// Set where a stretch begins with it.
    pub begins: Option<Stretch>,
    /// Its objects, in order.
    pub pieces: Vec<Piece>,
    /// Byte after the last one.
    pub to: Point,
    /// Partition of the change log that the entry's rows belong to.
    pub date: String,
    /// Ranges that the change log lacks, as the entry names them.
    pub gaps: Vec<TableGap>,
}

/// Reads raw bytes of one stream.
#[derive(Clone)]
pub struct ReadBack {
    store: Arc<dyn Store>,
    head: u64,
}

impl ReadBack {
    /// Reads what the entries up to `head` name.
    pub fn new(store: Arc<dyn Store>, head: u64) -> Self {
        Self { store, head }
    }

    /// The newest entry that names the byte at `at`.
    ///
    /// # Errors
    /// No entry does, or the log cannot be read.
    pub async fn find(&self, at: &Point) -> Result<Entry, ReadBackError> {
        self.find_up_to(self.head, at).await
    }

    /// The newest entry up to `n` that names the byte at `at`.
    ///
    /// # Errors
    /// No entry does, or the log cannot be read.
    pub async fn find_up_to(&self, n: u64, at: &Point) -> Result<Entry, ReadBackError> {
        let found = self.last(n, |entry| holds(entry, at)).await?;
        found.ok_or_else(|| ReadBackError::NotHeld { from: at.clone(), to: None })
    }

    /// XA transactions that were prepared before entry `n` and not decided before it, by the last state that the log
    /// holds and what came behind it.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn prepared_before(&self, n: u64) -> Result<Vec<XaOpened>, ReadBackError> {
        let Some(mut to) = n.checked_sub(1) else { return Ok(Vec::new()) };
        let mut entries = Vec::new();
        loop {
            let from = to.saturating_sub(STEP_BACK - 1);
            let mut read = read_range(&*self.store, from, to).await?;
            let state = read.iter().rposition(|stored| stored.entry.state.is_some());
            read.drain(..state.unwrap_or_default());
            read.append(&mut entries);
            entries = read;
            match from.checked_sub(1).filter(|_| state.is_none()) {
                Some(before) => to = before,
                None => break,
            }
        }
        let mut open = Vec::new();
        for stored in entries {
            match (stored.entry.state, &stored.entry.xa) {
                (Some(state), _) => open = state.xa,
                (None, Some(xa)) => fold::prepared(&mut open, stored.entry.n, xa),
                (None, None) => {}
            }
        }
        Ok(open)
    }

    /// The bytes from `at` on that stand in one object with it, as the entry names it.
    ///
    /// # Errors
    /// The object is missing or altered, the entry names none that holds them, or the store gave no answer.
    pub async fn bytes_from(&self, entry: &Entry, at: &Point) -> Result<Vec<u8>, ReadBackError> {
        Ok(raw::read_from(&*self.store, entry, &at.file, at.pos).await?)
    }

    /// The stint's own entry.
    ///
    /// # Errors
    /// The log cannot be read, or has no such lineage.
    pub async fn lineage(&self, n: u64, id: &str) -> Result<LineageBody, ReadBackError> {
        let opens = |entry: &Entry| entry.lineage.as_ref().is_some_and(|body| body.id == id);
        let found = self.last(n, opens).await?.and_then(|entry| entry.lineage);
        found.ok_or_else(|| {
            ReadError::damaged(n, format!("no entry before it opens lineage {id}")).into()
        })
    }

    /// The object that holds the head of a binlog file, of the newest entry up to `n` that names it.
    ///
    /// # Errors
    /// No entry does, or the log cannot be read.
    pub async fn file_head(&self, n: u64, at: &Point) -> Result<RawObject, ReadBackError> {
        let head = Point { pos: 0, ..at.clone() };
        let entry = self.find_up_to(n, &head).await?;
        let objects = read_objects(&*self.store, &entry).await?.raw;
        let begins =
            |object: &RawObject| object.file == at.file && object.from == 0 && object.to > 0;
        objects.into_iter().find(begins).ok_or(ReadBackError::NotHeld { from: head, to: None })
    }

    /// Walks from the beginning of the entry that names the byte at `from` to `to`.
    ///
    /// # Errors
    /// No entry names it, or the log cannot be read.
    pub async fn from_entry_of(&self, from: &Point, to: &Point) -> Result<Walk, ReadBackError> {
        let entry = self.find(from).await?;
        let at = entry.raw.map_or_else(|| from.clone(), |raw| raw.from);
        let begins = Some(Stretch { at: at.clone(), lineage: None });
        Ok(Walk { reader: self.clone(), n: entry.n, at, to: to.clone(), begins })
    }

    /// The bytes of an object, checked and unpacked.
    ///
    /// # Errors
    /// The object is missing or altered, or the store gave no answer.
    pub async fn bytes(&self, object: &RawObject) -> Result<Vec<u8>, ReadBackError> {
        raw::read(&*self.store, object).await.map_err(|unread| match unread {
            Unread::Store(error) => error.into(),
            Unread::Damaged(problem) => ReadBackError::Damaged { key: object.key.clone(), problem },
        })
    }

    /// The newest entry up to `n` that is looked for.
    async fn last(
        &self,
        n: u64,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Result<Option<Entry>, ReadBackError> {
        let mut to = n;
        loop {
            let from = to.saturating_sub(STEP_BACK - 1);
            let read = read_range(&*self.store, from, to).await?;
            let found =
                read.into_iter().rev().map(|stored| stored.entry).find(|entry| wanted(entry));
            match (found, from.checked_sub(1)) {
                (None, Some(before)) => to = before,
                (found, _) => return Ok(found),
            }
        }
    }
}

/// Whether the entry names the byte at `at`.
pub fn holds(entry: &Entry, at: &Point) -> bool {
    let within = |raw: &RawSpan| is_before_or_at(&raw.from, at) && !is_before_or_at(&raw.to, at);
    entry.raw.as_ref().is_some_and(within)
}

fn is_before_or_at(one: &Point, other: &Point) -> bool {
    one.lineage == other.lineage
        && one.position().cmp_in_lineage(&other.position()).is_some_and(Ordering::is_le)
}

/// Goes through a range of the raw archive entry by entry.
pub struct Walk {
    reader: ReadBack,
    n: u64,
    at: Point,
    to: Point,
    begins: Option<Stretch>,
}

impl Walk {
    /// Byte after the last one handed out.
    pub fn at(&self) -> &Point {
        &self.at
    }

    /// The next entry that names bytes of the range; `None` at its end.
    ///
    /// # Errors
    /// Bytes of the range are not held, or the log cannot be read.
    pub async fn next(&mut self) -> Result<Option<Leg>, ReadBackError> {
        while self.n <= self.reader.head && self.at != self.to {
            let n = self.n;
            self.n += 1;
            let found = read_entry(&*self.reader.store, n).await?;
            let stored = found.ok_or_else(|| ReadError::damaged(n, "it is missing"))?;
            if let Some(leg) = self.take(&stored.entry).await? {
                return Ok(Some(leg));
            }
        }
        if self.at == self.to {
            return Ok(None);
        }
        Err(ReadBackError::NotHeld { from: self.at.clone(), to: Some(self.to.clone()) })
    }

    async fn take(&mut self, entry: &Entry) -> Result<Option<Leg>, ReadBackError> {
        if let Some(body) = &entry.lineage {
            let at = Point::new(&body.id, &body.file, 0);
            self.begin(Stretch { at, lineage: Some(body.clone()) });
        }
        let passed = entry.gap.as_ref().filter(|gap| gap.phase == GapPhase::Passed);
        // Within its file raw goes on, whatever was passed; in another one it begins with the file.
        if let Some(Point { lineage, file, .. }) = passed.and_then(|gap| gap.to.clone())
            && (&lineage, &file) != (&self.at.lineage, &self.at.file)
        {
            self.begin(Stretch { at: Point::new(lineage, file, 0), lineage: None });
        }
        let Some(raw) = entry.raw.as_ref().filter(|raw| raw.to.lineage == self.at.lineage) else {
            return Ok(None);
        };
        if is_before_or_at(&raw.to, &self.at) {
            return Ok(None);
        }
        if !is_before_or_at(&raw.from, &self.at) {
            let (from, to) = (self.at.clone(), Some(raw.from.clone()));
            return Err(ReadBackError::NotHeld { from, to });
        }
        let objects = read_objects(&*self.reader.store, entry).await?;
        let to = if is_before_or_at(&self.to, &raw.to) { self.to.clone() } else { raw.to.clone() };
        let pieces = objects.raw.into_iter().filter_map(|object| self.piece(object, &to)).collect();
        let date = objects.changes.iter().map(|file| file.date.clone()).max();
        self.at = to.clone();
        Ok(Some(Leg {
            n: entry.n,
            begins: self.begins.take(),
            pieces,
            to,
            date: date.unwrap_or_else(|| layout::day(entry.time)),
            gaps: entry.gaps.clone(),
        }))
    }

    fn begin(&mut self, stretch: Stretch) {
        self.at = stretch.at.clone();
        self.begins = Some(stretch);
    }

    /// What is wanted of an object: bytes from where the walk stands to `to`.
    fn piece(&self, object: RawObject, to: &Point) -> Option<Piece> {
        let in_file = |pos| Point::new(&self.at.lineage, &object.file, pos);
        let from =
            if object.file == self.at.file { object.from.max(self.at.pos) } else { object.from };
        let end = if object.file == to.file { object.to.min(to.pos) } else { object.to };
        let within =
            is_before_or_at(&self.at, &in_file(from)) && is_before_or_at(&in_file(end), to);
        (within && from < end).then_some(Piece { wanted: from..end, object })
    }
}
