//! The operator as a process beside the cluster, with the rights that the chart gives it: for tests that kill it,
//! freeze it or leave it out. It looks after the namespaces it is told of, so that several fit into one cluster.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use hyper::StatusCode;
use tokio::sync::OnceCell;

use crate::cluster::Cluster;
use crate::process::{Process, Signal};
use crate::wait::{Look, until};
use crate::{Context, Failure, Result, http, logs, release, site};

/// The worker's image, as `e2e/images.sh` names it.
pub const WORKER_IMAGE: &str =
    concat!("docker.io/library/binlog-worker:", env!("CARGO_PKG_VERSION"));
/// The operator's own image. Run as a worker it ends at once.
pub const OPERATOR_IMAGE: &str =
    concat!("docker.io/library/binlog-operator:", env!("CARGO_PKG_VERSION"));

/// Longest until a started operator leads and has its caches filled, where nobody led.
const LEADS: Duration = Duration::from_secs(60);
const HTTP_LIMIT: Duration = Duration::from_secs(3);
const DEFINITION: &str = "crd/binlogstreams.binlogstream.io";

/// An operator; dropped, it is killed.
#[derive(Debug)]
pub struct Operator {
    /// Its name in the Lease.
    pub name: String,
    arguments: Vec<String>,
    kubeconfig: PathBuf,
    log: PathBuf,
    address: SocketAddr,
    process: Process,
}

impl Operator {
    /// Starts one for these namespaces, with more of its flags.
    pub async fn start(
        cluster: &'static Cluster,
        name: &str,
        namespaces: &[&str],
        flags: &[&str],
    ) -> Result<Self> {
        let kubeconfig = prepared(cluster).await?.clone();
        let address = SocketAddr::from(([127, 0, 0, 1], site::free_port()?));
        let mut arguments = vec![
            format!("--watch-namespaces={}", namespaces.join(",")),
            format!("--worker-image={WORKER_IMAGE}"),
            format!("--identity={name}"),
            format!("--lease-namespace={}", release::NAMESPACE),
            format!("--listen={address}"),
            // Images are imported; nobody is asked for them.
            "--image-pull-policy=Never".to_owned(),
            "--min-configmap-interval-seconds=1".to_owned(),
        ];
        arguments.extend(flags.iter().map(ToString::to_string));
        let log = site::folder("operator")?.join(format!("{name}.log"));
        let process = spawn(name, &arguments, &kubeconfig, &log)?;
        Ok(Self { name: name.into(), arguments, kubeconfig, log, address, process })
    }

    /// Starts one that is not elected, and waits until it works.
    pub async fn alone(
        cluster: &'static Cluster,
        name: &str,
        namespaces: &[&str],
        flags: &[&str],
    ) -> Result<Self> {
        let flags: Vec<_> =
            ["--leader-elect=false"].into_iter().chain(flags.iter().copied()).collect();
        let operator = Self::start(cluster, name, namespaces, &flags).await?;
        operator.leads(LEADS).await?;
        Ok(operator)
    }

    /// Waits until it leads and has its caches filled.
    pub async fn leads(&self, limit: Duration) -> Result<()> {
        until(format!("operator {} leads", self.name), limit, || async {
            if let Err(ended) = self.process.check_runs() {
                return Ok(Look::Never(ended.to_string()));
            }
            let leads = self.metric("binlog_operator_leader").await?.as_deref() == Some("1");
            let (code, text) = http::get(self.address, "/readyz", HTTP_LIMIT).await?;
            let holds = leads && code == StatusCode::OK;
            Ok::<_, Failure>(Look::holds(holds, || format!("leader {leads}, {code} {text}")))
        })
        .await
    }

    /// The value of a metric without labels.
    pub async fn metric(&self, name: &str) -> Result<Option<String>> {
        let (_, text) = http::get(self.address, "/metrics", HTTP_LIMIT).await?;
        let value = |line: &str| Some(line.strip_prefix(name)?.strip_prefix(' ')?.to_owned());
        Ok(text.lines().find_map(value))
    }

    /// Kills it with -9.
    pub async fn kill(&self) -> Result<()> {
        self.process.kill().await
    }

    /// Starts it again, for after [`kill`](Self::kill), and does not wait for anything.
    pub fn restart(&mut self) -> Result<()> {
        self.process = spawn(&self.name, &self.arguments, &self.kubeconfig, &self.log)?;
        Ok(())
    }

    /// SIGSTOP.
    pub fn freeze(&self) -> Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub fn thaw(&self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// Waits for it to end by itself.
    pub async fn ends(&self, limit: Duration) -> Result<ExitStatus> {
        self.process.wait(limit).await
    }

    /// Fails on ERROR lines without one of the expected fragments, and on secrets.
    pub fn check_log(&self, expected: &[&str], secrets: &[&str]) -> Result<()> {
        logs::check(&self.process.output(), expected, secrets)
    }
}

fn spawn(name: &str, arguments: &[String], kubeconfig: &Path, log: &Path) -> Result<Process> {
    let mut command = Command::new(site::built("operator")?);
    command.args(arguments).env("KUBECONFIG", kubeconfig).env("RUST_BACKTRACE", "1");
    Process::spawn(name, command, log)
}

/// The shared cluster with images, definition and rights, and no operator; gives the kubeconfig of the
/// operator's account.
async fn prepared(cluster: &'static Cluster) -> Result<&'static PathBuf> {
    static PREPARED: OnceCell<Result<PathBuf>> = OnceCell::const_new();
    let prepared = PREPARED.get_or_init(|| prepare(cluster)).await;
    prepared.as_ref().map_err(|failure| Failure::new(failure.to_string()))
}

async fn prepare(cluster: &Cluster) -> Result<PathBuf> {
    release::import_images(cluster).await?;
    cluster.kubectl(&["create", "namespace", release::NAMESPACE]).await?;
    // Server-side: client-side apply keeps the object in an annotation, for which the definition is too long.
    for folder in ["crds", "config/rbac"] {
        cluster.kubectl(&["apply", "--server-side", "-k", folder]).await?;
    }
    let established = ["wait", "--for=condition=Established", "--timeout=30s", DEFINITION];
    cluster.kubectl(&established).await?;
    let account = release::OPERATOR;
    let namespace = account.split(':').nth(2).context(|| format!("{account} is no account"))?;
    let groups = format!("/O=system:serviceaccounts/O=system:serviceaccounts:{namespace}");
    cluster.kubeconfig("operator", &format!("{groups}/CN={account}"))
}
