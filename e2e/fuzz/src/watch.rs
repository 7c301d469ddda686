//! Whether a target comes to an end, told by the processor time of its thread: on a machine with other work
//! a sound one may wait long for its turn.

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long one input may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// On a processor.
    pub(crate) computing: Duration,
    /// By the clock: one that waits for something that does not come.
    pub(crate) waiting: Duration,
}

/// The thread of a target.
#[derive(Debug)]
pub(crate) struct Thread {
    /// Its first number is the nanoseconds that the thread has had on a processor.
    schedule: PathBuf,
}

impl Thread {
    /// The thread that calls.
    pub(crate) fn current() -> std::io::Result<Self> {
        let itself = std::fs::read_link("/proc/thread-self")?;
        Ok(Self { schedule: PathBuf::from("/proc").join(itself).join("schedstat") })
    }

    /// The processor time that it has had; none once it has ended.
    pub(crate) fn computed(&self) -> Option<Duration> {
        let text = std::fs::read_to_string(&self.schedule).ok()?;
        text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    }
}

/// What was seen of a thread when it was first seen at an input.
#[derive(Debug)]
pub(crate) struct Sight {
    input: u64,
    at: Instant,
    computed: Duration,
}

impl Sight {
    pub(crate) fn new(input: u64, thread: &Thread) -> Option<Self> {
        Some(Self { input, at: Instant::now(), computed: thread.computed()? })
    }

    /// The input, by its number.
    pub(crate) fn input(&self) -> u64 {
        self.input
    }

    /// Whether the thread, still at that input, has taken longer than it may.
    pub(crate) fn is_over(&self, limits: Limits, thread: &Thread) -> bool {
        let computed = thread.computed().unwrap_or(self.computed).saturating_sub(self.computed);
        computed > limits.computing || self.at.elapsed() > limits.waiting
    }
}
