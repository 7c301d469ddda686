//! The worker's command line.

use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;

use clap::Parser;
use worker::args::{Args, Command};
use worker::redecode::Selection;
use worker::{config, redecode, run};

/// Freed blocks of megabytes go back to the system. The C library would keep them for later, in an arena for each
/// thread, and is told otherwise only by the environment that the program begins with.
const ALLOCATOR: [(&str, &str); 2] =
    [("MALLOC_MMAP_THRESHOLD_", "1048576"), ("MALLOC_ARENA_MAX", "2")];

fn main() -> ExitCode {
    begin_again_with_allocator();
    // kube and the S3 client both bring rustls; one provider is chosen before either asks.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return ExitCode::FAILURE;
    }
    match Args::parse().command {
        Command::Run { config } => finish(run::run(&config)),
        Command::Redecode { config, tables, from, to } => {
            finish(redecode::redecode(&config, Selection { tables, from, to }))
        }
        Command::CheckConfig { config } => check_config(&config),
    }
}

/// Begins the program again, in this process, with the environment that the allocator needs. What somebody set counts.
fn begin_again_with_allocator() {
    let missing: Vec<_> =
        ALLOCATOR.into_iter().filter(|(name, _)| std::env::var_os(name).is_none()).collect();
    if missing.is_empty() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut again = std::process::Command::new(program);
    // It returns only if it fails, and then all works as before but takes more memory.
    let _failed = again.args(std::env::args_os().skip(1)).envs(missing).exec();
}

fn finish(work: impl Future<Output = run::Exit>) -> ExitCode {
    let exit = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(work),
        Err(_) => run::Exit::TryAgain,
    };
    ExitCode::from(exit.code())
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the answer of a command")]
fn check_config(path: &std::path::Path) -> ExitCode {
    match config::load(path).map(|config| config.to_yaml()) {
        Ok(Ok(text)) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Ok(Err(error)) => {
            eprintln!("worker: {error}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("worker: {error}");
            ExitCode::from(run::Exit::BadConfig.code())
        }
    }
}
