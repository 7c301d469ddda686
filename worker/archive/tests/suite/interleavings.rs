//! Writers against each other, one step at a time: each with the reply lost and with the request
//! delayed until after the other's step.

use std::sync::Arc;
use std::time::Duration;

use crate::common::faulty::{Deed, Faulty, Gate, TwoSteps};
use crate::common::{append, check, claim, commit, next_commit, opened, ready, take};
use archive::claim::ClaimError;
use archive::entry::Entry;
use archive::layout;
use archive::log::LogError;
use archive::open::OpenError;
use archive::probe::{ProbeError, probe};
use archive::store::memory::MemoryStore;
use archive::store::{Store, StoreClass};
use archive::sweep::sweep;
use bytes::Bytes;
use crds::conditions::Reason;

fn writers(count: usize) -> (MemoryStore, Vec<Faulty>) {
    let memory = MemoryStore::default();
    let views = (0..count).map(|_| Faulty::new(&memory)).collect();
    (memory, views)
}

fn is_fenced(error: &LogError) -> bool {
    matches!(error, LogError::Fenced { .. })
}

#[tokio::test]
async fn a_claim_that_wins_the_number_fences_the_older_writer() {
    let (memory, w) = writers(2);
    let mut one = ready(&w[0].shared(), "one").await;
    commit(&mut one, 0).await.unwrap();
    let two = take(&w[1].shared(), "two").await;
    let late = commit(&mut one, 1).await.unwrap_err();
    assert!(is_fenced(&late), "{late}");
    assert_eq!(late.reason(), Reason::Fenced);
    let state = check(&memory).await;
    assert_eq!((state.epoch, state.n), (2, two.state().n));
}

#[tokio::test]
async fn a_commit_that_slips_in_before_the_claim_is_adopted() {
    let (memory, w) = writers(2);
    let mut one = ready(&w[0].shared(), "one").await;
    let two = opened(&w[1].shared(), "two").await.unwrap();
    commit(&mut one, 0).await.unwrap();
    commit(&mut one, 1).await.unwrap();
    let claimed = claim(two).await.unwrap();
    assert_eq!(claimed.adopted, 2);
    assert_eq!(claimed.log.state().facts.raw.as_ref().unwrap().pos, 20);
    assert!(is_fenced(&commit(&mut one, 2).await.unwrap_err()));
    check(&memory).await;
}

#[tokio::test]
async fn an_ambiguous_create_sends_the_same_bytes() {
    for class in [StoreClass::Transient, StoreClass::Throttled, StoreClass::Denied] {
        let (memory, w) = writers(1);
        let mut one = ready(&w[0].shared(), "one").await;
        w[0].next("create", "log/", Deed::LoseReply);
        w[0].next("create", "log/", Deed::Fail(class));
        commit(&mut one, 0).await.unwrap();
        let state = check(&memory).await;
        assert_eq!(state.n, 2, "the entry is there once");
    }
}

#[tokio::test]
async fn a_late_create_is_mine() {
    let (memory, w) = writers(1);
    let mut one = ready(&w[0].shared(), "one").await;
    let gate = Gate::default();
    w[0].next("create", "log/", Deed::Late(gate.clone()));
    commit(&mut one, 0).await.unwrap();
    gate.release().await;
    commit(&mut one, 1).await.unwrap();
    assert_eq!(check(&memory).await.n, 3);
}

#[tokio::test]
async fn a_create_that_arrives_after_the_other_found_nothing_is_adopted_or_lost() {
    // Interleaving b: the request is under way while the other looks for the head.
    let (memory, w) = writers(2);
    let mut one = ready(&w[0].shared(), "one").await;
    let gate = Gate::default();
    w[0].next("create", "log/", Deed::Hold(gate.clone()));
    let body = next_commit(&one, 0).await;
    let writing = tokio::spawn(async move { append(&mut one, body).await });
    crate::common::until("the create is under way", || gate.is_reached()).await;
    let two = opened(&w[1].shared(), "two").await.unwrap();
    gate.release().await;
    writing.await.unwrap().unwrap();
    let claimed = claim(two).await.unwrap();
    assert_eq!(claimed.adopted, 1);
    check(&memory).await;

    // And the other way round: the claim is there first, the request lands after it.
    let (memory, w) = writers(2);
    let mut one = ready(&w[0].shared(), "one").await;
    let gate = Gate::default();
    w[0].next("create", "log/", Deed::Hold(gate.clone()));
    let body = next_commit(&one, 0).await;
    let writing = tokio::spawn(async move { append(&mut one, body).await });
    crate::common::until("the create is under way", || gate.is_reached()).await;
    take(&w[1].shared(), "two").await;
    gate.release().await;
    assert!(is_fenced(&writing.await.unwrap().unwrap_err()));
    check(&memory).await;
}

#[tokio::test]
async fn a_stopped_writer_that_wakes_changes_nothing() {
    // Interleaving c: one sleeps before its upload, before its entry, or with its entry sent.
    for asleep in 0..3 {
        let (memory, w) = writers(2);
        let mut one = ready(&w[0].shared(), "one").await;
        commit(&mut one, 0).await.unwrap();
        let body = next_commit(&one, 1).await;
        let gate = Gate::default();
        if asleep == 2 {
            w[0].next("create", "log/", Deed::Late(gate.clone()));
        }
        let mut two = take(&w[1].shared(), "two").await;
        for seq in 0..3 {
            commit(&mut two, seq).await.unwrap();
        }
        let alone = check(&memory).await;
        let error = match asleep {
            0 => commit(&mut one, 2).await.unwrap_err(),
            _ => append(&mut one, body).await.unwrap_err(),
        };
        if asleep == 2 {
            gate.release().await;
        }
        assert!(is_fenced(&error), "{error}");
        assert_eq!(check(&memory).await, alone);
    }
}

#[tokio::test]
async fn a_sweep_during_uploads_of_the_next_writer_harms_nothing() {
    // Interleaving d: the sweeper is itself outdated by the time it deletes.
    let (memory, w) = writers(3);
    let mut one = ready(&w[0].shared(), "one").await;
    commit(&mut one, 0).await.unwrap();
    let orphan = next_commit(&one, 7).await.raw.unwrap().objects.remove(0).key;
    let two = take(&w[1].shared(), "two").await;
    let mut three = take(&w[2].shared(), "three").await;
    let pending = next_commit(&three, 0).await;
    let swept = sweep(&**two.store(), two.state()).await.unwrap();
    assert_eq!((swept.deleted, swept.left), (1, 0));
    assert!(!memory.objects().contains_key(&orphan));
    append(&mut three, pending).await.unwrap();
    check(&memory).await;
    // The dead writer's upload that lands after the sweep is never named.
    memory.put(&orphan, Bytes::from_static(b"late")).await.unwrap();
    check(&memory).await;
}

#[tokio::test]
async fn a_sweep_leaves_what_is_named() {
    let (memory, w) = writers(2);
    let mut one = ready(&w[0].shared(), "one").await;
    for seq in 0..5 {
        commit(&mut one, seq).await.unwrap();
    }
    let before = memory.objects().len();
    let two = take(&w[1].shared(), "two").await;
    let swept = sweep(&**two.store(), two.state()).await.unwrap();
    assert_eq!((swept.listed, swept.deleted), (5, 0));
    assert_eq!(memory.objects().len(), before + 1, "the claim came, nothing went");
    check(&memory).await;
}

#[tokio::test]
async fn what_a_long_lived_or_often_crashed_writer_left_is_swept() {
    // More entries than a sweep reads, so that the epoch's claim is not among them.
    let (memory, w) = writers(2);
    let mut one = ready(&w[0].shared(), "one").await;
    for seq in 0..2_100 {
        commit(&mut one, seq).await.unwrap();
    }
    let orphan = next_commit(&one, 2_100).await.raw.unwrap().objects.remove(0).key;
    // Claims of lives that ended before their sweep.
    for _ in 0..6 {
        take(&w[1].shared(), "two").await;
    }
    let two = take(&w[1].shared(), "two").await;
    let named = memory.objects().len();
    let swept = sweep(&**two.store(), two.state()).await.unwrap();
    assert_eq!((swept.deleted, swept.left), (1, 0));
    assert!(!memory.objects().contains_key(&orphan));
    assert_eq!(memory.objects().len(), named - 1);
    check(&memory).await;
}

#[tokio::test]
async fn of_many_claims_at_once_one_wins() {
    for lost_replies in [false, true] {
        let (memory, w) = writers(3);
        let mut one = ready(&w[0].shared(), "zero").await;
        commit(&mut one, 0).await.unwrap();
        let mut all = Vec::new();
        for (at, view) in w.iter().enumerate() {
            if lost_replies {
                view.next("create", "log/", Deed::LoseReply);
            }
            all.push(opened(&view.shared(), &format!("w{at}")).await.unwrap());
        }
        let claims = futures::future::join_all(all.into_iter().map(claim)).await;
        let won = claims.iter().filter(|claimed| claimed.is_ok()).count();
        assert_eq!(won, 1);
        for error in claims.into_iter().filter_map(Result::err) {
            assert_eq!(error.reason(), Reason::Fenced, "{error}");
        }
        assert_eq!(check(&memory).await.epoch, 2);
    }
}

#[tokio::test]
async fn new_archives_are_made_once() {
    let (memory, w) = writers(3);
    let mut all = Vec::new();
    for (at, view) in w.iter().enumerate() {
        view.next("create", "stream.json", Deed::LoseReply);
        all.push(opened(&view.shared(), &format!("w{at}")).await.unwrap());
    }
    let claims = futures::future::join_all(all.into_iter().map(claim)).await;
    assert_eq!(claims.iter().filter(|claimed| claimed.is_ok()).count(), 1);
    assert_eq!(check(&memory).await.epoch, 1);
}

#[tokio::test]
async fn a_claim_is_the_first_write() {
    let (memory, w) = writers(1);
    let one = opened(&w[0].shared(), "one").await.unwrap();
    assert!(memory.objects().is_empty(), "opening writes nothing");
    claim(one).await.unwrap();
    let keys: Vec<String> = memory.objects().into_keys().collect();
    assert_eq!(keys, [layout::entry(0), layout::STREAM_JSON.to_owned()]);
}

#[tokio::test]
async fn an_ambiguous_claim_is_mine_or_not_but_never_both() {
    let (memory, w) = writers(2);
    let one = opened(&w[0].shared(), "one").await.unwrap();
    let two = opened(&w[1].shared(), "two").await.unwrap();
    let gate = Gate::default();
    w[0].next("create", "log/", Deed::Hold(gate.clone()));
    let claiming = tokio::spawn(claim(one));
    crate::common::until("the claim is under way", || gate.is_reached()).await;
    claim(two).await.unwrap();
    gate.release().await;
    let lost = claiming.await.unwrap().err().unwrap();
    assert!(matches!(lost, ClaimError::Log(LogError::Fenced { .. })), "{lost}");
    assert_eq!(check(&memory).await.holder(), Some("two"));
}

#[tokio::test]
async fn a_superseded_instance_waits_for_fifteen_silent_minutes() {
    // Interleaving f, with the store's clock at 14 and at 16 minutes.
    let (memory, w) = writers(2);
    ready(&w[0].shared(), "pod").await;
    take(&w[1].shared(), "by-hand").await;
    memory.advance(Duration::from_mins(14));
    let early = opened(&w[0].shared(), "pod").await.unwrap_err();
    assert!(matches!(early, OpenError::Superseded { .. }), "{early}");
    // The holder is idle and says so.
    memory.put(layout::HEAD_HINT, Bytes::from_static(b"{}")).await.unwrap();
    memory.advance(Duration::from_mins(2));
    assert!(opened(&w[0].shared(), "pod").await.is_err());
    memory.advance(Duration::from_mins(14));
    take(&w[0].shared(), "pod").await;
    // The same pod after a crash, and a new one, come in at once.
    take(&w[0].shared(), "pod").await;
    take(&w[1].shared(), "new-pod").await;
    assert_eq!(check(&memory).await.epoch, 5);
}

#[tokio::test]
async fn a_remembered_fence_outlives_the_list_of_holders() {
    let (_memory, w) = writers(1);
    for holder in 0..10 {
        take(&w[0].shared(), &format!("pod-{holder}")).await;
    }
    let mut request = crate::common::request("pod-0");
    let store = w[0].shared();
    request.fenced_before = true;
    let loaded = archive::checkpoint::Loaded::Absent;
    let found = archive::open(Arc::clone(&store), &loaded, request).await;
    assert!(matches!(found, Err(OpenError::Superseded { .. })));
}

#[tokio::test]
async fn a_claim_delayed_from_a_life_before_is_adopted() {
    // The same pod crashed with its claim under way and claims again.
    let (memory, w) = writers(1);
    let mut one = ready(&w[0].shared(), "one").await;
    commit(&mut one, 0).await.unwrap();
    let before = opened(&w[0].shared(), "one").await.unwrap();
    let again = opened(&w[0].shared(), "one").await.unwrap();
    claim(before).await.unwrap();
    let claimed = claim(again).await.unwrap();
    assert_eq!((claimed.adopted, claimed.log.epoch()), (1, 3));
    check(&memory).await;
}

#[tokio::test]
async fn foreign_bytes_at_my_number_are_a_conflict() {
    let (memory, w) = writers(1);
    let mut one = ready(&w[0].shared(), "one").await;
    let mut forged = Entry::from_bytes(&memory.objects()[&layout::entry(1)]).unwrap();
    forged.n = 2;
    memory.put(&layout::entry(2), forged.to_bytes().unwrap()).await.unwrap();
    let error = commit(&mut one, 0).await.unwrap_err();
    assert!(matches!(error, LogError::Conflict { n: 2, .. }), "{error}");
    assert_eq!(error.reason(), Reason::LogConflict);
}

#[tokio::test]
async fn every_kind_of_put_survives_every_kind_of_bad_answer() {
    // Interleaving i, for stream.json, claim, lineage and commit.
    let bad = [
        Deed::LoseReply,
        Deed::Fail(StoreClass::Transient),
        Deed::Fail(StoreClass::Unreachable),
        Deed::Fail(StoreClass::Denied),
        Deed::Fail(StoreClass::Unexpected),
    ];
    for deed in bad {
        let (memory, w) = writers(1);
        w[0].next("create", "stream.json", deed.clone());
        for n in 0..4 {
            w[0].next("create", &layout::entry(n), deed.clone());
        }
        let mut one = ready(&w[0].shared(), "one").await;
        commit(&mut one, 0).await.unwrap();
        commit(&mut one, 1).await.unwrap();
        assert_eq!(check(&memory).await.n, 3);
    }
}

#[tokio::test]
async fn a_failed_fsync_ends_the_log() {
    let (_memory, w) = writers(1);
    let mut one = ready(&w[0].shared(), "one").await;
    w[0].next("create", "log/", Deed::Fail(StoreClass::Fsync));
    assert!(matches!(commit(&mut one, 0).await, Err(LogError::Store(_))));
    assert!(commit(&mut one, 1).await.is_err(), "nothing is sent after an unknown outcome");
}

#[tokio::test]
async fn a_bad_batch_is_refused_before_it_is_sent() {
    let (memory, w) = writers(1);
    let mut one = ready(&w[0].shared(), "one").await;
    let mut body = next_commit(&one, 0).await;
    if let Some(raw) = &mut body.raw {
        raw.from.pos += 1;
    }
    let before = w[0].count("create", "log/");
    assert!(matches!(append(&mut one, body).await, Err(LogError::Refused(_))));
    assert_eq!(w[0].count("create", "log/"), before);
    assert_eq!(memory.objects().keys().filter(|key| key.starts_with("log/")).count(), 2);
}

#[tokio::test]
async fn a_store_that_checks_and_then_writes_is_refused() {
    let store: Arc<dyn Store> = Arc::new(TwoSteps::default());
    let refused = probe(&store).await.unwrap_err();
    assert!(matches!(refused, ProbeError::NotExclusive { .. }), "{refused}");
    assert_eq!(refused.reason(), Reason::FencingUnsupported);
    let (memory, w) = writers(1);
    w[0].next("create", ".probe/", Deed::LoseReply);
    probe(&w[0].shared()).await.unwrap();
    assert!(memory.objects().is_empty(), "the probe cleans up");
}

#[tokio::test]
async fn the_fence_check_sees_a_higher_claim_and_nothing_else() {
    let (_memory, w) = writers(2);
    let mut one = ready(&w[0].shared(), "one").await;
    let fence = one.fence();
    commit(&mut one, 0).await.unwrap();
    assert_eq!(fence.check(one.state().n - 1).await.unwrap(), None, "its own entry");
    assert_eq!(fence.check(one.state().n).await.unwrap(), None);
    take(&w[1].shared(), "two").await;
    let by = fence.check(one.state().n).await.unwrap().unwrap();
    assert_eq!((by.instance.as_str(), by.epoch), ("two", 2));
}
