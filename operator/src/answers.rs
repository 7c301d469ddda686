//! The workers' last good answers, shared by the poller that fills them and the reconciles that
//! read them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
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

/// All of them, and since when each worker is asked.
#[derive(Debug, Default)]
pub struct Answers {
    last: Mutex<HashMap<Key, Answer>>,
    /// UID of the pod that is asked, and since when.
    asked: Mutex<HashMap<Key, (String, Instant)>>,
    /// When somebody first wanted to know for how long.
    began: OnceLock<Instant>,
}

impl Answers {
    /// The last good answer of a stream's worker.
    pub fn get(&self, key: &Key) -> Option<Answer> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Keeps an answer.
    pub fn put(&self, key: Key, answer: Answer) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).insert(key, answer);
    }

    /// Notes that a pod is asked from now on.
    pub fn asking(&self, key: &Key, pod_uid: &str) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.insert(key.clone(), (pod_uid.to_owned(), Instant::now()));
    }

    /// How long this process has asked a pod, or could have.
    pub fn asked(&self, key: &Key, pod_uid: &str) -> Duration {
        let began = *self.began.get_or_init(Instant::now);
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let since = asked.get(key).filter(|(asked, _)| asked == pod_uid).map(|(_, since)| *since);
        since.unwrap_or(began).elapsed()
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

    #[tokio::test(start_paused = true)]
    async fn a_pod_is_asked_from_its_first_question_on_or_from_when_it_could_have_been() {
        let answers = Answers::default();
        let key = ("shop".to_owned(), "orders".to_owned());
        assert_eq!(answers.asked(&key, "pod-1"), Duration::ZERO);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(answers.asked(&key, "pod-1"), Duration::from_secs(10));
        answers.asking(&key, "pod-1");
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(answers.asked(&key, "pod-1"), Duration::from_secs(3));
        assert_eq!(answers.asked(&key, "pod-2"), Duration::from_secs(13));
    }
}
