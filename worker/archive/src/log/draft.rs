//! From what shall be said to the bytes that are sent.

use std::sync::Arc;

use bytes::Bytes;
use crds::position::{Flavor, GtidSet};
use jiff::Timestamp;
use serde_json::Map;
use uuid::Uuid;

use super::spill::Lists;
use super::{Body, LogError};
use crate::entry::{
    At, ENTRY_FORMAT, Entry, EntryKind, FullGtid, GapPhase, GtidStep, MAX_ENTRY_BYTES, Point,
    Snapshot, Stored, Writer, sha256,
};
use crate::fold::{STATE_EVERY, State, gtid_digest};

/// Where the next entry goes.
pub(crate) struct Place<'a> {
    before: Option<&'a State>,
    archive: Uuid,
    flavor: Flavor,
    writer: &'a Writer,
    now: Timestamp,
}

impl<'a> Place<'a> {
    /// After the newest entry.
    pub(crate) fn after(state: &'a State, writer: &'a Writer) -> Self {
        Self {
            before: Some(state),
            archive: state.archive,
            flavor: state.flavor(),
            writer,
            now: now(),
        }
    }

    /// The first entry of a new archive.
    pub(crate) fn first(archive: Uuid, flavor: Flavor, writer: &'a Writer) -> Self {
        Self { before: None, archive, flavor, writer, now: now() }
    }
}

/// Microseconds are enough, and shorter.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

/// An entry, ready to be sent.
pub(crate) struct Draft {
    /// The entry and the digest of its bytes.
    pub(crate) stored: Stored,
    /// Its bytes.
    pub(crate) bytes: Bytes,
    /// The log folded up to it.
    pub(crate) after: State,
    /// Long lists, to be stored before the entry.
    pub(crate) lists: Vec<(String, Bytes)>,
}

/// Builds, checks and encodes the next entry.
pub(crate) fn draft(place: &Place<'_>, body: Body) -> Result<Draft, LogError> {
    if let Some(problem) = place.before.and_then(|state| state.unwritable.clone()) {
        return Err(LogError::Unwritable(problem));
    }
    let mut entry = skeleton(place, body);
    let step = entry.at.take();
    if let Some(state) = place.before {
        entry.at = position(state, &entry, step)?;
    }
    let mut stored = Stored { digest: String::new(), entry };
    let mut after = fold(place, &stored)?;
    let n = stored.entry.n;
    let mut lists = Lists::new(&stored.entry);
    lists.entry(&mut stored.entry)?;
    let whole = matches!(stored.entry.kind, EntryKind::Claim | EntryKind::Lineage);
    if whole || n.is_multiple_of(STATE_EVERY) {
        let gtid = FullGtid { set: Some(after.gtid.to_full_text()), list: None };
        let mut snapshot = Snapshot { gtid, ..after.facts.clone() };
        lists.state(&mut snapshot)?;
        stored.entry.state = Some(Box::new(snapshot));
    }
    let bytes = stored.entry.to_bytes().map_err(|error| LogError::Encode(error.to_string()))?;
    if bytes.len() > MAX_ENTRY_BYTES {
        return Err(LogError::TooLarge { n, bytes: bytes.len() });
    }
    stored.digest = sha256(&bytes);
    after.digest.clone_from(&stored.digest);
    Ok(Draft { stored, bytes, after, lists: lists.made })
}

fn fold(place: &Place<'_>, stored: &Stored) -> Result<State, LogError> {
    Ok(match place.before {
        Some(state) => state.apply(stored)?,
        None => State::begin(place.flavor, stored)?,
    })
}

/// The entry with all but its position. `at` holds what the body says about it.
fn skeleton(place: &Place<'_>, body: Body) -> Entry {
    let claims = u64::from(body.kind == EntryKind::Claim);
    let added = body.gtid_added.as_ref().map(GtidSet::to_full_text).unwrap_or_default();
    let step = At {
        lineage: String::new(),
        file: String::new(),
        pos: 0,
        gtid: GtidStep { added, ..GtidStep::default() },
        tail: body.tail,
        event_time: body.event_time,
    };
    let before = place.before;
    Entry {
        format: ENTRY_FORMAT,
        archive: place.archive,
        n: before.map_or(0, |state| state.n + 1),
        epoch: before.map_or(0, |state| state.epoch) + claims,
        kind: body.kind,
        prev: before.map(|state| state.digest.clone()),
        time: before.map_or(place.now, |state| state.time.max(place.now)),
        writer: place.writer.clone(),
        at: Some(step),
        raw: body.raw,
        changes: body.changes,
        xa: body.xa,
        gaps: body.gaps,
        gap_list: None,
        list: None,
        claim: body.claim,
        gap: body.gap,
        lineage: body.lineage,
        maintain: body.maintain,
        consents: body.consents,
        state: None,
        extra: Map::new(),
    }
}

/// Where the archive stands after the entry, from the cursors that it moves.
fn position(state: &State, entry: &Entry, step: Option<At>) -> Result<Option<At>, LogError> {
    let passes = entry.gap.as_ref().is_some_and(|gap| gap.phase == GapPhase::Passed);
    let moves = match entry.kind {
        EntryKind::Commit | EntryKind::Lineage => true,
        EntryKind::Gap => passes,
        _ => false,
    };
    let Some(step) = step.filter(|_| moves) else {
        let kept = state.facts.at.clone();
        return Ok(kept.map(|at| At {
            gtid: GtidStep { digest: at.gtid.digest, ..GtidStep::default() },
            ..at
        }));
    };
    // The cursors after it, without regard to the set, whose digest needs the union first.
    let probe = Stored { entry: Entry { at: None, ..entry.clone() }, digest: String::new() };
    let next = state.apply(&probe)?;
    let Some(Point { lineage, file, pos }) = next.resume() else {
        return Ok(None);
    };
    let after = union(&next.gtid, &step.gtid.added, entry.n)?;
    let stands = state.facts.at.as_ref().filter(|at| {
        entry.kind == EntryKind::Commit && at.lineage == lineage && at.file == file && at.pos == pos
    });
    let tail = step.tail.or_else(|| stands.and_then(|at| at.tail.clone()));
    let earlier = state.facts.at.as_ref().and_then(|at| at.event_time);
    let event_time = step.event_time.or(earlier);
    let gtid = GtidStep { digest: gtid_digest(&after), ..step.gtid };
    Ok(Some(At { lineage, file, pos, gtid, tail, event_time }))
}

fn union(before: &Arc<GtidSet>, added: &str, n: u64) -> Result<Arc<GtidSet>, LogError> {
    if added.is_empty() {
        return Ok(Arc::clone(before));
    }
    let wrong = |source| LogError::Refused(crate::fold::FoldError::Gtid { n, source });
    let added = GtidSet::parse(before.flavor(), added).map_err(wrong)?;
    Ok(Arc::new(before.union(&added).map_err(wrong)?))
}
