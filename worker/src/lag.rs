//! How far behind the source the worker is, by the source's clock.
//!
//! Lag is a fact about received events while there is more to read. An idle source is not lag (a heartbeat is
//! only sent by a source that has nothing else to send), a silent one is unknown. Any event after a heartbeat says
//! that there is more to read, long before its transaction ends; what was caught up then is no older than that.

use std::time::{Duration, Instant};

use crds::worker_status::LagState;

/// Events younger than this are the live edge.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(10);
/// With more to read, nothing received for so long is a standstill.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// Watches the dump and answers how far behind it is.
#[derive(Debug, Default)]
pub struct LagMeter {
    clock_offset_us: i64,
    last_commit_us: Option<i64>,
    last_event: Option<Instant>,
    last_heartbeat: Option<Instant>,
    heartbeats_every: Duration,
    caught_up: bool,
}

/// What the meter says at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    /// The word.
    pub state: LagState,
    /// Seconds behind, where they are known.
    pub seconds: Option<u64>,
}

impl LagMeter {
    /// The source's clock minus ours, measured on a control connection.
    pub fn set_clock_offset(&mut self, offset_us: i64) {
        self.clock_offset_us = offset_us;
    }

    /// How often an idle source says so: before, its silence is no standstill.
    pub fn expect_heartbeats(&mut self, every: Duration) {
        self.heartbeats_every = every;
    }

    /// The first event after a heartbeat came: the source has more to send.
    pub fn has_more(&mut self, now: Instant) {
        self.last_event = Some(now);
        self.caught_up = false;
    }

    /// Events came since the last call.
    pub fn receiving(&mut self, now: Instant) {
        self.last_event = Some(now);
    }

    /// A group ended; `commit_us` is its commit time at the source.
    pub fn group_received(&mut self, commit_us: i64, now: Instant) {
        self.last_commit_us = Some(commit_us);
        self.last_event = Some(now);
        self.caught_up = false;
    }

    /// A heartbeat came: the source had nothing else to send.
    pub fn heartbeat(&mut self, now: Instant) {
        self.last_heartbeat = Some(now);
        self.caught_up = true;
    }

    /// The dump was closed or lost.
    pub fn disconnected(&mut self) {
        self.caught_up = false;
        self.last_heartbeat = None;
        self.last_event = None;
        // Old by now, whatever has been written since.
        self.last_commit_us = None;
    }

    /// The answer at `now` (ours, monotonic) and `wall_us` (ours, microseconds since 1970).
    pub fn read(&self, now: Instant, wall_us: i64, connected: bool) -> Lag {
        if !connected {
            return Lag { state: LagState::Unknown, seconds: None };
        }
        let quiet = self.last_event.is_none_or(|at| now.duration_since(at) > CAUGHT_UP_WITHIN);
        if self.caught_up {
            let state = if quiet { LagState::Idle } else { LagState::CaughtUp };
            return Lag { state, seconds: Some(0) };
        }
        let by_commit = self.last_commit_us.map(|commit_us| {
            let behind_us = (wall_us + self.clock_offset_us - commit_us).max(0);
            Duration::from_micros(behind_us.unsigned_abs())
        });
        let by_heartbeat = self.last_heartbeat.map(|at| now.duration_since(at));
        let behind = by_commit.into_iter().chain(by_heartbeat).min();
        let (Some(behind), Some(last_event)) = (behind, self.last_event) else {
            return Lag { state: LagState::Unknown, seconds: None };
        };
        let standstill = STALLED_AFTER.max(2 * self.heartbeats_every);
        let state = match now.duration_since(last_event) {
            _ if behind <= CAUGHT_UP_WITHIN => LagState::CaughtUp,
            silence if silence > standstill => LagState::Stalled,
            _ => LagState::CatchingUp,
        };
        Lag { state, seconds: Some(behind.as_secs()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: i64 = 1_700_000_000_000_000;

    #[test]
    fn an_idle_source_with_heartbeats_is_idle_not_late() {
        let (mut meter, start) = (LagMeter::default(), Instant::now());
        meter.group_received(WALL - 3_600_000_000, start);
        meter.heartbeat(start + Duration::from_secs(20));
        let lag = meter.read(start + Duration::from_secs(21), WALL, true);
        assert_eq!(lag, Lag { state: LagState::Idle, seconds: Some(0) });
    }

    #[test]
    fn an_old_event_with_more_to_read_is_lag_by_the_sources_clock() {
        let (mut meter, start) = (LagMeter::default(), Instant::now());
        meter.set_clock_offset(-5_000_000);
        meter.group_received(WALL - 65_000_000, start);
        assert_eq!(
            meter.read(start, WALL, true),
            Lag { state: LagState::CatchingUp, seconds: Some(60) }
        );
    }

    #[test]
    fn a_transaction_that_is_still_coming_ends_the_idleness() {
        let (mut meter, start) = (LagMeter::default(), Instant::now());
        let later = |seconds| start + Duration::from_secs(seconds);
        let wall = |seconds: i64| WALL + seconds * 1_000_000;
        meter.group_received(WALL - 3_600_000_000, start);
        meter.heartbeat(later(20));
        meter.has_more(later(25));
        meter.receiving(later(65));
        let lag = meter.read(later(66), wall(66), true);
        let by_heartbeat = Lag { state: LagState::CatchingUp, seconds: Some(46) };
        assert_eq!(lag, by_heartbeat, "not idle, and not an hour late either");
        meter.heartbeat(later(70));
        assert_eq!(meter.read(later(71), wall(71), true).seconds, Some(0));
    }

    #[test]
    fn reading_that_stands_still_is_stalled_and_not_idle() {
        let (mut meter, start) = (LagMeter::default(), Instant::now());
        let later = |seconds| start + Duration::from_secs(seconds);
        meter.heartbeat(start);
        meter.has_more(later(5));
        let state = |meter: &LagMeter, seconds| meter.read(later(seconds), WALL, true).state;
        assert_eq!(state(&meter, 9), LagState::CaughtUp);
        assert_eq!(state(&meter, 30), LagState::CatchingUp);
        assert_eq!(state(&meter, 36), LagState::Stalled);
        meter.expect_heartbeats(Duration::from_secs(60));
        assert_eq!(state(&meter, 36), LagState::CatchingUp, "a heartbeat is not due yet");
        meter.heartbeat(later(60));
        assert_eq!(state(&meter, 71), LagState::Idle);
    }

    #[test]
    fn a_closed_connection_is_unknown_whatever_was_seen_before() {
        let (mut meter, start) = (LagMeter::default(), Instant::now());
        meter.heartbeat(start);
        assert_eq!(meter.read(start, WALL, false).state, LagState::Unknown);
        meter.disconnected();
        assert_eq!(meter.read(start, WALL, true).state, LagState::Unknown);
    }

    #[test]
    fn a_source_clock_behind_ours_never_gives_a_negative_lag() {
        let (mut meter, start) = (LagMeter::default(), Instant::now());
        meter.set_clock_offset(-60_000_000);
        meter.group_received(WALL, start);
        assert_eq!(meter.read(start, WALL, true).seconds, Some(0));
    }
}
