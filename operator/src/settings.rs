//! The operator's settings: its arguments, checked once and in the form the stages use.

use std::{collections::BTreeMap, time::Duration};

use crds::{
    endpoint::{Guard, Network},
    units::QuantityText,
    v1alpha1::{ComputeResources, LogLevel, ResourceQuantity},
    worker_config::LogFormat,
};

use crate::args::{self, Args, PullPolicy, TraceArgs, WorkerDefaults};
use crate::controller::validate::image;

/// What the pure stages know about the operator.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Cluster in the owner of every archive.
    pub cluster_id: String,
    /// Image of a stream that names none.
    pub worker_image: String,
    /// Repositories a stream may name.
    pub allowed_images: Vec<String>,
    /// Where a stream may not lead its worker.
    pub endpoints: Guard,
    /// Addresses that are allowed all the same.
    pub allowed_endpoints: Vec<Network>,
    /// When an image is pulled.
    pub pull_policy: PullPolicy,
    /// Pull secrets of a stream that names none.
    pub pull_secrets: Vec<String>,
    /// Least time between two writes of a checkpoint ConfigMap.
    pub min_configmap_interval: Duration,
    /// Streams whose pods the operator replaces at a time by itself.
    pub rollout_at_once: usize,
    /// Writes of statuses a second, of all streams together.
    pub status_writes_per_second: u16,
    /// Resources of a stream that names none.
    pub resources: ComputeResources,
    /// Spool of a stream that names none.
    pub spool: QuantityText,
    /// Seconds to drain, for a stream that names none.
    pub grace_seconds: u32,
    /// Log level of a stream that names none.
    pub log_level: LogLevel,
    /// Form of the workers' log.
    pub log_format: LogFormat,
    /// Where workers hand their traces; none = nowhere.
    pub traces: Option<WorkerTraces>,
    /// User id of the worker; none = the platform assigns it.
    pub run_as_user: Option<i64>,
    /// Group of the worker's volumes; none = the platform assigns it.
    pub fs_group: Option<i64>,
}

/// What workers are told of the collector of traces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerTraces {
    /// Its URL.
    pub endpoint: String,
    /// Name and key of the Secret with headers for it.
    pub headers: Option<(String, String)>,
    /// Part of all traces that is kept.
    pub ratio: String,
    /// More attributes of the workers' resource.
    pub attributes: Option<String>,
}

/// An argument that cannot work.
#[derive(Debug, thiserror::Error)]
#[error("--{flag} is {value:?}: {message}")]
pub struct SettingsError {
    flag: &'static str,
    value: String,
    message: String,
}

impl Settings {
    /// Checks the arguments.
    ///
    /// # Errors
    /// Names the flag, its value and what is wrong.
    pub fn new(args: &Args, cluster_id: String) -> Result<Settings, SettingsError> {
        let WorkerDefaults {
            worker_cpu_request,
            worker_memory_request,
            worker_memory_limit,
            worker_spool_size,
            worker_grace_seconds,
            worker_log_level,
            worker_log_format,
            traces,
            worker_run_as_user,
            worker_fs_group,
        } = &args.worker;
        let requests = [
            ("cpu", quantity("worker-cpu-request", worker_cpu_request)?),
            ("memory", quantity("worker-memory-request", worker_memory_request)?),
        ];
        let limits = [("memory", quantity("worker-memory-limit", worker_memory_limit)?)];
        let allowed_images = if args.image_allow_list.is_empty() {
            vec![image::repository(&args.worker_image).to_owned()]
        } else {
            args.image_allow_list.clone()
        };
        Ok(Settings {
            cluster_id,
            worker_image: args.worker_image.clone(),
            allowed_images,
            endpoints: Guard::in_cluster(args.api_server(), args.allowed_endpoints.clone()),
            allowed_endpoints: args.allowed_endpoints.clone(),
            pull_policy: args.image_pull_policy,
            pull_secrets: args.image_pull_secrets.clone(),
            min_configmap_interval: args.min_configmap_interval(),
            rollout_at_once: usize::from(args.rollout_at_once),
            status_writes_per_second: args.status_writes_per_second,
            resources: ComputeResources { requests: named(requests), limits: named(limits) },
            spool: worker_spool_size
                .parse()
                .map_err(|error| wrong("worker-spool-size", worker_spool_size, &error))?,
            grace_seconds: u32::try_from(*worker_grace_seconds)
                .map_err(|error| wrong("worker-grace-seconds", worker_grace_seconds, &error))?,
            log_level: log_level(worker_log_level)?,
            log_format: match worker_log_format {
                args::LogFormat::Text => LogFormat::Text,
                args::LogFormat::Json => LogFormat::Json,
            },
            traces: worker_traces(traces)?,
            run_as_user: worker_run_as_user.0,
            fs_group: worker_fs_group.0,
        })
    }
}

fn worker_traces(args: &TraceArgs) -> Result<Option<WorkerTraces>, SettingsError> {
    let TraceArgs {
        worker_otlp_endpoint,
        worker_otlp_headers_secret,
        worker_otlp_headers_key,
        worker_traces_ratio,
        worker_resource_attributes,
    } = args;
    let given = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    let Some(endpoint) = given(worker_otlp_endpoint) else { return Ok(None) };
    traces::check_endpoint(&endpoint).map_err(|mend| {
        let shown = if endpoint.contains('@') { "one with a password" } else { &endpoint };
        wrong("worker-otlp-endpoint", &shown, &mend)
    })?;
    traces::check_ratio(worker_traces_ratio)
        .map_err(|mend| wrong("worker-traces-ratio", worker_traces_ratio, &mend))?;
    let secret = given(worker_otlp_headers_secret);
    Ok(Some(WorkerTraces {
        endpoint,
        headers: secret.map(|name| (name, worker_otlp_headers_key.clone())),
        ratio: worker_traces_ratio.clone(),
        attributes: given(worker_resource_attributes),
    }))
}

fn wrong(flag: &'static str, value: &impl ToString, message: &impl ToString) -> SettingsError {
    SettingsError { flag, value: value.to_string(), message: message.to_string() }
}

fn named<const N: usize>(
    amounts: [(&str, ResourceQuantity); N],
) -> BTreeMap<String, ResourceQuantity> {
    amounts.into_iter().map(|(name, amount)| (name.to_owned(), amount)).collect()
}

fn quantity(flag: &'static str, text: &str) -> Result<ResourceQuantity, SettingsError> {
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, unit) = text.split_at(digits);
    let units =
        ["", "n", "u", "m", "k", "K", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    if number.parse::<f64>().is_ok() && units.contains(&unit) {
        Ok(ResourceQuantity(text.to_owned()))
    } else {
        Err(wrong(flag, &text, &"write an amount like 50m, 1 or 96Mi"))
    }
}

fn log_level(text: &str) -> Result<LogLevel, SettingsError> {
    [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace]
        .into_iter()
        .find(|level| level.as_str() == text)
        .ok_or_else(|| wrong("worker-log-level", &text, &"write error, warn, info, debug or trace"))
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::Parser as _;

    use super::*;

    /// Settings as the chart's defaults give them.
    pub(crate) fn settings() -> Settings {
        with(&[]).unwrap()
    }

    fn with(extra: &[&str]) -> Result<Settings, SettingsError> {
        let args = ["operator", "--worker-image", "registry.example/binlog-worker:0.1.0"];
        let args = Args::try_parse_from(args.iter().chain(extra)).unwrap();
        Settings::new(&args, "5f1d9c1e-0000-4000-8000-000000000001".to_owned())
    }

    #[test]
    fn only_the_own_repository_is_allowed_unless_told_otherwise() {
        assert_eq!(settings().allowed_images, ["registry.example/binlog-worker"]);
        let listed = with(&["--image-allow-list", "a.example/x,b.example/"]).unwrap();
        assert_eq!(listed.allowed_images, ["a.example/x", "b.example/"]);
    }

    #[test]
    fn what_is_refused_as_an_endpoint_can_be_allowed_by_address() {
        use crds::endpoint::Refused;
        let api = ["--api-server", "10.96.0.1"];
        let plain = with(&api).unwrap().endpoints;
        assert_eq!(plain.host("10.96.0.1"), Some(Refused::ApiServer));
        assert_eq!(plain.host("127.0.0.1"), Some(Refused::Loopback));
        let allowed = [&api[..], &["--allowed-endpoints", "127.0.0.0/8,10.96.0.1"]].concat();
        let lenient = with(&allowed).unwrap();
        assert_eq!(lenient.endpoints.host("10.96.0.1"), None);
        assert_eq!(lenient.endpoints.host("127.0.0.1"), None);
        assert_eq!(lenient.allowed_endpoints.len(), 2, "the workers are told");
    }

    #[test]
    fn workers_hand_their_traces_nowhere_unless_a_collector_is_named() {
        let beside = ["--worker-otlp-headers-secret", "otlp", "--worker-traces-ratio", "often"];
        assert_eq!(with(&beside).unwrap().traces, None);
        assert_eq!(with(&["--worker-otlp-endpoint", ""]).unwrap().traces, None);
        let endpoint = ["--worker-otlp-endpoint", "http://collector:4318"];
        assert!(with(&[&endpoint[..], &beside].concat()).is_err());
        let traces = with(&[&endpoint[..], &beside[..2]].concat()).unwrap().traces.unwrap();
        assert_eq!(traces.headers, Some(("otlp".to_owned(), "headers".to_owned())));
        assert_eq!((&*traces.ratio, traces.attributes), ("1", None));
    }

    #[test]
    fn bad_values_name_flag_value_and_mend() {
        let error = with(&["--worker-memory-limit", "half a gig"]).unwrap_err().to_string();
        assert!(error.contains("--worker-memory-limit") && error.contains("half a gig"), "{error}");
        assert!(with(&["--worker-log-level", "loud"]).is_err());
        let error = with(&["--worker-otlp-endpoint", "collector:4317"]).unwrap_err().to_string();
        assert!(error.contains("--worker-otlp-endpoint is \"collector:4317\": write"), "{error}");
        assert!(with(&["--worker-spool-size", "0"]).is_err());
    }
}
