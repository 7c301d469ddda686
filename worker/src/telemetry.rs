//! Logs: text or JSON on standard error, filtered by level. No value of a row and no secret is ever a field.

use crds::worker_config::LogFormat;
use tracing_subscriber::EnvFilter;

/// Starts logging for the whole process. Call once.
///
/// Libraries are held at `warn`, whatever the level asked for: at `debug` some of them print headers.
pub fn start(format: LogFormat, level: &str) {
    let filter = EnvFilter::new(format!(
        "warn,worker={level},archive={level},binlog={level},changes={level},source={level}"
    ));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    let outcome = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.try_init(),
    };
    if outcome.is_err() {
        tracing::debug!("logging was already started");
    }
}
