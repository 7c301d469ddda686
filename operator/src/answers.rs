//! The workers' last good answers, shared by the poller that fills them and the reconciles that
//! read them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crds::worker_status::WorkerStatus;
use tokio::time::Instant;

/// A stream, by namespace and name.
pub type Key = (String, String);

/// A last good answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// UID of the pod that gave it.
    pub pod_uid: String,
    /// The answer.
    pub status: Arc<WorkerStatus>,
    /// When it came.
    pub at: Instant,
}

impl Answer {
    /// How old it is.
    pub fn age(&self) -> Duration {
        self.at.elapsed()
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Answers(Mutex<HashMap<Key, Answer>>);

impl Answers {
    /// The last good answer of a stream's worker.
    pub fn get(&self, key: &Key) -> Option<Answer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Keeps an answer.
    pub fn put(&self, key: Key, answer: Answer) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, answer);
    }

    /// Drops what belongs to no stream any more.
    pub fn keep_only(&self, is_known: impl Fn(&Key) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| is_known(key));
    }
}
