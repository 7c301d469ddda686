//! Who may roll now: pure.

/// Failures after which no further stream is touched.
pub const MOST_FAILURES: usize = 3;

/// The rolls of the fleet that are not settled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fleet {
    /// Under way, those included that were let go and are not seen yet.
    pub rolling: usize,
    /// Failed, those included that failed and are tried again: a mend counts when it has worked.
    pub failed: usize,
}

impl Fleet {
    /// Whether no further stream may be touched. It ends by itself, when the failed ones have come
    /// up: with a newer template, or because what they lacked is there now.
    pub fn is_halted(&self) -> bool {
        self.failed >= MOST_FAILURES
    }
}

/// One that waits for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting<K> {
    /// Who.
    pub key: K,
    /// Whether the roll before failed: such a one is down already and goes first, halted or not.
    pub again: bool,
    /// Whether it is one of those that are rolling: such a one needs no room of its own.
    pub rolls: bool,
}

/// Those who may go now, of those who wait in this order, with at most `at_once` under way.
pub fn next<K: Copy>(waiting: &[Waiting<K>], fleet: &Fleet, at_once: usize) -> Vec<K> {
    let room = at_once.saturating_sub(fleet.rolling);
    let in_place = waiting.iter().filter(|one| one.rolls);
    let repairs = waiting.iter().filter(|one| one.again && !one.rolls);
    let others = waiting.iter().filter(|one| !one.again && !one.rolls && !fleet.is_halted());
    in_place.chain(repairs.chain(others).take(room)).map(|one| one.key).collect()
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;

    fn waiting(key: usize, again: bool) -> Waiting<usize> {
        Waiting { key, again, rolls: false }
    }

    #[test]
    fn the_first_that_asked_go_while_there_is_room() {
        let all = [waiting(1, false), waiting(2, false), waiting(3, false)];
        assert_eq!(next(&all, &Fleet::default(), 2), [1, 2]);
        assert_eq!(next(&all, &Fleet { rolling: 1, failed: 2 }, 2), [1]);
        assert!(next(&all, &Fleet { rolling: 2, failed: 0 }, 2).is_empty());
        assert!(next(&all, &Fleet { rolling: 7, failed: 0 }, 2).is_empty(), "a smaller pace");
    }

    #[test]
    fn after_three_failures_only_the_failed_are_tried_again() {
        let all = [waiting(1, false), waiting(2, true)];
        assert_eq!(next(&all, &Fleet { rolling: 0, failed: 3 }, 5), [2]);
        assert_eq!(next(&all, &Fleet { rolling: 0, failed: 2 }, 5), [2, 1], "the failed first");
    }

    #[test]
    fn one_that_is_rolling_may_roll_on_without_room() {
        let all = [Waiting { key: 1, again: false, rolls: true }, waiting(2, false)];
        assert_eq!(next(&all, &Fleet { rolling: 1, failed: 0 }, 1), [1]);
    }

    /// A stream of the simulated fleet: the template it has, and whether its roll is settled.
    #[derive(Clone, Copy, PartialEq)]
    enum Stream {
        Settled(u32),
        Rolling(u32, bool),
        Failed(u32),
    }

    struct Simulation {
        streams: Vec<Stream>,
        at_once: usize,
        rng: StdRng,
    }

    impl Simulation {
        fn fleet(&self) -> Fleet {
            let count = |wanted: fn(&Stream) -> bool| {
                self.streams.iter().filter(|stream| wanted(stream)).count()
            };
            Fleet {
                rolling: count(|stream| matches!(stream, Stream::Rolling(..))),
                failed: count(|stream| {
                    matches!(stream, Stream::Failed(_) | Stream::Rolling(_, true))
                }),
            }
        }

        /// One round towards `target`: some are let go, some come up, or fail if they must.
        fn round(&mut self, target: u32, is_good: bool) {
            let waiting: Vec<_> = self
                .streams
                .iter()
                .enumerate()
                .filter_map(|(key, stream)| match *stream {
                    Stream::Settled(has) if has != target => Some(waiting(key, false)),
                    Stream::Failed(has) if has != target => Some(waiting(key, true)),
                    Stream::Rolling(has, again) if has != target => {
                        Some(Waiting { key, again, rolls: true })
                    }
                    _ => None,
                })
                .collect();
            let halted = self.fleet().is_halted();
            for key in next(&waiting, &self.fleet(), self.at_once) {
                let again = match self.streams[key] {
                    Stream::Settled(_) => {
                        assert!(!halted, "a halted rollout touched a healthy stream");
                        false
                    }
                    Stream::Failed(_) => true,
                    Stream::Rolling(_, again) => again,
                };
                self.streams[key] = Stream::Rolling(target, again);
            }
            assert!(self.fleet().rolling <= self.at_once, "more at once than allowed");
            for stream in &mut self.streams {
                if let Stream::Rolling(has, _) = *stream
                    && self.rng.random_bool(0.4)
                {
                    let good = is_good || has != target;
                    *stream = if good { Stream::Settled(has) } else { Stream::Failed(has) };
                }
            }
        }
    }

    #[test]
    fn whatever_happens_few_are_hurt_and_a_mend_reaches_all() {
        for seed in 0..300 {
            let mut rng = StdRng::seed_from_u64(seed);
            let (size, at_once) = (rng.random_range(1..60), rng.random_range(1..8));
            let mut fleet = Simulation { streams: vec![Stream::Settled(1); size], at_once, rng };
            for _ in 0..200 {
                fleet.round(2, false);
            }
            let hurt = fleet.streams.iter().filter(|stream| **stream != Stream::Settled(1)).count();
            let most = MOST_FAILURES - 1 + at_once;
            assert!(hurt <= most.min(size), "seed {seed}: {hurt} of {size} with {at_once} at once");
            assert!(hurt >= MOST_FAILURES.min(size), "seed {seed}: it stopped after {hurt}");
            for _ in 0..600 {
                fleet.round(3, true);
            }
            let left = fleet.streams.iter().filter(|stream| **stream != Stream::Settled(3)).count();
            assert_eq!(left, 0, "seed {seed}: never reached");
        }
    }
}
