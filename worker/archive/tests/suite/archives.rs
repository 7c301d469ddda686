//! Archives and checkpoints that contradict each other, or are not what they should be.

use std::error::Error as _;
use std::sync::Arc;

use crate::common::faulty::{Deed, Faulty, Gate};
use crate::common::{claim, claim_request, commit, owner, ready, request, take};
use archive::checkpoint::{
    CheckpointStore, FileStore, Loaded, RecordContext, Replace, Saved, record,
};
use archive::entry::Entry;
use archive::layout;
use archive::open::{CheckpointVerdict, OpenError, Opened, open};
use archive::store::memory::MemoryStore;
use archive::store::{Store, StoreClass};
use bytes::Bytes;
use crds::checkpoint::Checkpoint;
use crds::conditions::Reason;

/// An archive of `commits` commits, and the checkpoint of its head.
async fn archive(commits: u64) -> (MemoryStore, Faulty, Checkpoint) {
    let memory = MemoryStore::default();
    let view = Faulty::new(&memory);
    let mut log = ready(&view.shared(), "one").await;
    for seq in 0..commits {
        commit(&mut log, seq).await.unwrap();
    }
    let saved = record(log.state(), &RecordContext::default()).unwrap();
    (memory, view, saved)
}

async fn open_with(view: &Faulty, loaded: Loaded) -> Result<Opened, OpenError> {
    open(view.shared(), &loaded, request("two")).await
}

#[tokio::test]
async fn a_checkpoint_is_behind_current_absent_or_bad_without_harm() {
    let (_, view, saved) = archive(3).await;
    let verdict = |opened: Opened| opened.checkpoint;
    let current = open_with(&view, Loaded::Found(saved.clone())).await.unwrap();
    assert_eq!(verdict(current), CheckpointVerdict::Current);
    let digest = crate::common::whole_log(&view.inner).await[2].digest.clone();
    let older = Checkpoint { n: 2, digest, ..saved };
    let behind = open_with(&view, Loaded::Found(older)).await.unwrap();
    assert_eq!(verdict(behind), CheckpointVerdict::Behind(2));
    assert_eq!(verdict(open_with(&view, Loaded::Absent).await.unwrap()), CheckpointVerdict::Absent);
    let torn = open_with(&view, Loaded::Bad("torn".into())).await.unwrap();
    assert_eq!(verdict(torn), CheckpointVerdict::Rebuilt("torn".into()));
}

#[tokio::test]
async fn a_checkpoint_ahead_of_the_log_stops() {
    let (memory, view, saved) = archive(3).await;
    memory.delete(&layout::entry(saved.n)).await.unwrap();
    let stopped = open_with(&view, Loaded::Found(saved.clone())).await.unwrap_err();
    assert_eq!(stopped.reason(), Reason::ArchiveBehindCheckpoint, "{stopped}");
    let consent = format!("{}@{}", saved.archive, saved.n - 1);
    assert!(stopped.to_string().contains(&consent), "the message names the consent: {stopped}");
    let mut with = request("two");
    with.accept_archive = Some(format!("{}@{}", saved.archive, saved.n));
    let wrong = open(view.shared(), &Loaded::Found(saved.clone()), with.clone()).await;
    assert!(wrong.is_err(), "a consent to another state is none");
    with.accept_archive = Some(consent);
    let opened = open(view.shared(), &Loaded::Found(saved), with).await.unwrap();
    assert_eq!(opened.checkpoint, CheckpointVerdict::Replaced);
    let claimed = claim(opened).await.unwrap();
    assert!(claimed.replace_checkpoint);
    assert_eq!(claimed.log.state().facts.consents.len(), 1, "the log holds the consent");
}

#[tokio::test]
async fn a_checkpoint_of_another_archive_stops() {
    let (_, view, saved) = archive(1).await;
    let other = Checkpoint { archive: uuid::Uuid::new_v4(), ..saved.clone() };
    let stopped = open_with(&view, Loaded::Found(other)).await.unwrap_err();
    assert_eq!(stopped.reason(), Reason::ArchiveForked, "{stopped}");
    let forked = Checkpoint { digest: "00".into(), ..saved };
    let stopped = open_with(&view, Loaded::Found(forked)).await.unwrap_err();
    assert_eq!(stopped.reason(), Reason::ArchiveForked, "{stopped}");
}

#[tokio::test]
async fn an_emptied_archive_stops() {
    let (_, _, saved) = archive(1).await;
    let empty = Faulty::new(&MemoryStore::default());
    let stopped = open_with(&empty, Loaded::Found(saved)).await.unwrap_err();
    assert_eq!(stopped.reason(), Reason::ArchiveBehindCheckpoint, "{stopped}");
    assert!(empty.inner.objects().is_empty(), "and nothing was written");
}

#[tokio::test]
async fn a_refusal_is_never_a_new_archive() {
    for key in ["stream.json", "_head.json", "log/"] {
        let (_, view, _) = archive(2).await;
        view.next("get", key, Deed::Fail(StoreClass::Denied));
        let error = open_with(&view, Loaded::Absent).await.unwrap_err();
        assert_eq!(error.reason(), Reason::ArchiveAccessDenied, "{key}: {error}");
    }
}

#[tokio::test]
async fn the_head_is_found_without_hint_with_a_wrong_one_and_with_a_stale_listing() {
    let (memory, view, saved) = archive(40).await;
    let head = |opened: Opened| opened.state().unwrap().n;
    assert_eq!(head(open_with(&view, Loaded::Absent).await.unwrap()), saved.n);
    for hint in [r#"{"format":1,"n":999,"epoch":1,"instance":"x"}"#, "torn"] {
        memory.put(layout::HEAD_HINT, Bytes::from(hint)).await.unwrap();
        assert_eq!(head(open_with(&view, Loaded::Absent).await.unwrap()), saved.n);
    }
    view.next("list", "log/", Deed::Hold(Gate::default()));
    assert_eq!(head(open_with(&view, Loaded::Absent).await.unwrap()), saved.n);
}

#[tokio::test]
async fn a_forged_or_missing_middle_entry_stops() {
    let (memory, view, saved) = archive(5).await;
    let whole = memory.objects()[&layout::entry(3)].clone();
    let mut forged = Entry::from_bytes(&whole).unwrap();
    forged.extra.insert("note".into(), "forged".into());
    memory.put(&layout::entry(3), forged.to_bytes().unwrap()).await.unwrap();
    let error = open_with(&view, Loaded::Absent).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ArchiveDamaged, "{error}");
    memory.delete(&layout::entry(3)).await.unwrap();
    let error = open_with(&view, Loaded::Found(saved)).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ArchiveDamaged, "{error}");
}

#[tokio::test]
async fn a_word_of_a_newer_version_is_no_damage() {
    let (memory, view, saved) = archive(2).await;
    let key = layout::entry(saved.n);
    let mut entry: serde_json::Value = serde_json::from_slice(&memory.objects()[&key]).unwrap();
    entry["writer"]["version"] = "7.0.0".into();
    entry["consents"] = serde_json::json!([{"kind": "fly", "value": "v", "by": "annotation"}]);
    memory.put(&key, Bytes::from(entry.to_string())).await.unwrap();
    let before = memory.objects();
    let error = open_with(&view, Loaded::Absent).await.unwrap_err();
    let said = error.source().map(ToString::to_string).unwrap_or_default();
    assert_eq!(error.reason(), Reason::FormatUnsupported, "{said}");
    assert!(said.contains("7.0.0") && said.contains("fly"), "{said}");
    assert_eq!(memory.objects(), before, "nothing was written");
    // Torn, it has no head either.
    memory.put(&key, before[&key].slice(..100)).await.unwrap();
    let error = open_with(&view, Loaded::Absent).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ArchiveDamaged, "{error}");
}

#[tokio::test]
async fn a_missing_object_of_the_newest_entry_stops() {
    let (memory, view, _) = archive(2).await;
    let newest = memory.objects().into_keys().rfind(|key| key.starts_with("raw/")).unwrap();
    memory.delete(&newest).await.unwrap();
    let error = open_with(&view, Loaded::Absent).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ArchiveDamaged, "{error}");
}

#[tokio::test]
async fn a_log_without_its_identity_stops() {
    let (memory, view, _) = archive(1).await;
    memory.delete(layout::STREAM_JSON).await.unwrap();
    let error = open_with(&view, Loaded::Absent).await.unwrap_err();
    assert!(matches!(error, OpenError::NoIdentity { .. }), "{error}");
}

#[tokio::test]
async fn another_owner_is_refused_until_told_to_adopt() {
    let (memory, view, saved) = archive(1).await;
    let before = memory.objects();
    let mut other = request("two");
    other.owner = owner("elsewhere");
    let refused = open(view.shared(), &Loaded::Absent, other.clone()).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::ArchiveOwnedElsewhere, "{refused}");
    assert_eq!(memory.objects(), before, "nothing was written");
    other.adopt_archive = Some(saved.archive.to_string());
    let opened = open(view.shared(), &Loaded::Absent, other).await.unwrap();
    let claimed = claim(opened).await.unwrap();
    assert_eq!(claimed.log.state().facts.owner, owner("elsewhere"));
    // The last claim's owner counts: now the first one is the stranger.
    let back = open_with(&view, Loaded::Absent).await.unwrap_err();
    assert_eq!(back.reason(), Reason::ArchiveOwnedElsewhere);
}

#[tokio::test]
async fn a_newer_log_is_read_and_not_written() {
    let (memory, view, _) = archive(1).await;
    let newest = Entry::from_bytes(&memory.objects()[&layout::entry(2)]).unwrap();
    let digest = archive::entry::sha256(&memory.objects()[&layout::entry(2)]);
    let mut newer = Entry { n: 3, prev: Some(digest), format: 2, ..newest };
    newer.raw = None;
    newer.at.as_mut().unwrap().gtid.added = String::new();
    memory.put(&layout::entry(3), newer.to_bytes().unwrap()).await.unwrap();
    let error = open_with(&view, Loaded::Absent).await.unwrap_err();
    assert_eq!(error.reason(), Reason::FormatUnsupported, "{error}");
}

#[tokio::test]
async fn a_sink_switched_on_later_begins_with_its_coverage() {
    let (memory, view, _) = archive(2).await;
    let opened = open_with(&view, Loaded::Absent).await.unwrap();
    let mut both = claim_request();
    both.config.changes = true;
    let token = tokio_util::sync::CancellationToken::new();
    let claimed = opened.claim(both, &archive::log::NoObserver, &token).await.unwrap();
    let facts = &claimed.log.state().facts;
    assert_eq!(facts.changes, facts.raw, "the change log begins where the archive stands");
    crate::common::check(&memory).await;
}

#[tokio::test]
async fn a_state_is_written_every_thousand_entries_and_folding_starts_there() {
    let (memory, view, saved) = archive(1_050).await;
    let entry = Entry::from_bytes(&memory.objects()[&layout::entry(1_000)]).unwrap();
    assert!(entry.state.is_some());
    let reads = view.count("get", "log/");
    let opened = open_with(&view, Loaded::Found(saved.clone())).await.unwrap();
    assert_eq!(opened.state().unwrap().n, saved.n);
    assert!(view.count("get", "log/") - reads < 200, "not the whole log is read");
}

#[tokio::test]
async fn a_zombie_cannot_take_a_checkpoint_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::new(directory.path().join("checkpoint.json"));
    let (_, _, saved) = archive(3).await;
    let older = Checkpoint { n: saved.n - 1, ..saved.clone() };
    assert_eq!(store.load().await.unwrap(), Loaded::Absent);
    assert_eq!(store.save(&saved, Replace::Older).await.unwrap(), Saved::Stored);
    assert!(matches!(store.save(&older, Replace::Older).await.unwrap(), Saved::Stale(_)));
    // The same record again is one whose reply was lost; another of its number is a stranger's.
    assert_eq!(store.save(&saved, Replace::Older).await.unwrap(), Saved::Stored);
    let forked = Checkpoint { digest: "00".repeat(32), ..saved.clone() };
    assert!(matches!(store.save(&forked, Replace::Older).await.unwrap(), Saved::Stale(_)));
    let other = Checkpoint { archive: uuid::Uuid::new_v4(), n: 99, ..saved.clone() };
    assert!(matches!(store.save(&other, Replace::Older).await.unwrap(), Saved::Stale(_)));
    assert_eq!(store.save(&other, Replace::Consented).await.unwrap(), Saved::Stored);
    std::fs::write(directory.path().join("checkpoint.json"), "{torn").unwrap();
    assert!(matches!(store.load().await.unwrap(), Loaded::Bad(_)));
    assert_eq!(store.save(&older, Replace::Older).await.unwrap(), Saved::Stored);
    let Loaded::Found(found) = store.load().await.unwrap() else { panic!("not found") };
    assert_eq!(found.n, older.n);
}

#[tokio::test]
async fn opening_writes_nothing() {
    let (memory, view, saved) = archive(2).await;
    let before = memory.objects();
    open_with(&view, Loaded::Found(saved)).await.unwrap();
    assert_eq!(memory.objects(), before);
    let store: Arc<dyn Store> = view.shared();
    drop(take(&store, "two").await);
    assert_eq!(memory.objects().len(), before.len() + 1);
}
