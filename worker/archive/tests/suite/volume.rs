//! A volume, and processes that are killed on it at each step.

use std::process::Command;
use std::sync::Arc;

use archive::probe::probe;
use archive::store::{Create, Store, VolumeStore};
use bytes::Bytes;

const DIRECTORY: &str = "ARCHIVE_CRASH_DIRECTORY";
const VERB: &str = "ARCHIVE_CRASH_VERB";
const KEY: &str = "shop/orders/log/00000000/000000000000.json";

fn body() -> Bytes {
    Bytes::from(vec![b'x'; 100_000])
}

/// The process that is killed. Does nothing unless it is told a directory.
#[tokio::test]
async fn child_of_the_crash_tests() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let store = VolumeStore::new(directory);
    match std::env::var(VERB).as_deref() {
        Ok("put") => store.put(KEY, body()).await.unwrap(),
        _ => drop(store.create(KEY, body()).await.unwrap()),
    }
}

/// Runs the child with a failpoint; whether it was struck.
fn crash(directory: &std::path::Path, verb: &str, step: &str) -> bool {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "volume::child_of_the_crash_tests", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(VERB, verb)
        .env("BINLOG_FAILPOINT", format!("log.{step}=abort"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&child.stderr).contains("failpoint reached");
    assert_eq!(told, !child.status.success(), "{child:?}");
    told
}

#[tokio::test]
async fn a_crash_at_any_step_leaves_the_file_whole_or_absent() {
    for verb in ["create", "put"] {
        let last = if verb == "create" {
            ["linked", "settled", "unlinked"]
        } else {
            ["renamed", "settled", "settled"]
        };
        for step in ["opened", "written", "synced"].into_iter().chain(last) {
            let directory = tempfile::tempdir().unwrap();
            assert!(crash(directory.path(), verb, step), "{verb} does not pass {step}");
            let store = VolumeStore::new(directory.path());
            let found = store.get(KEY).await.unwrap();
            let visible = matches!(step, "linked" | "settled" | "unlinked" | "renamed");
            assert_eq!(found, visible.then(body), "{verb}, {step}");
            let listed = store.list("shop/orders/log/").await.unwrap();
            assert_eq!(listed.len(), usize::from(visible), "a temporary file is no key");
            // The next one starts from here.
            store.settle("shop/orders/log/00000000/").await.unwrap();
            let again = store.create(KEY, body()).await.unwrap();
            assert_eq!(again == Create::Exists, visible, "{verb}, {step}");
            assert_eq!(store.get(KEY).await.unwrap(), Some(body()));
            tidies(directory.path()).await;
        }
    }
}

/// What the killed process left goes an hour later, and not before.
async fn tidies(directory: &std::path::Path) {
    let folder = "shop/orders/log/00000000/";
    let store = VolumeStore::new(directory);
    assert_eq!(store.tidy(folder).await.unwrap(), 0, "it may still be written");
    let mut left = 0;
    for entry in std::fs::read_dir(directory.join(folder)).unwrap() {
        let file = std::fs::File::open(entry.unwrap().path()).unwrap();
        let hours = std::time::Duration::from_hours(2);
        file.set_modified(std::time::SystemTime::now() - hours).unwrap();
        left += 1;
    }
    assert_eq!(store.tidy(folder).await.unwrap(), left - 1, "all but the object go");
    assert_eq!(store.get(KEY).await.unwrap(), Some(body()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_creators_one_wins() {
    let directory = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(VolumeStore::new(directory.path()));
    probe(&store).await.unwrap();
    assert!(store.list("").await.unwrap().is_empty(), "the probe cleans up");
    for round in 0..20 {
        let key = format!("race/{round}");
        let creators = (0..8).map(|at| {
            let (store, key) = (Arc::clone(&store), key.clone());
            tokio::spawn(
                async move { store.create(&key, Bytes::from(format!("{at}"))).await.unwrap() },
            )
        });
        let made = futures::future::join_all(creators).await;
        let won = made.into_iter().filter(|made| *made.as_ref().unwrap() == Create::Made).count();
        assert_eq!(won, 1);
    }
}

#[tokio::test]
async fn a_volume_that_is_gone_is_not_an_empty_one() {
    let directory = tempfile::tempdir().unwrap();
    let store = VolumeStore::new(directory.path().join("not-mounted"));
    assert!(store.get("stream.json").await.is_err());
    assert!(store.list("").await.is_err());
    assert!(store.create("stream.json", body()).await.is_err());
}

#[tokio::test]
async fn a_directory_that_somebody_removed_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = VolumeStore::new(directory.path().join("archive"));
    std::fs::create_dir(directory.path().join("archive")).unwrap();
    let key = |n: u32| format!("shop/orders/changes/_delta_log/{n}.json");
    store.create(&key(0), body()).await.unwrap();
    std::fs::remove_dir_all(directory.path().join("archive/shop/orders/changes")).unwrap();
    assert_eq!(store.create(&key(0), body()).await.unwrap(), Create::Made);
    store.put(&key(1), body()).await.unwrap();
    assert_eq!(store.list("").await.unwrap().len(), 2);
    // A volume that is gone is another matter.
    std::fs::remove_dir_all(directory.path().join("archive")).unwrap();
    assert!(store.put(&key(2), body()).await.is_err());
    assert!(!directory.path().join("archive").exists());
}

#[tokio::test]
async fn a_whole_archive_lives_on_a_volume() {
    let directory = tempfile::tempdir().unwrap();
    let volume: Arc<dyn Store> = Arc::new(VolumeStore::new(directory.path()));
    let store: Arc<dyn Store> = Arc::new(archive::store::Rooted::new(volume, "shop/orders"));
    let mut one = crate::common::ready(&store, "one").await;
    for seq in 0..3 {
        crate::common::commit(&mut one, seq).await.unwrap();
    }
    let orphan = crate::common::next_commit(&one, 9).await.raw.unwrap().objects.remove(0).key;
    let two = crate::common::take(&store, "two").await;
    assert!(crate::common::commit(&mut one, 4).await.is_err());
    let swept = archive::sweep::sweep(&*store, two.state()).await.unwrap();
    assert_eq!(swept.deleted, 2, "the orphan, and what the fenced writer uploaded");
    assert_eq!(store.get(&orphan).await.unwrap(), None);
    let stat = store.stat("stream.json").await.unwrap().unwrap();
    assert!(stat.bytes > 0 && stat.age < std::time::Duration::from_mins(1));
    crate::common::check(&*store).await;
}
