//! What each kind of entry changes.

use std::collections::HashSet;
use std::sync::Arc;

use crds::position::{Flavor, GtidSet};

use super::{
    FoldError, MAX_ACKNOWLEDGED, MAX_CONSENTS, MAX_STINTS, State, broken, check, gtid_digest,
};
use crate::entry::{
    Claim, Entry, EntryKind, FullGtid, GapBody, GapPhase, LineageBody, LineageCause, Maintain,
    OpenGap, Point, Snapshot, Stint, Stored, TableGap, XaOpened, XaPart,
};

pub(super) fn begin(flavor: Flavor, stored: &Stored) -> Result<State, FoldError> {
    let entry = &stored.entry;
    if let Some(snapshot) = &entry.state {
        check::body(entry)?;
        let text = snapshot.gtid.set.as_deref().unwrap_or_default();
        let gtid = parse(flavor, entry, text)?;
        let known = entry.at.as_ref().is_none_or(|at| at.gtid.digest == gtid_digest(&gtid));
        if !known {
            return Err(broken(entry, "the gtid set of its state has another digest"));
        }
        let facts = facts_of(snapshot);
        return Ok(state(stored, Arc::new(gtid), facts));
    }
    check::first(entry)?;
    check::body(entry)?;
    let Some(claim) = &entry.claim else {
        return Err(broken(entry, "a claim without its body"));
    };
    let facts = first_facts(claim);
    Ok(state(stored, Arc::new(GtidSet::new(flavor)), facts))
}

pub(super) fn apply(before: &State, stored: &Stored) -> Result<State, FoldError> {
    let entry = &stored.entry;
    check::chain(before, entry)?;
    check::body(entry)?;
    check::objects(entry)?;
    let mut facts = before.facts.clone();
    let gtid = gtid_after(before, entry)?;
    match &entry.kind {
        EntryKind::Claim => claim(&mut facts, entry)?,
        EntryKind::Commit => commit(&mut facts, entry)?,
        EntryKind::Gap => gap(&mut facts, entry)?,
        EntryKind::Lineage => lineage(&mut facts, entry)?,
        EntryKind::Maintain => maintain(&mut facts, entry),
        // Nothing is known of it but its place in the chain; `unwritable` says so.
        EntryKind::Unknown(_) => {}
    }
    // The others no later decision asks for.
    let kept = entry.consents.iter().filter(|given| !given.kind.is_spent_by_its_entry());
    facts.consents.extend(kept.cloned());
    let surplus = facts.consents.len().saturating_sub(MAX_CONSENTS);
    facts.consents.drain(..surplus);
    if entry.at.is_some() {
        facts.at.clone_from(&entry.at);
    }
    tidy(&mut facts);
    if let Some(snapshot) = &entry.state
        && facts_of(snapshot) != facts
    {
        return Err(broken(entry, "its state is not what the log before it gives"));
    }
    Ok(State {
        unwritable: before.unwritable.clone().or(unwritable(entry)),
        ..state(stored, gtid, facts)
    })
}

/// The facts that a stored state holds, in the form that folding gives them.
fn facts_of(snapshot: &Snapshot) -> Snapshot {
    let mut facts = Snapshot { gtid: FullGtid::default(), ..snapshot.clone() };
    tidy(&mut facts);
    facts
}

/// Leaves out what no later decision needs: it could outgrow an entry. Lists belong to the entry that made them.
fn tidy(facts: &mut Snapshot) {
    (facts.table_gap_list, facts.xa_list) = (None, None);
    if let Some(at) = &mut facts.at {
        (at.gtid.added, at.gtid.list) = (String::new(), None);
    }
    if let Some((last, earlier)) = facts.lineages.split_last_mut() {
        for stint in earlier {
            (stint.held, stint.held_by_server) = (None, None);
        }
        for full in [&mut last.held, &mut last.held_by_server].into_iter().flatten() {
            full.list = None;
        }
    }
}

fn state(stored: &Stored, gtid: Arc<GtidSet>, facts: Snapshot) -> State {
    let entry = &stored.entry;
    State {
        archive: entry.archive,
        n: entry.n,
        digest: stored.digest.clone(),
        epoch: entry.epoch,
        instance: entry.writer.instance.clone(),
        time: entry.time,
        gtid,
        facts,
        unwritable: unwritable(entry),
    }
}

fn unwritable(entry: &Entry) -> Option<String> {
    (!entry.is_known()).then(|| {
        format!(
            "entry {} has format {} and kind {}; use the version that wrote it or a newer one",
            entry.n,
            entry.format,
            entry.kind.as_str()
        )
    })
}

fn first_facts(claim: &Claim) -> Snapshot {
    Snapshot {
        owner: claim.owner.clone(),
        config: claim.config.clone(),
        holders: claim.holders.clone(),
        at: None,
        gtid: FullGtid::default(),
        raw: None,
        changes: None,
        lineages: Vec::new(),
        lineage_count: 0,
        xa: Vec::new(),
        xa_list: None,
        gaps: Vec::new(),
        acknowledged: Vec::new(),
        table_gaps: Vec::new(),
        table_gap_list: None,
        gap_count: 0,
        raw_head: None,
        recoverable_from: None,
        date: None,
        consents: Vec::new(),
    }
}

fn parse(flavor: Flavor, entry: &Entry, text: &str) -> Result<GtidSet, FoldError> {
    GtidSet::parse(flavor, text).map_err(|source| FoldError::Gtid { n: entry.n, source })
}

/// V5: the set before, or the lineage's own, and what the entry adds.
fn gtid_after(before: &State, entry: &Entry) -> Result<Arc<GtidSet>, FoldError> {
    let flavor = before.flavor();
    let base = match entry.lineage.as_ref().and_then(|body| body.gtid.as_ref()) {
        Some(full) => Arc::new(parse(flavor, entry, full.set.as_deref().unwrap_or_default())?),
        None => Arc::clone(&before.gtid),
    };
    let Some(at) = &entry.at else {
        return Ok(base);
    };
    let after = if at.gtid.added.is_empty() {
        base
    } else {
        let added = parse(flavor, entry, &at.gtid.added)?;
        let union = base.union(&added);
        Arc::new(union.map_err(|source| FoldError::Gtid { n: entry.n, source })?)
    };
    if at.gtid.digest != gtid_digest(&after) {
        return Err(broken(entry, "the digest of the gtid set is not that of the set it gives"));
    }
    Ok(after)
}

fn claim(facts: &mut Snapshot, entry: &Entry) -> Result<(), FoldError> {
    let Some(body) = &entry.claim else { return Ok(()) };
    facts.owner = body.owner.clone();
    facts.config = body.config.clone();
    facts.holders.clone_from(&body.holders);
    let begins = |sink: &str| {
        body.coverage.iter().find(|part| part.sink == sink).map(|part| part.from.clone())
    };
    let cursor = |on: bool, old: Option<Point>, sink: &str| match (on, old) {
        (false, _) => Ok(None),
        (true, Some(old)) => Ok(Some(old)),
        (true, None) => {
            let from = begins(sink);
            if from.is_none() && !facts.lineages.is_empty() {
                return Err(broken(entry, format!("{sink} is switched on without its coverage")));
            }
            Ok(from)
        }
    };
    let raw = cursor(body.config.raw, facts.raw.clone(), "raw")?;
    let changes = cursor(body.config.changes, facts.changes.clone(), "changes")?;
    facts.raw = raw;
    facts.changes = changes;
    Ok(())
}

fn commit(facts: &mut Snapshot, entry: &Entry) -> Result<(), FoldError> {
    if let Some(raw) = &entry.raw {
        follow(entry, "raw", facts.raw.as_ref(), &raw.from, &raw.to)?;
        facts.raw = Some(raw.to.clone());
        if raw.head.is_some() {
            facts.raw_head.clone_from(&raw.head);
        }
    }
    if let Some(changes) = &entry.changes {
        follow(entry, "changes", facts.changes.as_ref(), &changes.from, &changes.to)?;
        facts.changes = Some(changes.to.clone());
        let newest = changes.files.iter().map(|file| file.date.as_str()).max();
        if let Some(date) = newest {
            facts.date = facts.date.take().max(Some(date.to_owned()));
        }
    }
    if let Some(xa) = &entry.xa {
        prepared(&mut facts.xa, entry.n, xa);
    }
    for gap in &entry.gaps {
        table_gap(facts, gap);
    }
    // Not by commits before the change log's own start.
    let told = entry.changes.is_some() || !facts.config.changes;
    if told && facts.recoverable_from.is_none() {
        facts.recoverable_from = entry.at.as_ref().and_then(|at| at.event_time);
    }
    Ok(())
}

/// An id is free again once it was decided: what is opened comes after what is closed.
pub(crate) fn prepared(all: &mut Vec<XaOpened>, n: u64, xa: &XaPart) {
    let closed = xa.closed.iter().map(|closed| closed.xid.as_str());
    let gone: HashSet<&str> =
        closed.chain(xa.opened.iter().map(|opened| opened.xid.as_str())).collect();
    all.retain(|open| !gone.contains(open.xid.as_str()));
    all.extend(xa.opened.iter().map(|opened| XaOpened { n: Some(n), ..opened.clone() }));
}

/// V4: a span begins where its cursor stands, and does not go back.
fn follow(
    entry: &Entry,
    sink: &str,
    cursor: Option<&Point>,
    from: &Point,
    to: &Point,
) -> Result<(), FoldError> {
    if cursor != Some(from) {
        let stands = cursor.map_or_else(|| "nowhere".to_owned(), ToString::to_string);
        return Err(broken(
            entry,
            format!("{sink} begins at {from} and the cursor is at {stands}"),
        ));
    }
    if is_before(to, from) || to.lineage != from.lineage {
        return Err(broken(entry, format!("{sink} goes from {from} to {to}")));
    }
    Ok(())
}

fn table_gap(facts: &mut Snapshot, gap: &TableGap) {
    facts.table_gaps.retain(|open| open.id != gap.id);
    if gap.to.is_none() {
        facts.table_gaps.push(gap.clone());
    }
}

fn gap(facts: &mut Snapshot, entry: &Entry) -> Result<(), FoldError> {
    let Some(body) = &entry.gap else { return Ok(()) };
    match body.phase {
        GapPhase::Detected => {
            facts.gap_count = facts.gap_count.saturating_add(1);
            facts.gaps.push(open_gap(entry, body));
        }
        GapPhase::Passed => {
            let Some(to) = &body.to else {
                return Err(broken(entry, "a gap is passed without a position to go on at"));
            };
            pass(facts, entry, body, to)?;
        }
        GapPhase::Acknowledged => acknowledge(facts, entry, &body.id),
    }
    Ok(())
}

/// The cursors move to `to`, never back. Within the file being kept raw misses nothing and stays where it is.
fn pass(facts: &mut Snapshot, entry: &Entry, body: &GapBody, to: &Point) -> Result<(), FoldError> {
    if let Some(stands) = super::least(facts.raw.as_ref(), facts.changes.as_ref())
        && is_before(to, &stands)
    {
        return Err(broken(entry, format!("a gap is passed from {stands} back to {to}")));
    }
    let raw = facts.raw.take().filter(|raw| (&raw.lineage, &raw.file) == (&to.lineage, &to.file));
    if raw.is_none() {
        facts.raw_head = None;
    }
    facts.recoverable_from = None;
    let whole = || Point::new(&to.lineage, &to.file, 0);
    facts.raw = facts.config.raw.then(|| raw.unwrap_or_else(whole));
    let ahead = facts.changes.take().filter(|changes| is_before(to, changes));
    facts.changes = facts.config.changes.then(|| ahead.unwrap_or_else(|| to.clone()));
    if !facts.gaps.iter().any(|open| open.id == body.id) {
        facts.gap_count = facts.gap_count.saturating_add(1);
        facts.gaps.push(open_gap(entry, body));
    }
    for open in facts.gaps.iter_mut().filter(|open| open.id == body.id) {
        open.phase = GapPhase::Passed;
        open.to = Some(to.clone());
    }
    if entry.consents.iter().any(|given| given.kind.accepts_a_gap()) {
        acknowledge(facts, entry, &body.id);
    }
    Ok(())
}

fn is_before(one: &Point, other: &Point) -> bool {
    one.position().cmp_in_lineage(&other.position()) == Some(std::cmp::Ordering::Less)
}

fn acknowledge(facts: &mut Snapshot, entry: &Entry, id: &str) {
    let (settled, open) = std::mem::take(&mut facts.gaps).into_iter().partition(|gap| gap.id == id);
    facts.gaps = open;
    let settled: Vec<OpenGap> = settled;
    let at = Some(entry.time);
    facts
        .acknowledged
        .extend(settled.into_iter().map(|gap| OpenGap { acknowledged_at: at, ..gap }));
    let surplus = facts.acknowledged.len().saturating_sub(MAX_ACKNOWLEDGED);
    facts.acknowledged.drain(..surplus);
}

fn open_gap(entry: &Entry, body: &GapBody) -> OpenGap {
    OpenGap {
        id: body.id.clone(),
        phase: body.phase,
        reason: body.reason.clone(),
        from: body.from.clone(),
        to: body.to.clone(),
        n: entry.n,
        detected_at: entry.time,
        acknowledged_at: None,
    }
}

fn lineage(facts: &mut Snapshot, entry: &Entry) -> Result<(), FoldError> {
    let Some(body) = &entry.lineage else { return Ok(()) };
    if body.from_at.lineage != body.id || facts.lineages.iter().any(|stint| stint.id == body.id) {
        return Err(broken(entry, format!("lineage {} is not a new one", body.id)));
    }
    start_lineage(facts, entry.n, body);
    Ok(())
}

fn start_lineage(facts: &mut Snapshot, n: u64, body: &LineageBody) {
    facts.lineage_count = facts.lineage_count.saturating_add(1);
    facts.lineages.push(Stint::of(n, body));
    let surplus = facts.lineages.len().saturating_sub(MAX_STINTS);
    facts.lineages.drain(..surplus);
    facts.raw = facts.config.raw.then(|| Point::new(&body.id, &body.file, 0));
    facts.changes = facts.config.changes.then(|| body.from_at.clone());
    facts.raw_head = None;
    // A proven switch goes on where the other server ended; all else begins anew.
    if body.cause != LineageCause::Failover {
        facts.recoverable_from = None;
    }
}

/// A gap is closed, or begins later than it did, or what was given up of it is named.
fn maintain(facts: &mut Snapshot, entry: &Entry) {
    for id in entry.maintain.iter().flat_map(Maintain::closed) {
        facts.table_gaps.retain(|open| &open.id != id);
    }
    for gap in &entry.gaps {
        table_gap(facts, gap);
    }
}
