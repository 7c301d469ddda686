//! The archive's store, as the configuration names it.

use std::sync::Arc;

use archive::store::s3::{Encryption, KeyFiles, Proxy};
use archive::store::{Rooted, S3Settings, S3Store, Store, VolumeStore};
use crds::conditions::Reason;
use crds::v1alpha1::{ProxySpec, ServerSideEncryption, SseAlgorithm};
use crds::worker_config::{S3Config, S3CredentialFiles, WorkerConfig};

use crate::fault::Fault;
use crate::upstream::api_server;

/// The store at the stream's own root, `<prefix>/<namespace>/<stream>/`.
pub fn open(config: &WorkerConfig) -> Result<Arc<dyn Store>, Fault> {
    let inner: Arc<dyn Store> = match (&config.archive.s3, &config.archive.volume) {
        (Some(s3), _) => Arc::new(S3Store::new(s3_settings(config, s3))),
        (None, Some(volume)) => Arc::new(VolumeStore::new(&volume.path)),
        (None, None) => {
            return Err(Fault::archive(
                Reason::ConfigInvalid,
                "archive: set archive.s3 or archive.volume",
            ));
        }
    };
    let root = archive::layout::stream_root(&config.namespace, &config.name);
    Ok(Arc::new(Rooted::new(inner, &root)))
}

fn s3_settings(config: &WorkerConfig, s3: &S3Config) -> S3Settings {
    let S3Config {
        bucket,
        prefix,
        region,
        endpoint,
        force_path_style,
        ca_file,
        credential_files,
        server_side_encryption,
        proxy,
    } = s3.clone();
    S3Settings {
        bucket,
        prefix,
        region,
        endpoint,
        force_path_style,
        ca_file,
        keys: credential_files.map(key_files),
        encryption: server_side_encryption.map(encryption),
        endpoints: config.endpoints(api_server()),
        proxy: proxy.map(|ProxySpec { url, no_proxy }| Proxy { url, no_proxy }),
    }
}

fn key_files(files: S3CredentialFiles) -> KeyFiles {
    let S3CredentialFiles { access_key_id_file, secret_access_key_file, session_token_file } =
        files;
    KeyFiles {
        access_key_id: access_key_id_file,
        secret_access_key: secret_access_key_file,
        session_token: session_token_file,
    }
}

fn encryption(spec: ServerSideEncryption) -> Encryption {
    match spec.algorithm {
        SseAlgorithm::Aes256 => Encryption::Aes256,
        SseAlgorithm::AwsKms => Encryption::AwsKms(spec.kms_key_id),
    }
}
