//! What the operator watches: the streams, and their children by label.
//!
//! Each watch fills a store, or its places in rows that have one stream each, and names the streams to look at
//! again. A change of a checkpoint ConfigMap wakes nobody (a busy worker writes it each ten seconds);
//! its deletion does. Lists come in pages and from the newest state: a list of everything at once, as
//! an API server gives it from its cache, would be held in memory several times over.

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures::{Stream, StreamExt, future, stream::BoxStream};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        core::v1::{ConfigMap, PersistentVolumeClaim, Service, ServiceAccount},
        rbac::v1::{Role, RoleBinding},
    },
};
use kube::{Api, Client, Resource, ResourceExt, api::ObjectMeta, core::PartialObjectMeta};
use kube_runtime::{
    WatchStreamExt,
    reflector::{ObjectRef, Store},
    watcher::{self, Event, watcher},
};
use tokio::{sync::watch, time::Instant};
use tracing::warn;

use crate::{
    controller::build::labels,
    kin::{Kin, Slot},
    listing::Listing,
    pods::Pods,
    watched::{KeptStream, OfStream, WatchedDeployment, WatchedPod},
};

/// Kinds of children that are watched.
const CHILD_KINDS: usize = 8;
/// Objects in one page of a list.
const PAGE: u32 = 100;
/// Longest wait for the caches to fill before a reconcile gives up for now.
const FILL: Duration = Duration::from_mins(1);

/// Objects of which only metadata is kept.
pub type Meta<K> = PartialObjectMeta<K>;

/// What is known of one watched namespace, or of all.
pub struct Caches {
    /// The streams.
    pub streams: Store<KeptStream>,
    /// Workers' pods.
    pub pods: Arc<Pods>,
    /// All other children.
    pub kin: Arc<Kin>,
    /// Kinds of children whose first list is in.
    filled: Arc<watch::Sender<Vec<String>>>,
}

/// Streams to look at again, as one watch names them.
pub type Wakes = BoxStream<'static, ObjectRef<KeptStream>>;

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
        streams: &Store<KeptStream>,
    ) -> (Caches, Vec<Wakes>) {
        let filled = Arc::new(watch::Sender::new(Vec::new()));
        let watch = Watch { client, namespace, streams, filled: &filled };
        let (kin, pods) = (Arc::<Kin>::default(), Arc::<Pods>::default());
        let wakes = vec![
            watch.pods(&pods),
            watch.deployments(&kin),
            watch.children::<ServiceAccount>(&kin, &[Slot::ServiceAccount]),
            watch.children::<Role>(&kin, &[Slot::Role]),
            watch.children::<RoleBinding>(&kin, &[Slot::RoleBinding]),
            watch.children::<ConfigMap>(&kin, &[Slot::Config, Slot::Checkpoint]),
            watch.children::<Service>(&kin, &[Slot::Service]),
            watch.children::<PersistentVolumeClaim>(&kin, &[Slot::VolumeClaim]),
        ];
        (Caches { streams: streams.clone(), pods, kin, filled: Arc::clone(&filled) }, wakes)
    }

    /// Waits until the first list of every kind of children is in. The streams' own store is filled
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
    streams: &'a Store<KeptStream>,
    filled: &'a Arc<watch::Sender<Vec<String>>>,
}

impl Watch<'_> {
    fn pods(&self, pods: &Arc<Pods>) -> Wakes {
        let (pods, mut listing) = (Arc::clone(pods), Listing::default());
        let events = watcher(api::<WatchedPod>(self.client, self.namespace), config());
        self.followed(events.default_backoff(), move |event| pods.take(&mut listing, event))
    }

    fn deployments(&self, kin: &Arc<Kin>) -> Wakes {
        let (kin, mut listing) = (Arc::clone(kin), Listing::default());
        let events = watcher(api::<WatchedDeployment>(self.client, self.namespace), config());
        self.followed(events.default_backoff(), move |event| {
            kin.take(&[Slot::Deployment], &mut listing, event);
        })
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
        let (kin, mut listing) = (Arc::clone(kin), Listing::default());
        let events = watcher(api::<Meta<K>>(self.client, self.namespace), config());
        self.followed(events.default_backoff(), move |event| kin.take(slots, &mut listing, event))
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
        let since = Instant::now();
        events
            .filter_map(move |event| {
                future::ready(match event {
                    Ok(event) => {
                        note(&event);
                        match event {
                            Event::InitDone if is_awaited(&filled, &K::kind(&()), since) => None,
                            event => Some(woken(event, &streams)),
                        }
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

/// Notes that a list of this kind is in; whether everybody still waits for it, so that nobody has to be woken.
fn is_awaited(filled: &watch::Sender<Vec<String>>, kind: &str, since: Instant) -> bool {
    mark(filled, kind) && since.elapsed() < FILL
}

/// Notes that a list of this kind is in; whether it is the first.
fn mark(filled: &watch::Sender<Vec<String>>, kind: &str) -> bool {
    filled.send_if_modified(|kinds| {
        let is_new = !kinds.iter().any(|known| known == kind);
        if is_new {
            kinds.push(kind.to_owned());
        }
        is_new
    })
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
    streams: &Store<KeptStream>,
) -> Vec<ObjectRef<KeptStream>> {
    match event {
        Event::Init | Event::InitApply(_) => Vec::new(),
        Event::InitDone => {
            streams.state().iter().filter_map(|stream| named(stream.meta())).collect()
        }
        Event::Apply(object) if is_checkpoint(&object) => Vec::new(),
        Event::Apply(object) | Event::Delete(object) => parent(&object).into_iter().collect(),
    }
}

fn named(stream: &ObjectMeta) -> Option<ObjectRef<KeptStream>> {
    Some(ObjectRef::new(stream.name.as_deref()?).within(stream.namespace.as_deref()?))
}

fn is_checkpoint<K: Resource>(object: &K) -> bool {
    object.labels().get(labels::COMPONENT).is_some_and(|part| part == labels::CHECKPOINT)
}

/// The stream a child belongs to.
pub fn parent<K: Resource + OfStream>(object: &K) -> Option<ObjectRef<KeptStream>> {
    Some(ObjectRef::new(object.stream()?).within(object.meta().namespace.as_deref()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube_runtime::reflector;

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

    #[tokio::test(start_paused = true)]
    async fn a_first_list_that_comes_when_nobody_waits_any_more_wakes_all() {
        let (filled, since) = (watch::Sender::new(Vec::new()), Instant::now());
        assert!(is_awaited(&filled, "Pod", since));
        assert!(!is_awaited(&filled, "Pod", since), "a second list");
        tokio::time::advance(FILL).await;
        assert!(!is_awaited(&filled, "Service", since));
        assert_eq!(filled.borrow().len(), 2);
    }

    #[test]
    fn config_changes_wake_their_stream() {
        let (streams, _writer) = reflector::store();
        assert_eq!(woken(Event::Apply(config_map(labels::WORKER)), &streams).len(), 1);
    }
}
