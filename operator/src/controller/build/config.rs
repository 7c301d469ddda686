//! The worker's configuration, and the ConfigMap that carries it.
//!
//! It is mounted as a directory and read again by the running worker, so a change of state, of
//! consents or of the source arrives without a restart: nothing of it goes into the pod template
//! (`config_changes_do_not_roll_the_pod`).

use crds::{
    units::DurationText,
    v1alpha1::{
        ArchiveSpec, BinlogStreamSpec, CheckpointSpec, CheckpointStoreKind, S3Spec, SourceSpec,
        StreamStateSpec,
    },
    worker_config::{
        ArchiveConfig, CONFIG_VERSION, CheckpointConfig, CheckpointStoreConfig, ConfigError,
        ConfigMapStore, Instance, Owner, Pod, S3Config, SourceConfig, SpoolConfig,
        StreamStateStore, VolumeConfig, WorkerConfig,
    },
};
use k8s_openapi::api::core::v1::ConfigMap;

use super::{
    ADMIN_PORT, labels,
    mounts::{self, AccountFiles},
};
use crate::{controller::validate::ValidStream, settings::Settings};

/// What the worker is told.
pub fn worker_config(stream: &ValidStream, settings: &Settings) -> WorkerConfig {
    let BinlogStreamSpec {
        source,
        server_id: _, // the stream's own, allotted where the spec has none
        start,
        filter,
        batch,
        checkpoint,
        archive,
        on_gap,
        state,
        worker: _, // the pod's shape
    } = &stream.spec;
    WorkerConfig {
        version: CONFIG_VERSION,
        namespace: stream.namespace.clone(),
        name: stream.name.clone(),
        // Its presence means "in a pod"; the values come from the downward API.
        instance: Instance { id: None, pod: Some(Pod::default()) },
        owner: Owner {
            cluster: settings.cluster_id.clone(),
            namespace: stream.namespace.clone(),
            name: stream.name.clone(),
        },
        generation: Some(stream.generation),
        source: source_config(source),
        server_id: Some(stream.server_id),
        start: start.clone(),
        filter: filter.clone(),
        batch: batch.clone(),
        checkpoint: checkpoint_config(stream, checkpoint, settings),
        archive: archive_config(stream, archive),
        on_gap: *on_gap,
        state: *state,
        consents: stream.consents.clone(),
        allowed_endpoints: settings.allowed_endpoints.clone(),
        spool: SpoolConfig { size: stream.pod.spool.clone() },
        work_dir: mounts::WORK_DIR.into(),
        listen: format!("[::]:{ADMIN_PORT}"),
        log_format: settings.log_format,
        log_level: stream.pod.log_level,
        grace_period_seconds: stream.pod.grace_seconds,
    }
}

/// The ConfigMap `<stream>-worker`.
///
/// # Errors
/// When the configuration cannot be written as YAML.
pub fn config_map(stream: &ValidStream, config: &WorkerConfig) -> Result<ConfigMap, ConfigError> {
    Ok(ConfigMap {
        metadata: labels::owned(stream),
        data: Some([(mounts::CONFIG_FILE.to_owned(), config.to_yaml()?)].into()),
        ..ConfigMap::default()
    })
}

fn source_config(source: &SourceSpec) -> SourceConfig {
    let SourceSpec {
        host,
        port,
        flavor,
        credentials_secret_ref: _,
        tls,
        heartbeat_interval,
        connect_timeout,
    } = source;
    let AccountFiles { username, password } = mounts::source_account();
    SourceConfig {
        host: host.clone(),
        port: *port,
        flavor: *flavor,
        username: None,
        username_file: Some(username),
        password_file: password,
        tls: mounts::source_tls(tls),
        heartbeat_interval: heartbeat_interval.clone(),
        connect_timeout: connect_timeout.clone(),
    }
}

fn checkpoint_config(
    stream: &ValidStream,
    checkpoint: &CheckpointSpec,
    settings: &Settings,
) -> CheckpointConfig {
    let CheckpointSpec { store, interval, stream_state } = checkpoint;
    match store {
        CheckpointStoreKind::ConfigMap => CheckpointConfig {
            store: CheckpointStoreConfig::ConfigMap,
            interval: if interval.get() < settings.min_configmap_interval {
                DurationText::from_secs(settings.min_configmap_interval.as_secs())
            } else {
                interval.clone()
            },
            config_map: Some(ConfigMapStore {
                namespace: stream.namespace.clone(),
                name: labels::checkpoint(&stream.name),
            }),
            stream_state: None,
            file: None,
        },
        CheckpointStoreKind::StreamState => CheckpointConfig {
            store: CheckpointStoreConfig::StreamState,
            interval: interval.clone(),
            config_map: None,
            stream_state: stream_state.as_ref().map(stream_state_store),
            file: None,
        },
    }
}

fn stream_state_store(state: &StreamStateSpec) -> StreamStateStore {
    let StreamStateSpec { host, port, database, table, credentials_secret_ref, tls } = state;
    let account = credentials_secret_ref.as_ref().map(|_| mounts::stream_state_account());
    let (username_file, password_file) =
        account.map(|files| (files.username, files.password)).unzip();
    StreamStateStore {
        host: host.clone(),
        port: *port,
        database: database.clone(),
        table: table.clone(),
        username: None,
        username_file,
        password_file,
        tls: tls.as_ref().map(mounts::stream_state_tls),
    }
}

fn archive_config(stream: &ValidStream, archive: &ArchiveSpec) -> ArchiveConfig {
    let ArchiveSpec { s3, volume, commit, raw, changes } = archive;
    ArchiveConfig {
        s3: s3.as_ref().map(|s3| s3_config(stream, s3)),
        volume: volume.as_ref().map(|_| VolumeConfig { path: mounts::ARCHIVE_DIR.into() }),
        commit: commit.clone(),
        raw: raw.clone(),
        changes: changes.clone(),
    }
}

fn s3_config(stream: &ValidStream, s3: &S3Spec) -> S3Config {
    let S3Spec {
        bucket,
        prefix,
        region,
        endpoint,
        force_path_style,
        ca_ref,
        credentials_secret_ref,
        server_side_encryption,
    } = s3;
    S3Config {
        bucket: bucket.clone(),
        prefix: prefix.clone(),
        region: region.clone(),
        endpoint: endpoint.clone(),
        force_path_style: *force_path_style,
        ca_file: ca_ref.as_ref().map(|_| mounts::s3_ca()),
        credential_files: credentials_secret_ref.as_ref().map(|_| mounts::s3_credentials()),
        server_side_encryption: server_side_encryption.clone(),
        proxy: stream.spec.worker.proxy.clone(),
    }
}
