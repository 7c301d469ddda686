//! What a stream owns in its namespace, pods included. Checkpoint and archive claim have no owner: they stay.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::ListParams;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::StreamResource;
use crate::Result;

/// One object that has an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Kind of its owner.
    pub owner_kind: String,
    /// UID of its owner.
    pub owner: String,
    /// UID of the stream it says it is for.
    pub stream: Option<String>,
}

impl StreamResource {
    /// Everything with an owner in the stream's namespace that carries its label.
    pub async fn owned(&self) -> Result<Vec<Owned>> {
        let mut all = self.owned_of::<Deployment>().await?;
        all.extend(self.owned_of::<ReplicaSet>().await?);
        all.extend(self.owned_of::<Pod>().await?);
        all.extend(self.owned_of::<Service>().await?);
        all.extend(self.owned_of::<ServiceAccount>().await?);
        all.extend(self.owned_of::<Role>().await?);
        all.extend(self.owned_of::<RoleBinding>().await?);
        all.extend(self.owned_of::<ConfigMap>().await?);
        Ok(all)
    }

    async fn owned_of<K>(&self) -> Result<Vec<Owned>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let label = format!("{}={}", crds::annotations::STREAM_LABEL, self.name);
        let listed = self.api::<K>().list_metadata(&ListParams::default().labels(&label)).await?;
        let described = listed.items.iter().filter_map(|object| {
            let owner = object.owner_references().first()?;
            Some(Owned {
                kind: K::kind(&()).into_owned(),
                name: object.name_any(),
                uid: object.uid().unwrap_or_default(),
                owner_kind: owner.kind.clone(),
                owner: owner.uid.clone(),
                stream: object.annotations().get(crds::annotations::OWNER_UID).cloned(),
            })
        });
        Ok(described.collect())
    }
}
