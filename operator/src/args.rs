//! What the operator is told at its start: flags, each with an environment variable.
//!
//! Pod defaults live here and not in the resource's schema: a default in the schema would freeze
//! into every stored object and beat the fleet's values for ever.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use clap::{Parser, ValueEnum};
use crds::endpoint::Network;

/// The binlog-operator: turns BinlogStreams into workers and reports what they do.
#[derive(Debug, Clone, Parser)]
#[command(name = "operator", version, about)]
pub struct Args {
    /// Namespaces to watch, comma separated; empty = all namespaces (needs cluster-wide rights).
    #[arg(long, env = "WATCH_NAMESPACES", value_delimiter = ',', value_parser = non_blank)]
    pub watch_namespaces: Vec<String>,

    /// Image of the workers this operator makes.
    #[arg(long, env = "WORKER_IMAGE", value_parser = non_blank)]
    pub worker_image: String,

    /// Image repositories a stream may ask for in spec.worker.image, comma separated. An entry that
    /// ends with "/" allows everything below it. Default: the repository of --worker-image.
    #[arg(long, env = "IMAGE_ALLOW_LIST", value_delimiter = ',', value_parser = non_blank)]
    pub image_allow_list: Vec<String>,

    /// Addresses and networks (CIDR) that a stream may name as source, store or proxy although they are refused:
    /// loopback, the API server, the metadata services of clouds. Comma separated.
    #[arg(long, env = "ALLOWED_ENDPOINTS", value_delimiter = ',')]
    pub allowed_endpoints: Vec<Network>,

    /// Address of the API server, which no stream may name. Kubernetes sets the variable in every pod.
    #[arg(long, env = "KUBERNETES_SERVICE_HOST", value_parser = non_blank)]
    pub api_server: Option<String>,

    /// When the kubelet pulls the worker image.
    #[arg(long, env = "IMAGE_PULL_POLICY", value_enum, default_value_t = PullPolicy::IfNotPresent)]
    pub image_pull_policy: PullPolicy,

    /// Pull secrets of the workers whose stream names none, comma separated.
    #[arg(long, env = "IMAGE_PULL_SECRETS", value_delimiter = ',', value_parser = non_blank)]
    pub image_pull_secrets: Vec<String>,

    /// Identity of this cluster in the owner of every archive. Default: UID of the namespace
    /// kube-system, which a namespaced install cannot read.
    #[arg(long, env = "CLUSTER_ID", value_parser = non_blank)]
    pub cluster_id: Option<String>,

    /// Elect a leader by Lease; only the leader reconciles.
    #[arg(long, env = "LEADER_ELECT", default_value_t = true, action = clap::ArgAction::Set)]
    pub leader_elect: bool,

    /// Namespace of the Lease.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default", value_parser = non_blank)]
    pub lease_namespace: String,

    /// Name of the Lease.
    #[arg(long, env = "LEASE_NAME", default_value = "binlog-operator", value_parser = non_blank)]
    pub lease_name: String,

    /// This process in the Lease and in events. Default: the host name.
    #[arg(long, env = "POD_NAME", value_parser = non_blank)]
    pub identity: Option<String>,

    /// Least time between two writes of one checkpoint ConfigMap, in seconds; a shorter
    /// spec.checkpoint.interval is lifted to it. 60 is advised above 200 streams.
    #[arg(long, env = "MIN_CONFIGMAP_INTERVAL_SECONDS", default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=600))]
    pub min_configmap_interval_seconds: u32,

    /// Reconciles that run at once.
    #[arg(long, env = "CONCURRENCY", default_value_t = 16,
        value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,

    /// Streams whose pods are replaced at a time when the operator changes them by itself: another
    /// default image, other defaults, another version of the operator.
    #[arg(long, env = "ROLLOUT_AT_ONCE", default_value_t = 5,
        value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub rollout_at_once: u16,

    /// Writes of statuses a second, of all streams together. What gets worse is written beyond it.
    #[arg(long, env = "STATUS_WRITES_PER_SECOND", default_value_t = 200,
        value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub status_writes_per_second: u16,

    /// Where /livez, /readyz and /metrics listen.
    #[arg(long, env = "LISTEN", default_value = "[::]:8080")]
    pub listen: SocketAddr,

    /// Give /metrics only to bearers of a token who may GET that path, as the API server says. Needs the rights of
    /// system:auth-delegator.
    #[arg(long, env = "METRICS_AUTH")]
    pub metrics_auth: bool,

    /// Form of the log lines.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Filter of the log, as tracing's EnvFilter reads it.
    #[arg(long, env = "LOG_FILTER", default_value = "info,kube=warn,hyper=warn,tower=warn")]
    pub log_filter: String,

    /// Check that the API serves BinlogStreams, that every right is granted and that an operator leads; then
    /// end, with 1 if something is missing.
    #[arg(long)]
    pub check: bool,

    /// Defaults of the worker pods.
    #[command(flatten)]
    pub worker: WorkerDefaults,
}

/// Defaults of the worker pods, for what a stream leaves open.
#[derive(Debug, Clone, clap::Args)]
pub struct WorkerDefaults {
    /// CPU a worker asks for.
    #[arg(long, env = "WORKER_CPU_REQUEST", default_value = "50m", value_parser = non_blank)]
    pub worker_cpu_request: String,

    /// Memory a worker asks for.
    #[arg(long, env = "WORKER_MEMORY_REQUEST", default_value = "96Mi", value_parser = non_blank)]
    pub worker_memory_request: String,

    /// Memory a worker may use. There is no default CPU limit: it would only add lag.
    #[arg(long, env = "WORKER_MEMORY_LIMIT", default_value = "512Mi", value_parser = non_blank)]
    pub worker_memory_limit: String,

    /// Size of the spool, an emptyDir.
    #[arg(long, env = "WORKER_SPOOL_SIZE", default_value = "4Gi", value_parser = non_blank)]
    pub worker_spool_size: String,

    /// Seconds a worker has to drain.
    #[arg(long, env = "WORKER_GRACE_SECONDS", default_value_t = 60,
        value_parser = clap::value_parser!(i64).range(10..=3600))]
    pub worker_grace_seconds: i64,

    /// Log level of the workers.
    #[arg(long, env = "WORKER_LOG_LEVEL", default_value = "info", value_parser = non_blank)]
    pub worker_log_level: String,

    /// Form of the workers' log lines.
    #[arg(long, env = "WORKER_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub worker_log_format: LogFormat,

    /// Where they hand their traces.
    #[command(flatten)]
    pub traces: TraceArgs,

    /// User id of the worker; "none" where the platform assigns ids (OpenShift).
    #[arg(long, env = "WORKER_RUN_AS_USER", default_value = "65532", value_parser = id_or_none)]
    pub worker_run_as_user: AssignedId,

    /// Group that owns a worker's volumes; "none" where the platform assigns ids (OpenShift).
    #[arg(long, env = "WORKER_FS_GROUP", default_value = "65532", value_parser = id_or_none)]
    pub worker_fs_group: AssignedId,
}

/// The collector that workers hand their traces to.
#[derive(Debug, Clone, clap::Args)]
pub struct TraceArgs {
    /// URL of the collector that workers hand their traces to, by OTLP over HTTP. Empty: none.
    #[arg(long, env = "WORKER_OTLP_ENDPOINT")]
    pub worker_otlp_endpoint: Option<String>,

    /// Name of the Secret, to be found in the stream's namespace, with headers for that collector; where it is missing
    /// none are sent.
    #[arg(long, env = "WORKER_OTLP_HEADERS_SECRET")]
    pub worker_otlp_headers_secret: Option<String>,

    /// Key of that Secret: name=value pairs with commas between.
    #[arg(long, env = "WORKER_OTLP_HEADERS_KEY", default_value = "headers", value_parser = non_blank)]
    pub worker_otlp_headers_key: String,

    /// Part of all traces that workers keep, from 0 to 1.
    #[arg(long, env = "WORKER_TRACES_RATIO", default_value = "1", value_parser = non_blank)]
    pub worker_traces_ratio: String,

    /// More attributes of the workers' traces: name=value pairs with commas between.
    #[arg(long, env = "WORKER_RESOURCE_ATTRIBUTES")]
    pub worker_resource_attributes: Option<String>,
}

/// A numeric id, or none because the platform assigns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssignedId(pub Option<i64>);

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// The word the worker's `--log-format` takes.
    pub fn as_str(self) -> &'static str {
        match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
    }
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum PullPolicy {
    /// Only where the node has no copy.
    IfNotPresent,
    /// At each start.
    Always,
    /// Never: the image is loaded by hand.
    Never,
}

impl PullPolicy {
    /// Kubernetes' word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            PullPolicy::IfNotPresent => "IfNotPresent",
            PullPolicy::Always => "Always",
            PullPolicy::Never => "Never",
        }
    }
}

impl Args {
    /// Address of the API server, if it is known as one.
    pub fn api_server(&self) -> Option<IpAddr> {
        let host = self.api_server.as_deref()?;
        host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// Least time between two writes of one checkpoint ConfigMap.
    pub fn min_configmap_interval(&self) -> Duration {
        Duration::from_secs(u64::from(self.min_configmap_interval_seconds))
    }
}

fn non_blank(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.to_owned()) }
}

fn id_or_none(text: &str) -> Result<AssignedId, String> {
    if text == "none" {
        return Ok(AssignedId(None));
    }
    match text.parse::<i64>() {
        Ok(0) => Err("must not be 0: workers never run as root".to_owned()),
        Ok(id) if id > 0 => Ok(AssignedId(Some(id))),
        _ => Err("must be a number above 0, or none".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(extra: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from(
            ["operator", "--worker-image", "registry.example/binlog-worker:1"]
                .iter()
                .chain(extra.iter()),
        )
    }

    #[test]
    fn defaults_are_those_of_the_design() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.min_configmap_interval(), Duration::from_secs(10));
        assert_eq!((args.rollout_at_once, args.status_writes_per_second), (5, 200));
        assert_eq!(args.worker.worker_memory_request, "96Mi");
        assert_eq!(args.worker.worker_memory_limit, "512Mi");
        assert_eq!(args.worker.worker_grace_seconds, 60);
        assert_eq!(args.worker.worker_fs_group, AssignedId(Some(65532)));
        assert!(args.leader_elect && args.watch_namespaces.is_empty());
        assert!(args.listen.is_ipv6());
    }

    #[test]
    fn root_is_refused_and_none_leaves_ids_to_the_platform() {
        assert!(parse(&["--worker-run-as-user", "0"]).is_err());
        let args = parse(&["--worker-run-as-user", "none", "--worker-fs-group", "none"]).unwrap();
        assert_eq!(args.worker.worker_run_as_user, AssignedId(None));
    }
}
