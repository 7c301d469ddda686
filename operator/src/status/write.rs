//! When a status is worth a write: two a minute on the average, and bad news at once.
//!
//! - **Urgent** (Ready turns from True, a gap opens, a generation, an action's echo): at once, so
//!   that nothing is called healthy for longer than it is.
//! - A **flip** (any other status or reason of a condition) while fewer than ten flips, urgent ones
//!   included, are unpaid; two are paid a minute. So a start and an incident show at once, and a
//!   stream that flaps without end is written twice a minute
//!   (`a_stream_that_flaps_is_written_twice_a_minute`).
//! - A **bucket** (LAG, ARCHIVED, a message, the pod, the source) while fewer than two writes of any
//!   kind were made in the last minute.
//! - What merely **moved** (position, commit number, times) with the others, and by itself when the
//!   stored one is five minutes old, whoever wrote it: an operator that starts does not write all
//!   streams at once.
//!
//! A status in which nothing changed is never written.

use std::{collections::VecDeque, time::Duration};

use crds::{
    conditions::ConditionType,
    v1alpha1::{BinlogStreamStatus, Condition, ConditionStatus},
};
use jiff::Timestamp;
use tokio::time::Instant;

const WINDOW: Duration = Duration::from_mins(1);
const MOST_PER_WINDOW: usize = 2;
/// Time that pays for one flip.
const FLIP: Duration = Duration::from_secs(30);
/// Flips that may be unpaid.
const MOST_UNPAID: u32 = 10;
/// How old a position may get while nothing else changes.
pub const MOVED_AFTER: Duration = Duration::from_mins(5);

/// How much two statuses differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Not at all.
    None,
    /// In figures that always move.
    Moved,
    /// In a bucket or a message.
    Bucket,
    /// In what a condition says.
    Flip,
    /// In what must not wait.
    Urgent,
}

/// When to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Now.
    Now,
    /// Not before this much time has passed.
    Later(Duration),
    /// Not at all.
    Never,
}

/// Compares a computed status with the stored one.
pub fn change(stored: Option<&BinlogStreamStatus>, new: &BinlogStreamStatus) -> Change {
    let Some(stored) = stored else { return Change::Urgent };
    if is_urgent(stored, new) {
        Change::Urgent
    } else if flips(stored) != flips(new) {
        Change::Flip
    } else if buckets(stored) != buckets(new) {
        Change::Bucket
    } else if moving(stored) != moving(new) {
        Change::Moved
    } else {
        Change::None
    }
}

/// Decides by the writes already made; `stored` is how old the stored status is, where it says so.
pub fn turn(change: Change, writes: &Writes, stored: Option<Duration>, now: Instant) -> Turn {
    match change {
        Change::None => Turn::Never,
        Change::Urgent => Turn::Now,
        Change::Flip => match writes.unpaid(now).saturating_sub(FLIP * (MOST_UNPAID - 1)) {
            Duration::ZERO => Turn::Now,
            wait => Turn::Later(wait),
        },
        Change::Bucket => match writes.oldest_in_full_window(now) {
            None => Turn::Now,
            Some(oldest) => Turn::Later(WINDOW.saturating_sub(now.duration_since(oldest))),
        },
        Change::Moved => match writes.newest().map(|newest| now - newest).or(stored) {
            Some(age) if age < MOVED_AFTER => Turn::Later(MOVED_AFTER.saturating_sub(age)),
            _ => Turn::Now,
        },
    }
}

/// How long ago the worker said what a status shows.
pub fn age(stored: &BinlogStreamStatus, now: Timestamp) -> Option<Duration> {
    let observed = stored.lag.as_ref()?.observed_at.as_ref()?.0;
    Some(Duration::try_from(now.duration_since(observed)).unwrap_or_default())
}

/// The writes of one stream's status, as far as they matter for the next.
#[derive(Debug, Clone, Default)]
pub struct Writes {
    /// The last two.
    last: VecDeque<Instant>,
    /// When every flip will be paid.
    paid: Option<Instant>,
}

impl Writes {
    /// Notes one.
    pub fn note(&mut self, change: Change, at: Instant) {
        if self.last.len() == MOST_PER_WINDOW {
            self.last.pop_front();
        }
        self.last.push_back(at);
        if change >= Change::Flip {
            // One more than may be unpaid: the turn for the worse that came when all were.
            let unpaid = (self.unpaid(at) + FLIP).min(FLIP * (MOST_UNPAID + 1));
            self.paid = Some(at + unpaid);
        }
    }

    /// Time that the flips not yet paid will take.
    fn unpaid(&self, now: Instant) -> Duration {
        self.paid.map_or(Duration::ZERO, |paid| paid.saturating_duration_since(now))
    }

    fn newest(&self) -> Option<Instant> {
        self.last.back().copied()
    }

    fn oldest_in_full_window(&self, now: Instant) -> Option<Instant> {
        let oldest = self.last.front().copied()?;
        let full = self.last.len() == MOST_PER_WINDOW && now.duration_since(oldest) < WINDOW;
        full.then_some(oldest)
    }
}

fn is_urgent(stored: &BinlogStreamStatus, new: &BinlogStreamStatus) -> bool {
    let fell = is_ready(stored) && !is_ready(new);
    let opened = new.open_gap_count > stored.open_gap_count;
    let asked = |status: &BinlogStreamStatus| {
        (
            status.observed_generation,
            status.last_handled_action.clone(),
            status.checkpoint_action.clone(),
        )
    };
    fell || opened || asked(stored) != asked(new)
}

fn is_ready(status: &BinlogStreamStatus) -> bool {
    let ready = ConditionType::Ready.as_str();
    let said = status.conditions.iter().find(|condition| condition.type_ == ready);
    said.is_some_and(|ready| ready.status == ConditionStatus::True)
}

fn flips(status: &BinlogStreamStatus) -> impl PartialEq + use<'_> {
    let said = |condition: &Condition| {
        (
            condition.type_.clone(),
            condition.status,
            condition.reason.clone(),
            condition.observed_generation,
        )
    };
    (
        status.observed_generation,
        status.reason.as_deref(),
        status.conditions.iter().map(said).collect::<Vec<_>>(),
        (status.gap_count, status.open_gap_count),
        (status.server_id, &status.start),
        (&status.last_handled_action, &status.checkpoint_action),
    )
}

fn buckets(status: &BinlogStreamStatus) -> impl PartialEq + use<'_> {
    let lag = status.lag.as_ref();
    let archive = status.archive.as_ref();
    (
        lag.map(|lag| (lag.state, lag.text.as_str())),
        archive.map(|archive| (archive.state, archive.text.as_str(), archive.fence)),
        status.conditions.iter().map(|condition| condition.message.as_str()).collect::<Vec<_>>(),
        (&status.gaps, &status.tables, &status.source, &status.worker),
        status.operator_version.as_deref(),
    )
}

fn moving(status: &BinlogStreamStatus) -> impl PartialEq + use<'_> {
    let archive = status.archive.as_ref();
    (
        &status.position,
        archive.map(|archive| (archive.commit, &archive.recoverable_until, archive.pending_bytes)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, base: Instant) -> Instant {
        base + Duration::from_secs(seconds)
    }

    #[test]
    fn flips_are_written_at_once_and_buckets_twice_a_minute() {
        let base = Instant::now();
        let mut writes = Writes::default();
        assert_eq!(turn(Change::Bucket, &writes, None, base), Turn::Now);
        writes.note(Change::Bucket, base);
        assert_eq!(turn(Change::Bucket, &writes, None, at(5, base)), Turn::Now);
        writes.note(Change::Bucket, at(5, base));
        let wait = Turn::Later(Duration::from_secs(50));
        assert_eq!(turn(Change::Bucket, &writes, None, at(10, base)), wait);
        assert_eq!(turn(Change::Flip, &writes, None, at(10, base)), Turn::Now);
        assert_eq!(turn(Change::Bucket, &writes, None, at(61, base)), Turn::Now);
        assert_eq!(turn(Change::None, &writes, None, at(600, base)), Turn::Never);
    }

    #[test]
    fn a_stream_that_flaps_is_written_twice_a_minute() {
        let base = Instant::now();
        let mut writes = Writes::default();
        let mut stored_ready = true;
        let mut minutes = [0; 10];
        for second in 1..=600 {
            let ready = second % 2 == 0;
            let change = match (stored_ready, ready) {
                (true, false) => Change::Urgent,
                (false, true) => Change::Flip,
                _ => Change::None,
            };
            let now = at(second, base);
            match turn(change, &writes, None, now) {
                Turn::Now => {
                    writes.note(change, now);
                    stored_ready = ready;
                    minutes[(second as usize - 1) / 60] += 1;
                }
                Turn::Later(wait) => assert!(wait <= WINDOW, "{wait:?}"),
                Turn::Never => {}
            }
            assert!(ready || !stored_ready, "called healthy after it fell");
        }
        assert_eq!(minutes, [11, 2, 2, 2, 2, 2, 2, 2, 2, 2]);
    }

    #[test]
    fn bad_news_never_waits_and_is_paid_like_any_flip() {
        let base = Instant::now();
        let mut writes = Writes::default();
        for _ in 0..100 {
            assert_eq!(turn(Change::Urgent, &writes, None, base), Turn::Now);
            writes.note(Change::Urgent, base);
        }
        assert_eq!(turn(Change::Flip, &writes, None, base), Turn::Later(WINDOW), "never longer");
        assert_eq!(turn(Change::Flip, &writes, None, at(60, base)), Turn::Now);
    }

    #[test]
    fn positions_alone_are_written_each_five_minutes() {
        let base = Instant::now();
        let mut writes = Writes::default();
        writes.note(Change::Moved, base);
        let wait = Turn::Later(Duration::from_mins(4));
        assert_eq!(turn(Change::Moved, &writes, None, at(60, base)), wait);
        assert_eq!(turn(Change::Moved, &writes, None, at(300, base)), Turn::Now);
    }

    #[test]
    fn positions_that_another_process_wrote_count_by_their_age() {
        let observed_at = "2026-11-21T09:00:00Z";
        let stored: BinlogStreamStatus = serde_json::from_value(serde_json::json!({
            "lag": {"state": "CaughtUp", "text": "0s", "observedAt": observed_at},
        }))
        .unwrap();
        let (writes, base) = (Writes::default(), Instant::now());
        let turn = |seconds: i64| {
            let observed: Timestamp = observed_at.parse().unwrap();
            let now = observed + jiff::SignedDuration::from_secs(seconds);
            turn(Change::Moved, &writes, age(&stored, now), base)
        };
        assert_eq!(turn(60), Turn::Later(Duration::from_mins(4)));
        assert_eq!(turn(300), Turn::Now);
        assert_eq!(turn(-9), Turn::Later(MOVED_AFTER), "by a clock that is ahead");
        assert_eq!(age(&BinlogStreamStatus::default(), Timestamp::UNIX_EPOCH), None);
    }
}
