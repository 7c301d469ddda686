//! Logs: text or JSON on standard error, filtered by level. Traces, if the environment names a collector. No value of a
//! row and no secret is ever a field of either.

use crds::spans::WORKER;
use crds::worker_config::{LogFormat, WorkerConfig};
use traces::{Lines, Service, Traces};

/// Starts logging for the whole process, and traces if they are asked for. Call once, and close what is returned at
/// the end.
pub fn start(config: &WorkerConfig, pod_uid: Option<&str>) -> Option<Traces> {
    let lines = lines(config)?;
    let of_pod = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let instance = pod_uid.or(config.instance.id.as_deref()).map(str::to_owned);
    let service = Service {
        name: WORKER,
        version: env!("CARGO_PKG_VERSION"),
        attributes: vec![
            ("service.instance.id", instance),
            ("binlogstream.namespace", Some(config.namespace.clone())),
            ("binlogstream.name", Some(config.name.clone())),
            ("k8s.namespace.name", pod_uid.map(|_| config.namespace.clone())),
            ("k8s.pod.uid", pod_uid.map(str::to_owned)),
            ("k8s.pod.name", of_pod("POD_NAME")),
            ("k8s.node.name", of_pod("NODE_NAME")),
        ],
    };
    traces::install(lines, service)
}

/// Starts logging alone, for a command that ends by itself.
pub fn start_logs(config: &WorkerConfig) {
    if let Some(lines) = lines(config) {
        lines.install_alone();
    }
}

/// Libraries are held at `warn`, whatever the level asked for: at `debug` some of them print headers.
fn lines(config: &WorkerConfig) -> Option<Lines> {
    let level = config.log_level.as_str();
    let filter = format!(
        "warn,worker={level},archive={level},binlog={level},changes={level},source={level},traces={level}"
    );
    // Made of words of a closed list, so it can be read.
    Lines::new(config.log_format == LogFormat::Json, false, &filter).ok()
}
