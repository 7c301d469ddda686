//! What the operator watches: the streams, and their children by label.
//!
//! Each watch fills a store, or its places in the rows of children, and names the streams to look at
//! again. A change of a checkpoint ConfigMap wakes nobody (a busy worker writes it each ten seconds);
//! its deletion does. Lists come in pages and from the newest state: a list of everything at once, as
//! an API server gives it from its cache, would be held in memory several times over.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

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
    answers::Key,
    controller::build::labels,
    kin::{Kin, Listing, Slot},
    watched::{Observed, OfStream, Slim, WatchedDeployment, WatchedPod},
};

/// Kinds of children that are watched.
const CHILD_KINDS: usize = 8;
/// Objects in one page of a list.
const PAGE: u32 = 100;
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
    /// All other children.
    pub kin: Arc<Kin>,
    pod_names: Arc<PodNames>,
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
        let (kin, pod_names) = (Arc::<Kin>::default(), Arc::<PodNames>::default());
        let noted = Arc::clone(&pod_names);
        let caches = Caches {
            deployments: watch.objects(&mut wakes, |_| {}),
            pods: watch.objects(&mut wakes, move |event| noted.note(event)),
            streams: streams.clone(),
            pod_names,
            kin: Arc::clone(&kin),
            filled: Arc::clone(&filled),
        };
        wakes.extend([
            watch.children::<ServiceAccount>(&kin, &[Slot::ServiceAccount]),
            watch.children::<Role>(&kin, &[Slot::Role]),
            watch.children::<RoleBinding>(&kin, &[Slot::RoleBinding]),
            watch.children::<ConfigMap>(&kin, &[Slot::Config, Slot::Checkpoint]),
            watch.children::<Service>(&kin, &[Slot::Service]),
            watch.children::<PersistentVolumeClaim>(&kin, &[Slot::VolumeClaim]),
        ]);
        (caches, wakes)
    }

    /// The pods of all streams that had or have this name.
    pub fn pods_of(&self, namespace: &str, stream: &str) -> Vec<Arc<WatchedPod>> {
        let names = self.pod_names.of(&(namespace.to_owned(), stream.to_owned()));
        let pod = |name: &String| self.pods.get(&ObjectRef::new(name).within(namespace));
        names.iter().filter_map(pod).collect()
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

/// Names of pods by stream. One that is not in the store any more is no harm: nothing is found by it.
#[derive(Debug, Default)]
struct PodNames(Mutex<HashMap<Key, BTreeSet<String>>>);

impl PodNames {
    fn note(&self, event: &Event<WatchedPod>) {
        let (pod, exists) = match event {
            Event::Apply(pod) | Event::InitApply(pod) => (pod, true),
            Event::Delete(pod) => (pod, false),
            Event::Init | Event::InitDone => return,
        };
        let (Some(stream), Some(name)) = (parent(pod), pod.metadata.name.clone()) else { return };
        let key = (stream.namespace.unwrap_or_default(), stream.name);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let names = all.entry(key.clone()).or_default();
        if exists {
            names.insert(name);
        } else {
            names.remove(&name);
        }
        if names.is_empty() {
            all.remove(&key);
        }
    }

    fn of(&self, key: &Key) -> BTreeSet<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(key).cloned().unwrap_or_default()
    }
}

struct Watch<'a> {
    client: &'a Client,
    namespace: Option<&'a str>,
    streams: &'a Store<Observed>,
    filled: &'a Arc<watch::Sender<Vec<String>>>,
}

impl Watch<'_> {
    /// A store of objects, each made slim.
    fn objects<K>(
        &self,
        wakes: &mut Vec<Wakes>,
        note: impl FnMut(&Event<K>) + Send + 'static,
    ) -> Store<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Slim
            + OfStream
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let (store, writer) = reflector::store();
        let events = watcher(api::<K>(self.client, self.namespace), config());
        let events = events.modify(Slim::slim).default_backoff().reflect(writer);
        wakes.push(self.followed(events, note));
        store
    }

    /// Places in the rows of children.
    fn children<K>(&self, kin: &Arc<Kin>, slots: &'static [Slot]) -> Wakes
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Send
            + Sync
            + 'static,
    {
        let (kin, mut listing) = (Arc::clone(kin), Listing::of(slots));
        let events = watcher(api::<Meta<K>>(self.client, self.namespace), config());
        self.followed(events.default_backoff(), move |event| kin.take(&mut listing, event))
    }

    /// Notes every event, then names the streams it is about.
    fn followed<K>(
        &self,
        events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
        mut note: impl FnMut(&Event<K>) + Send + 'static,
    ) -> Wakes
    where
        K: Resource<DynamicType = ()> + OfStream + Send + 'static,
    {
        let (streams, filled) = (self.streams.clone(), Arc::clone(self.filled));
        events
            .filter_map(move |event| {
                future::ready(match event {
                    Ok(event) => {
                        note(&event);
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
            .boxed()
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

/// Lists come in pages, which a list from the API server's cache (`any_semantic`)
/// would not: it answers with everything at once.
fn config() -> watcher::Config {
    of_streams().labels(labels::SELECTOR)
}

/// How streams are watched.
pub fn of_streams() -> watcher::Config {
    watcher::Config::default().page_size(PAGE)
}

/// A list may have swallowed deletions, so after one every stream is looked at again.
fn woken<K: Resource<DynamicType = ()> + OfStream>(
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

/// The stream a child belongs to.
pub fn parent<K: Resource + OfStream>(object: &K) -> Option<ObjectRef<Observed>> {
    Some(ObjectRef::new(object.stream()?).within(object.meta().namespace.as_deref()?))
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
    fn a_pod_is_found_by_its_stream_until_it_is_deleted() {
        let names = PodNames::default();
        let pod = |stream: &str, name: &str| -> WatchedPod {
            let labels = serde_json::json!({labels::STREAM: stream});
            serde_json::from_value(serde_json::json!({
                "metadata": {"name": name, "namespace": "shop", "labels": labels},
            }))
            .unwrap()
        };
        names.note(&Event::InitApply(pod("orders", "a")));
        names.note(&Event::Apply(pod("orders", "b")));
        names.note(&Event::Apply(pod("carts", "c")));
        let of = |stream: &str| {
            names.of(&("shop".to_owned(), stream.to_owned())).into_iter().collect::<Vec<_>>()
        };
        assert_eq!((of("orders"), of("carts")), (vec!["a".into(), "b".into()], vec!["c".into()]));
        names.note(&Event::Delete(pod("orders", "a")));
        assert_eq!(of("orders"), ["b"]);
    }

    #[test]
    fn config_changes_wake_their_stream() {
        let (streams, _writer) = reflector::store();
        assert_eq!(woken(Event::Apply(config_map(labels::WORKER)), &streams).len(), 1);
    }
}
