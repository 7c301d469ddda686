//! The archive as it is found: its checkpoint and its log. Writes nothing.

use std::sync::Arc;
use std::time::Duration;

use archive::checkpoint::{ConfigMapStore, FileStore, SharedStore, StreamStateStore};
use archive::entry::Writer;
use archive::instance::Instance;
use archive::stream_json::Owner;
use archive::{OpenError, OpenRequest, Opened, Store};
use axum::http::{HeaderValue, header};
use crds::conditions::Reason;
use crds::worker_config::{CheckpointStoreConfig, WorkerConfig};

use crate::config::Current;
use crate::fault::{Fault, chain};
use crate::session::SessionEnd;
use crate::stream_state::StateServer;
use crate::upstream::SecretFiles;

/// Longest wait for an answer of the archive or the checkpoint store while starting.
const START_LIMIT: Duration = Duration::from_secs(25);

/// An answer did not come in time.
pub struct Elapsed;

/// Waits for an answer, but not for long.
pub async fn limited<T>(work: impl Future<Output = T>) -> Result<T, Elapsed> {
    tokio::time::timeout(START_LIMIT, work).await.map_err(|_| Elapsed)
}

/// The store of the checkpoint, as the configuration names it.
pub async fn checkpoint(
    current: &Current,
    secrets: &Arc<SecretFiles>,
) -> Result<SharedStore, Fault> {
    let invalid =
        |field: &str| Fault::checkpoint(Reason::ConfigInvalid, format!("{field}: set it"));
    let config = current.borrow().clone();
    let wanted = &config.checkpoint;
    Ok(match wanted.store {
        CheckpointStoreConfig::File => {
            let file = wanted.file.as_ref().ok_or_else(|| invalid("checkpoint.file"))?;
            Arc::new(FileStore::new(&file.path)) as SharedStore
        }
        CheckpointStoreConfig::ConfigMap => {
            let map = wanted.config_map.as_ref().ok_or_else(|| invalid("checkpoint.configMap"))?;
            let client = client().await.map_err(|error| {
                Fault::checkpoint(
                    Reason::CheckpointUnreachable,
                    format!("connect to the Kubernetes API: {error}; run in a pod, or use checkpoint.store: File"),
                )
            })?;
            Arc::new(ConfigMapStore::new(client, &map.namespace, &map.name))
        }
        CheckpointStoreConfig::StreamState => {
            let table =
                wanted.stream_state.as_ref().ok_or_else(|| invalid("checkpoint.streamState"))?;
            let server = StateServer::new(current.clone(), Arc::clone(secrets));
            let (database, name) = (&table.database, &table.table);
            Arc::new(StreamStateStore::new(server, database, name, &config.namespace, &config.name))
        }
    })
}

/// A client that says who it is: the API server's audit log counts requests by this name.
async fn client() -> Result<kube::Client, kube::Error> {
    let mut config = kube::Config::infer().await.map_err(kube::Error::InferConfig)?;
    let name = HeaderValue::from_static(concat!("binlog-worker/", env!("CARGO_PKG_VERSION")));
    config.headers.push((header::USER_AGENT, name));
    kube::Client::try_from(config)
}

/// Opens the archive for this instance and compares it with its checkpoint.
pub async fn open(
    config: &WorkerConfig,
    instance: &Instance,
    store: Arc<dyn Store>,
    checkpoint: &SharedStore,
) -> Result<Opened, SessionEnd> {
    let loaded = limited(checkpoint.load()).await.map_err(|Elapsed| {
        Fault::checkpoint(
            Reason::CheckpointUnreachable,
            format!("read {}: no answer", checkpoint.describe()),
        )
    })?;
    let loaded = loaded.map_err(|error| Fault::checkpoint(error.reason, chain(&error)))?;
    let consents = &config.consents;
    let request = OpenRequest {
        owner: owner(config),
        writer: Writer {
            instance: instance.id().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        flavor: config.source.flavor,
        fenced_before: instance.was_fenced(),
        adopt_archive: consents.adopt_archive.map(|id| id.to_string()),
        accept_archive: consents.accept_archive.clone(),
        consents_by: consents.by.clone().unwrap_or_else(|| "config".to_owned()),
    };
    let opened = limited(archive::open(Arc::clone(&store), &loaded, request)).await;
    let opened = opened.map_err(|Elapsed| {
        Fault::archive(Reason::ArchiveUnreachable, format!("open {}: no answer", store.describe()))
    })?;
    opened.map_err(|error| match error {
        OpenError::Superseded { by, .. } => SessionEnd::Fenced(by),
        error => SessionEnd::Fault(error.into()),
    })
}

fn owner(config: &WorkerConfig) -> Owner {
    Owner {
        cluster: config.owner.cluster.clone(),
        namespace: config.owner.namespace.clone(),
        name: config.owner.name.clone(),
    }
}
