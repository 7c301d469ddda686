//! How long this process may write. A leader that was frozen wakes up with timers that are due and caches of long
//! ago, while another leads: what it would write then is of the past.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::lease::RENEW_DEADLINE;

/// Until when this process leads. Without an election it does for ever.
#[derive(Debug, Default)]
pub struct Tenure(Mutex<Option<Instant>>);

/// The Lease was not renewed in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "nothing is written: this process has not renewed its lease for {} s, and another may lead",
    RENEW_DEADLINE.as_secs()
)]
pub struct Over;

impl Tenure {
    /// The Lease is held by a renewal that was asked for at `asked`.
    pub fn renewed(&self, asked: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked + RENEW_DEADLINE);
    }

    /// Asked right before each write.
    ///
    /// # Errors
    /// [`Over`] from the moment on at which the holder gives the Lease up.
    pub fn check(&self) -> Result<(), Over> {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match until {
            Some(until) if Instant::now() >= until => Err(Over),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_over_at_the_renewal_deadline_and_never_without_an_election() {
        let (unelected, elected) = (Tenure::default(), Tenure::default());
        elected.renewed(Instant::now());
        let last = Duration::from_millis(1);
        tokio::time::advance(RENEW_DEADLINE.saturating_sub(last)).await;
        assert_eq!(elected.check(), Ok(()));
        tokio::time::advance(last).await;
        assert_eq!(elected.check(), Err(Over));
        elected.renewed(Instant::now());
        assert_eq!(elected.check(), Ok(()));
        assert_eq!(unelected.check(), Ok(()));
    }
}
