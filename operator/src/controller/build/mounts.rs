//! Secrets and certificates as files: one projected volume, every source optional.
//!
//! Optional, because a missing Secret must not keep the pod from starting: the worker reports
//! `SecretMissing` itself and goes on by itself once the Secret is there. Only the keys that are
//! needed are mounted. The paths here are those in the worker's config
//! (`every_path_in_the_config_is_mounted`).

use std::path::{Path, PathBuf};

use crds::v1alpha1::{CaKind, CaRef, LocalRef, S3CredentialsRef, TlsSpec, UserPasswordRef};
use crds::worker_config::{S3CredentialFiles, TlsConfig};
use k8s_openapi::api::core::v1::{
    ConfigMapProjection, KeyToPath, SecretProjection, VolumeProjection,
};

use crate::controller::validate::ValidStream;

/// Where the projected volume is mounted.
pub const SECRETS_DIR: &str = "/etc/binlog-worker/secrets";
/// Where the config is mounted, as a directory so that changes arrive.
pub const CONFIG_DIR: &str = "/etc/binlog-worker/config";
/// The config's file name.
pub const CONFIG_FILE: &str = "worker.yaml";
/// The worker's own directory: instance id, lock, spool, markers.
pub const WORK_DIR: &str = "/var/lib/binlog-worker";
/// Where a volume archive is mounted.
pub const ARCHIVE_DIR: &str = "/var/lib/binlog-archive";

const SOURCE: &str = "source";
const STREAM_STATE: &str = "stream-state";
const S3: &str = "s3";

/// Files of an account.
pub struct AccountFiles {
    /// User name.
    pub username: PathBuf,
    /// Password.
    pub password: PathBuf,
}

/// Files of the source's account.
pub fn source_account() -> AccountFiles {
    account(SOURCE)
}

/// Files of the account for `stream_state`.
pub fn stream_state_account() -> AccountFiles {
    account(STREAM_STATE)
}

/// TLS settings of the source, references turned into files.
pub fn source_tls(tls: &TlsSpec) -> TlsConfig {
    tls_files(SOURCE, tls)
}

/// TLS settings of the `stream_state` server, references turned into files.
pub fn stream_state_tls(tls: &TlsSpec) -> TlsConfig {
    tls_files(STREAM_STATE, tls)
}

/// Files of an access key.
pub fn s3_credentials() -> S3CredentialFiles {
    S3CredentialFiles {
        access_key_id_file: file(S3, "access-key-id"),
        secret_access_key_file: file(S3, "secret-access-key"),
        session_token_file: Some(file(S3, "session-token")),
    }
}

/// File of the endpoint's authority.
pub fn s3_ca() -> PathBuf {
    file(S3, "ca.crt")
}

fn account(part: &str) -> AccountFiles {
    AccountFiles { username: file(part, "username"), password: file(part, "password") }
}

fn tls_files(part: &str, tls: &TlsSpec) -> TlsConfig {
    let TlsSpec { mode, ca_ref, client_cert_secret_ref, server_name } = tls;
    let client = client_cert_secret_ref.is_some();
    TlsConfig {
        mode: *mode,
        ca_file: ca_ref.as_ref().map(|_| file(part, "ca.crt")),
        cert_file: client.then(|| file(part, "tls.crt")),
        key_file: client.then(|| file(part, "tls.key")),
        server_name: server_name.clone(),
    }
}

fn file(part: &str, name: &str) -> PathBuf {
    Path::new(SECRETS_DIR).join(part).join(name)
}

/// Everything the projected volume holds.
pub fn projections(stream: &ValidStream) -> Vec<VolumeProjection> {
    let spec = &stream.spec;
    let mut sources = vec![user_password(SOURCE, &spec.source.credentials_secret_ref)];
    sources.extend(tls(SOURCE, &spec.source.tls));
    if let Some(state) = &spec.checkpoint.stream_state {
        sources.extend(
            state.credentials_secret_ref.iter().map(|account| user_password(STREAM_STATE, account)),
        );
        sources.extend(state.tls.iter().flat_map(|settings| tls(STREAM_STATE, settings)));
    }
    if let Some(s3) = &spec.archive.s3 {
        sources.extend(s3.credentials_secret_ref.as_ref().map(access_key));
        sources.extend(s3.ca_ref.as_ref().map(|authority| ca(S3, authority)));
    }
    sources
}

fn tls(part: &str, settings: &TlsSpec) -> Vec<VolumeProjection> {
    let client = settings.client_cert_secret_ref.as_ref();
    settings
        .ca_ref
        .iter()
        .map(|authority| ca(part, authority))
        .chain(client.map(|secret| client_cert(part, secret)))
        .collect()
}

fn user_password(part: &str, account: &UserPasswordRef) -> VolumeProjection {
    let UserPasswordRef { name, username_key, password_key } = account;
    secret(part, name, &[(username_key, "username"), (password_key, "password")])
}

fn access_key(key: &S3CredentialsRef) -> VolumeProjection {
    let S3CredentialsRef { name, access_key_id_key, secret_access_key_key, session_token_key } =
        key;
    let items = [
        (access_key_id_key.as_str(), "access-key-id"),
        (secret_access_key_key, "secret-access-key"),
        (session_token_key, "session-token"),
    ];
    secret(S3, name, &items)
}

fn client_cert(part: &str, certificate: &LocalRef) -> VolumeProjection {
    secret(part, &certificate.name, &[("tls.crt", "tls.crt"), ("tls.key", "tls.key")])
}

fn ca(part: &str, authority: &CaRef) -> VolumeProjection {
    let CaRef { kind, name, key } = authority;
    let item = [(key.as_str(), "ca.crt")];
    match kind {
        CaKind::Secret => secret(part, name, &item),
        CaKind::ConfigMap => VolumeProjection {
            config_map: Some(ConfigMapProjection {
                name: name.clone(),
                optional: Some(true),
                items: Some(items(part, &item)),
            }),
            ..VolumeProjection::default()
        },
    }
}

fn secret<K: AsRef<str>>(part: &str, name: &str, keys: &[(K, &str)]) -> VolumeProjection {
    VolumeProjection {
        secret: Some(SecretProjection {
            name: name.to_owned(),
            optional: Some(true),
            items: Some(items(part, keys)),
        }),
        ..VolumeProjection::default()
    }
}

fn items<K: AsRef<str>>(part: &str, keys: &[(K, &str)]) -> Vec<KeyToPath> {
    keys.iter()
        .map(|(key, name)| KeyToPath {
            key: key.as_ref().to_owned(),
            path: format!("{part}/{name}"),
            mode: None,
        })
        .collect()
}
