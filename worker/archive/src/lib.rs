//! The archive: object stores, the create-only log that is both commit point and fence, and the
//! checkpoint that points into it. See ARCHITECTURE.md for the data path and the invariants.
//!
//! A worker goes through it in this order: [`open::open`] (reads only), its own checks of the
//! source, [`open::Opened::claim`] (the first write that matters), [`commit::Committer`].

pub mod checkpoint;
pub mod claim;
pub mod commit;
pub mod entry;
pub mod failpoint;
pub mod fold;
pub mod instance;
pub mod layout;
pub mod log;
pub mod open;
pub mod probe;
pub mod raw;
pub mod read_back;
pub mod retry;
pub mod store;
pub mod stream_json;
pub mod sweep;

pub use claim::{ClaimError, ClaimRequest, Claimed};
pub use commit::{Batch, Committer, CommitterSettings, Durable, Uploading};
pub use entry::{Entry, EntryKind, Point};
pub use fold::State;
pub use log::{Body, Log, LogError};
pub use open::{OpenError, OpenRequest, Opened, open};
pub use store::{Create, FenceKind, Store, StoreClass, StoreError};
