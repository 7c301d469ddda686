//! Full-jitter back-off: each wait is drawn from `[floor, min(cap, base * 2^attempt)]`, so that a fleet that
//! lost one server does not come back as one wave.

use std::time::Duration;

/// Draws the waits between attempts of one kind.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    floor: Duration,
    cap: Duration,
    attempt: u32,
}

impl Backoff {
    /// Waits between `base` and `cap`; never shorter than `floor`.
    pub fn new(base: Duration, floor: Duration, cap: Duration) -> Self {
        Self { base, floor, cap, attempt: 0 }
    }

    /// For requests to the archive.
    pub fn archive() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_millis(20), Duration::from_secs(5))
    }

    /// For connections to the source: short enough that a status is never older than half a minute.
    pub fn source() -> Self {
        Self::new(Duration::from_millis(250), Duration::from_millis(100), Duration::from_secs(15))
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        let ceiling =
            self.base.saturating_mul(2u32.saturating_pow(self.attempt.min(16))).min(self.cap);
        self.attempt = self.attempt.saturating_add(1);
        ceiling.mul_f64(rand::random::<f64>()).max(self.floor)
    }

    /// Attempts since the last success.
    pub fn attempts(&self) -> u32 {
        self.attempt
    }

    /// An attempt succeeded: start from the beginning next time.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_between_floor_and_cap_and_start_over_after_success() {
        let (floor, cap) = (Duration::from_millis(50), Duration::from_secs(15));
        let mut backoff = Backoff::new(Duration::from_millis(200), floor, cap);
        for _ in 0..100 {
            let wait = backoff.next_wait();
            assert!(wait >= floor && wait <= cap);
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(200));
    }
}
