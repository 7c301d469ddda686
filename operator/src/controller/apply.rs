//! Fourth stage: the children are written by server-side apply, each only when it must be.
//!
//! - Nothing of another UID is touched: a child or pod whose owner is an older stream of this name is
//!   waited for; a child that exists is written with its UID as precondition; before one is made,
//!   the API itself is asked whether it is there (the cache may not show it yet). So an apply never
//!   adopts what the garbage collector is about to take.
//! - Checkpoint and archive claim have no owner: they are found again by name and label.
//! - An object of the same name that the operator did not make is never overwritten.
//! - A leader whose time is over writes nothing more (`a_leader_whose_time_is_over_writes_nothing`).
//! - A change of the pod that no person asked for takes turns with those of other streams (`turn`).

mod turn;

use std::{fmt::Debug, time::Duration};

use crds::v1alpha1::StreamState;
use k8s_openapi::{NamespaceResourceScope, api::apps::v1::Deployment};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use self::turn::Turn;
use super::{
    build::{Resources, labels},
    dereference::{Children, Found, describe, generation, version},
    validate::{Refusal, ValidStream},
};
use crate::{
    api_error::{code, words},
    applied::Child,
    context::Context,
    digest::{Digest, digest},
    rollout::{record, turns::Held},
    tenure::Over,
};

/// Field manager of everything the operator applies.
pub const MANAGER: &str = "binlog-operator";
/// Stands in the book for a Deployment that was stopped beside its digest.
const STOPPED: Digest = Digest::NONE;
/// Limit of one request.
const REQUEST: Duration = Duration::from_secs(10);

/// How the stage ended when it did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// Everything is as the stream asks.
    Done,
    /// Something of an older stream is still there.
    Waiting(String),
    /// A change of the pod that is ours waits for its turn; everything else is as the stream asks.
    Held(Held),
}

/// Why a child could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The API refused or failed.
    #[error("apply {kind} {name}: {}", words(.error))]
    Api {
        /// Kind of the child.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What the API said.
        error: Box<kube::Error>,
    },
    /// No answer in time.
    #[error("apply {kind} {name}: no answer within {} s", REQUEST.as_secs())]
    TimedOut {
        /// Kind of the child.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// An object of that name belongs to somebody else.
    #[error(
        "apply {kind} {name}: an object of this name exists and the operator did not make it; \
         remove or rename it"
    )]
    NotOurs {
        /// Kind of the child.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A child of an older stream that the cache does not show yet.
    #[error("apply {kind} {name}: it belongs to a deleted BinlogStream of this name")]
    Older {
        /// Kind of the child.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// Another process may lead by now.
    #[error(transparent)]
    Over(#[from] Over),
    /// The archive's claim exists and cannot be made what the stream asks for.
    #[error(
        "{0}; the worker goes on with the claim as it is: raise spec.archive.volume.size to the \
         size the claim has, let its storage class expand volumes, or make the BinlogStream again \
         with that size (archive and checkpoint stay)"
    )]
    Claim(Box<ApplyError>),
    /// The object cannot be written as JSON.
    #[error("apply {kind} {name}: write it as JSON: {error}")]
    Unwritable {
        /// Kind of the child.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What went wrong.
        error: serde_json::Error,
    },
}

impl ApplyError {
    /// The API takes the object for one that cannot be.
    fn is_invalid(&self) -> bool {
        matches!(self, ApplyError::Api { error, .. } if code(error) == Some(422))
    }

    /// A conflict is a race that the next try, made at once, mends.
    pub fn is_race(&self) -> bool {
        match self {
            ApplyError::Older { .. } => true,
            ApplyError::Claim(error) => error.is_race(),
            ApplyError::Api { error, .. } => code(error) == Some(409),
            _ => false,
        }
    }
}

/// Applies all children in order.
///
/// # Errors
/// The first that fails. A claim that exists and cannot be changed is told after the others are
/// applied: a size that its class or the API does not grant must not keep a stream from being
/// stopped or mended.
pub async fn apply(
    context: &Context,
    stream: &ValidStream,
    resources: &Resources,
    found: &Found,
) -> Result<Applied, ApplyError> {
    let children = &found.children;
    let older = older_child(stream, children).or_else(|| found.older_pod.as_deref().map(older_pod));
    if let Some(message) = older {
        return Ok(Applied::Waiting(message));
    }
    let Resources {
        service_account,
        role,
        role_binding,
        config,
        checkpoint,
        volume_claim,
        deployment,
        service,
    } = resources;
    let stage = Stage { context, stream };
    let by_version = version;
    let name = deployment.name_any();
    let unwritable =
        |error| ApplyError::Unwritable { kind: "Deployment", name: name.clone(), error };
    let turn = turn::turn(context, stream, deployment, found).map_err(unwritable)?;
    let asked = record::asked(stream).map_err(unwritable)?;
    if let Some(account) = service_account {
        stage.one("ServiceAccount", account, children.service_account.as_ref(), by_version).await?;
    }
    if let Some(role) = role {
        stage.one("Role", role, children.role.as_ref(), by_version).await?;
    }
    if let Some(binding) = role_binding {
        stage.one("RoleBinding", binding, children.role_binding.as_ref(), by_version).await?;
    }
    // A worker refuses keys that it does not know, so what a newer operator writes comes with the
    // newer worker. What people ask for does not wait.
    let has_what_was_asked =
        children.config.as_ref().is_some_and(|config| config.asked == Some(asked));
    if matches!(turn, Turn::Now(_)) || !has_what_was_asked {
        let config = noted(config, [(labels::ASKED.to_owned(), asked.to_string())]);
        stage.one("ConfigMap", &config, children.config.as_ref(), by_version).await?;
    }
    if let Some(checkpoint) = checkpoint {
        stage.one("Checkpoint", checkpoint, children.checkpoint.as_ref(), |_| None).await?;
    }
    let mut unchanged = None;
    if let Some(claim) = volume_claim {
        let seen = children.volume_claim.as_ref();
        match stage.one("PersistentVolumeClaim", claim, seen, |_| None).await {
            Err(error) if seen.is_some() => unchanged = Some(Box::new(error)),
            applied => applied?,
        }
    }
    let applied = match turn {
        Turn::Now(notes) => {
            let deployment = noted(deployment, notes);
            let seen = children.deployment.as_ref();
            stage.one("Deployment", &deployment, seen, generation).await?;
            Applied::Done
        }
        Turn::Held(held) => Applied::Held(held),
    };
    stage.one("Service", service, children.service.as_ref(), by_version).await?;
    match unchanged {
        Some(error) => Err(ApplyError::Claim(error)),
        None => Ok(applied),
    }
}

/// The object with more annotations.
fn noted<K: Resource + Clone>(object: &K, notes: impl IntoIterator<Item = (String, String)>) -> K {
    let mut object = object.clone();
    object.meta_mut().annotations.get_or_insert_default().extend(notes);
    object
}

/// Stops a worker whose stream cannot be built but says `state: Stopped`. Once is enough, until
/// somebody edits the Deployment.
///
/// # Errors
/// When the API refuses or fails.
pub async fn stop(
    context: &Context,
    refusal: &Refusal,
    namespace: &str,
    stream: &str,
    uid: &str,
    deployment: Option<&Child>,
) -> Result<(), ApplyError> {
    let ours = deployment.filter(|child| child.owner_uid.as_deref() == Some(uid));
    let Some(seen) = ours.filter(|_| refusal.state == Some(StreamState::Stopped)) else {
        return Ok(());
    };
    if !context.applied.is_stale(uid, "Deployment", seen, STOPPED) {
        return Ok(());
    }
    let name = labels::worker(stream);
    let api: Api<Deployment> = Api::namespaced(context.client.clone(), namespace);
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(stop_patch());
    let request = api.patch_metadata(&name, &params, &patch);
    let answer = write(context, "Deployment", &name, request).await?;
    let child = describe(&answer.metadata, generation(&answer.metadata));
    context.applied.note(uid, "Deployment", &child, STOPPED);
    Ok(())
}

/// No replica, and no digest: what is there is no longer what was applied, so a spec that is
/// mended is applied even by an operator that has restarted meanwhile.
fn stop_patch() -> Value {
    json!({"metadata": {"annotations": {(labels::DIGEST): null}}, "spec": {"replicas": 0}})
}

/// A worker that starts beside one that ends may be fenced by it, and then stands by for long.
fn older_pod(name: &str) -> String {
    format!(
        "pod {name} of a deleted BinlogStream of this name is still ending; waiting until it is gone"
    )
}

/// A child that still belongs to a stream of this name and another UID.
fn older_child(stream: &ValidStream, children: &Children) -> Option<String> {
    let Children {
        service_account,
        role,
        role_binding,
        config,
        checkpoint: _, // has no owner
        volume_claim: _,
        deployment,
        service,
    } = children;
    let owned = [
        ("ServiceAccount", service_account),
        ("Role", role),
        ("RoleBinding", role_binding),
        ("ConfigMap", config),
        ("Deployment", deployment),
        ("Service", service),
    ];
    owned.into_iter().find_map(|(kind, child)| {
        let child = child.as_ref()?;
        let older = child.owner_uid.as_deref().is_some_and(|uid| uid != stream.uid);
        (older || child.deleting).then(|| {
            format!(
                "{kind} {} belongs to a deleted BinlogStream of this name, or is itself being \
                 deleted; waiting until it is gone",
                labels::worker(&stream.name)
            )
        })
    })
}

struct Stage<'a> {
    context: &'a Context,
    stream: &'a ValidStream,
}

impl Stage<'_> {
    async fn one<K>(
        &self,
        kind: &'static str,
        desired: &K,
        cached: Option<&Child>,
        moves: impl Fn(&kube::api::ObjectMeta) -> Option<u64>,
    ) -> Result<(), ApplyError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let name = desired.name_any();
        let api: Api<K> = Api::namespaced(self.context.client.clone(), &self.stream.namespace);
        let digest = digest(desired).map_err(|error| ApplyError::Unwritable {
            kind,
            name: name.clone(),
            error,
        })?;
        let seen = match cached {
            Some(child) => Some(child.clone()),
            None => self.ask(kind, &api, &name, &moves).await?,
        };
        let book = &self.context.applied;
        if seen.as_ref().is_some_and(|seen| !book.is_stale(&self.stream.uid, kind, seen, digest)) {
            return Ok(());
        }
        let mut object = desired.clone();
        let meta = object.meta_mut();
        meta.uid = seen.map(|child| child.uid.into_string());
        meta.annotations
            .get_or_insert_default()
            .insert(labels::DIGEST.to_owned(), digest.to_string());
        let params = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(&object);
        let apply = || write(self.context, kind, &name, api.patch_metadata(&name, &params, &patch));
        let answer = match apply().await {
            Err(error) if kind == "Deployment" && error.is_invalid() => {
                if !replace(self.context, &api, &object).await {
                    return Err(error);
                }
                apply().await?
            }
            answer => answer?,
        };
        let child = describe(&answer.metadata, moves(&answer.metadata));
        book.note(&self.stream.uid, kind, &child, digest);
        self.context.metrics.children_applied.inc();
        Ok(())
    }

    /// Looks for a child that the cache does not show.
    async fn ask<K>(
        &self,
        kind: &'static str,
        api: &Api<K>,
        name: &str,
        moves: &impl Fn(&kube::api::ObjectMeta) -> Option<u64>,
    ) -> Result<Option<Child>, ApplyError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let Some(found) = limited(kind, name, api.get_metadata_opt(name)).await? else {
            return Ok(None);
        };
        let ours = found.labels().get(labels::STREAM).is_some_and(|of| *of == self.stream.name);
        let child = describe(&found.metadata, moves(&found.metadata));
        let of_another = child.owner_uid.as_deref().is_some_and(|uid| uid != self.stream.uid);
        match (ours, of_another || child.deleting) {
            (false, _) => Err(ApplyError::NotOurs { kind, name: name.to_owned() }),
            (true, true) => Err(ApplyError::Older { kind, name: name.to_owned() }),
            (true, false) => Ok(Some(child)),
        }
    }
}

/// Makes the specification of an object that exists what it is to be, whole lists at a time: where
/// somebody's edit cannot stand beside what is ours (a value for a variable that has a source), no
/// apply gets through.
async fn replace<K>(context: &Context, api: &Api<K>, object: &K) -> bool
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let (name, uid) = (object.name_any(), object.meta().uid.as_deref());
    let Ok(whole) = serde_json::to_value(object) else { return false };
    let patch = Patch::Merge(json!({"metadata": {"uid": uid}, "spec": whole.get("spec")}));
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let request = api.patch_metadata(&name, &params, &patch);
    uid.is_some() && write(context, "Deployment", &name, request).await.is_ok()
}

/// A request that changes something.
async fn write<T>(
    context: &Context,
    kind: &'static str,
    name: &str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ApplyError> {
    context.tenure.check()?;
    limited(kind, name, request).await
}

async fn limited<T>(
    kind: &'static str,
    name: &str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ApplyError> {
    match tokio::time::timeout(REQUEST, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            Err(ApplyError::Api { kind, name: name.to_owned(), error: Box::new(error) })
        }
        Err(_) => Err(ApplyError::TimedOut { kind, name: name.to_owned() }),
    }
}

#[cfg(test)]
mod tests;
