//! The operator's process: arguments, log, runtime. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser;
use operator::{args::Args, telemetry};
use traces::Traces;
use tracing::error;

fn main() -> ExitCode {
    let args = Args::parse();
    // Other crates may link another provider; the choice is made once, here.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("operator: another TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    let traces = match telemetry::install(&args) {
        Ok(traces) => traces,
        Err(error) => {
            eprintln!("operator: --log-filter {:?}: {error}", args.log_filter);
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "start the runtime");
            return ExitCode::FAILURE;
        }
    };
    let counts = traces.as_ref().map(Traces::counts).unwrap_or_default();
    let ended = runtime.block_on(operator::run(args, counts));
    if let Some(traces) = traces {
        traces.close();
    }
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(%error, "operator ends");
            ExitCode::FAILURE
        }
    }
}
