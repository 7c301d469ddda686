//! A child process with its log: signals by name, an exit code with a limit, killed when dropped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use crate::usage;
use crate::wait::{Look, until};
use crate::{Context, Failure, Result};

/// A running (or ended) child. Not tied to an async runtime, so that tests can share one.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Mutex<Child>,
    pid: u32,
    log: PathBuf,
}

impl Process {
    /// Starts the command; standard output and error go to `log`, after what it holds already.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .context(|| format!("open log {}", log.display()))?;
        let errors = output.try_clone().context(|| "share the log")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .context(|| format!("start {name} ({})", command.get_program().display()))?;
        let pid = child.id();
        Ok(Self { name: name.into(), child: Mutex::new(child), pid, log: log.into() })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The most memory it ever had in use, in bytes.
    pub fn most_memory(&self) -> Result<u64> {
        usage::memory(self.pid, "VmHWM").context(|| format!("memory of {}", self.name))
    }

    /// The memory it has in use, in bytes.
    pub fn memory(&self) -> Result<u64> {
        usage::memory(self.pid, "VmRSS").context(|| format!("memory of {}", self.name))
    }

    /// The processor time it took so far.
    pub fn cpu(&self) -> Result<Duration> {
        usage::cpu(self.pid).context(|| format!("processor time of {}", self.name))
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// All of its output so far.
    pub fn output(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Sends a signal; an ended process is an error.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if let Some(status) = self.ended()? {
            return Err(Failure::new(format!("{} has ended already: {status}", self.name)));
        }
        send(self.pid, signal).context(|| format!("signal {}", self.name))
    }

    /// How it ended, or `None` while it runs.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.try_wait().context(|| format!("ask for the end of {}", self.name))
    }

    /// Waits for the end.
    pub async fn wait(&self, limit: Duration) -> Result<ExitStatus> {
        until(format!("{} ends", self.name), limit, || async {
            Ok::<_, Failure>(Look::from_option(self.ended()?, || self.tail()))
        })
        .await
    }

    /// Kills with -9 and waits for the end.
    pub async fn kill(&self) -> Result<()> {
        if self.ended()?.is_none() {
            self.signal(Signal::KILL)?;
        }
        self.wait(Duration::from_secs(10)).await.map(drop)
    }

    /// Asks it to end with SIGTERM and waits.
    pub async fn terminate(&self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(limit).await
    }

    /// An error with the end of the log if it has ended.
    pub fn check_runs(&self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => {
                Err(Failure::new(format!("{} ended ({status}): {}", self.name, self.tail())))
            }
        }
    }

    /// The last lines of its output.
    pub fn tail(&self) -> String {
        const LINES: usize = 15;
        let output = self.output();
        let lines: Vec<_> = output.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

/// Sends a signal to a process that need not be a child.
pub fn send(pid: u32, signal: Signal) -> Result<()> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let raw = raw.context(|| format!("{pid} is no process id"))?;
    kill_process(raw, signal).context(|| format!("send {signal:?} to process {pid}"))
}

impl Drop for Process {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        // The kill fails only where the process has ended, the wait where it was waited for.
        if child.kill().is_ok() {
            drop(child.wait());
        }
    }
}
