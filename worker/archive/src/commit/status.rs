//! What waits to become durable, and for what it waits.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crds::conditions::Reason;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::log::Observer;
use crate::store::StoreError;

/// Why nothing becomes durable at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The reason that a status shows.
    pub reason: Reason,
    /// What was being done, what came back, and what mends it.
    pub message: String,
    /// Since when, by the worker's clock.
    pub since: Timestamp,
}

/// What waits, and for what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitStatus {
    /// The newest fault; none after a success.
    pub fault: Option<Fault>,
    /// Bytes of parts that no acknowledged entry names yet.
    pub pending_bytes: u64,
    /// When the oldest of them was handed over, by the worker's clock.
    pub oldest_pending: Option<Timestamp>,
}

/// Keeps the status.
pub(super) struct Health {
    pending: Mutex<BTreeMap<u64, (u64, Timestamp)>>,
    status: watch::Sender<CommitStatus>,
}

impl Default for Health {
    fn default() -> Self {
        Self { pending: Mutex::default(), status: watch::Sender::new(CommitStatus::default()) }
    }
}

impl Health {
    pub(super) fn subscribe(&self) -> watch::Receiver<CommitStatus> {
        self.status.subscribe()
    }

    pub(super) fn begin(&self, id: u64, bytes: u64) {
        self.change(|pending| {
            pending.insert(id, (bytes, Timestamp::now()));
        });
    }

    pub(super) fn end(&self, ids: &[u64]) {
        self.change(|pending| {
            for id in ids {
                pending.remove(id);
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<u64, (u64, Timestamp)>)) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut pending);
        let bytes = pending.values().map(|(bytes, _)| bytes).sum();
        // Ids rise, so the first is the oldest.
        let oldest = pending.values().next().map(|(_, since)| *since);
        self.status.send_modify(|status| {
            status.pending_bytes = bytes;
            status.oldest_pending = oldest;
        });
    }
}

impl Observer for Health {
    fn failed(&self, error: &StoreError) {
        tracing::warn!(reason = %error.reason(), %error, "archive request failed, trying again");
        self.status.send_modify(|status| {
            let since = status.fault.as_ref().map_or_else(Timestamp::now, |fault| fault.since);
            let message = error.to_string();
            status.fault = Some(Fault { reason: error.reason(), message, since });
        });
    }

    fn succeeded(&self) {
        self.status.send_if_modified(|status| status.fault.take().is_some());
    }
}
