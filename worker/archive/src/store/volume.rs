//! A volume: a directory on a POSIX file system.
//!
//! - A file appears under its name whole or not at all, and only once it is durable: write to a
//!   temporary file beside it, fsync, link(2) (create) or rename(2) (put), fsync the directory
//!   (`a_crash_at_any_step_leaves_the_file_whole_or_absent` in `tests/suite/volume.rs`).
//! - Of many creators link(2) lets one win; "exists" is for the caller to compare, since a network
//!   file system may report it for one's own success (`of_many_creators_one_wins`).
//! - A directory made on the way is durable before anything in it: its parent is fsynced.
//! - A failed fsync is [`StoreClass::Fsync`] and is never followed by a second try on that file: the
//!   kernel may have dropped the pages and would report success.

mod files;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Create, FenceKind, ObjectMeta, Stat, Store, StoreClass, StoreError};
use files::{Files, Io};

/// A directory as a store.
#[derive(Clone, Debug)]
pub struct VolumeStore {
    files: Arc<Files>,
}

impl VolumeStore {
    /// The store under a directory, which must exist.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { files: Arc::new(Files::new(root.into())) }
    }

    /// Runs blocking work off the runtime's threads.
    async fn blocking<T: Send + 'static>(
        &self,
        action: &'static str,
        key: &str,
        work: impl FnOnce(&Files, &str) -> Result<T, Io> + Send + 'static,
    ) -> Result<T, StoreError> {
        let files = Arc::clone(&self.files);
        let owned = key.to_owned();
        let done = tokio::task::spawn_blocking(move || work(&files, &owned)).await;
        let what = || format!("{action} {}", self.files.path(key).display());
        match done {
            Ok(result) => result.map_err(|error| classify(what(), &error)),
            Err(error) => Err(StoreError::new(StoreClass::Unexpected, what(), error.to_string())),
        }
    }
}

fn classify(action: String, error: &Io) -> StoreError {
    let (class, message) = match error {
        Io::Fsync(error) => (
            StoreClass::Fsync,
            format!("fsync failed: {error}; what was written may be lost, check the volume"),
        ),
        Io::Other(error) => match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                (StoreClass::Full, format!("{error}; enlarge the volume or free space on it"))
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                (StoreClass::ReadOnly, format!("{error}; the volume must be mounted writable"))
            }
            io::ErrorKind::PermissionDenied => (
                StoreClass::Denied,
                format!(
                    "{error}; let the worker's user write there (worker.securityContext.fsGroup)"
                ),
            ),
            io::ErrorKind::NotFound => {
                (StoreClass::Unreachable, format!("{error}; is the volume mounted there?"))
            }
            io::ErrorKind::Unsupported | io::ErrorKind::TooManyLinks => {
                (StoreClass::Unsupported, format!("{error}; the file system must support link(2)"))
            }
            _ => (StoreClass::Transient, error.to_string()),
        },
    };
    StoreError::new(class, action, message)
}

#[async_trait]
impl Store for VolumeStore {
    async fn create(&self, key: &str, bytes: Bytes) -> Result<Create, StoreError> {
        self.blocking("create", key, move |files, key| files.create(key, &bytes)).await
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.blocking("write", key, move |files, key| files.put(key, &bytes)).await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.blocking("read", key, Files::get).await
    }

    async fn stat(&self, key: &str) -> Result<Option<Stat>, StoreError> {
        self.blocking("stat", key, Files::stat).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        self.blocking("list", prefix, Files::list).await
    }

    async fn children(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.blocking("list", prefix, Files::children).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.blocking("delete", key, Files::delete).await
    }

    async fn settle(&self, prefix: &str) -> Result<(), StoreError> {
        self.blocking("fsync", prefix, Files::settle).await
    }

    async fn tidy(&self, prefix: &str) -> Result<u64, StoreError> {
        self.blocking("tidy", prefix, Files::tidy).await
    }

    fn fence(&self) -> FenceKind {
        FenceKind::ExclusiveCreate
    }

    fn separate(&self) -> Arc<dyn Store> {
        Arc::new(Self::new(self.files.root()))
    }

    fn describe(&self) -> String {
        self.files.root().display().to_string()
    }
}

/// Age of a file against the clock that stamps files: that of a fresh file beside it.
fn age(path: &Path, probe: &Path) -> io::Result<Duration> {
    let written = std::fs::metadata(path)?.modified()?;
    std::fs::write(probe, b"")?;
    let now = std::fs::metadata(probe)?.modified();
    std::fs::remove_file(probe)?;
    Ok(now?.duration_since(written).unwrap_or_default())
}
