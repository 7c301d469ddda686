//! `kubectl binlog`: the plugin's process. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser as _;
use operator::plugin::{self, Cli};

fn main() -> ExitCode {
    let cli = Cli::parse();
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("kubectl-binlog: another TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("kubectl-binlog: start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(plugin::run(&cli)) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("kubectl-binlog: {error}");
            ExitCode::FAILURE
        }
    }
}
