//! The configuration file: read once at start, then watched. A new text that cannot work changes nothing: the
//! worker goes on with the last one that could and says so.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crds::worker_config::WorkerConfig;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::board::Board;

/// How often the file is looked at. The kubelet swaps a mounted map's directory; polling sees every way of
/// replacing a file, and costs one small read.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("read configuration {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Its text cannot work.
    #[error("{path}: {source}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Field, value and mend.
        source: crds::worker_config::ConfigError,
    },
}

/// Reads and checks the file.
pub fn load(path: &Path) -> Result<WorkerConfig, LoadError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| LoadError::Unreadable { path: path.to_owned(), source })?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<WorkerConfig, LoadError> {
    WorkerConfig::from_yaml(text)
        .map_err(|source| LoadError::Invalid { path: path.to_owned(), source })
}

/// The configuration in force; changes when the file does.
pub type Current = watch::Receiver<Arc<WorkerConfig>>;

/// Watches the file until `stop`. The returned receiver holds `first` until the file changes.
pub fn watch(
    path: PathBuf,
    first: WorkerConfig,
    board: Board,
    stop: CancellationToken,
) -> (Current, tokio::task::JoinHandle<()>) {
    let (sender, receiver) = watch::channel(Arc::new(first));
    let task = tokio::spawn(async move {
        let mut seen = std::fs::read_to_string(&path).ok();
        while !stopped_within(&stop, LOOK_EVERY).await {
            let text = match tokio::fs::read_to_string(&path).await {
                Ok(text) if seen.as_ref() == Some(&text) => continue,
                Ok(text) => text,
                // Between unlink and link of a replacement; the next look finds it.
                Err(_) => continue,
            };
            match parse(&path, &text) {
                Ok(config) => {
                    board.update(|facts| {
                        facts.report.config_generation = config.generation;
                        facts.report.config_error = None;
                    });
                    sender.send_replace(Arc::new(config));
                }
                Err(error) => {
                    tracing::warn!(%error, "new configuration cannot work, keeping the last one");
                    board.update(|facts| facts.report.config_error = Some(error.to_string()));
                }
            }
            seen = Some(text);
        }
    });
    (receiver, task)
}

/// Waits; true if `stop` came first.
pub async fn stopped_within(stop: &CancellationToken, wait: Duration) -> bool {
    tokio::time::timeout(wait, stop.cancelled()).await.is_ok()
}
