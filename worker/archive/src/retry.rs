//! Waiting between tries: full jitter, so that many workers do not come back together.

use std::time::Duration;

use rand::Rng as _;

/// Longest wait between two tries. Short enough that a mended fault is seen within 30 s.
pub const MAX_WAIT: Duration = Duration::from_secs(10);
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// Doubling ceiling, uniform choice below it.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    attempt: u32,
}

impl Backoff {
    /// Tries that failed so far.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How long to wait now.
    pub fn next_wait(&mut self) -> Duration {
        let ceiling = FIRST_WAIT.saturating_mul(1 << self.attempt.min(16)).min(MAX_WAIT);
        self.attempt = self.attempt.saturating_add(1);
        ceiling.mul_f64(rand::rng().random_range(0.05..=1.0))
    }

    /// Starts again after a success.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_below_the_ceiling_and_above_nothing() {
        let mut backoff = Backoff::default();
        for _ in 0..100 {
            let wait = backoff.next_wait();
            assert!(wait > Duration::ZERO && wait <= MAX_WAIT, "{wait:?}");
        }
    }
}
