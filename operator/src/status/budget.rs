//! How many statuses are written a second, of all streams together: so many, the longest waiting
//! first. A turn for the worse goes at once and is paid by those behind it: nothing is called healthy
//! for longer than it is.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::write::Change;

/// The budget. At most what a second brings is saved up.
#[derive(Debug)]
pub struct StatusBudget {
    per_second: f64,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Writes that may be made, or are owed.
    writes: f64,
    counted: Option<Instant>,
    since: HashMap<String, Instant>,
    order: BTreeSet<(Instant, String)>,
}

impl StatusBudget {
    /// So many writes a second.
    pub fn new(per_second: u16) -> StatusBudget {
        let per_second = f64::from(per_second);
        let queue = Queue { writes: per_second, ..Queue::default() };
        StatusBudget { per_second, queue: Mutex::new(queue) }
    }

    /// Takes a write for the stream of this UID.
    ///
    /// # Errors
    /// How long it should wait before it asks again.
    pub fn take(&self, uid: &str, change: Change, now: Instant) -> Result<(), Duration> {
        let mut queue = self.queue();
        let passed = queue.counted.replace(now).map_or(Duration::ZERO, |last| now - last);
        queue.writes = (queue.writes + passed.as_secs_f64() * self.per_second).min(self.per_second);
        if change == Change::Urgent {
            queue.writes = (queue.writes - 1.0).max(-self.per_second);
            queue.remove(uid);
            return Ok(());
        }
        let since = *queue.since.entry(uid.to_owned()).or_insert(now);
        queue.order.insert((since, uid.to_owned()));
        let ahead = queue.order.range(..(since, uid.to_owned())).count() as f64;
        // Those ahead may not come back for long: once all that can be saved is there, anyone may go.
        let needed = (ahead + 1.0).min(self.per_second);
        if queue.writes >= needed {
            queue.writes -= 1.0;
            queue.remove(uid);
            return Ok(());
        }
        Err(Duration::from_secs_f64((ahead + 1.0 - queue.writes) / self.per_second))
    }

    /// Takes a stream off the queue: it has nothing to write any more.
    pub fn leave(&self, uid: &str) {
        self.queue().remove(uid);
    }

    /// Takes streams that are gone off the queue.
    pub fn keep_only(&self, is_known: impl Fn(&str) -> bool) {
        let mut queue = self.queue();
        queue.since.retain(|uid, _| is_known(uid));
        queue.order.retain(|(_, uid)| is_known(uid));
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn remove(&mut self, uid: &str) {
        if let Some(since) = self.since.remove(uid) {
            self.order.remove(&(since, uid.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A budget of two a second that is used up at `now`.
    fn empty(now: Instant) -> StatusBudget {
        let budget = StatusBudget::new(2);
        for uid in ["x", "y"] {
            assert_eq!(budget.take(uid, Change::Flip, now), Ok(()));
        }
        budget
    }

    fn after(base: Instant, millis: u64) -> Instant {
        base + Duration::from_millis(millis)
    }

    #[test]
    fn the_longest_waiting_is_written_first() {
        let now = Instant::now();
        let budget = empty(now);
        assert_eq!(budget.take("old", Change::Bucket, now), Err(Duration::from_millis(500)));
        let later = after(now, 1);
        assert!(budget.take("young", Change::Flip, later).is_err());
        assert!(budget.take("young", Change::Flip, after(now, 501)).is_err(), "that one is old's");
        assert_eq!(budget.take("old", Change::Bucket, after(now, 501)), Ok(()));
        assert_eq!(budget.take("young", Change::Flip, after(now, 1002)), Ok(()));
    }

    #[test]
    fn bad_news_does_not_wait_and_others_pay_for_it() {
        let now = Instant::now();
        let budget = empty(now);
        assert_eq!(budget.take("bad", Change::Urgent, now), Ok(()));
        assert_eq!(budget.take("other", Change::Flip, now), Err(Duration::from_secs(1)));
        assert_eq!(budget.take("other", Change::Flip, after(now, 1000)), Ok(()));
    }

    #[test]
    fn a_thousand_bad_news_hold_the_others_up_for_a_second_and_a_half() {
        let now = Instant::now();
        let budget = empty(now);
        for number in 0..1000 {
            assert_eq!(budget.take(&number.to_string(), Change::Urgent, now), Ok(()));
        }
        let wait = budget.take("other", Change::Flip, now).unwrap_err();
        assert_eq!(wait, Duration::from_millis(1500));
    }

    #[test]
    fn one_that_has_nothing_to_write_any_more_or_never_comes_back_blocks_nobody() {
        let now = Instant::now();
        let budget = empty(now);
        for gone in ["a", "b", "c"] {
            assert!(budget.take(gone, Change::Flip, now).is_err());
        }
        assert!(budget.take("late", Change::Flip, after(now, 1)).is_err());
        budget.leave("a");
        assert!(budget.take("late", Change::Flip, after(now, 500)).is_err(), "two are ahead");
        assert_eq!(budget.take("late", Change::Flip, after(now, 1001)), Ok(()), "all is saved up");
    }

    #[test]
    fn over_a_minute_no_more_is_written_than_the_budget_says() {
        let now = Instant::now();
        let budget = StatusBudget::new(2);
        let mut written = 0;
        for millis in (0..60_000).step_by(100) {
            for uid in 0..10 {
                let uid = uid.to_string();
                written += u32::from(budget.take(&uid, Change::Flip, after(now, millis)).is_ok());
            }
        }
        assert!((118..=122).contains(&written), "{written}");
    }
}
