//! One target at work.

use std::collections::HashSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::mutate::Mutator;
use crate::{HANG, Target};

/// Inputs that did something new and are mutated in turn, at most.
const POOL: usize = 4096;

pub(crate) struct Work {
    target: Target,
    seed: u64,
    time: Duration,
    /// The input being run, since when.
    current: Mutex<Option<(Instant, Vec<u8>)>>,
}

/// How much was run.
pub(crate) struct Report {
    corpus: usize,
    inputs: u64,
    outcomes: usize,
    most_bytes: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { corpus, inputs, outcomes, most_bytes } = self;
        write!(
            f,
            "{corpus} of the corpus, {inputs} mutations, {outcomes} outcomes, at most {} kB held",
            most_bytes / 1000
        )
    }
}

/// A target and an input that it does not bear.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    target: &'static str,
    what: String,
    kept: PathBuf,
}

impl Finding {
    pub(crate) fn new(target: &'static str, what: String, input: &[u8]) -> Self {
        let name = format!("fuzz-{}-{:016x}", target.replace(' ', "-"), crate::outcome(&input));
        let kept = std::env::temp_dir().join(name);
        let what = match std::fs::write(&kept, input) {
            Ok(()) => what,
            Err(error) => format!("{what} (its input could not be kept: {error})"),
        };
        Self { target, what, kept }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; input: {}", self.target, self.what, self.kept.display())
    }
}

impl Work {
    pub(crate) fn new(target: Target, seed: u64, time: Duration) -> Self {
        Self { target, seed, time, current: Mutex::new(None) }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.target.name
    }

    /// The input that has been run for so long.
    pub(crate) fn input_older_than(&self, limit: Duration) -> Option<Vec<u8>> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, input) = current.as_ref()?;
        (since.elapsed() > limit).then(|| input.clone())
    }

    /// The corpus as it is, then mutations until the time is over.
    pub(crate) fn run(&self) -> Result<Report, Finding> {
        let mut report = Report { corpus: 0, inputs: 0, outcomes: 0, most_bytes: 0 };
        let (mut seen, mut pool) = (HashSet::new(), self.target.corpus.clone());
        for input in &self.target.corpus {
            let (outcome, bytes) = self.one(input)?;
            seen.insert(outcome);
            report.corpus += 1;
            report.most_bytes = report.most_bytes.max(bytes);
        }
        if pool.is_empty() {
            pool.push(Vec::new());
        }
        let (mut mutator, began) = (Mutator::new(self.seed), Instant::now());
        while began.elapsed() < self.time {
            let mut input = pool[mutator.below(pool.len())].clone();
            let other = mutator.below(pool.len());
            mutator.mutate(&mut input, &pool[other]);
            let (outcome, bytes) = self.one(&input)?;
            report.inputs += 1;
            report.most_bytes = report.most_bytes.max(bytes);
            if seen.insert(outcome) {
                if pool.len() < POOL {
                    pool.push(input);
                } else {
                    let at = mutator.below(POOL);
                    pool[at] = input;
                }
            }
        }
        report.outcomes = seen.len();
        Ok(report)
    }

    /// What became of one input, and the memory it took.
    fn one(&self, input: &[u8]) -> Result<(u64, u64), Finding> {
        let finding = |what: String| Finding::new(self.target.name, what, input);
        let began = Instant::now();
        self.set_current(Some((began, input.to_vec())));
        let mut outcome = Ok(0);
        // Inside, so that what is counted is whole again after a panic.
        let taken = allocation_counter::measure(|| {
            outcome = catch_unwind(AssertUnwindSafe(|| (self.target.run)(input)));
        });
        self.set_current(None);
        let outcome = outcome.map_err(|_| finding("it panicked".into()))?;
        let allowed = self.target.bound.base + self.target.bound.factor * input.len() as u64;
        if taken.bytes_max > allowed {
            let (held, length) = (taken.bytes_max, input.len());
            return Err(finding(format!("it held {held} bytes for an input of {length}")));
        }
        if began.elapsed() > HANG {
            return Err(finding(format!("it took {} s", began.elapsed().as_secs())));
        }
        Ok((outcome, taken.bytes_max))
    }

    fn set_current(&self, current: Option<(Instant, Vec<u8>)>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = current;
    }
}
