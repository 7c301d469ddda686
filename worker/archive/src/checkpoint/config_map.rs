//! A checkpoint in a ConfigMap, one per stream, made empty by the operator and never touched by it.
//!
//! Compare and swap by `resourceVersion`: what was compared is what is replaced
//! (`a_write_between_read_and_write_is_seen`). The worker may read and update this one object and
//! cannot make it: when it is gone, that is reported and the operator makes it anew.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use crds::conditions::Reason;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};

use super::{
    Checkpoint, CheckpointStore, CheckpointStoreError, Loaded, Replace, Saved, read, settled,
};

/// Key in `data`.
pub const DATA_KEY: &str = "checkpoint.json";
/// Limit of one request.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// Tries while somebody else (a label, an annotation) changes the object in between.
const TRIES: usize = 3;

/// A checkpoint in a ConfigMap.
#[derive(Clone)]
pub struct ConfigMapStore {
    api: Api<ConfigMap>,
    namespace: String,
    name: String,
}

impl ConfigMapStore {
    /// The ConfigMap of that name.
    pub fn new(client: kube::Client, namespace: &str, name: &str) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    async fn get(&self) -> Result<ConfigMap, CheckpointStoreError> {
        let got = tokio::time::timeout(REQUEST_LIMIT, self.api.get(&self.name)).await;
        let got = got.map_err(|_| self.silent("read"))?;
        got.map_err(|error| self.refused("read", &error))
    }

    fn action(&self, action: &str) -> String {
        format!("{action} checkpoint config map {}/{}", self.namespace, self.name)
    }

    fn silent(&self, action: &str) -> CheckpointStoreError {
        let text = format!("no answer within {}s", REQUEST_LIMIT.as_secs());
        CheckpointStoreError::new(Reason::CheckpointUnreachable, self.action(action), text)
    }

    fn refused(&self, action: &str, error: &kube::Error) -> CheckpointStoreError {
        let (reason, mend) = match error {
            kube::Error::Api(status) if status.code == 404 => {
                (Reason::CheckpointWriteFailed, "; the operator makes it anew, see whether it runs")
            }
            kube::Error::Api(status) if matches!(status.code, 401 | 403) => (
                Reason::CheckpointAccessDenied,
                "; the worker's Role must allow get and update of it",
            ),
            kube::Error::Api(status) if status.code == 409 => (Reason::CheckpointConflict, ""),
            kube::Error::Api(_) => (Reason::CheckpointWriteFailed, ""),
            _ => (Reason::CheckpointUnreachable, ""),
        };
        CheckpointStoreError::new(reason, self.action(action), format!("{error}{mend}"))
    }
}

fn loaded(map: &ConfigMap) -> Loaded {
    let text = map.data.as_ref().and_then(|data| data.get(DATA_KEY));
    match text.map(|text| text.trim()) {
        None | Some("") => Loaded::Absent,
        Some(text) => read(text),
    }
}

#[async_trait]
impl CheckpointStore for ConfigMapStore {
    async fn load(&self) -> Result<Loaded, CheckpointStoreError> {
        Ok(loaded(&self.get().await?))
    }

    async fn save(
        &self,
        record: &Checkpoint,
        replace: Replace,
    ) -> Result<Saved, CheckpointStoreError> {
        let encode = |error: crds::checkpoint::CheckpointError| {
            let action = self.action("write");
            CheckpointStoreError::new(Reason::InternalError, action, error.to_string())
        };
        let text = record.to_json().map_err(encode)?;
        for _ in 0..TRIES {
            // It carries the resource version that was read; the server refuses any other.
            let mut map = self.get().await?;
            if let Some(saved) = settled(&loaded(&map), record, replace) {
                return Ok(saved);
            }
            let data = map.data.get_or_insert_with(BTreeMap::new);
            data.insert(DATA_KEY.to_owned(), text.clone());
            let params = PostParams::default();
            let put = self.api.replace(&self.name, &params, &map);
            let put = tokio::time::timeout(REQUEST_LIMIT, put).await;
            match put.map_err(|_| self.silent("write"))? {
                Ok(_) => return Ok(Saved::Stored),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(self.refused("write", &error)),
            }
        }
        let text = "it is changed by others all the time; see who writes it";
        Err(CheckpointStoreError::new(Reason::CheckpointConflict, self.action("write"), text))
    }

    fn describe(&self) -> String {
        format!("config map {}/{}", self.namespace, self.name)
    }
}
