//! The workers' last good answers, shared by the poller that fills them and the reconciles that
//! read them. They are kept packed.

use std::{
    collections::HashMap,
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

use crds::worker_status::WorkerStatus;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::{packed::Packed, status::voice::STALE_AFTER};

/// A stream, by namespace and name.
pub type Key = (String, String);

/// A last good answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// UID of the pod that gave it.
    pub pod_uid: String,
    /// The answer.
    pub status: WorkerStatus,
    /// When it came.
    pub at: Instant,
}

impl Answer {
    /// How old it is.
    pub fn age(&self) -> Duration {
        self.at.elapsed()
    }
}

/// A last good answer as it is kept.
#[derive(Debug)]
struct Last {
    pod_uid: Box<str>,
    said: Packed<WorkerStatus>,
    at: Instant,
}

/// A pod that is shown as running without an address, which the poller needs, is waited for this long.
const FIRST_ROUND: Duration = Duration::from_mins(1);

/// All of them.
#[derive(Debug, Default)]
pub struct Answers {
    begun: OnceLock<(Timestamp, Instant)>,
    last: Mutex<HashMap<Key, Last>>,
    /// When each worker was asked first that has not answered yet.
    asked: Mutex<HashMap<Key, Instant>>,
}

impl Answers {
    /// This process begins to ask.
    pub fn begin(&self, now: Timestamp) {
        self.begun.get_or_init(|| (now, Instant::now()));
    }

    /// A stream's worker is about to be asked.
    pub fn asked(&self, key: &Key) {
        if self.has_answered(key) {
            return;
        }
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if !asked.contains_key(key) {
            asked.insert(key.clone(), Instant::now());
        }
    }

    /// Whether a worker that was started at `started` ran before this process began to ask, and had no time to answer
    /// it yet. Its silence then says nothing: a new leader must not call every stream stale.
    pub fn is_unasked(&self, key: &Key, started: Timestamp) -> bool {
        let Some((begun, since)) = self.begun.get() else { return false };
        if started >= *begun || self.has_answered(key) {
            return false;
        }
        match self.asked.lock().unwrap_or_else(PoisonError::into_inner).get(key) {
            Some(asked) => asked.elapsed() <= STALE_AFTER,
            None => since.elapsed() <= FIRST_ROUND,
        }
    }

    fn has_answered(&self, key: &Key) -> bool {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).contains_key(key)
    }

    /// The last good answer of a stream's worker.
    pub fn get(&self, key: &Key) -> Option<Answer> {
        let all = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let Last { pod_uid, said, at } = all.get(key)?;
        Some(Answer { pod_uid: pod_uid.to_string(), status: said.open().ok()?, at: *at })
    }

    /// When this pod of a stream gave the last good answer, if it was the one.
    pub fn heard(&self, key: &Key, pod_uid: &str) -> Option<Instant> {
        let all = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(key).filter(|last| *last.pod_uid == *pod_uid).map(|last| last.at)
    }

    /// Keeps an answer that came at `at`.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn put(
        &self,
        key: Key,
        pod_uid: Box<str>,
        said: &WorkerStatus,
        at: Instant,
    ) -> Result<(), serde_json::Error> {
        let last = Last { pod_uid, said: Packed::of(said)?, at };
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        self.last.lock().unwrap_or_else(PoisonError::into_inner).insert(key, last);
        Ok(())
    }

    /// Drops what belongs to no stream any more.
    pub fn keep_only(&self, is_known: impl Fn(&Key) -> bool) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| is_known(key));
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| is_known(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::report;

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_that_of_the_pod_that_gave_it_until_the_next_one_answers() {
        let (answers, key) = (Answers::default(), ("shop".to_owned(), "orders".to_owned()));
        assert!(answers.get(&key).is_none());
        let now = Instant::now();
        answers.put(key.clone(), "one".into(), &report(), now).unwrap();
        let answer = answers.get(&key).unwrap();
        assert_eq!((answer.pod_uid.as_str(), answer.status), ("one", report()));
        assert_eq!((answers.heard(&key, "one"), answers.heard(&key, "other")), (Some(now), None));
        answers.put(key.clone(), "other".into(), &report(), now).unwrap();
        assert_eq!(answers.heard(&key, "one"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_ran_before_is_unasked_until_it_had_time_to_answer() {
        let (answers, key) = (Answers::default(), ("shop".to_owned(), "orders".to_owned()));
        let begun = Timestamp::UNIX_EPOCH + Duration::from_secs(100);
        let before = begun - Duration::from_secs(1);
        assert!(!answers.is_unasked(&key, before), "nobody asks");
        answers.begin(begun);
        assert!(answers.is_unasked(&key, before));
        assert!(!answers.is_unasked(&key, begun), "it started under our eyes");
        answers.asked(&key);
        tokio::time::advance(STALE_AFTER).await;
        assert!(answers.is_unasked(&key, before));
        answers.asked(&key);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!answers.is_unasked(&key, before), "asked first, and long ago");
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_cannot_be_asked_is_not_waited_for_for_ever() {
        let (answers, key) = (Answers::default(), ("shop".to_owned(), "orders".to_owned()));
        answers.begin(Timestamp::UNIX_EPOCH + Duration::from_secs(100));
        assert!(answers.is_unasked(&key, Timestamp::UNIX_EPOCH));
        tokio::time::advance(FIRST_ROUND + Duration::from_millis(1)).await;
        assert!(!answers.is_unasked(&key, Timestamp::UNIX_EPOCH));
    }
}
