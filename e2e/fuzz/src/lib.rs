//! Mutation-based fuzzing on the stable toolchain: targets, their corpora, and what must hold.

mod mutate;
mod watch;
mod work;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use watch::Limits;
use work::{Finding, Work};

const SECONDS: u64 = 10;
/// An input that takes longer hangs.
const LIMITS: Limits =
    Limits { computing: Duration::from_secs(20), waiting: Duration::from_mins(15) };

/// Memory that a target may hold at a time: `base + factor * length of the input`, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    /// Whatever the input.
    pub base: u64,
    /// For each byte of it.
    pub factor: u64,
}

type Run = dyn Fn(&[u8]) -> u64 + Send + Sync;

/// A parser, and what it is fed.
pub struct Target {
    name: &'static str,
    corpus: Vec<Vec<u8>>,
    bound: Bound,
    run: Box<Run>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Target {
    /// A target. `run` gives a number that stands for what became of the input: see [`outcome`].
    pub fn new(
        name: &'static str,
        corpus: Vec<Vec<u8>>,
        bound: Bound,
        run: impl Fn(&[u8]) -> u64 + Send + Sync + 'static,
    ) -> Self {
        Self { name, corpus, bound, run: Box::new(run) }
    }
}

/// The number of what became of an input: the same for the same text.
pub fn outcome(what: &impl std::fmt::Debug) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    format!("{what:?}").hash(&mut hasher);
    hasher.finish()
}

/// The files of a folder, in order of their names; a folder that is not there has none.
pub fn corpus(folder: &Path) -> Vec<Vec<u8>> {
    let Ok(items) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = items.flatten().map(|item| item.path()).collect();
    files.sort();
    files.iter().filter_map(|file| std::fs::read(file).ok()).collect()
}

/// Runs all targets at once and says what was found.
///
/// # Errors
/// The findings, one a line: target, what happened, and where the input is.
pub fn run(targets: Vec<Target>) -> Result<(), String> {
    let settings = Settings::read();
    run_for(targets, &settings)
}

struct Settings {
    time: Duration,
    seed: u64,
    only: Option<String>,
    limits: Limits,
}

impl Settings {
    fn read() -> Self {
        let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
        Self {
            time: Duration::from_secs(number("FUZZ_SECONDS").unwrap_or(SECONDS)),
            seed: number("FUZZ_SEED").unwrap_or(1),
            only: std::env::var("FUZZ_TARGET").ok(),
            limits: LIMITS,
        }
    }
}

fn run_for(mut targets: Vec<Target>, settings: &Settings) -> Result<(), String> {
    if let Some(only) = &settings.only {
        targets.retain(|target| target.name.contains(only.as_str()));
    }
    let (said, heard) = mpsc::channel();
    let mut running: Vec<Arc<Work>> = Vec::new();
    for target in targets {
        let work = Arc::new(Work::new(target, settings.seed, settings.time));
        running.push(Arc::clone(&work));
        let said = said.clone();
        // One that hangs is never joined: the test ends without it.
        let thread = std::thread::Builder::new().name(work.name().to_owned()).spawn(move || {
            drop(said.send((work.name(), work.run())));
        });
        drop(thread.map_err(|error| format!("start a thread: {error}"))?);
    }
    let mut findings = Vec::new();
    while !running.is_empty() {
        match heard.recv_timeout(Duration::from_secs(1)) {
            Ok((name, result)) => {
                running.retain(|work| work.name() != name);
                match result {
                    Ok(report) => println!("fuzz {name}: {report}, seed {}", settings.seed),
                    Err(finding) => findings.push(finding),
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                running.retain(|work| {
                    let finding = work.stuck_at(settings.limits).map(|input| {
                        Finding::new(work.name(), "it does not come to an end".into(), &input)
                    });
                    findings.extend(finding.clone());
                    finding.is_none()
                });
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    if findings.is_empty() {
        return Ok(());
    }
    let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
    Err(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(milliseconds: u64) -> Settings {
        Settings {
            time: Duration::from_millis(milliseconds),
            seed: 1,
            only: None,
            limits: Limits {
                computing: Duration::from_millis(500),
                waiting: Duration::from_secs(60),
            },
        }
    }

    fn target(name: &'static str, run: fn(&[u8]) -> u64) -> Target {
        let bound = Bound { base: 1 << 16, factor: 16 };
        Target::new(name, vec![b"corpus of a target".to_vec()], bound, run)
    }

    #[test]
    fn a_panic_an_allocation_and_an_endless_loop_are_findings() {
        let targets = vec![
            target("sound", |input| outcome(&input.first())),
            target("panics", |input| {
                assert!(input.len() < 40, "too long");
                0
            }),
            target("allocates", |input| {
                let count = if input.contains(&0xff) { 1 << 20 } else { 0 };
                std::hint::black_box(vec![1_u8; count]).len() as u64
            }),
            target("loops", |input| {
                let long = Duration::from_secs(5);
                let thread = watch::Thread::current().expect("this thread");
                while input.is_empty() && thread.computed().is_some_and(|time| time < long) {}
                0
            }),
        ];
        let found = run_for(targets, &settings(3_000)).expect_err("three findings");
        for wanted in ["panics: it panicked", "allocates: it held", "loops: it does not come"] {
            assert!(found.contains(wanted), "{wanted} is not in:\n{found}");
        }
        assert!(!found.contains("sound"), "{found}");
    }

    #[test]
    fn one_that_waits_for_ever_is_a_finding() {
        let waits = target("waits", |input| {
            while input.is_empty() {
                std::thread::park();
            }
            0
        });
        let mut settings = settings(3_000);
        settings.limits.waiting = Duration::from_secs(1);
        let found = run_for(vec![waits], &settings).expect_err("a finding");
        assert!(found.contains("waits: it does not come"), "{found}");
    }

    #[test]
    fn a_sound_target_holds() {
        let targets = vec![target("sound", |input| outcome(&input.len()))];
        assert_eq!(run_for(targets, &settings(50)), Ok(()));
    }
}
