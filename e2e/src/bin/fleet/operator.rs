//! The operator as a process: started with the arguments of the chart, and looked at from outside.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::process::Process;
use e2e::wait::{Look, until};
use e2e::{Context, Failure, Result, http, release, site};
use hyper::StatusCode;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::EnvVar;
use kube::Api;

use crate::stage::Stage;

const LIMIT: Duration = Duration::from_secs(120);
const ASK: Duration = Duration::from_secs(20);
/// As often as the chart's monitor scrapes.
const SCRAPE_EVERY: u64 = 30;

/// The running operator; dropped, it is killed.
pub struct Operator {
    process: Process,
    address: SocketAddr,
}

/// What it tells and takes at one time.
pub struct Looked {
    pub at: Instant,
    pub cpu: Duration,
    pub reconciles: Histogram,
}

impl Operator {
    /// Starts it as the chart's Deployment would, and waits until its caches are filled.
    pub async fn start(stage: &Stage, name: &str) -> Result<Self> {
        let deployments: Api<Deployment> =
            Api::namespaced(stage.plane.client().await?, release::NAMESPACE);
        let spec = deployments.get("binlog-operator").await?.spec;
        let spec =
            spec.and_then(|spec| spec.template.spec).context(|| "a Deployment without a pod")?;
        let container =
            spec.containers.into_iter().next().context(|| "a pod without a container")?;
        let address = SocketAddr::from(([127, 0, 0, 1], site::free_port()?));
        let plain =
            |variable: &EnvVar| variable.value.clone().map(|value| (variable.name.clone(), value));
        let mut command = Command::new(site::built("operator")?);
        command
            .envs(container.env.iter().flatten().filter_map(plain))
            .args(container.args.unwrap_or_default())
            .env("KUBECONFIG", &stage.operator)
            .env("POD_NAMESPACE", release::NAMESPACE)
            .env("POD_NAME", name)
            .env("LISTEN", address.to_string());
        let log = stage.plane.folder().join("operator.log");
        let operator = Self { process: Process::spawn("operator", command, &log)?, address };
        until("the operator's caches are filled", LIMIT, || async {
            if let Err(ended) = operator.process.check_runs() {
                return Ok(Look::Never(ended.to_string()));
            }
            let (code, text) = http::get(address, "/readyz", ASK).await?;
            Ok::<_, Failure>(Look::holds(code == StatusCode::OK, || text))
        })
        .await?;
        Ok(operator)
    }

    /// Ends it in order; it gives its lease back.
    pub async fn end(&self) -> Result<()> {
        self.process.terminate(LIMIT).await.map(drop)
    }

    /// Looks at it now.
    pub async fn look(&self) -> Result<Looked> {
        let reconciles =
            Histogram::read(&self.metrics().await?, "binlog_operator_reconcile_duration_seconds");
        Ok(Looked { at: Instant::now(), cpu: self.process.cpu()?, reconciles })
    }

    /// The middle of its memory over a time, in bytes, while it is scraped.
    pub async fn watched_for(&self, span: Duration) -> Result<u64> {
        let mut seen = Vec::new();
        for second in 1..=span.as_secs() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.process.check_runs()?;
            seen.push(self.process.memory()?);
            if second % SCRAPE_EVERY == 0 {
                self.metrics().await?;
            }
        }
        seen.sort_unstable();
        seen.get(seen.len() / 2).copied().context(|| "the time to watch is too short")
    }

    /// Waits until it has reconciled that many and heard as many workers, and no wake-up waits.
    pub async fn drained(&self, count: usize) -> Result<()> {
        until("the operator's queue is drained", LIMIT, || async {
            let text = self.metrics().await?;
            let done = value(&text, "binlog_operator_reconciles_total").unwrap_or_default();
            let queued = value(&text, "binlog_operator_queued").unwrap_or_default();
            let heard = value(&text, "binlog_operator_polls_total{outcome=\"answered\"}");
            let heard = heard.unwrap_or_default();
            let drained = done.min(heard) >= count as f64 && queued < 1.0;
            Ok::<_, Failure>(Look::holds(drained, || {
                format!("{done} reconciles, {heard} answers, {queued} queued")
            }))
        })
        .await
    }

    /// The most memory it ever had, in bytes.
    pub fn most_memory(&self) -> Result<u64> {
        self.process.most_memory()
    }

    async fn metrics(&self) -> Result<String> {
        let (code, text) = http::get(self.address, "/metrics", ASK).await?;
        if code == StatusCode::OK { Ok(text) } else { Err(Failure::new(format!("{code}: {text}"))) }
    }
}

/// A histogram's counts, each of all below a bound.
#[derive(Debug, Clone, Default)]
pub struct Histogram(Vec<(f64, f64)>);

impl Histogram {
    fn read(text: &str, name: &str) -> Self {
        let bucket = |line: &str| {
            let rest = line.strip_prefix(name)?.strip_prefix("_bucket{le=\"")?;
            let (bound, count) = rest.split_once("\"} ")?;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
            Some((bound, count.trim().parse().ok()?))
        };
        Self(text.lines().filter_map(bucket).collect())
    }

    /// What was counted after an earlier look.
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |bound: f64| {
            earlier
                .0
                .iter()
                .find(|(of, _)| of.to_bits() == bound.to_bits())
                .map_or(0.0, |(_, count)| *count)
        };
        Self(self.0.iter().map(|&(bound, count)| (bound, count - before(bound))).collect())
    }

    /// How many there are.
    pub fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, count)| *count)
    }

    /// So large a part of all is below this, in seconds, as Prometheus estimates it: evenly spread in a bucket.
    pub fn quantile(&self, part: f64) -> f64 {
        let wanted = self.count() * part;
        let (mut from, mut below) = (0.0, 0.0);
        for &(bound, count) in &self.0 {
            if count >= wanted && count > below {
                let to = if bound.is_finite() { bound } else { from };
                return from + (to - from) * (wanted - below) / (count - below);
            }
            (from, below) = (bound, count);
        }
        f64::NAN
    }
}

fn value(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_in_its_bucket_and_earlier_counts_do_not_matter() {
        let read = |counts: [u32; 3]| {
            let [a, b, all] = counts;
            let text = format!(
                "x_bucket{{le=\"0.1\"}} {a}\nx_bucket{{le=\"0.3\"}} {b}\nx_bucket{{le=\"+Inf\"}} {all}\n"
            );
            Histogram::read(&text, "x")
        };
        let grown = read([60, 100, 100]).since(&read([50, 50, 50]));
        assert!((grown.count() - 50.0).abs() < 1e-9);
        assert!((grown.quantile(0.2) - 0.1).abs() < 1e-9);
        assert!((grown.quantile(0.6) - 0.2).abs() < 1e-9);
    }
}
