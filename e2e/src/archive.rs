//! The archive of a stream as a test reads it: files of a folder or objects of a bucket.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::s3::Bucket;
use crate::{Context, Result};

/// Where an archive is, down to `<prefix>/<namespace>/<stream>`.
#[derive(Debug, Clone)]
pub enum Archive {
    /// A folder.
    Volume(PathBuf),
    /// A bucket, the keys under a prefix without a slash at its end.
    S3 {
        /// The bucket.
        bucket: Bucket,
        /// The endpoint, past any proxy.
        endpoint: String,
        /// The stream's root in the bucket.
        root: String,
    },
}

impl Archive {
    /// Keys under a prefix with their sizes, relative to the root, in order.
    pub async fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>> {
        let mut keys = match self {
            Self::Volume(root) => {
                let mut files = Vec::new();
                walk(root, root, &mut files)?;
                files.retain(|(key, _)| key.starts_with(prefix));
                files
            }
            Self::S3 { bucket, root, .. } => {
                let listed = bucket.list(&format!("{root}/{prefix}")).await?;
                let relative = |key: &str| key.get(root.len() + 1..).unwrap_or_default().to_owned();
                listed.into_iter().map(|object| (relative(&object.key), object.size)).collect()
            }
        };
        keys.sort();
        Ok(keys)
    }

    /// The bytes of one key.
    pub async fn get(&self, key: &str) -> Result<Vec<u8>> {
        match self {
            Self::Volume(root) => {
                let file = root.join(key);
                std::fs::read(&file).context(|| format!("read {}", file.display()))
            }
            Self::S3 { bucket, root, .. } => bucket.get(&format!("{root}/{key}")).await,
        }
    }

    /// All entries of the log with their stored bytes, in order of number.
    pub async fn entries(&self) -> Result<Vec<(Vec<u8>, Value)>> {
        let mut entries = Vec::new();
        for (key, _) in self.list("log/").await? {
            let name = key.rsplit('/').next().unwrap_or_default();
            if !name.starts_with(|first: char| first.is_ascii_digit()) {
                continue;
            }
            let bytes = self.get(&key).await?;
            let entry =
                serde_json::from_slice(&bytes).context(|| format!("read log entry {key}"))?;
            entries.push((bytes, entry));
        }
        Ok(entries)
    }

    /// Who wrote the entries of the log, in order: instance and epoch.
    pub async fn authors(&self) -> Result<Vec<(String, u64)>> {
        let author = |entry: &Value| {
            let instance = entry["writer"]["instance"].as_str().unwrap_or_default().to_owned();
            (instance, entry["epoch"].as_u64().unwrap_or_default())
        };
        Ok(self.entries().await?.iter().map(|(_, entry)| author(entry)).collect())
    }
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<(String, u64)>) -> Result<()> {
    let doing = || format!("list {}", folder.display());
    if !folder.exists() {
        return Ok(());
    }
    for item in std::fs::read_dir(folder).context(doing)? {
        let item = item.context(doing)?;
        let path = item.path();
        if path.is_dir() {
            walk(root, &path, files)?;
        } else if let Ok(key) = path.strip_prefix(root) {
            // A file may go away between the listing and this look.
            let size = item.metadata().map_or(0, |metadata| metadata.len());
            files.push((key.display().to_string(), size));
        }
    }
    Ok(())
}
