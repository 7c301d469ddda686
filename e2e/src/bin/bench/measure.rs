//! One measured run, and what several of them say together.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::wait::within;
use e2e::{Context, Failure, Result, usage};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

const LIMIT: Duration = Duration::from_secs(600);
/// How often the memory of a running program is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What one run took.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub wall: Duration,
    pub cpu: Duration,
    /// Bytes of memory at most.
    pub memory: u64,
}

/// Runs a program to its end and gives what it took and what it printed.
pub async fn run(mut command: Command) -> Result<(Run, Vec<u8>)> {
    let name = command.get_program().display().to_string();
    let (output, errors) = (tempfile()?, tempfile()?);
    command.stdin(Stdio::null()).stdout(output.0.try_clone()?).stderr(errors.0.try_clone()?);
    let start = Instant::now();
    let mut child = command.spawn().context(|| format!("start {name}"))?;
    let pid = child.id();
    let mut memory = 0;
    let ended = tokio::task::spawn_blocking(move || {
        // Left unreaped, so that its processor time can still be read.
        let id = WaitId::Pid(Pid::from_raw(pid as i32).unwrap_or(Pid::INIT));
        let waited = waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        (Instant::now(), waited)
    });
    let watched = async {
        tokio::pin!(ended);
        loop {
            tokio::select! {
                biased;
                end = &mut ended => break end,
                () = tokio::time::sleep(LOOK_EVERY) => {
                    memory = usage::memory(pid, "VmHWM").unwrap_or(memory);
                }
            }
        }
    };
    let (end, waited) = within(format!("{name} ends"), LIMIT, watched).await??;
    waited.map_err(std::io::Error::from)?;
    let cpu = usage::cpu(pid)?;
    let status = child.wait()?;
    if !status.success() {
        let text = std::fs::read_to_string(&errors.1)?;
        return Err(Failure::new(format!("{name}: {status}: {text}")));
    }
    let printed = std::fs::read(&output.1)?;
    Ok((Run { wall: end - start, cpu, memory }, printed))
}

fn tempfile() -> Result<(std::fs::File, std::path::PathBuf)> {
    let path = e2e::site::folder("output")?.join("text");
    let file = std::fs::File::create(&path).context(|| format!("make {}", path.display()))?;
    Ok((file, path))
}

/// A figure over several runs: the middle one, and how far the others are from it.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Figure {
    /// Of the figures of each run.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let last = values.len().saturating_sub(1);
        Self { median: at(values.len() / 2), least: at(0), most: at(last) }
    }
}
