//! Per-object retry state: the controller's error policy is told of failures only, so success is
//! reported here by the reconcile itself.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(5);

/// Failures in a row of each object, by UID.
#[derive(Debug, Default)]
pub struct Backoff {
    attempts: Mutex<HashMap<String, u32>>,
}

impl Backoff {
    /// Counts one more failure and says how long to wait: doubling from 1 s to 5 min, then
    /// shortened by up to half so that objects that failed together do not come back together.
    pub fn failed(&self, uid: &str) -> Duration {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt = attempts.entry(uid.to_owned()).or_default();
        let delay = delay(*attempt, rand::random::<f64>());
        *attempt = attempt.saturating_add(1);
        delay
    }

    /// Forgets an object: it succeeded.
    pub fn forget(&self, uid: &str) {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// Forgets objects that are gone.
    pub fn keep_only(&self, is_known: impl Fn(&str) -> bool) {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| is_known(uid));
    }
}

fn delay(attempt: u32, random: f64) -> Duration {
    let full = FIRST.saturating_mul(2_u32.saturating_pow(attempt.min(16))).min(LONGEST);
    full.mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_minutes_with_up_to_half_taken_off() {
        assert_eq!(delay(0, 0.0), Duration::from_secs(1));
        assert_eq!(delay(3, 0.0), Duration::from_secs(8));
        assert_eq!(delay(3, 1.0), Duration::from_secs(4));
        assert_eq!(delay(60, 0.0), LONGEST);
    }

    #[test]
    fn success_starts_the_count_again() {
        let backoff = Backoff::default();
        for _ in 0..10 {
            backoff.failed("a");
        }
        assert!(backoff.failed("a") >= Duration::from_secs(150));
        backoff.forget("a");
        assert!(backoff.failed("a") <= FIRST);
        assert!(backoff.failed("b") <= FIRST);
    }
}
