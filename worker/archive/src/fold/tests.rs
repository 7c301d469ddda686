//! Rules of the fold, one broken at a time.

use crds::position::Flavor;
use serde_json::json;

use super::{FoldError, MAX_CONSENTS, State};
use crate::entry::{Entry, Stored, sha256};

fn stored(entry: Entry) -> Stored {
    let digest = sha256(&entry.to_bytes().unwrap());
    Stored { entry, digest }
}

fn claim() -> Stored {
    let entry = json!({
        "format": 1, "archive": "6f9619ff-8b86-4d01-b42d-00cf4fc964ff", "n": 0, "epoch": 1,
        "kind": "claim", "prev": null, "time": "2026-01-01T00:00:00Z",
        "writer": {"instance": "one", "version": "0.1.0"},
        "claim": {
            "owner": {"cluster": "c", "namespace": "shop", "name": "orders"},
            "holders": [{"instance": "one", "epoch": 1}],
            "config": {"filter": null, "raw": true, "changes": true, "digest": ""}
        }
    });
    stored(serde_json::from_value(entry).unwrap())
}

fn after(before: &Stored, mut rest: serde_json::Value) -> Stored {
    let fields = json!({
        "format": 1, "archive": before.entry.archive, "n": before.entry.n + 1, "epoch": 1,
        "prev": before.digest, "time": "2026-01-01T00:00:01Z",
        "writer": {"instance": "one", "version": "0.1.0"}
    });
    let (Some(all), Some(fields)) = (rest.as_object_mut(), fields.as_object()) else {
        panic!("objects")
    };
    for (name, value) in fields {
        all.entry(name).or_insert(value.clone());
    }
    stored(serde_json::from_value(rest).unwrap())
}

fn at(pos: u64, added: &str, full: &str) -> serde_json::Value {
    json!({"lineage": "0001-7", "file": "b.000001", "pos": pos,
           "gtid": {"added": added, "digest": sha256(full.as_bytes())}})
}

fn point(pos: u64) -> serde_json::Value {
    json!({"lineage": "0001-7", "file": "b.000001", "pos": pos})
}

fn lineage(before: &Stored) -> Stored {
    after(
        before,
        json!({
            "kind": "lineage", "at": at(0, "", "0-1-5"),
            "lineage": {"id": "0001-7", "cause": "start", "server": {"id": 7, "version": "11.8"},
                        "file": "b.000001", "fromAt": point(4), "gtid": {"set": "0-1-5"}}
        }),
    )
}

fn commit(before: &Stored, from: u64, to: u64, added: &str) -> Stored {
    let key = format!("raw/0001-7/b.000001/{from}-{to}.1-0.binlog.zst");
    after(
        before,
        json!({
            "kind": "commit", "at": at(to, added, added),
            "raw": {"from": point(from), "to": point(to), "objects": [
                {"key": key, "file": "b.000001", "from": from, "to": to, "bytes": 3, "sha256": ""}]},
            "changes": {"from": point(from.max(4)), "to": point(to)}
        }),
    )
}

fn start() -> (State, Stored) {
    let claim = claim();
    let lineage = lineage(&claim);
    let state = State::begin(Flavor::MariaDB, &claim).unwrap().apply(&lineage).unwrap();
    (state, lineage)
}

fn refused(state: &State, entry: &Stored) -> String {
    match state.apply(entry) {
        Err(FoldError::Broken { problem, .. }) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn cursors_follow_their_own_chains() {
    let (state, last) = start();
    assert_eq!(state.resume().unwrap().pos, 0, "raw begins at byte 0");
    let state = state.apply(&commit(&last, 0, 100, "0-1-9")).unwrap();
    assert_eq!(state.resume().unwrap().pos, 100);
    assert_eq!(state.gtid.to_string(), "0-1-9");
    assert_eq!(state.next_lineage_id("3f9619ff-8b86"), "0002-3f9619ff");
}

#[test]
fn a_hole_a_forged_entry_and_a_falling_epoch_are_refused() {
    let (state, last) = start();
    let forge = |change: &dyn Fn(&mut Entry)| {
        let mut entry = commit(&last, 0, 100, "0-1-9").entry;
        change(&mut entry);
        stored(entry)
    };
    refused(&state, &forge(&|e| e.n += 1));
    refused(&state, &forge(&|e| e.prev = Some("00".to_owned())));
    refused(&state, &forge(&|e| e.epoch = 0));
    refused(&state, &forge(&|e| e.epoch = 2));
    refused(&state, &forge(&|e| e.archive = uuid::Uuid::nil()));
    refused(&state, &forge(&|e| e.time = jiff::Timestamp::UNIX_EPOCH));
    refused(&state, &forge(&|e| e.claim = claim().entry.claim));
}

#[test]
fn an_object_of_another_epoch_is_refused() {
    let (state, last) = start();
    let mut entry = commit(&last, 0, 100, "0-1-9").entry;
    entry.raw.as_mut().unwrap().objects[0].key = "raw/0001-7/b.000001/0-100.2-0.binlog.zst".into();
    assert!(refused(&state, &stored(entry)).contains("epoch 1"));
}

#[test]
fn a_cursor_never_jumps() {
    let (state, last) = start();
    assert!(refused(&state, &commit(&last, 50, 100, "0-1-9")).contains("cursor"));
    let mut hole = commit(&last, 0, 100, "0-1-9").entry;
    hole.raw.as_mut().unwrap().objects[0].from = 10;
    refused(&state, &stored(hole));
    let mut short = commit(&last, 0, 100, "0-1-9").entry;
    short.raw.as_mut().unwrap().to.pos = 120;
    refused(&state, &stored(short));
    let first = commit(&last, 0, 100, "0-1-9");
    let state = state.apply(&first).unwrap();
    assert!(refused(&state, &commit(&first, 100, 50, "0-1-9")).contains("does not follow"));
}

#[test]
fn raw_goes_on_in_the_next_file_only_where_this_one_ended() {
    let (state, last) = start();
    let mut entry = commit(&last, 0, 100, "0-1-9").entry;
    let raw = entry.raw.as_mut().unwrap();
    let mut next = raw.objects[0].clone();
    next.file = "b.000002".into();
    next.key = "raw/0001-7/b.000002/0-100.1-1.binlog.zst".into();
    raw.objects.push(next);
    raw.to.file = "b.000002".into();
    refused(&state, &stored(entry.clone()));
    let closed = json!({"file": "b.000001", "size": 100, "how": "rotate"});
    entry.raw.as_mut().unwrap().closed.push(serde_json::from_value(closed).unwrap());
    state.apply(&stored(entry)).unwrap();
}

#[test]
fn a_wrong_gtid_digest_is_refused() {
    let (state, last) = start();
    let mut entry = commit(&last, 0, 100, "0-1-9").entry;
    entry.at.as_mut().unwrap().gtid.added = "0-1-8".into();
    assert!(refused(&state, &stored(entry)).contains("gtid"));
}

#[test]
fn a_gap_is_latched_until_somebody_takes_note() {
    let (state, last) = start();
    let gap = |before: &Stored, phase: &str, pos: u64, consents: serde_json::Value| {
        after(
            before,
            json!({
                "kind": "gap", "at": at(pos, "", "0-1-5"), "consents": consents,
                "gap": {"id": "g1", "phase": phase, "reason": "BinlogPurged", "from": point(0),
                        "to": {"lineage": "0001-7", "file": "b.000009", "pos": 0}, "by": "onGap"}
            }),
        )
    };
    let detected = gap(&last, "detected", 0, json!([]));
    let state = state.apply(&detected).unwrap();
    assert_eq!((state.facts.gap_count, state.facts.gaps.len()), (1, 1));
    assert_eq!(state.resume().unwrap().pos, 0, "detecting moves nothing");
    let passed = gap(&detected, "passed", 0, json!([]));
    let resumed = state.apply(&passed).unwrap();
    assert_eq!(resumed.resume().unwrap().file, "b.000009");
    assert_eq!(resumed.facts.gaps.len(), 1, "still open under onGap Resume");
    let done = resumed.apply(&gap(&passed, "acknowledged", 0, json!([]))).unwrap();
    assert_eq!((done.facts.gap_count, done.facts.gaps.len()), (1, 0));
    assert!(done.facts.acknowledged[0].acknowledged_at.is_some(), "it is remembered");
    let consent = json!([{"kind": "acknowledgeGap", "value": "g1", "by": "annotation"}]);
    let consented = state.apply(&gap(&detected, "passed", 0, consent)).unwrap();
    assert_eq!(consented.facts.gaps.len(), 0, "the acknowledgement was the consent");
    assert_eq!(consented.facts.acknowledged.len(), 1);
}

/// A gap that somebody asked for, to a position.
fn asked(before: &Stored, file: &str, pos: u64) -> Stored {
    after(
        before,
        json!({
            "kind": "gap",
            "consents": [{"kind": "setCheckpoint", "value": "v", "by": "annotation"}],
            "gap": {"id": "g1", "phase": "passed", "reason": "CheckpointSet", "from": point(100),
                    "to": {"lineage": "0001-7", "file": file, "pos": pos}, "by": "annotation"}
        }),
    )
}

#[test]
fn a_gap_that_was_asked_for_is_counted_passed_and_acknowledged_by_one_entry() {
    let (state, last) = start();
    let first = commit(&last, 0, 100, "0-1-9");
    let state = state.apply(&first).unwrap().apply(&asked(&first, "b.000001", 500)).unwrap();
    let facts = &state.facts;
    assert_eq!((facts.gap_count, facts.gaps.len(), facts.acknowledged.len()), (1, 0, 1));
    assert_eq!(facts.acknowledged[0].to.as_ref().unwrap().pos, 500);
    assert!(facts.consents.is_empty(), "what is spent by its entry need not be remembered");
}

#[test]
fn within_a_file_raw_stays_and_in_another_one_it_begins_whole() {
    let (state, last) = start();
    let first = commit(&last, 0, 100, "0-1-9");
    let state = state.apply(&first).unwrap();
    let cursors = |file, pos| {
        let facts = state.apply(&asked(&first, file, pos)).unwrap().facts;
        let shown = |point: Option<crate::entry::Point>| point.unwrap().position().to_string();
        (shown(facts.raw), shown(facts.changes))
    };
    assert_eq!(cursors("b.000001", 500), ("b.000001:100".into(), "b.000001:500".into()));
    assert_eq!(cursors("b.000002", 70), ("b.000002:0".into(), "b.000002:70".into()));
}

#[test]
fn no_gap_moves_a_cursor_back() {
    let (state, last) = start();
    let first = commit(&last, 0, 100, "0-1-9");
    let state = state.apply(&first).unwrap();
    assert!(refused(&state, &asked(&first, "b.000001", 50)).contains("back"));
    assert!(refused(&state, &asked(&first, "b.000000", 900)).contains("back"));
}

#[test]
fn the_newest_consents_are_remembered_and_not_more_than_256() {
    let (mut state, mut last) = start();
    let value = |number: usize| format!("gap-{number}");
    for number in 0..MAX_CONSENTS + 3 {
        let consent = json!([{"kind": "acknowledgeGap", "value": value(number), "by": "test"}]);
        last = after(
            &last,
            json!({
                "kind": "gap", "consents": consent,
                "gap": {"id": value(number), "phase": "acknowledged", "reason": "BinlogPurged",
                        "from": point(0), "by": "test"}
            }),
        );
        state = state.apply(&last).unwrap();
    }
    let kept: Vec<_> = state.facts.consents.iter().map(|given| given.value.clone()).collect();
    assert_eq!(kept, (3..259).map(value).collect::<Vec<_>>());
}

#[test]
fn a_newer_kind_refuses_to_write() {
    let (state, last) = start();
    let state = state.apply(&after(&last, json!({"kind": "merge", "merge": {"x": 1}}))).unwrap();
    assert!(state.unwritable.unwrap().contains("merge"));
}

#[test]
fn fold_from_any_state_equals_fold_from_zero() {
    let (state, last) = start();
    let first = commit(&last, 0, 100, "0-1-9");
    let state = state.apply(&first).unwrap();
    let mut entry = commit(&first, 100, 200, "0-1-12").entry;
    let whole = state.apply(&stored(entry.clone())).unwrap();
    let mut snapshot = whole.facts.clone();
    snapshot.gtid.set = Some("0-1-12".into());
    entry.state = Some(Box::new(snapshot));
    let with_state = stored(entry.clone());
    let folded = state.apply(&with_state).unwrap();
    assert_eq!(State::begin(Flavor::MariaDB, &with_state).unwrap(), folded);
    // A state that says something else than the log before it is refused.
    entry.state.as_mut().unwrap().gap_count = 7;
    assert!(refused(&state, &stored(entry)).contains("state"));
}
