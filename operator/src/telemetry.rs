//! Log lines, as text for people or as JSON for machines, and traces if the environment names a collector.

use std::io::IsTerminal as _;

use crds::spans::OPERATOR;
use traces::{Lines, Service, Traces};
use tracing_subscriber::filter::ParseError;

use crate::args::{Args, LogFormat};

/// Installs the process-wide subscriber. What is returned is closed at the process's end.
///
/// # Errors
/// When the log's filter is not one.
pub fn install(args: &Args) -> Result<Option<Traces>, ParseError> {
    let json = args.log_format == LogFormat::Json;
    let lines = Lines::new(json, std::io::stderr().is_terminal(), &args.log_filter)?;
    let identity = args.identity.clone();
    let service = Service {
        name: OPERATOR,
        version: env!("CARGO_PKG_VERSION"),
        attributes: vec![
            ("service.instance.id", identity.clone()),
            ("k8s.pod.name", identity),
            ("k8s.namespace.name", Some(args.lease_namespace.clone())),
        ],
    };
    Ok(traces::install(lines, service))
}
