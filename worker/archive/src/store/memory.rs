//! A store in memory, for tests: exclusive creates, a clock that can be moved, nothing durable.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Create, FenceKind, ObjectMeta, Stat, Store, StoreError};

/// A store in memory. Clones share their objects.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    objects: BTreeMap<String, (Bytes, Duration)>,
    now: Duration,
}

impl MemoryStore {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the store's clock on.
    pub fn advance(&self, by: Duration) {
        self.lock().now += by;
    }

    /// Every key with its bytes.
    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        let inner = self.lock();
        inner.objects.iter().map(|(key, (bytes, _))| (key.clone(), bytes.clone())).collect()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn create(&self, key: &str, bytes: Bytes) -> Result<Create, StoreError> {
        let mut inner = self.lock();
        if inner.objects.contains_key(key) {
            return Ok(Create::Exists);
        }
        let now = inner.now;
        inner.objects.insert(key.to_owned(), (bytes, now));
        Ok(Create::Made)
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let now = inner.now;
        inner.objects.insert(key.to_owned(), (bytes, now));
        Ok(())
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.lock().objects.get(key).map(|(bytes, _)| bytes.clone()))
    }

    async fn stat(&self, key: &str) -> Result<Option<Stat>, StoreError> {
        let inner = self.lock();
        Ok(inner.objects.get(key).map(|(bytes, written)| Stat {
            bytes: bytes.len() as u64,
            age: inner.now.saturating_sub(*written),
        }))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        let inner = self.lock();
        let under = inner.objects.range(prefix.to_owned()..);
        let under = under.take_while(|(key, _)| key.starts_with(prefix));
        Ok(under
            .map(|(key, (bytes, _))| ObjectMeta { key: key.clone(), bytes: bytes.len() as u64 })
            .collect())
    }

    async fn children(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let mut names: Vec<String> = self
            .list(prefix)
            .await?
            .into_iter()
            .filter_map(|meta| {
                let rest = meta.key.strip_prefix(prefix)?;
                Some(match rest.split_once('/') {
                    Some((folder, _)) => format!("{folder}/"),
                    None => rest.to_owned(),
                })
            })
            .collect();
        names.dedup();
        Ok(names)
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.lock().objects.remove(key);
        Ok(())
    }

    async fn settle(&self, _prefix: &str) -> Result<(), StoreError> {
        Ok(())
    }

    fn fence(&self) -> FenceKind {
        FenceKind::ConditionalCreate
    }

    fn separate(&self) -> Arc<dyn Store> {
        Arc::new(self.clone())
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}
