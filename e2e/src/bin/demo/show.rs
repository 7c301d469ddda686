//! What the visitor sees: commands as typed, their output, notes between, the watch of the streams.

use std::process::Stdio;

use e2e::cluster::Cluster;
use e2e::process::Signal;
use e2e::{Context, Failure, Result, site};
use rustix::process::{Pid, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

/// A line of the story.
pub fn line(text: &str) {
    println!("{text}");
}

/// What the demo does by itself, between the commands.
pub fn note(text: &str) {
    println!("  # {text}");
}

/// Shows a command, runs it and shows what it prints.
pub async fn run(cluster: &Cluster, program: &str, arguments: &str) -> Result<()> {
    println!("$ {program} {arguments}");
    let words: Vec<_> = arguments.split(' ').collect();
    let output = match program {
        "helm" => cluster.helm(&words).await?,
        _ => cluster.kubectl(&words).await?,
    };
    // The notes of a release are for its first user; here the story goes on by itself.
    let shown = output.split("\nNOTES:").next().unwrap_or_default();
    for text in shown.lines().filter(|text| !text.is_empty()) {
        println!("{text}");
    }
    Ok(())
}

/// A position of a worker's report as file:offset.
pub fn position(position: &Value) -> String {
    format!("{}:{}", position["file"].as_str().unwrap_or("?"), position["offset"])
}

/// Sends a signal to a process of the namespace.
pub fn kill(process: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    let pid = pid.context(|| format!("{process} is no process id"))?;
    kill_process(pid, signal).context(|| format!("send {signal:?} to process {process}"))
}

/// `kubectl get streams -w`, line by line.
pub struct Watch {
    child: Child,
    lines: JoinHandle<()>,
}

impl Watch {
    /// Starts it.
    pub fn start(cluster: &Cluster) -> Result<Self> {
        println!("$ kubectl get streams -w");
        let mut child = Command::new(site::program("kubectl")?)
            .args(["get", "streams", "-w"])
            .env("KUBECONFIG", cluster.admin_kubeconfig())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context(|| "start kubectl get streams -w")?;
        let output = child.stdout.take().context(|| "read kubectl's output")?;
        let lines = tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(text)) = lines.next_line().await {
                println!("{text}");
            }
        });
        Ok(Self { child, lines })
    }

    /// Ends it.
    pub async fn stop(mut self) -> Result<()> {
        self.child.kill().await.context(|| "end kubectl get streams -w")?;
        self.lines.await.map_err(Failure::from)
    }
}
