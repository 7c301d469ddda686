//! When the next cut and the next report are due.

use std::time::Duration;

use tokio::time::Instant as Deadline;

/// Our own checkpoint traffic rides with the next cut, at the latest with this one.
const QUIET_CUT: Duration = Duration::from_secs(600);
/// How long reading goes on without the board being told.
const REPORT_EVERY: Duration = Duration::from_millis(250);

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Pace {
    since: Option<Deadline>,
    told: Option<Deadline>,
}

impl Pace {
    /// Something waits from now on, if nothing did before.
    pub(super) fn begin(&mut self) {
        self.since.get_or_insert_with(Deadline::now);
    }

    pub(super) fn restart(&mut self) {
        self.since = None;
    }

    pub(super) fn waiting(&self) -> bool {
        self.since.is_some()
    }

    pub(super) fn cut_at(&self, max_delay: Duration, news: bool) -> Deadline {
        let delay = if news { max_delay } else { QUIET_CUT };
        self.since.unwrap_or_else(Deadline::now) + delay
    }

    /// When the board may be told again.
    pub(super) fn report_at(&self) -> Deadline {
        self.told.map_or_else(Deadline::now, |at| at + REPORT_EVERY)
    }

    pub(super) fn reported(&mut self) {
        self.told = Some(Deadline::now());
    }
}
