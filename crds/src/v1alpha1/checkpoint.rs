//! Where the worker notes how far it has come.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::refs::UserPasswordRef;
use super::source::{TlsSpec, default_port, host_rule};
use crate::schema::{duration_within, fixed, rule_at};
use crate::units::DurationText;

/// Where the worker notes how far it has come. The note makes starting fast; the truth is in the
/// archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rule_at(
    ".streamState",
    "(self.store == 'StreamState') == has(self.streamState)",
    "checkpoint.streamState and checkpoint.store StreamState belong together; set both or neither",
)]))]
pub struct CheckpointSpec {
    /// ConfigMap: an object beside the BinlogStream. StreamState: a row in a table on a MySQL or
    /// MariaDB server.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-validations" = [fixed(
        "checkpoint.store cannot change; delete and re-create the stream under its name: it resumes \
         from the archive",
    )]))]
    pub store: CheckpointStoreKind,
    /// Least time between two writes; nothing is written while the position stands still.
    #[serde(default = "default_interval")]
    #[schemars(extend("x-kubernetes-validations" =
        [duration_within("checkpoint.interval", "1s", "10m")]))]
    pub interval: DurationText,
    /// The table, for store StreamState.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_state: Option<StreamStateSpec>,
}

pub(crate) fn default_interval() -> DurationText {
    DurationText::from_secs(10)
}

impl Default for CheckpointSpec {
    fn default() -> Self {
        Self {
            store: CheckpointStoreKind::default(),
            interval: default_interval(),
            stream_state: None,
        }
    }
}

/// Kind of checkpoint store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum CheckpointStoreKind {
    /// A ConfigMap in the stream's namespace.
    #[default]
    ConfigMap,
    /// A row in a table.
    StreamState,
}

/// A table that holds one row per stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rule_at(
    ".credentialsSecretRef",
    "!has(self.host) || has(self.credentialsSecretRef)",
    "checkpoint.streamState.host needs checkpoint.streamState.credentialsSecretRef: the account of \
     the source is not sent to another server",
)]))]
pub struct StreamStateSpec {
    /// Host name or address of the server, without a port. Absent: the source itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^\S+$"))]
    #[schemars(extend("x-kubernetes-validations" = [host_rule("checkpoint.streamState.host")]))]
    pub host: Option<String>,
    /// TCP port; used with host only.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Database of the table.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[^`/\\.]+$"))]
    pub database: String,
    /// Name of the table; the worker creates it if it may.
    #[serde(default = "default_table")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[^`/\\.]+$"))]
    pub table: String,
    /// Secret with the account's user name and password. Absent: the source's account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<UserPasswordRef>,
    /// Encryption of the connection. Absent: as the source's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
}

pub(crate) fn default_table() -> String {
    "stream_state".to_owned()
}
