//! One target at work.

use std::collections::HashSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::Target;
use crate::mutate::Mutator;
use crate::watch::{Limits, Sight, Thread};

/// Inputs that did something new and are mutated in turn, at most.
const POOL: usize = 4096;

pub(crate) struct Work {
    target: Target,
    seed: u64,
    time: Duration,
    thread: OnceLock<Thread>,
    /// The input being run, and its number.
    current: Mutex<Option<(u64, Vec<u8>)>>,
    /// What was last seen from outside.
    sight: Mutex<Option<Sight>>,
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
        let (thread, current, sight) = (OnceLock::new(), Mutex::new(None), Mutex::new(None));
        Self { target, seed, time, thread, current, sight }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.target.name
    }

    /// The input that takes too long, asked now and again from outside.
    pub(crate) fn stuck_at(&self, limits: Limits) -> Option<Vec<u8>> {
        let thread = self.thread.get()?;
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, input) = current.as_ref()?;
        let mut sight = self.sight.lock().unwrap_or_else(PoisonError::into_inner);
        match &*sight {
            Some(seen) if seen.input() == *number => {
                seen.is_over(limits, thread).then(|| input.clone())
            }
            _ => {
                *sight = Sight::new(*number, thread);
                None
            }
        }
    }

    /// The corpus as it is, then mutations until the time is over.
    pub(crate) fn run(&self) -> Result<Report, Finding> {
        let thread = Thread::current().map_err(|error| {
            Finding::new(self.target.name, format!("its thread is not known: {error}"), &[])
        })?;
        drop(self.thread.set(thread));
        let mut report = Report { corpus: 0, inputs: 0, outcomes: 0, most_bytes: 0 };
        let (mut seen, mut pool) = (HashSet::new(), self.target.corpus.clone());
        for input in &self.target.corpus {
            let (outcome, bytes) = self.one(report.corpus as u64, input)?;
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
            let (outcome, bytes) = self.one(report.corpus as u64 + report.inputs, &input)?;
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
    fn one(&self, number: u64, input: &[u8]) -> Result<(u64, u64), Finding> {
        let finding = |what: String| Finding::new(self.target.name, what, input);
        self.set_current(Some((number, input.to_vec())));
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
        Ok((outcome, taken.bytes_max))
    }

    fn set_current(&self, current: Option<(u64, Vec<u8>)>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = current;
    }
}
