//! Raw bytes read back from the archive.
//!
//! - Only objects that an entry of the log names are read, and only if they are what was named
//!   (`bytes_are_read_back_from_what_the_entry_names_and_an_altered_object_is_damage` in
//!   `tests/suite/prepared.rs`).

use std::io::Read as _;

use crate::entry::{Entry, RawObject, sha256};
use crate::log::{ReadError, read_objects};
use crate::store::{Store, StoreError};

/// No object is larger: one event, of 1 GiB at most, is never split, and whole parts are far smaller.
const MAX_OBJECT: u64 = 2 << 30;

/// The bytes of `file` from `pos` on that stand in one object with it, as the log's entry names it.
///
/// # Errors
/// The store gave no answer, no object of the entry holds the position, or it is missing or altered.
pub async fn read_from(
    store: &dyn Store,
    entry: &Entry,
    file: &str,
    pos: u64,
) -> Result<Vec<u8>, ReadError> {
    let objects = read_objects(store, entry).await?.raw;
    let holds =
        |object: &&RawObject| object.file == file && (object.from..object.to).contains(&pos);
    let object = objects.iter().find(holds).ok_or_else(|| {
        ReadError::damaged(entry.n, format!("none of its raw objects holds {file}:{pos}"))
    })?;
    let mut bytes = read(store, object).await.map_err(|unread| match unread {
        Unread::Store(source) => ReadError::Store { n: entry.n, source },
        Unread::Damaged(problem) => {
            ReadError::damaged(entry.n, format!("its object {}: {problem}", object.key))
        }
    })?;
    let before = usize::try_from(pos - object.from).unwrap_or(usize::MAX);
    Ok(bytes.split_off(before.min(bytes.len())))
}

/// Why an object's bytes are not those that its entry names.
pub(crate) enum Unread {
    /// The store gave no answer, or refused.
    Store(StoreError),
    /// What is wrong with the object.
    Damaged(String),
}

/// All bytes of an object, if they are what its entry names.
pub(crate) async fn read(store: &dyn Store, object: &RawObject) -> Result<Vec<u8>, Unread> {
    let damaged = |problem: String| Unread::Damaged(problem);
    let found = store.get(&object.key).await.map_err(Unread::Store)?;
    let packed = found.ok_or_else(|| damaged("it is missing".to_owned()))?;
    if packed.len() as u64 != object.bytes || sha256(&packed) != object.sha256 {
        return Err(damaged("its bytes are not those that its entry names".to_owned()));
    }
    let length = object.to.saturating_sub(object.from);
    if length > MAX_OBJECT {
        return Err(damaged(format!("no object has {length} bytes")));
    }
    let unpack = move || -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // One byte more shows a stream that is longer.
        zstd::Decoder::new(&packed[..])?.take(length + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let unpacked = tokio::task::spawn_blocking(unpack).await;
    let bytes = unpacked
        .map_err(|error| damaged(error.to_string()))?
        .map_err(|error| damaged(format!("it cannot be unpacked: {error}")))?;
    if bytes.len() as u64 != length {
        return Err(damaged(format!("it does not unpack to {length} bytes")));
    }
    Ok(bytes)
}
