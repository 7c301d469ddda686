//! The publisher against a store that fails at a chosen request, before or after carrying it out.

use std::sync::{Mutex, PoisonError};

use archive::entry::{ListRef, Objects, sha256};
use archive::store::memory::MemoryStore;
use archive::store::{FenceKind, ObjectMeta, Stat};
use archive::{StoreClass, StoreError};
use async_trait::async_trait;
use bytes::Bytes;

use super::test_log::{ARCHIVE, entry_of, file};
use super::*;

/// When the reply gets lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The request never arrived.
    Before,
    /// It was carried out.
    After,
}

/// A store in memory whose next write to a key that ends in `suffix` fails.
#[derive(Clone, Default)]
struct Faulty {
    inner: MemoryStore,
    armed: Arc<Mutex<Option<(&'static str, Fault)>>>,
}

impl Faulty {
    fn arm(&self, suffix: &'static str, fault: Fault) {
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = Some((suffix, fault));
    }

    fn strike(&self, key: &str) -> Option<Fault> {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, fault) = armed.take_if(|(suffix, _)| key.ends_with(*suffix))?;
        Some(fault)
    }
}

fn lost(key: &str) -> StoreError {
    StoreError::new(StoreClass::Transient, format!("write {key}"), "connection reset")
}

#[async_trait]
impl Store for Faulty {
    async fn create(&self, key: &str, bytes: Bytes) -> Result<Create, StoreError> {
        match self.strike(key) {
            Some(Fault::Before) => return Err(lost(key)),
            Some(Fault::After) => {
                self.inner.create(key, bytes).await?;
                return Err(lost(key));
            }
            None => {}
        }
        self.inner.create(key, bytes).await
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), StoreError> {
        match self.strike(key) {
            Some(Fault::Before) => return Err(lost(key)),
            Some(Fault::After) => {
                self.inner.put(key, bytes).await?;
                return Err(lost(key));
            }
            None => {}
        }
        self.inner.put(key, bytes).await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.inner.get(key).await
    }

    async fn stat(&self, key: &str) -> Result<Option<Stat>, StoreError> {
        self.inner.stat(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        self.inner.list(prefix).await
    }

    async fn children(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.inner.children(prefix).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }

    async fn settle(&self, prefix: &str) -> Result<(), StoreError> {
        self.inner.settle(prefix).await
    }

    fn fence(&self) -> FenceKind {
        self.inner.fence()
    }

    fn separate(&self) -> Arc<dyn Store> {
        Arc::new(self.clone())
    }

    fn describe(&self) -> String {
        "faulty memory".to_owned()
    }
}

async fn open(store: &Faulty, checkpoint_interval: u64) -> Publisher {
    let settings = PublishSettings { checkpoint_interval, ..PublishSettings::default() };
    Publisher::open(Arc::new(store.clone()), ARCHIVE, settings).await.unwrap()
}

fn entries(count: u64) -> Vec<Entry> {
    (0..count).map(|n| entry_of(n, &[&format!("date=x/{n}.parquet")])).collect()
}

/// Publishes nine entries one by one, so that versions, checkpoints and hints are all written.
async fn publish_all(store: &Faulty) -> Result<(), PublishError> {
    let log = entries(9);
    let mut publisher = open(store, 3).await;
    for end in 1..=log.len() {
        publisher.publish(&log[..end]).await?;
    }
    Ok(())
}

/// Everything in the store.
fn all(store: &Faulty) -> Vec<(String, Bytes)> {
    store.inner.objects().into_iter().collect()
}

#[tokio::test]
async fn a_lost_reply_or_request_leaves_the_same_table() {
    let whole = Faulty::default();
    publish_all(&whole).await.unwrap();
    for (write, stops) in [
        ("00000000000000000000.json", true),
        ("00000000000000000004.json", true),
        ("00000000000000000005.checkpoint.parquet", false),
        ("_last_checkpoint", false),
    ] {
        for fault in [Fault::Before, Fault::After] {
            let store = Faulty::default();
            store.arm(write, fault);
            let first = publish_all(&store).await;
            assert_eq!(first.is_err(), stops, "{write} {fault:?}");
            if let Err(error) = first {
                assert_eq!(error.class(), Class::Transient);
            }
            publish_all(&store).await.unwrap();
            let versions = |store: &Faulty| -> Vec<(String, Bytes)> {
                all(store).into_iter().filter(|(key, _)| !key.contains("checkpoint")).collect()
            };
            assert_eq!(versions(&store), versions(&whole), "{write} {fault:?}");
            let reopened = open(&store, 3).await;
            assert_eq!(reopened.next_entry(), 9, "{write} {fault:?}");
            assert!(reopened.table.checkpoint >= Some(6), "{write} {fault:?}");
        }
    }
}

#[tokio::test]
async fn the_same_publisher_goes_on_after_a_lost_reply() {
    let store = Faulty::default();
    let log = entries(3);
    let mut publisher = open(&store, 100).await;
    publisher.publish(&log[..1]).await.unwrap();
    store.arm(".json", Fault::After);
    publisher.publish(&log[..2]).await.unwrap_err();
    publisher.publish(&log).await.unwrap();
    assert_eq!((publisher.published(), publisher.next_entry()), (Some(2), 3));
    assert_eq!(publisher.foreign_version(), None);
}

#[tokio::test]
async fn files_of_a_long_list_are_published() {
    let store = Faulty::default();
    let names: Vec<String> = (0..600).map(|n| format!("date=x/1-{n}.parquet")).collect();
    let changes = names.iter().map(|name| file(name)).collect();
    let objects = serde_json::to_vec(&Objects { raw: Vec::new(), changes }).unwrap();
    let packed = Bytes::from(zstd::encode_all(objects.as_slice(), 1).unwrap());
    let mut entry = entry_of(0, &[]);
    entry.list = Some(ListRef { key: "lists/a.json.zst".to_owned(), sha256: sha256(&packed) });
    store.put("lists/a.json.zst", packed).await.unwrap();
    let mut publisher = open(&store, 1).await;
    publisher.publish(&[entry]).await.unwrap();
    let checkpoint = store.get(&table::checkpoint_key(0)).await.unwrap().unwrap();
    assert_eq!(checkpoint::files(checkpoint), names.into_iter().collect());
}
