//! What the operator watches: the streams, and their children by label.
//!
//! Each watch fills a store and names the streams to look at again. A change of a checkpoint
//! ConfigMap wakes nobody (a busy worker writes it each ten seconds); its deletion does.

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures::{Stream, StreamExt, future, stream::BoxStream};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        core::v1::{ConfigMap, PersistentVolumeClaim, Service, ServiceAccount},
        rbac::v1::{Role, RoleBinding},
    },
};
use kube::{Api, Client, Resource, ResourceExt, core::PartialObjectMeta};
use kube_runtime::{
    WatchStreamExt,
    reflector::{self, ObjectRef, Store},
    watcher::{self, Event, watcher},
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::warn;

use crate::{
    controller::build::labels,
    watched::{Observed, WatchedDeployment, WatchedPod},
};

/// Kinds of children that are watched.
const CHILD_KINDS: usize = 8;
/// Longest wait for the caches to fill before a reconcile gives up for now.
const FILL: Duration = Duration::from_mins(1);

/// Objects of which only metadata is kept.
pub type Meta<K> = PartialObjectMeta<K>;

/// The stores of one watched namespace, or of all.
pub struct Caches {
    /// The streams.
    pub streams: Store<Observed>,
    /// Workers' Deployments.
    pub deployments: Store<WatchedDeployment>,
    /// Workers' pods.
    pub pods: Store<WatchedPod>,
    /// Workers' accounts.
    pub service_accounts: Store<Meta<ServiceAccount>>,
    /// Workers' roles.
    pub roles: Store<Meta<Role>>,
    /// Workers' role bindings.
    pub role_bindings: Store<Meta<RoleBinding>>,
    /// Config and checkpoint ConfigMaps.
    pub config_maps: Store<Meta<ConfigMap>>,
    /// Workers' services.
    pub services: Store<Meta<Service>>,
    /// Archive claims we made.
    pub volume_claims: Store<Meta<PersistentVolumeClaim>>,
    /// Kinds of children whose first list is in.
    filled: Arc<watch::Sender<Vec<String>>>,
}

/// Streams to look at again, as one watch names them.
pub type Wakes = BoxStream<'static, ObjectRef<Observed>>;

/// The caches could not be filled in time.
#[derive(Debug, thiserror::Error)]
#[error(
    "fill the caches: not every watch gave its first list within {} s, only these did: {filled}; \
     is a right to list and watch missing?",
    FILL.as_secs()
)]
pub struct NotFilled {
    filled: String,
}

impl Caches {
    /// Starts the watches of the children; they run as the returned streams are polled.
    pub fn watch(
        client: &Client,
        namespace: Option<&str>,
        streams: &Store<Observed>,
    ) -> (Caches, Vec<Wakes>) {
        let mut wakes = Vec::new();
        let filled = Arc::new(watch::Sender::new(Vec::new()));
        let watch = Watch { client, namespace, streams, filled: &filled };
        let caches = Caches {
            deployments: watch.objects(&mut wakes),
            pods: watch.objects(&mut wakes),
            service_accounts: watch.objects(&mut wakes),
            roles: watch.objects(&mut wakes),
            role_bindings: watch.objects(&mut wakes),
            config_maps: watch.objects(&mut wakes),
            services: watch.objects(&mut wakes),
            volume_claims: watch.objects(&mut wakes),
            streams: streams.clone(),
            filled: Arc::clone(&filled),
        };
        (caches, wakes)
    }

    /// Waits until every store of children holds its first list. The streams' own store is filled
    /// before the controller runs its first reconcile.
    ///
    /// # Errors
    /// [`NotFilled`] after a minute.
    pub async fn filled(&self) -> Result<(), NotFilled> {
        // Not by Store::wait_until_ready: it keeps one waker, so of several that wait one is woken.
        let mut filled = self.filled.subscribe();
        let all = filled.wait_for(|kinds| kinds.len() == CHILD_KINDS);
        match tokio::time::timeout(FILL, all).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(NotFilled { filled: self.filled.borrow().join(", ") }),
        }
    }
}

struct Watch<'a> {
    client: &'a Client,
    namespace: Option<&'a str>,
    streams: &'a Store<Observed>,
    filled: &'a Arc<watch::Sender<Vec<String>>>,
}

impl Watch<'_> {
    fn objects<K>(&self, wakes: &mut Vec<Wakes>) -> Store<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        self.cached(watcher(api::<K>(self.client, self.namespace), config()), wakes)
    }

    fn cached<K>(
        &self,
        events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
        wakes: &mut Vec<Wakes>,
    ) -> Store<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    {
        let (store, writer) = reflector::store();
        let streams = self.streams.clone();
        let filled = Arc::clone(self.filled);
        wakes.push(
            events
                .modify(|object| {
                    let meta = object.meta_mut();
                    meta.managed_fields = None;
                })
                .default_backoff()
                .reflect(writer)
                .filter_map(move |event| {
                    future::ready(match event {
                        Ok(event) => {
                            if matches!(event, Event::InitDone) {
                                mark(&filled, &K::kind(&()));
                            }
                            Some(woken(event, &streams))
                        }
                        Err(error) => {
                            warn!(%error, kind = %K::kind(&()), "watch, retrying");
                            None
                        }
                    })
                })
                .flat_map(futures::stream::iter)
                .boxed(),
        );
        store
    }
}

/// All or one namespace's objects of a kind.
pub fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn mark(filled: &watch::Sender<Vec<String>>, kind: &str) {
    filled.send_if_modified(|kinds| {
        let is_new = !kinds.iter().any(|known| known == kind);
        if is_new {
            kinds.push(kind.to_owned());
        }
        is_new
    });
}

/// Lists come in pages of 500 objects, which a list from the API server's cache (`any_semantic`)
/// would not: it answers with everything at once.
fn config() -> watcher::Config {
    watcher::Config::default().labels(labels::SELECTOR)
}

/// A list may have swallowed deletions, so after one every stream is looked at again.
fn woken<K: Resource<DynamicType = ()>>(
    event: Event<K>,
    streams: &Store<Observed>,
) -> Vec<ObjectRef<Observed>> {
    match event {
        Event::Init | Event::InitApply(_) => Vec::new(),
        Event::InitDone => {
            streams.state().iter().map(|s| ObjectRef::from_obj(s.as_ref())).collect()
        }
        Event::Apply(object) if is_checkpoint(&object) => Vec::new(),
        Event::Apply(object) | Event::Delete(object) => parent(&object).into_iter().collect(),
    }
}

fn is_checkpoint<K: Resource>(object: &K) -> bool {
    object.labels().get(labels::COMPONENT).is_some_and(|part| part == labels::CHECKPOINT)
}

/// The stream a child belongs to, by label: checkpoint and archive claim have no owner reference.
pub fn parent<K: Resource>(object: &K) -> Option<ObjectRef<Observed>> {
    let stream = object.labels().get(labels::STREAM)?;
    Some(ObjectRef::new(stream).within(object.meta().namespace.as_deref()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::api::ObjectMeta;

    fn config_map(component: &str) -> Meta<ConfigMap> {
        Meta {
            metadata: ObjectMeta {
                name: Some("orders-checkpoint".into()),
                namespace: Some("shop".into()),
                labels: Some(
                    [
                        (labels::STREAM.to_owned(), "orders".to_owned()),
                        (labels::COMPONENT.to_owned(), component.to_owned()),
                    ]
                    .into(),
                ),
                ..ObjectMeta::default()
            },
            ..Meta::default()
        }
    }

    #[test]
    fn checkpoint_writes_wake_nobody_and_its_deletion_does() {
        let (streams, _writer) = reflector::store();
        assert!(woken(Event::Apply(config_map(labels::CHECKPOINT)), &streams).is_empty());
        let woken = woken(Event::Delete(config_map(labels::CHECKPOINT)), &streams);
        assert_eq!(woken, [ObjectRef::new("orders").within("shop")]);
    }

    #[tokio::test]
    async fn all_who_wait_for_the_caches_are_woken() {
        let filled = Arc::new(watch::Sender::new(Vec::new()));
        let waits = [filled.subscribe(), filled.subscribe(), filled.subscribe()];
        let all = futures::future::join_all(waits.map(|mut wait| async move {
            wait.wait_for(|kinds| kinds.len() == 2).await.map(|kinds| kinds.len())
        }));
        let marks = async {
            for kind in ["Pod", "Pod", "Service"] {
                mark(&filled, kind);
                tokio::task::yield_now().await;
            }
        };
        let (answers, ()) = futures::future::join(all, marks).await;
        assert!(answers.into_iter().all(|answer| answer.is_ok_and(|kinds| kinds == 2)));
    }

    #[test]
    fn config_changes_wake_their_stream() {
        let (streams, _writer) = reflector::store();
        assert_eq!(woken(Event::Apply(config_map(labels::WORKER)), &streams).len(), 1);
    }
}
