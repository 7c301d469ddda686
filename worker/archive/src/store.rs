//! What the archive asks of an object store.
//!
//! - `create` is exclusive: of any number of creators of one key exactly one gets `Made`
//!   (`probe` proves it on each store before the first claim).
//! - Only a definite "no such key" is absence. A refusal, a missing bucket or a time-out is an
//!   error, never `None` (`a_refusal_is_never_absence` in `store/s3/error.rs`).
//! - What was acknowledged survives a power cut (`store/volume.rs`).

pub mod memory;
pub mod rooted;
pub mod s3;
pub mod volume;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use crds::conditions::Reason;
use futures::future::BoxFuture;

pub use rooted::Rooted;
pub use s3::{S3Settings, S3Store};
pub use volume::VolumeStore;

/// Outcome of an exclusive create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// The key did not exist and now holds the given bytes, durably.
    Made,
    /// The key exists, perhaps with these very bytes (an earlier try whose reply was lost).
    Exists,
}

/// What a create waits for before its last step.
pub type Turn = BoxFuture<'static, ()>;

/// By what a store fences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceKind {
    /// `If-None-Match: *` on an object store.
    ConditionalCreate,
    /// `link(2)` on a file system.
    ExclusiveCreate,
}

/// One key of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// The whole key.
    pub key: String,
    /// Stored size in bytes.
    pub bytes: u64,
}

/// Size and age of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Stored size in bytes.
    pub bytes: u64,
    /// Time since it was written, by the store's own clock.
    pub age: Duration,
}

/// A store of immutable objects. Keys are relative, `/` separated, percent-encoded by the caller.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Creates `key` if it does not exist. The bytes are durable when this returns `Made`.
    ///
    /// # Errors
    /// [`StoreError::ambiguous`] says whether the object may exist all the same.
    async fn create(&self, key: &str, bytes: Bytes) -> Result<Create, StoreError>;

    /// Like [`Store::create`], with as much as can be done before the object is written done before
    /// `turn`, so that creators who share their turn write at one time.
    ///
    /// # Errors
    /// As [`Store::create`].
    async fn create_in_turn(
        &self,
        key: &str,
        bytes: Bytes,
        turn: Turn,
    ) -> Result<Create, StoreError> {
        turn.await;
        self.create(key, bytes).await
    }

    /// Writes `key`, whether it exists or not. Atomic: a reader sees old or new bytes.
    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), StoreError>;

    /// The bytes of `key`; `None` only if the store says that there is no such key.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError>;

    /// Size and age of `key`; `None` only if the store says that there is no such key.
    async fn stat(&self, key: &str) -> Result<Option<Stat>, StoreError>;

    /// Every key that starts with `prefix`, in byte order.
    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError>;

    /// The names directly under `prefix` (which is empty or ends in `/`), without what lies below
    /// them, in byte order. Folder names end in `/`.
    async fn children(&self, prefix: &str) -> Result<Vec<String>, StoreError>;

    /// Deletes `key`; one that does not exist is fine.
    async fn delete(&self, key: &str) -> Result<(), StoreError>;

    /// Makes everything visible under `prefix` durable: what a reader folded must not vanish. A
    /// store whose acknowledged objects are always durable has nothing to do.
    async fn settle(&self, prefix: &str) -> Result<(), StoreError>;

    /// Removes what a killed process left directly under the folder `prefix` and no listing shows;
    /// how many. An object store leaves nothing.
    async fn tidy(&self, _prefix: &str) -> Result<u64, StoreError> {
        Ok(0)
    }

    /// How it fences.
    fn fence(&self) -> FenceKind;

    /// The same store over connections of its own.
    fn separate(&self) -> std::sync::Arc<dyn Store>;

    /// Where it is, for people: `s3://bucket/prefix`, `/archive`.
    fn describe(&self) -> String;
}

/// What kind of answer a failed request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreClass {
    /// No answer, or one that asks to come again: time-out, reset, 5xx, 409.
    Transient,
    /// The store asks to slow down.
    Throttled,
    /// The address does not resolve or nothing answers there.
    Unreachable,
    /// The address is one that no stream may lead its worker to.
    NotAllowed,
    /// The request is refused: 403.
    Denied,
    /// The access key is unknown, wrong, or none was found.
    Credentials,
    /// The bucket does not exist.
    NoSuchBucket,
    /// The bucket is in another region: 301, or 400 with a region.
    WrongRegion,
    /// The certificate was refused, or the authority's file cannot be used.
    Tls,
    /// The key for encryption at rest is missing, disabled or refused.
    EncryptionKey,
    /// Our clock and the store's are too far apart.
    ClockSkewed,
    /// The volume is full.
    Full,
    /// The volume cannot be written.
    ReadOnly,
    /// `fsync` failed. What was written before may be lost although later calls succeed; the same
    /// file is never tried again.
    Fsync,
    /// The store lacks what fencing needs.
    Unsupported,
    /// An answer that nobody expected; trying again may help.
    Unexpected,
}

/// A request that failed. The message says what was asked, what came back and what mends it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{action}: {message}")]
pub struct StoreError {
    /// What kind of answer it is.
    pub class: StoreClass,
    /// What was being done: `create log/00000000/000000000007.json`.
    pub action: String,
    /// What came back, and what mends it.
    pub message: String,
    /// Whether the request may have been carried out all the same.
    ambiguous: bool,
}

impl StoreError {
    /// An error of the given class, ambiguous as its class says.
    pub fn new(class: StoreClass, action: impl Into<String>, message: impl Into<String>) -> Self {
        let ambiguous = matches!(
            class,
            StoreClass::Transient
                | StoreClass::Throttled
                | StoreClass::Unreachable
                | StoreClass::Fsync
                | StoreClass::Unexpected
        );
        Self { class, action: action.into(), message: message.into(), ambiguous }
    }

    /// Whether the request may have been carried out although it failed. A create that is ambiguous
    /// is answered by the same bytes again, nothing else.
    pub fn ambiguous(&self) -> bool {
        self.ambiguous
    }

    /// Whether trying again, without anybody's help, may succeed.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.class,
            StoreClass::Transient
                | StoreClass::Throttled
                | StoreClass::Unreachable
                | StoreClass::Unexpected
        )
    }

    /// Whether the pipeline must be rebuilt on new files before anything is written again.
    pub fn is_fatal(&self) -> bool {
        self.class == StoreClass::Fsync
    }

    /// The reason that a status shows.
    pub fn reason(&self) -> Reason {
        match self.class {
            StoreClass::Transient | StoreClass::Unexpected | StoreClass::Fsync => {
                Reason::ArchiveFailing
            }
            StoreClass::Throttled => Reason::ArchiveThrottled,
            StoreClass::Unreachable => Reason::ArchiveUnreachable,
            StoreClass::NotAllowed => Reason::EndpointNotAllowed,
            StoreClass::Denied => Reason::ArchiveAccessDenied,
            StoreClass::Credentials => Reason::ArchiveAuthFailed,
            StoreClass::NoSuchBucket | StoreClass::WrongRegion => Reason::BucketNotFound,
            StoreClass::Tls => Reason::ArchiveTlsFailed,
            StoreClass::EncryptionKey => Reason::EncryptionKeyUnavailable,
            StoreClass::ClockSkewed => Reason::ClockSkewed,
            StoreClass::Full => Reason::ArchiveFull,
            StoreClass::ReadOnly => Reason::ArchiveReadOnly,
            StoreClass::Unsupported => Reason::FencingUnsupported,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_the_store_waits_for_a_person_unless_it_may_pass_by_itself() {
        for (class, reason) in [
            (StoreClass::Transient, Reason::ArchiveFailing),
            (StoreClass::Throttled, Reason::ArchiveThrottled),
            (StoreClass::Unreachable, Reason::ArchiveUnreachable),
            (StoreClass::Denied, Reason::ArchiveAccessDenied),
            (StoreClass::Credentials, Reason::ArchiveAuthFailed),
            (StoreClass::NoSuchBucket, Reason::BucketNotFound),
            (StoreClass::Tls, Reason::ArchiveTlsFailed),
            (StoreClass::EncryptionKey, Reason::EncryptionKeyUnavailable),
            (StoreClass::ClockSkewed, Reason::ClockSkewed),
            (StoreClass::Full, Reason::ArchiveFull),
            (StoreClass::ReadOnly, Reason::ArchiveReadOnly),
            (StoreClass::Unsupported, Reason::FencingUnsupported),
        ] {
            let error = StoreError::new(class, "create log/0", "no");
            assert_eq!(error.reason(), reason, "{class:?}");
            assert_eq!(error.is_transient(), !reason.is_stalled(), "{class:?}");
        }
    }
}
