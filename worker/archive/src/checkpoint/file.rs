//! A checkpoint in a file, for a worker without Kubernetes. One process writes it: the working
//! directory's lock sees to that.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use crds::conditions::Reason;

use super::{
    Checkpoint, CheckpointStore, CheckpointStoreError, Loaded, Replace, Saved, read, settled,
};

/// A checkpoint in a file.
#[derive(Clone, Debug)]
pub struct FileStore {
    path: PathBuf,
}

impl FileStore {
    /// The file; its directory must exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    fn error(&self, action: &str, error: &io::Error) -> CheckpointStoreError {
        let action = format!("{action} checkpoint {}", self.path.display());
        CheckpointStoreError::new(Reason::CheckpointWriteFailed, action, error.to_string())
    }
}

fn load(path: &Path) -> io::Result<Loaded> {
    match fs::read(path) {
        Ok(bytes) if bytes.is_empty() => Ok(Loaded::Absent),
        Ok(bytes) => Ok(match std::str::from_utf8(&bytes) {
            Ok(text) => read(text),
            Err(_) => Loaded::Bad("it is no text".to_owned()),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Loaded::Absent),
        Err(error) => Err(error),
    }
}

fn store(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()
}

#[async_trait]
impl CheckpointStore for FileStore {
    async fn load(&self) -> Result<Loaded, CheckpointStoreError> {
        let path = self.path.clone();
        let loaded = tokio::task::spawn_blocking(move || load(&path)).await;
        loaded
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|e| self.error("read", &e))
    }

    async fn save(
        &self,
        record: &Checkpoint,
        replace: Replace,
    ) -> Result<Saved, CheckpointStoreError> {
        if let Some(saved) = settled(&self.load().await?, record, replace) {
            return Ok(saved);
        }
        let text = record.to_json().map_err(|e| self.error("write", &io::Error::other(e)))?;
        let path = self.path.clone();
        let stored = tokio::task::spawn_blocking(move || store(&path, &text)).await;
        let stored = stored.unwrap_or_else(|error| Err(io::Error::other(error)));
        stored.map(|()| Saved::Stored).map_err(|e| self.error("write", &e))
    }

    fn describe(&self) -> String {
        self.path.display().to_string()
    }
}
