//! Where the binlog and its changes are kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::refs::{CaRef, KEY, NAME};
use crate::schema::{duration_within, fixed, quantity_within, rule, rule_at};
use crate::units::{DurationText, QuantityText};

/// Where the binlog and its changes are kept. Nothing in it is deleted when the BinlogStream is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule(
        "has(self.s3) != has(self.volume)",
        "archive needs exactly one of s3 and volume",
    ),
    rule(
        "has(self.s3) == has(oldSelf.s3)",
        "archive cannot move between s3 and volume; create a new BinlogStream",
    ),
    rule(
        "self.raw.enabled || self.changes.enabled",
        "archive.raw.enabled and archive.changes.enabled cannot both be false: nothing would be kept",
    ),
]))]
pub struct ArchiveSpec {
    /// A bucket of S3 or of a store that speaks its protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Spec>,
    /// A volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeSpec>,
    /// When what was received is made durable.
    #[serde(default)]
    pub commit: CommitSpec,
    /// The binlog files, byte for byte.
    #[serde(default)]
    pub raw: RawSpec,
    /// The change log: every row change, as a Delta table of Parquet files.
    #[serde(default)]
    pub changes: ChangesSpec,
}

/// A bucket of S3 or of a store that speaks its protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rule_at(
    ".caRef",
    "!has(self.caRef) || !has(self.endpoint) || self.endpoint.startsWith('https://')",
    "archive.s3.caRef is only used with an https endpoint; change the endpoint or remove caRef",
)]))]
pub struct S3Spec {
    /// Name of the bucket. It must exist.
    #[schemars(length(min = 3, max = 63), regex(pattern = r"^[a-z0-9][-a-z0-9.]*[a-z0-9]$"))]
    #[schemars(extend("x-kubernetes-validations" = [fixed(
        "archive.s3.bucket cannot change; create a new BinlogStream for another bucket",
    )]))]
    pub bucket: String,
    /// Path in the bucket; namespace and name of the stream are added to it.
    #[serde(default)]
    #[schemars(length(max = 512), regex(pattern = r"^([-A-Za-z0-9!_.*'()=+@,]+/?)*$"))]
    #[schemars(extend("x-kubernetes-validations" = [
        fixed("archive.s3.prefix cannot change; create a new BinlogStream for another prefix"),
        rule(
            "!self.split('/').exists(part, part == '.' || part == '..')",
            "archive.s3.prefix must not have the parts . or ..; write the path without them",
        ),
    ]))]
    pub prefix: String,
    /// Region of the bucket. Absent: from the environment, as the SDK finds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[-A-Za-z0-9_.]+$"))]
    pub region: Option<String>,
    /// URL of a store other than AWS, like https://s3.example.com:9000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[schemars(extend("x-kubernetes-validations" = [rule(
        "isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHost() != '' && \
         !self.contains('@') && !self.contains('?') && !self.contains('#')",
        "archive.s3.endpoint is an http or https URL without user, password or query; credentials \
         go into archive.s3.credentialsSecretRef",
    )]))]
    pub endpoint: Option<String>,
    /// Put the bucket into the path instead of the host name, as many stores other than AWS need.
    #[serde(default)]
    pub force_path_style: bool,
    /// Certificates of the endpoint's authority. Absent: the system's authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaRef>,
    /// Secret with an access key. Absent: the standard chain (service account, instance role).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<S3CredentialsRef>,
    /// Encryption by the store. Absent: as the bucket is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_side_encryption: Option<ServerSideEncryption>,
}

/// A Secret with an access key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct S3CredentialsRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub name: String,
    /// Key that holds the access key id.
    #[serde(default = "default_access_key_id_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = KEY))]
    pub access_key_id_key: String,
    /// Key that holds the secret access key.
    #[serde(default = "default_secret_access_key_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = KEY))]
    pub secret_access_key_key: String,
    /// Key that holds the session token; it need not exist in the Secret.
    #[serde(default = "default_session_token_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = KEY))]
    pub session_token_key: String,
}

fn default_access_key_id_key() -> String {
    "AWS_ACCESS_KEY_ID".to_owned()
}

fn default_secret_access_key_key() -> String {
    "AWS_SECRET_ACCESS_KEY".to_owned()
}

fn default_session_token_key() -> String {
    "AWS_SESSION_TOKEN".to_owned()
}

/// Encryption by the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rule_at(
    ".kmsKeyId",
    "!has(self.kmsKeyId) || self.algorithm == 'aws:kms'",
    "serverSideEncryption.kmsKeyId is only used with algorithm aws:kms; set it or remove kmsKeyId",
)]))]
pub struct ServerSideEncryption {
    /// AES256: a key of the store. aws:kms: a key of the key service.
    pub algorithm: SseAlgorithm,
    /// Key of the key service. Absent: the account's default key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub kms_key_id: Option<String>,
}

/// Algorithm of the store's encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SseAlgorithm {
    /// A key of the store.
    #[serde(rename = "AES256")]
    Aes256,
    /// A key of the key service.
    #[serde(rename = "aws:kms")]
    AwsKms,
}

/// A volume: an existing claim, or one that the operator makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule(
        "has(self.claimName) != has(self.size)",
        "archive.volume needs exactly one of claimName (an existing claim) and size (a new one)",
    ),
    rule(
        "has(self.claimName) == has(oldSelf.claimName)",
        "archive.volume cannot change between claimName and size; create a new BinlogStream",
    ),
    rule_at(
        ".storageClassName",
        "has(self.storageClassName) == has(oldSelf.storageClassName)",
        "archive.volume.storageClassName cannot be added or removed; create a new BinlogStream for \
         a claim of another class",
    ),
    rule_at(
        ".storageClassName",
        "!has(self.storageClassName) || has(self.size)",
        "archive.volume.storageClassName belongs to size; an existing claim has its class already",
    ),
]))]
pub struct VolumeSpec {
    /// Name of an existing claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    #[schemars(extend("x-kubernetes-validations" = [fixed(
        "archive.volume.claimName cannot change; create a new BinlogStream for another volume",
    )]))]
    pub claim_name: Option<String>,
    /// Size of a new claim, <stream>-archive. It is kept when the BinlogStream is deleted, and used
    /// again by one of the same name. It can only grow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = [
        quantity_within("archive.volume.size", "1Gi", "64Ti"),
        rule(
            "quantity(self).compareTo(quantity(oldSelf)) >= 0",
            "archive.volume.size can only grow",
        ),
    ]))]
    pub size: Option<QuantityText>,
    /// Storage class of a new claim. Absent: the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    #[schemars(extend("x-kubernetes-validations" = [fixed(
        "archive.volume.storageClassName cannot change; a claim keeps its class",
    )]))]
    pub storage_class_name: Option<String>,
}

/// When what was received is made durable: whichever comes first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommitSpec {
    /// Longest wait of an event for its commit.
    #[serde(default = "default_max_delay")]
    #[schemars(extend("x-kubernetes-validations" =
        [duration_within("archive.commit.maxDelay", "100ms", "10m")]))]
    pub max_delay: DurationText,
    /// Most bytes of binlog in one commit; a larger transaction is a commit of its own.
    #[serde(default = "default_max_bytes")]
    #[schemars(extend("x-kubernetes-validations" =
        [quantity_within("archive.commit.maxBytes", "1Mi", "1Gi")]))]
    pub max_bytes: QuantityText,
}

fn default_max_delay() -> DurationText {
    DurationText::from_secs(10)
}

fn default_max_bytes() -> QuantityText {
    QuantityText::from_mebibytes(64)
}

impl Default for CommitSpec {
    fn default() -> Self {
        Self { max_delay: default_max_delay(), max_bytes: default_max_bytes() }
    }
}

/// The binlog files, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RawSpec {
    /// Keep them. They hold every schema, whatever the filter says.
    #[serde(default = "yes")]
    pub enabled: bool,
}

impl Default for RawSpec {
    fn default() -> Self {
        Self { enabled: yes() }
    }
}

/// The change log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangesSpec {
    /// Decode row changes and keep them.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Deny marks the table so that other programs refuse to write into it, and can still read it.
    /// Allow leaves the mark out.
    #[serde(default)]
    pub foreign_writers: ForeignWriters,
}

impl Default for ChangesSpec {
    fn default() -> Self {
        Self { enabled: yes(), foreign_writers: ForeignWriters::default() }
    }
}

/// Whether other programs may write into the published table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ForeignWriters {
    /// The table carries a writer feature that other programs refuse.
    #[default]
    Deny,
    /// The table carries no such feature.
    Allow,
}

const fn yes() -> bool {
    true
}
