//! Reading entries and the lists they refer to.

use crds::conditions::Reason;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::entry::{Entry, ListRef, Objects, Stored, sha256};
use crate::layout;
use crate::store::{Store, StoreError};

/// Entries read at once.
const PARALLEL: usize = 16;
/// Most bytes of an unpacked list: a huge GTID set, or the objects of a huge transaction.
const MAX_LIST_BYTES: usize = 64 << 20;

/// Why an entry cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The store did not answer, or refused.
    #[error("read log entry {n}")]
    Store {
        /// Number of the entry.
        n: u64,
        /// Why.
        source: StoreError,
    },
    /// The entry, or a list it refers to, is missing or altered.
    #[error("read log entry {n}: {problem}; restore the archive's objects from a copy")]
    Damaged {
        /// Number of the entry.
        n: u64,
        /// What is wrong.
        problem: String,
    },
    /// The entry holds a word of a newer version.
    #[error(
        "read log entry {n}: version {version} wrote it, and this program does not know all of its words \
         ({problem}); use that version or a newer one"
    )]
    Newer {
        /// Number of the entry.
        n: u64,
        /// Version that wrote it.
        version: String,
        /// What is not known.
        problem: String,
    },
}

impl ReadError {
    pub(crate) fn damaged(n: u64, problem: impl Into<String>) -> Self {
        Self::Damaged { n, problem: problem.into() }
    }

    /// Bytes of entry `n` that do not read. Torn or foreign ones have no head either.
    fn unread(n: u64, bytes: &[u8], error: &serde_json::Error) -> Self {
        match Entry::writer_of(bytes, n) {
            Some(writer) => Self::Newer { n, version: writer.version, problem: error.to_string() },
            None => Self::damaged(n, format!("it is no entry: {error}")),
        }
    }

    /// The reason that a status shows.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Store { source, .. } => source.reason(),
            Self::Damaged { .. } => Reason::ArchiveDamaged,
            Self::Newer { .. } => Reason::FormatUnsupported,
        }
    }
}

/// Entry `n`; `None` if it does not exist. What is kept in lists is filled in, but for its objects.
///
/// # Errors
/// The store gave no answer, or the entry is damaged.
pub async fn entry(store: &dyn Store, n: u64) -> Result<Option<Stored>, ReadError> {
    let found = store.get(&layout::entry(n)).await;
    let Some(bytes) = found.map_err(|source| ReadError::Store { n, source })? else {
        return Ok(None);
    };
    let mut entry =
        Entry::from_bytes(&bytes).map_err(|error| ReadError::unread(n, &bytes, &error))?;
    if entry.n != n {
        return Err(ReadError::damaged(n, format!("it says that it is entry {}", entry.n)));
    }
    super::spill::fill(store, &mut entry).await?;
    Ok(Some(Stored { entry, digest: sha256(&bytes) }))
}

/// Entries `from..=to`, all of which must exist.
///
/// # Errors
/// The store gave no answer, or an entry is missing or damaged.
pub async fn range(store: &dyn Store, from: u64, to: u64) -> Result<Vec<Stored>, ReadError> {
    let reads = (from..=to).map(|n| async move {
        entry(store, n).await?.ok_or_else(|| ReadError::damaged(n, "it is missing"))
    });
    futures::stream::iter(reads).buffered(PARALLEL).try_collect().await
}

/// The objects that an entry names, wherever they are listed.
///
/// # Errors
/// The list is missing or damaged, or the store gave no answer.
pub async fn objects(store: &dyn Store, entry: &Entry) -> Result<Objects, ReadError> {
    if let Some(list) = &entry.list {
        let text = unpacked(store, entry.n, list).await?;
        let read = serde_json::from_slice(&text);
        return read.map_err(|error| {
            ReadError::damaged(entry.n, format!("its list {} is no list: {error}", list.key))
        });
    }
    Ok(Objects {
        raw: entry.raw.as_ref().map(|raw| raw.objects.clone()).unwrap_or_default(),
        changes: entry.changes.as_ref().map(|span| span.files.clone()).unwrap_or_default(),
    })
}

pub(super) async fn unpacked(
    store: &dyn Store,
    n: u64,
    list: &ListRef,
) -> Result<Vec<u8>, ReadError> {
    let found = store.get(&list.key).await;
    let bytes = found
        .map_err(|source| ReadError::Store { n, source })?
        .ok_or_else(|| ReadError::damaged(n, format!("its list {} is missing", list.key)))?;
    if sha256(&bytes) != list.sha256 {
        return Err(ReadError::damaged(n, format!("its list {} was altered", list.key)));
    }
    unpack(&bytes, MAX_LIST_BYTES)
        .map_err(|error| ReadError::damaged(n, format!("its list {}: {error}", list.key)))
}

/// Unpacks at most `limit` bytes: a list is never trusted to be as small as it should be.
fn unpack(bytes: &[u8], limit: usize) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut text = Vec::new();
    let reader = zstd::Decoder::new(bytes)?;
    reader.take(limit as u64 + 1).read_to_end(&mut text)?;
    if text.len() > limit {
        return Err(std::io::Error::other(format!("more than {limit} bytes")));
    }
    Ok(text)
}
