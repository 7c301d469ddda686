//! The committer: what waits for what, and what is never deleted.

use std::sync::Arc;
use std::time::Duration;

use archive::checkpoint::{
    Checkpoint, CheckpointStore, CheckpointStoreError, Keeper, KeeperSettings, Loaded,
    RecordContext, Replace, Saved,
};
use archive::commit::{
    Batch, ChangePart, ChangesBatch, CommitEnd, Committer, CommitterSettings, RawBatch, RawBytes,
    RawPart, Uploading,
};
use archive::entry::{GapBody, GapPhase, Point, Tail};
use archive::layout;
use archive::log::{Body, LogError, read_objects};
use archive::store::memory::MemoryStore;
use archive::store::{Store, StoreClass};
use bytes::Bytes;
use crds::conditions::Reason;
use crds::position::{Flavor, GtidSet};
use tokio_util::sync::CancellationToken;

use crate::common::faulty::{Deed, Faulty, Gate};
use crate::common::{FILE, LINEAGE, check, ready, take, until, whole_log};

const LIMIT: Duration = Duration::from_secs(10);

async fn committer(settings: CommitterSettings) -> (Faulty, Committer) {
    let view = Faulty::new(&MemoryStore::default());
    let log = ready(&view.shared(), "one").await;
    let committer = Committer::start(log, &settings, &CancellationToken::new());
    (view, committer)
}

async fn part(committer: &Committer, from: u64, to: u64) -> Uploading {
    let bytes = RawBytes::Plain(Bytes::from(vec![7; (to - from) as usize]));
    let (lineage, file) = (LINEAGE.to_owned(), FILE.to_owned());
    committer.upload_raw(RawPart { lineage, file, from, to, bytes }).await.unwrap()
}

fn point(pos: u64) -> Point {
    Point::new(LINEAGE, FILE, pos)
}

fn batch(from: u64, to: u64, parts: Vec<Uploading>) -> Batch {
    let raw = RawBatch { from: point(from), to: point(to), parts, closed: Vec::new(), head: None };
    let gtid = GtidSet::parse(Flavor::MariaDB, &format!("0-1-{}", to + 1)).unwrap();
    Batch { raw: Some(raw), gtid_added: Some(gtid), ..Batch::default() }
}

async fn submit(committer: &Committer, from: u64, to: u64) {
    let part = part(committer, from, to).await;
    committer.submit(batch(from, to, vec![part])).await.unwrap();
}

async fn durable_to(committer: &Committer, pos: u64) {
    let mut durable = committer.durable();
    let reached = durable.wait_for(|head| head.state.facts.raw.as_ref().unwrap().pos >= pos);
    tokio::time::timeout(LIMIT, reached).await.expect("not durable in time").unwrap();
}

#[tokio::test]
async fn an_entry_waits_for_all_its_objects() {
    let (view, committer) = committer(CommitterSettings::default()).await;
    let gate = Gate::default();
    view.next("put", "10-20", Deed::Hold(gate.clone()));
    let parts = vec![part(&committer, 0, 10).await, part(&committer, 10, 20).await];
    committer.submit(batch(0, 20, parts)).await.unwrap();
    until("the second part is under way", || gate.is_reached()).await;
    until("the first part is there", || view.inner.objects().keys().any(|k| k.contains("0-10.")))
        .await;
    assert_eq!(view.count("create", &layout::entry(2)), 0);
    let status = committer.status().borrow().clone();
    assert_eq!(status.pending_bytes, 20);
    assert!(status.oldest_pending.is_some());
    gate.release().await;
    durable_to(&committer, 20).await;
    assert_eq!(committer.status().borrow().pending_bytes, 0);
    check(&view.inner).await;
}

#[tokio::test]
async fn batches_behind_a_slow_entry_share_the_next_one() {
    let (view, committer) = committer(CommitterSettings::default()).await;
    let gate = Gate::default();
    view.next("create", &layout::entry(2), Deed::Hold(gate.clone()));
    submit(&committer, 0, 10).await;
    until("the entry is under way", || gate.is_reached()).await;
    for at in 1..4 {
        submit(&committer, at * 10, at * 10 + 10).await;
    }
    until("they are uploaded", || view.count("put", "raw/") == 4).await;
    // Nothing is durable before its entry.
    assert_eq!(committer.durable().borrow().state.n, 1);
    // Acknowledged, and seen to be so by the committer.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    gate.release().await;
    durable_to(&committer, 40).await;
    let log = whole_log(&view.inner).await;
    assert_eq!(log.len(), 4, "claim, lineage, the first batch, the other three");
    assert_eq!(log[3].entry.raw.as_ref().unwrap().objects.len(), 3);
    assert_eq!(log[3].entry.at.as_ref().unwrap().gtid.added, "0-1-41");
    check(&view.inner).await;
}

#[tokio::test]
async fn an_unknown_tail_is_not_that_of_the_batch_before() {
    let (view, committer) = committer(CommitterSettings::default()).await;
    let gate = Gate::default();
    view.next("create", &layout::entry(2), Deed::Hold(gate.clone()));
    submit(&committer, 0, 10).await;
    until("the entry is under way", || gate.is_reached()).await;
    let tail = Some(Tail { pos: 15, type_code: 16, length: 5, crc: 7 });
    let parts = vec![part(&committer, 10, 20).await];
    committer.submit(Batch { tail, ..batch(10, 20, parts) }).await.unwrap();
    submit(&committer, 20, 30).await;
    until("they are uploaded", || view.count("put", "raw/") == 3).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    gate.release().await;
    durable_to(&committer, 30).await;
    let log = whole_log(&view.inner).await;
    assert_eq!(log.len(), 4, "both are in one entry");
    assert_eq!(log[3].entry.at.as_ref().unwrap().tail, None);
}

#[tokio::test]
async fn nothing_is_durable_before_its_entry() {
    let (view, committer) = committer(CommitterSettings::default()).await;
    let gate = Gate::default();
    view.next("create", &layout::entry(2), Deed::Late(gate.clone()));
    let late = Gate::default();
    view.next("create", &layout::entry(2), Deed::Hold(late.clone()));
    submit(&committer, 0, 10).await;
    until("the second try is under way", || late.is_reached()).await;
    gate.release().await;
    assert_eq!(committer.durable().borrow().state.n, 1, "it exists, and nobody was told so");
    late.release().await;
    durable_to(&committer, 10).await;
    check(&view.inner).await;
}

#[tokio::test]
async fn a_fault_is_shown_while_it_lasts() {
    let (view, committer) = committer(CommitterSettings::default()).await;
    let gate = Gate::default();
    view.next("put", "raw/", Deed::Fail(StoreClass::Denied));
    view.next("put", "raw/", Deed::Hold(gate.clone()));
    submit(&committer, 0, 10).await;
    until("it is tried again", || gate.is_reached()).await;
    let fault = committer.status().borrow().fault.clone().unwrap();
    assert_eq!(fault.reason, Reason::ArchiveAccessDenied);
    gate.release().await;
    durable_to(&committer, 10).await;
    assert_eq!(committer.status().borrow().fault, None);
}

#[tokio::test]
async fn no_more_parts_are_held_than_allowed() {
    two_parts_of_10_bytes(CommitterSettings { uploads: 2, ..CommitterSettings::default() }).await;
}

#[tokio::test]
async fn parts_under_way_are_bounded_by_their_bytes() {
    two_parts_of_10_bytes(CommitterSettings { upload_bytes: 29, ..CommitterSettings::default() })
        .await;
}

async fn two_parts_of_10_bytes(settings: CommitterSettings) {
    let (view, committer) = committer(settings).await;
    let gates = [Gate::default(), Gate::default()];
    for gate in &gates {
        view.next("put", "raw/", Deed::Hold(gate.clone()));
    }
    let mut parts = vec![part(&committer, 0, 10).await, part(&committer, 10, 20).await];
    let third = tokio::time::timeout(Duration::from_millis(50), part(&committer, 20, 30)).await;
    assert!(third.is_err(), "a third part is not taken");
    for gate in &gates {
        until("it is under way", || gate.is_reached()).await;
        gate.release().await;
    }
    parts.push(part(&committer, 20, 30).await);
    committer.submit(batch(0, 30, parts)).await.unwrap();
    durable_to(&committer, 30).await;
}

#[tokio::test]
async fn a_part_begun_before_the_last_entrys_is_refused() {
    let (view, committer) = committer(CommitterSettings::default()).await;
    let (second, first) = (part(&committer, 10, 20).await, part(&committer, 0, 10).await);
    committer.submit(batch(0, 10, vec![first])).await.unwrap();
    durable_to(&committer, 10).await;
    committer.submit(batch(10, 20, vec![second])).await.unwrap();
    let mut ended = committer.ended();
    let end = tokio::time::timeout(LIMIT, ended.wait_for(Option::is_some)).await.unwrap();
    assert!(matches!(&*end.unwrap(), Some(CommitEnd::Log(LogError::Refused(_)))));
    assert_eq!(check(&view.inner).await.n, 2);
}

#[tokio::test]
async fn a_long_list_of_objects_stands_outside_the_entry() {
    let (view, committer) = committer(CommitterSettings::default()).await;
    let mut parts = Vec::new();
    for at in 0..600 {
        parts.push(part(&committer, at, at + 1).await);
    }
    committer.submit(batch(0, 600, parts)).await.unwrap();
    durable_to(&committer, 600).await;
    let log = whole_log(&view.inner).await;
    let entry = &log[2].entry;
    assert!(entry.list.is_some() && entry.raw.as_ref().unwrap().objects.is_empty());
    assert_eq!(read_objects(&view.inner, entry).await.unwrap().raw.len(), 600);
    check(&view.inner).await;
}

#[tokio::test]
async fn change_files_go_under_the_day_of_their_cut() {
    let view = Faulty::new(&MemoryStore::default());
    let opened = crate::common::opened(&view.shared(), "one").await.unwrap();
    let mut request = crate::common::claim_request();
    request.config.changes = true;
    let token = CancellationToken::new();
    let mut log = opened.claim(request, &archive::log::NoObserver, &token).await.unwrap().log;
    crate::common::append(&mut log, crate::common::lineage()).await.unwrap();
    let committer = Committer::start(log, &CommitterSettings::default(), &token);
    let file = ChangePart {
        bytes: Bytes::from_static(b"PAR1"),
        rows: 3,
        min_time_us: 1,
        max_time_us: 2,
        date: None,
    };
    let file = committer.upload_change(file).await.unwrap();
    let changes = ChangesBatch {
        from: point(4),
        to: point(10),
        parts: vec![file],
        transactions: 1,
        schemas: vec!["ab12".to_owned()],
    };
    let raw = part(&committer, 0, 10).await;
    let whole = Batch { changes: Some(changes), ..batch(0, 10, vec![raw]) };
    committer.submit(whole).await.unwrap();
    durable_to(&committer, 10).await;
    let log = whole_log(&view.inner).await;
    let span = log[2].entry.changes.clone().unwrap();
    let (file, day) = (&span.files[0], layout::day(jiff::Timestamp::now()));
    assert!(file.date <= day && file.path.starts_with(&format!("date={}/1-", file.date)));
    assert_eq!((span.rows, span.transactions), (3, 1));
    check(&view.inner).await;
}

#[tokio::test]
async fn abandoned_parts_are_deleted() {
    let (view, committer) = committer(CommitterSettings::default()).await;
    let abandoned = part(&committer, 0, 10).await;
    let key = abandoned.key().to_owned();
    committer.abandon(vec![abandoned]);
    until("it is deleted", || view.count("delete", &key) == 1).await;
    submit(&committer, 0, 20).await;
    durable_to(&committer, 20).await;
    assert!(!view.inner.objects().contains_key(&key));
    check(&view.inner).await;
}

#[tokio::test]
async fn a_fenced_writer_deletes_nothing() {
    let (view, committer) = committer(CommitterSettings::default()).await;
    let abandoned = part(&committer, 0, 10).await;
    take(&Faulty::new(&view.inner).shared(), "two").await;
    submit(&committer, 0, 10).await;
    let mut ended = committer.ended();
    let end = tokio::time::timeout(LIMIT, ended.wait_for(Option::is_some)).await.unwrap();
    let end = end.unwrap().clone();
    assert!(matches!(end, Some(CommitEnd::Fenced(ref by)) if by.instance == "two"), "{end:?}");
    committer.abandon(vec![abandoned]);
    assert!(committer.submit(Batch::default()).await.is_err());
    let end = committer.drain(LIMIT).await;
    assert!(matches!(end, CommitEnd::Fenced(_)));
    assert_eq!(view.count("delete", ""), 0);
    check(&view.inner).await;
}

#[tokio::test]
async fn other_entries_keep_their_turn_and_a_refused_one_harms_nothing() {
    let (view, committer) = committer(CommitterSettings::default()).await;
    submit(&committer, 0, 10).await;
    let elsewhere = Point { file: "binlog.000009".to_owned(), ..point(0) };
    let gap = |phase| GapBody {
        id: "g1".to_owned(),
        phase,
        reason: Reason::BinlogPurged.to_string(),
        from: point(10),
        to: Some(elsewhere.clone()),
        missing: None,
        by: "onGap".to_owned(),
    };
    let detected = Body::gap(gap(GapPhase::Detected), None, Vec::new());
    assert_eq!(committer.append(detected).await.unwrap().state.n, 3);
    let nowhere = GapBody { to: None, ..gap(GapPhase::Passed) };
    let refused = committer.append(Body::gap(nowhere, None, Vec::new())).await.unwrap_err();
    assert!(matches!(refused, LogError::Refused(_)), "{refused}");
    let missing = GtidSet::parse(Flavor::MariaDB, "0-1-40").unwrap();
    let passed = Body::gap(gap(GapPhase::Passed), Some(missing), Vec::new());
    let state = committer.append(passed).await.unwrap().state;
    assert_eq!(
        (state.facts.raw.clone(), state.gtid.to_string().as_str()),
        (Some(elsewhere), "0-1-40")
    );
    let read = committer.entries().read(0, 4).await.unwrap();
    assert_eq!(read.iter().map(|stored| stored.entry.n).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert!(matches!(committer.drain(LIMIT).await, CommitEnd::Drained));
    drop(view);
}

#[tokio::test]
async fn drain_commits_all_that_was_submitted_or_gives_up_in_time() {
    let (view, waits) = committer(CommitterSettings::default()).await;
    for at in 0..5 {
        submit(&waits, at * 10, at * 10 + 10).await;
    }
    assert!(matches!(waits.drain(LIMIT).await, CommitEnd::Drained));
    assert_eq!(check(&view.inner).await.facts.raw.unwrap().pos, 50);

    let (view, stuck) = committer(CommitterSettings::default()).await;
    view.next("put", "raw/", Deed::Hold(Gate::default()));
    submit(&stuck, 0, 10).await;
    assert!(matches!(stuck.drain(Duration::from_millis(50)).await, CommitEnd::Cancelled));
    check(&view.inner).await;
}

#[tokio::test]
async fn the_hint_follows_the_head_and_an_idle_writer_learns_of_its_fence() {
    let settings = CommitterSettings {
        hint_entries: 2,
        hint_idle: Duration::from_millis(20),
        ..CommitterSettings::default()
    };
    let (view, committer) = committer(settings).await;
    submit(&committer, 0, 10).await;
    until("an idle writer shows itself", || view.count("put", layout::HEAD_HINT) >= 2).await;
    take(&Faulty::new(&view.inner).shared(), "two").await;
    let mut ended = committer.ended();
    let end = tokio::time::timeout(LIMIT, ended.wait_for(Option::is_some)).await.unwrap();
    assert!(matches!(&*end.unwrap(), Some(CommitEnd::Fenced(_))));
    let shown = view.count("put", layout::HEAD_HINT);
    assert!(matches!(committer.drain(LIMIT).await, CommitEnd::Fenced(_)));
    assert_eq!(view.count("put", layout::HEAD_HINT), shown, "a fenced writer shows nothing");
}

/// A keeper that saves at once.
fn eager(drain_limit: Duration) -> KeeperSettings {
    KeeperSettings {
        interval: Duration::from_millis(5),
        context: RecordContext::default(),
        replace: Replace::Older,
        drain_limit,
    }
}

/// A checkpoint store that is down at first, or only loses its first replies.
struct Down {
    inner: archive::checkpoint::FileStore,
    left: std::sync::atomic::AtomicU32,
    saves: bool,
}

#[async_trait::async_trait]
impl CheckpointStore for Down {
    async fn load(&self) -> Result<Loaded, CheckpointStoreError> {
        self.inner.load().await
    }
    async fn save(
        &self,
        record: &Checkpoint,
        replace: Replace,
    ) -> Result<Saved, CheckpointStoreError> {
        use std::sync::atomic::Ordering;
        let down = |left: u32| left.checked_sub(1);
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, down).is_ok() {
            if self.saves {
                self.inner.save(record, replace).await?;
            }
            return Err(CheckpointStoreError::new(Reason::CheckpointUnreachable, "write", "down"));
        }
        self.inner.save(record, replace).await
    }
    fn describe(&self) -> String {
        "down".to_owned()
    }
}

#[tokio::test]
async fn the_archive_goes_on_without_its_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let inner = archive::checkpoint::FileStore::new(directory.path().join("checkpoint.json"));
    let store = Arc::new(Down { inner: inner.clone(), left: 2.into(), saves: false });
    let (view, committer) = committer(CommitterSettings::default()).await;
    let keeper = Keeper::start(store, committer.durable(), eager(LIMIT));
    let mut status = keeper.status();
    status.wait_for(|status| status.fault.is_some()).await.unwrap();
    submit(&committer, 0, 10).await;
    durable_to(&committer, 10).await;
    let saved = status.wait_for(|status| status.n == Some(2) && status.fault.is_none());
    tokio::time::timeout(LIMIT, saved).await.expect("not saved in time").unwrap();
    submit(&committer, 10, 20).await;
    durable_to(&committer, 20).await;
    keeper.drain().await;
    let Loaded::Found(found) = inner.load().await.unwrap() else { panic!("no checkpoint") };
    let state = check(&view.inner).await;
    assert_eq!((found.n, found.digest, found.pos), (state.n, state.digest.clone(), 20));
    assert!(view.inner.get(&layout::entry(3)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_checkpoint_whose_reply_was_lost_is_no_conflict() {
    let directory = tempfile::tempdir().unwrap();
    let inner = archive::checkpoint::FileStore::new(directory.path().join("checkpoint.json"));
    let store = Arc::new(Down { inner, left: 1.into(), saves: true });
    let (_view, committer) = committer(CommitterSettings::default()).await;
    let keeper = Keeper::start(store, committer.durable(), eager(LIMIT));
    let mut status = keeper.status();
    status.wait_for(|status| status.fault.is_some()).await.unwrap();
    let saved = status.wait_for(|status| status.n == Some(1) || status.fault.is_none());
    let status =
        tokio::time::timeout(LIMIT, saved).await.expect("settled in time").unwrap().clone();
    assert_eq!((status.n, status.fault), (Some(1), None));
    keeper.drain().await;
}

#[tokio::test]
async fn a_store_that_hangs_within_a_call_holds_up_no_end() {
    let settings =
        CommitterSettings { end_limit: Duration::from_millis(20), ..CommitterSettings::default() };
    let (view, committer) = committer(settings).await;
    let (gate, abandoned) = (Gate::default(), part(&committer, 0, 10).await);
    view.next("delete", "raw/", Deed::Hold(gate.clone()));
    committer.abandon(vec![abandoned]);
    until("the delete is under way", || gate.is_reached()).await;
    let drained = tokio::time::timeout(LIMIT, committer.drain(LIMIT)).await;
    assert!(matches!(drained.expect("drained in time"), CommitEnd::Drained));
}

/// A checkpoint store that never answers.
struct Silent;

#[async_trait::async_trait]
impl CheckpointStore for Silent {
    async fn load(&self) -> Result<Loaded, CheckpointStoreError> {
        std::future::pending().await
    }
    async fn save(&self, _: &Checkpoint, _: Replace) -> Result<Saved, CheckpointStoreError> {
        std::future::pending().await
    }
    fn describe(&self) -> String {
        "silent".to_owned()
    }
}

#[tokio::test]
async fn a_checkpoint_store_that_never_answers_holds_up_no_end() {
    let (_view, committer) = committer(CommitterSettings::default()).await;
    let settings = eager(Duration::from_millis(20));
    let keeper = Keeper::start(Arc::new(Silent), committer.durable(), settings);
    tokio::time::timeout(LIMIT, keeper.drain()).await.expect("drained in time");
}
