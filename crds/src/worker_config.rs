//! The file that `worker run --config FILE` reads, as YAML or JSON: the operator mounts it into the
//! pod and writes it anew when something changes; outside Kubernetes a person writes it.
//!
//! It holds no secret: passwords and keys are paths of files. The parts that mean the same as in
//! the resource are the same Rust types, with the same defaults. A key that is not known is
//! refused by name (`a_typo_is_named` in `tests/worker_config.rs`).

mod parse;
mod parts;
mod validate;

pub use parse::ConfigError;
pub use parts::{
    ALL_GAPS, ArchiveConfig, CheckpointConfig, CheckpointStoreConfig, ConfigMapStore, Consents,
    FileStore, Instance, LogFormat, Owner, Pod, S3Config, S3CredentialFiles, SourceConfig,
    SpoolConfig, StreamStateStore, TlsConfig, VolumeConfig,
};
pub use validate::{FieldError, Warning};

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::endpoint::{Guard, Network};
use crate::v1alpha1::{BatchSpec, FilterSpec, LogLevel, OnGap, StartSpec, StreamState};

/// Version of the file's form.
pub const CONFIG_VERSION: u32 = 1;

/// Everything a worker is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerConfig {
    /// Version of this form; 1.
    #[serde(default = "config_version")]
    pub version: u32,
    /// Namespace of the stream; part of the archive's path.
    pub namespace: String,
    /// Name of the stream; part of the archive's path.
    pub name: String,
    /// Who this process is.
    #[serde(default)]
    pub instance: Instance,
    /// Who owns the archive.
    pub owner: Owner,
    /// Generation of the BinlogStream that this file was made from; absent outside Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// The server to read from.
    pub source: SourceConfig,
    /// Own server id as a replica. Absent: derived from the instance id and checked at the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_id: Option<u32>,
    /// Where reading starts if there is neither a checkpoint nor an archive.
    #[serde(default)]
    pub start: StartSpec,
    /// Which tables go into the change log.
    #[serde(default)]
    pub filter: FilterSpec,
    /// Hand-over inside the worker.
    #[serde(default)]
    pub batch: BatchSpec,
    /// Where the worker notes how far it has come.
    pub checkpoint: CheckpointConfig,
    /// Where the binlog and its changes are kept.
    pub archive: ArchiveConfig,
    /// What to do about events that the source has purged before they were archived.
    #[serde(default)]
    pub on_gap: OnGap,
    /// Whether the stream should run. Stopped ends the process after a drain.
    #[serde(default)]
    pub state: StreamState,
    /// What a person has agreed to.
    #[serde(default)]
    pub consents: Consents,
    /// Addresses and networks (CIDR) that are connected to although they are refused: loopback and the API server in
    /// a pod, the metadata services of clouds everywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_endpoints: Vec<Network>,
    /// Disk for what waits for the archive.
    #[serde(default)]
    pub spool: SpoolConfig,
    /// Directory of the worker's own files: its instance id and lock, the spool, markers.
    pub work_dir: PathBuf,
    /// Address and port of the status, metrics and health pages.
    #[serde(default = "default_listen")]
    pub listen: String,
    /// Form of the log.
    #[serde(default)]
    pub log_format: LogFormat,
    /// How much is logged.
    #[serde(default)]
    pub log_level: LogLevel,
    /// Seconds for committing what is held when the process is told to end.
    #[serde(default = "default_grace")]
    pub grace_period_seconds: u32,
}

const fn config_version() -> u32 {
    CONFIG_VERSION
}

/// Where the pages are unless the configuration says otherwise: all addresses, of both families.
pub const DEFAULT_LISTEN: &str = "[::]:8080";

fn default_listen() -> String {
    DEFAULT_LISTEN.to_owned()
}

const fn default_grace() -> u32 {
    60
}

impl WorkerConfig {
    /// Where this worker may not connect to. `api_server`: the address of the pod's own, where there is one.
    pub fn endpoints(&self, api_server: Option<std::net::IpAddr>) -> Guard {
        let allowed = self.allowed_endpoints.clone();
        match self.instance.pod {
            Some(_) => Guard::in_cluster(api_server, allowed),
            None => Guard::outside(allowed),
        }
    }
}
