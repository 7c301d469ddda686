//! A store seen from one of its folders: the root of one stream.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Create, FenceKind, ObjectMeta, Stat, Store, StoreError, Turn};

/// Keys are relative to a folder of another store.
pub struct Rooted {
    inner: Arc<dyn Store>,
    root: String,
}

impl Rooted {
    /// The folder `root` (without slashes at its ends) of `inner`.
    pub fn new(inner: Arc<dyn Store>, root: &str) -> Self {
        Self { inner, root: format!("{}/", root.trim_matches('/')) }
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.root)
    }
}

#[async_trait]
impl Store for Rooted {
    async fn create(&self, key: &str, bytes: Bytes) -> Result<Create, StoreError> {
        self.inner.create(&self.key(key), bytes).await
    }

    async fn create_in_turn(
        &self,
        key: &str,
        bytes: Bytes,
        turn: Turn,
    ) -> Result<Create, StoreError> {
        self.inner.create_in_turn(&self.key(key), bytes, turn).await
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.inner.put(&self.key(key), bytes).await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.inner.get(&self.key(key)).await
    }

    async fn stat(&self, key: &str) -> Result<Option<Stat>, StoreError> {
        self.inner.stat(&self.key(key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        let found = self.inner.list(&self.key(prefix)).await?;
        let relative = found.into_iter().filter_map(|meta| {
            let key = meta.key.strip_prefix(&self.root)?.to_owned();
            Some(ObjectMeta { key, ..meta })
        });
        Ok(relative.collect())
    }

    async fn children(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.inner.children(&self.key(prefix)).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.inner.delete(&self.key(key)).await
    }

    async fn settle(&self, prefix: &str) -> Result<(), StoreError> {
        self.inner.settle(&self.key(prefix)).await
    }

    async fn tidy(&self, prefix: &str) -> Result<u64, StoreError> {
        self.inner.tidy(&self.key(prefix)).await
    }

    fn fence(&self) -> FenceKind {
        self.inner.fence()
    }

    fn separate(&self) -> Arc<dyn Store> {
        Arc::new(Self { inner: self.inner.separate(), root: self.root.clone() })
    }

    fn describe(&self) -> String {
        format!("{}/{}", self.inner.describe(), self.root.trim_end_matches('/'))
    }
}
