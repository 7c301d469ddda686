//! Log lines on standard error: text for people, JSON for machines.

use crds::spans::TARGET;
use tracing_subscriber::filter::{EnvFilter, LevelFilter, ParseError};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, fmt};

use crate::Traces;

/// How log lines look, and which there are.
#[derive(Debug)]
pub struct Lines {
    json: bool,
    ansi: bool,
    pub(crate) filter: EnvFilter,
}

impl Lines {
    /// Lines as JSON or as text, in colours or not, of what `filter` lets through. Spans that are for a collector are
    /// in no line.
    ///
    /// # Errors
    /// When `filter` is not one.
    pub fn new(json: bool, ansi: bool, filter: &str) -> Result<Self, ParseError> {
        let no_spans = format!("{TARGET}={}", LevelFilter::OFF).parse()?;
        let filter = EnvFilter::try_new(filter)?.add_directive(no_spans);
        Ok(Self { json, ansi, filter })
    }

    /// Makes them the process's, without a collector beside them.
    pub fn install_alone(self) {
        self.install(None);
    }

    pub(crate) fn install(self, traces: Option<&Traces>) {
        let Self { json, ansi, filter } = self;
        let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(ansi);
        let lines = if json { lines.json().flatten_event(true).boxed() } else { lines.boxed() };
        let lines = Registry::default().with(lines.with_filter(filter));
        let outcome = match traces {
            Some(traces) => lines.with(traces.layer()).try_init(),
            None => lines.try_init(),
        };
        if outcome.is_err() {
            tracing::debug!("logging was already started");
        }
    }
}
