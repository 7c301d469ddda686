//! Who waits for a turn and who was let go: between the reconciles, which ask, and the conductor,
//! which looks at the whole fleet. It may be lost: whoever waits asks again.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::pace::{self, Fleet, Waiting};
use crate::answers::Key;

/// How long a leave to go holds its place when nobody makes use of it: a write that fails, a stream
/// that is gone.
const UNUSED: Duration = Duration::from_mins(1);

/// Why a stream's pod is left as it is for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Whether nobody may go, and not only this one not yet.
    pub halted: bool,
    /// In words.
    pub message: String,
}

/// A roll of the fleet that is not settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsettled {
    /// The stream.
    pub key: Key,
    /// Whether the roll before it failed.
    pub again: bool,
    /// Why it failed; none while it is under way.
    pub fault: Option<String>,
}

/// What a look at the fleet led to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// The counts it was made by.
    pub fleet: Fleet,
    /// How many wait after it.
    pub waiting: usize,
    /// Streams to look at again: those that may go, and those that must tell something else.
    pub wake: Vec<Key>,
    /// Why nobody may go, if so.
    pub halt: Option<String>,
}

/// The list.
#[derive(Debug)]
pub struct Turns {
    at_once: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    asked: u64,
    waiting: HashMap<Key, Place>,
    leaves: HashMap<Key, Leave>,
    halt: Option<String>,
}

#[derive(Debug)]
struct Place {
    /// How many had asked before.
    number: u64,
    again: bool,
    /// Whether it was told that the rollout is halted.
    told: bool,
}

#[derive(Debug)]
struct Leave {
    until: Instant,
    /// The template that the stream rolls to, once it knows of its leave.
    template: Option<String>,
}

impl Turns {
    /// A list of which so many may go at once.
    pub fn new(at_once: usize) -> Turns {
        Turns { at_once, inner: Mutex::default() }
    }

    /// Whether a stream may roll now to the template of this digest; if not, it is on the list from
    /// then on. `again` says that its last roll failed.
    ///
    /// # Errors
    /// [`Held`], what to say of it meanwhile.
    pub fn ask(&self, key: &Key, template: &str, again: bool) -> Result<(), Held> {
        let mut inner = self.inner();
        if let Some(leave) = inner.leaves.get_mut(key) {
            leave.template = Some(template.to_owned());
            return Ok(());
        }
        let number = inner.asked;
        inner.asked += 1;
        let halt = inner.halt.clone();
        let place =
            inner.waiting.entry(key.clone()).or_insert(Place { number, again, told: false });
        (place.again, place.told) = (again, halt.is_some());
        Err(match halt {
            Some(message) => Held { halted: true, message },
            None => Held {
                halted: false,
                message: format!(
                    "the operator has a newer pod for this stream (another image, other defaults); \
                     {} are replaced at a time",
                    self.at_once
                ),
            },
        })
    }

    /// Takes a stream that does not wait (any more) off the list. A leave stays until the roll is
    /// seen: until then it holds its place.
    pub fn withdraw(&self, key: &Key) {
        self.inner().waiting.remove(key);
    }

    /// Ends the leaves that were used, and those that nobody made use of. `shown` gives the digest of
    /// the template that a stream's Deployment is seen to have; what is seen of its roll must be
    /// looked at after that, so that it is counted here or there.
    pub fn end_leaves(&self, shown: impl Fn(&Key) -> Option<String>, now: Instant) {
        self.inner().leaves.retain(|key, leave| {
            let is_seen = leave.template.is_some() && leave.template == shown(key);
            leave.until > now && !is_seen
        });
    }

    /// Lets go whoever may. `unsettled` is what is seen of the fleet's rolls; `exists` says whether a
    /// stream is still there.
    pub fn round(
        &self,
        unsettled: &[Unsettled],
        exists: impl Fn(&Key) -> bool,
        now: Instant,
    ) -> Round {
        let mut inner = self.inner();
        inner.waiting.retain(|key, _| exists(key));
        let rolling: HashSet<Key> = unsettled
            .iter()
            .filter(|roll| roll.fault.is_none())
            .map(|roll| roll.key.clone())
            .chain(inner.leaves.keys().cloned())
            .collect();
        let failed = unsettled.iter().filter(|roll| roll.fault.is_some() || roll.again);
        let fleet = Fleet { rolling: rolling.len(), failed: failed.count() };
        inner.halt = fleet.is_halted().then(|| halt(unsettled));

        let mut wake: Vec<Key> = inner
            .leaves
            .iter()
            .filter(|(_, leave)| leave.template.is_none())
            .map(|(key, _)| key.clone())
            .collect();
        let mut places: Vec<(&Key, &Place)> = inner.waiting.iter().collect();
        places.sort_unstable_by_key(|(_, place)| place.number);
        let waiting: Vec<Waiting<&Key>> = places
            .iter()
            .map(|(key, place)| Waiting {
                key: *key,
                again: place.again,
                rolls: rolling.contains(*key),
            })
            .collect();
        let chosen: Vec<Key> =
            pace::next(&waiting, &fleet, self.at_once).into_iter().cloned().collect();
        for key in chosen {
            inner.waiting.remove(&key);
            inner.leaves.insert(key.clone(), Leave { until: now + UNUSED, template: None });
            wake.push(key);
        }
        let halted = inner.halt.is_some();
        let misled = inner.waiting.iter().filter(|(_, place)| place.told != halted);
        wake.extend(misled.map(|(key, _)| key.clone()));
        Round { fleet, waiting: inner.waiting.len(), wake, halt: inner.halt.clone() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why nobody may go, and what mends it; the same words as long as the same streams failed.
fn halt(unsettled: &[Unsettled]) -> String {
    let mut failed: Vec<_> = unsettled.iter().filter(|roll| roll.fault.is_some()).collect();
    failed.sort_unstable_by_key(|roll| &roll.key);
    let names: Vec<_> =
        failed.iter().take(5).map(|roll| format!("{}/{}", roll.key.0, roll.key.1)).collect();
    let names =
        if names.is_empty() { "some, which are tried again".to_owned() } else { names.join(", ") };
    let fault = failed.first().and_then(|roll| roll.fault.as_deref()).unwrap_or_default();
    let fault: String = fault.chars().take(300).collect();
    format!(
        "newer pods of {} or more streams failed, so no further one is replaced: {names}. {fault}. \
         Correct the image or the defaults of the operator, or mend, pause or stop those streams; \
         then it goes on by itself",
        pace::MOST_FAILURES
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Digest of the template that all are to get.
    const NEW: &str = "new";

    fn key(name: &str) -> Key {
        ("shop".to_owned(), name.to_owned())
    }

    fn failed(name: &str) -> Unsettled {
        Unsettled {
            key: key(name),
            again: false,
            fault: Some("ImagePullFailed: no tag".to_owned()),
        }
    }

    fn rolling(name: &str) -> Unsettled {
        Unsettled { key: key(name), again: false, fault: None }
    }

    /// A round in which every stream exists.
    fn round(turns: &Turns, unsettled: &[Unsettled]) -> Round {
        turns.round(unsettled, |_| true, Instant::now())
    }

    fn asked(at_once: usize, names: &[&str]) -> Turns {
        let turns = Turns::new(at_once);
        for name in names {
            assert!(!turns.ask(&key(name), NEW, false).unwrap_err().halted);
        }
        turns
    }

    #[test]
    fn a_leave_holds_its_place_until_its_roll_is_seen() {
        let turns = asked(1, &["a", "b"]);
        assert_eq!(round(&turns, &[]).wake, [key("a")]);
        assert!(turns.ask(&key("a"), NEW, false).is_ok());
        assert!(turns.ask(&key("b"), NEW, false).is_err());
        assert_eq!(round(&turns, &[]).wake, [], "not seen yet");
        assert_eq!(round(&turns, &[rolling("a")]).fleet.rolling, 1, "seen and counted once");
        turns.end_leaves(|of| (*of == key("a")).then(|| NEW.to_owned()), Instant::now());
        let seen = round(&turns, &[rolling("a")]);
        assert_eq!((seen.wake, seen.waiting), (vec![], 1));
        assert_eq!(round(&turns, &[]).wake, [key("b")], "a is settled");
    }

    #[test]
    fn one_that_does_not_hear_of_its_leave_is_woken_again() {
        let turns = asked(2, &["a"]);
        assert_eq!(round(&turns, &[]).wake, [key("a")]);
        assert_eq!(round(&turns, &[]).wake, [key("a")]);
        assert!(turns.ask(&key("a"), NEW, false).is_ok());
        assert_eq!(round(&turns, &[]).wake, []);
    }

    #[test]
    fn a_leave_that_nobody_uses_ends() {
        let turns = asked(1, &["a", "b"]);
        round(&turns, &[]);
        let later = Instant::now() + UNUSED + Duration::from_secs(1);
        turns.end_leaves(|_| None, later);
        assert_eq!(turns.round(&[], |_| true, later).wake, [key("b")]);
        assert!(turns.ask(&key("a"), NEW, false).is_err(), "it asks anew");
    }

    #[test]
    fn who_is_gone_or_needs_nothing_any_more_is_not_let_go() {
        let turns = asked(5, &["a", "b"]);
        turns.withdraw(&key("a"));
        let round = turns.round(&[], |of| *of != key("b"), Instant::now());
        assert_eq!((round.wake, round.waiting), (vec![], 0));
    }

    #[test]
    fn a_halt_is_told_to_all_who_wait_and_so_is_its_end() {
        let turns = asked(2, &["a", "b"]);
        let three = [failed("x"), failed("y"), failed("z")];
        let halted = round(&turns, &three);
        let halt = halted.halt.unwrap();
        assert!(halt.contains("shop/x, shop/y, shop/z") && halt.contains("no tag"), "{halt}");
        assert_eq!(halted.wake.len(), 2);
        for name in ["a", "b"] {
            assert_eq!(
                turns.ask(&key(name), NEW, false),
                Err(Held { halted: true, message: halt.clone() })
            );
        }
        assert_eq!(round(&turns, &three).wake, [], "told once");
        let mut ended = round(&turns, &three[..2]).wake;
        ended.sort();
        assert_eq!(ended, [key("a"), key("b")], "both may go");
    }

    #[test]
    fn a_halt_lets_those_go_that_failed() {
        let turns = asked(1, &["healthy"]);
        assert!(turns.ask(&key("x"), NEW, true).is_err());
        let three = [failed("x"), failed("y"), failed("z")];
        let round = round(&turns, &three);
        assert!(round.wake.contains(&key("x")) && round.halt.is_some());
        assert!(turns.ask(&key("x"), NEW, true).is_ok());
        assert!(turns.ask(&key("healthy"), NEW, false).is_err());
    }
}
