//! The command line.

use std::path::PathBuf;

use archive::Point;
use clap::{Parser, Subcommand};

use crate::redecode::parse_point;

/// Streams a MySQL or MariaDB binlog into an archive.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the worker can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Stream until told to stop.
    Run {
        /// Configuration, as YAML or JSON.
        #[arg(long, value_name = "FILE", env = "BINLOG_WORKER_CONFIG")]
        config: PathBuf,
    },
    /// Decode tables that stopped again from the raw archive, and close their gaps. The stream must be
    /// stopped or paused; nothing is read from the source.
    Redecode {
        /// Configuration of the stream, as YAML or JSON.
        #[arg(long, value_name = "FILE", env = "BINLOG_WORKER_CONFIG")]
        config: PathBuf,
        /// Only this table; may be given several times. Without it every table with an open gap.
        #[arg(long = "table", value_name = "SCHEMA.TABLE")]
        tables: Vec<String>,
        /// Begin here: what the gaps hold before it is given up, and named so in the log.
        #[arg(long, value_name = "LINEAGE/FILE:POS", value_parser = parse_point)]
        from: Option<Point>,
        /// End here, at the next end of an entry: the gaps stay open behind it.
        #[arg(long, value_name = "LINEAGE/FILE:POS", value_parser = parse_point)]
        to: Option<Point>,
    },
    /// Check a configuration file and print what would be used; contacts nothing.
    CheckConfig {
        /// Configuration, as YAML or JSON.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}
