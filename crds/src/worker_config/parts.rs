//! The parts of the file that differ from the resource: paths instead of references.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::annotations::CheckpointRequest;
use crate::position::Flavor;
use crate::units::{DurationText, QuantityText};
use crate::v1alpha1::{ChangesSpec, CommitSpec, ProxySpec, RawSpec, ServerSideEncryption, TlsMode};

/// Who this process is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// Id for claims. Absent: the pod's uid, or outside Kubernetes a UUID kept in the working
    /// directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The pod. Its presence means "in Kubernetes": faults that end the process elsewhere keep it
    /// alive and not ready here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Pod>,
}

/// The pod of the process. A field left empty is taken from the environment variable that the
/// operator sets from the downward API, since a mounted file cannot know it: `POD_NAME`, `POD_UID`,
/// `NODE_NAME`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// Name of the pod.
    #[serde(default)]
    pub name: String,
    /// Uid of the pod.
    #[serde(default)]
    pub uid: String,
    /// Node of the pod.
    #[serde(default)]
    pub node: String,
}

/// Who owns the archive: written into it, and compared before anything else is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// Uid of the cluster's kube-system namespace; outside Kubernetes any name that is yours.
    pub cluster: String,
    /// Namespace of the stream.
    pub namespace: String,
    /// Name of the stream.
    pub name: String,
}

/// The server to read from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceConfig {
    /// Host name or address, without a port.
    pub host: String,
    /// TCP port.
    #[serde(default = "mysql_port")]
    pub port: u16,
    /// Kind of server. Absent: detected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flavor: Option<Flavor>,
    /// User name, if it is not in a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// File with the user name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_file: Option<PathBuf>,
    /// File with the password.
    pub password_file: PathBuf,
    /// Encryption of the connection.
    #[serde(default)]
    pub tls: TlsConfig,
    /// How often the source sends a heartbeat when idle.
    #[serde(default = "heartbeat_interval")]
    pub heartbeat_interval: DurationText,
    /// Longest wait for a connection, log-in included.
    #[serde(default = "connect_timeout")]
    pub connect_timeout: DurationText,
}

pub(super) const fn mysql_port() -> u16 {
    3306
}

fn heartbeat_interval() -> DurationText {
    DurationText::from_secs(5)
}

fn connect_timeout() -> DurationText {
    DurationText::from_secs(10)
}

/// Encryption of a connection, with files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsConfig {
    /// How the connection is encrypted and what is verified.
    #[serde(default)]
    pub mode: TlsMode,
    /// File with the authority's certificates in PEM. Absent: the system's authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// File with a certificate to present, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// File with the key of `certFile`, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Name that the server's certificate must carry, if it is not the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// Where the worker notes how far it has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointConfig {
    /// Which store. The part of the same name says where it is.
    pub store: CheckpointStoreConfig,
    /// Least time between two writes.
    #[serde(default = "checkpoint_interval")]
    pub interval: DurationText,
    /// The ConfigMap, for store ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapStore>,
    /// The table, for store StreamState.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_state: Option<StreamStateStore>,
    /// The file, for store File.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileStore>,
}

fn checkpoint_interval() -> DurationText {
    DurationText::from_secs(10)
}

/// Kind of checkpoint store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum CheckpointStoreConfig {
    /// A ConfigMap.
    ConfigMap,
    /// A row in a table.
    StreamState,
    /// A file; outside Kubernetes only.
    File,
}

/// A ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapStore {
    /// Namespace of the ConfigMap.
    pub namespace: String,
    /// Name of the ConfigMap.
    pub name: String,
}

/// A table that holds one row per stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamStateStore {
    /// Host of the server. Absent: the source itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// TCP port; used with host only.
    #[serde(default = "mysql_port")]
    pub port: u16,
    /// Database of the table.
    pub database: String,
    /// Name of the table.
    #[serde(default = "stream_state_table")]
    pub table: String,
    /// User name, if it is not in a file. Without user name and files: the source's account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// File with the user name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_file: Option<PathBuf>,
    /// File with the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Encryption. Absent: as the source's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
}

fn stream_state_table() -> String {
    "stream_state".to_owned()
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileStore {
    /// Path of the file; its directory must exist.
    pub path: PathBuf,
}

/// Where the binlog and its changes are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveConfig {
    /// A bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Config>,
    /// A directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeConfig>,
    /// When what was received is made durable.
    #[serde(default)]
    pub commit: CommitSpec,
    /// The binlog files, byte for byte.
    #[serde(default)]
    pub raw: RawSpec,
    /// The change log.
    #[serde(default)]
    pub changes: ChangesSpec,
}

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct S3Config {
    /// Name of the bucket.
    pub bucket: String,
    /// Path in the bucket; namespace and name of the stream are added to it.
    #[serde(default)]
    pub prefix: String,
    /// Region. Absent: as the SDK finds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// URL of a store other than AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Put the bucket into the path instead of the host name.
    #[serde(default)]
    pub force_path_style: bool,
    /// File with the endpoint's authority in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Files with an access key. Absent: the standard chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_files: Option<S3CredentialFiles>,
    /// Encryption by the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_side_encryption: Option<ServerSideEncryption>,
    /// Proxy for the store and its credential service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxySpec>,
}

/// Files with an access key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct S3CredentialFiles {
    /// File with the access key id.
    pub access_key_id_file: PathBuf,
    /// File with the secret access key.
    pub secret_access_key_file: PathBuf,
    /// File with the session token; it may be missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token_file: Option<PathBuf>,
}

/// A directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeConfig {
    /// The directory; namespace and name of the stream are added to it.
    pub path: PathBuf,
}

/// What a person has agreed to. A consent is used once, by the case it fits, and recorded in the
/// archive; left standing it does no harm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Consents {
    /// Take over the archive of this id from its recorded owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub adopt_archive: Option<Uuid>,
    /// Go on with the server of this uuid or server id, in a new lineage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept_source: Option<String>,
    /// Go on with the archive as it is: `<archive id>@<number of its newest entry>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept_archive: Option<String>,
    /// Gaps that are known and accepted: their ids, or `all` for those that are open when it is carried out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acknowledge_gaps: Vec<String>,
    /// Make durable at once what is held: any new text, as a time. Carried out once by each process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_now: Option<String>,
    /// Begin again where `start` leads: `<archive id>@<number of its newest entry>`. Carried out at the
    /// start of the process, if nothing followed on that entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_checkpoint: Option<String>,
    /// Go on further ahead: `<archive id>@<number of its newest entry>/<position>`, a position being
    /// `<file>:<offset>` or a GTID set. Carried out like a reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_checkpoint: Option<String>,
    /// Who agreed, recorded with it; absent: the configuration file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// Stands for every gap that is open.
pub const ALL_GAPS: &str = "all";

impl Consents {
    /// Whether the gap of this id is acknowledged by its id.
    pub fn acknowledges(&self, gap_id: &str) -> bool {
        self.acknowledge_gaps.iter().any(|id| id == gap_id)
    }

    /// The request to move the checkpoint, if there is one that can be read.
    pub fn checkpoint_request(&self) -> Option<CheckpointRequest> {
        let reset = self.reset_checkpoint.as_deref().map(CheckpointRequest::reset);
        let set = || self.set_checkpoint.as_deref().map(CheckpointRequest::set);
        reset.or_else(set).and_then(Result::ok)
    }

    /// Whether `all` gaps are acknowledged. It holds once: left standing, it is no consent to later gaps.
    pub fn acknowledges_all(&self) -> bool {
        self.acknowledges(ALL_GAPS)
    }
}

/// Disk for what waits for the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpoolConfig {
    /// Most bytes it takes.
    #[serde(default = "spool_size")]
    pub size: QuantityText,
}

fn spool_size() -> QuantityText {
    QuantityText::from_mebibytes(4096)
}

impl Default for SpoolConfig {
    fn default() -> Self {
        Self { size: spool_size() }
    }
}

/// Form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
