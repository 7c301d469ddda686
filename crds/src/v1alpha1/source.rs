//! The server that is read, and how the connection to it is made and protected.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::refs::{CaRef, LocalRef, UserPasswordRef};
use crate::position::Flavor;
use crate::schema::{duration_within, rule, rule_at};
use crate::units::DurationText;

/// The rule of every host field, the field named in its message.
pub(crate) fn host_rule(field: &str) -> serde_json::Value {
    rule(
        "isIP(self) || !(self.contains(':') || self.contains('/') || self.contains('@'))",
        &format!(
            "{field} is a host name or an address without port, scheme or user; the port goes into \
             the field port beside it"
        ),
    )
}

/// The server to read from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rule_at(
    ".flavor",
    "!has(oldSelf.flavor) || (has(self.flavor) && self.flavor == oldSelf.flavor)",
    "source.flavor cannot change; create a new BinlogStream for a server of the other flavor",
)]))]
pub struct SourceSpec {
    /// Host name or address, without a port. It may change: before anything is written the worker
    /// proves that the server there holds the same history.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^\S+$"))]
    #[schemars(extend("x-kubernetes-validations" = [host_rule("source.host")]))]
    pub host: String,
    /// TCP port.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Kind of server. Absent: detected when connecting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flavor: Option<Flavor>,
    /// Secret with the account's user name and password.
    pub credentials_secret_ref: UserPasswordRef,
    /// Encryption of the connection.
    #[serde(default)]
    pub tls: TlsSpec,
    /// How often the source sends a heartbeat when it has nothing else to send. After three missing
    /// ones the worker reconnects.
    #[serde(default = "default_heartbeat_interval")]
    #[schemars(extend("x-kubernetes-validations" =
        [duration_within("source.heartbeatInterval", "1s", "60s")]))]
    pub heartbeat_interval: DurationText,
    /// Longest wait for a connection, log-in included.
    #[serde(default = "default_connect_timeout")]
    #[schemars(extend("x-kubernetes-validations" =
        [duration_within("source.connectTimeout", "1s", "60s")]))]
    pub connect_timeout: DurationText,
}

pub(crate) const fn default_port() -> u16 {
    3306
}

pub(crate) fn default_heartbeat_interval() -> DurationText {
    DurationText::from_secs(5)
}

pub(crate) fn default_connect_timeout() -> DurationText {
    DurationText::from_secs(10)
}

/// Encryption of a connection to a MySQL or MariaDB server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule_at(
        ".caRef",
        "!has(self.caRef) || self.mode in ['VerifyCA', 'VerifyFull']",
        "tls.caRef is only used with tls.mode VerifyCA or VerifyFull; set that mode or remove caRef",
    ),
    rule_at(
        ".clientCertSecretRef",
        "!has(self.clientCertSecretRef) || self.mode != 'Disabled'",
        "tls.clientCertSecretRef needs encryption; set another tls.mode than Disabled or remove it",
    ),
    rule_at(
        ".serverName",
        "!has(self.serverName) || self.mode == 'VerifyFull'",
        "tls.serverName is only used with tls.mode VerifyFull; set that mode or remove serverName",
    ),
]))]
pub struct TlsSpec {
    /// Disabled: clear text. Preferred: encrypted if the server can. Required: encrypted, the
    /// server's certificate is not checked. VerifyCA: encrypted, the certificate must come from the
    /// authority. VerifyFull: and it must carry the server's name.
    #[serde(default)]
    pub mode: TlsMode,
    /// Certificates of the authority to trust. Absent: the system's authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaRef>,
    /// Secret of type kubernetes.io/tls (tls.crt, tls.key) with a certificate to present to the
    /// server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert_secret_ref: Option<LocalRef>,
    /// Name that the server's certificate must carry, if it is not the host: behind a virtual
    /// address or a tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
}

/// How a connection is encrypted and what is verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TlsMode {
    /// Clear text.
    Disabled,
    /// Encrypted if the server can, else clear text.
    Preferred,
    /// Encrypted; nothing is verified.
    Required,
    /// Encrypted; the certificate must come from the authority.
    VerifyCA,
    /// Encrypted; the certificate must come from the authority and carry the name.
    #[default]
    VerifyFull,
}

impl TlsMode {
    /// Whether the server's certificate is checked against authorities.
    pub const fn verifies(self) -> bool {
        matches!(self, Self::VerifyCA | Self::VerifyFull)
    }
}
