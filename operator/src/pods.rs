//! The pods of every stream, by its name.
//!
//! While they are listed again those from before stay (`a_pod_that_a_new_list_lacks_is_gone_when_it_ends`).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kube::ResourceExt;
use kube_runtime::watcher::Event;
use tokio::sync::Notify;

use crate::{
    answers::Key,
    listing::Listing,
    watched::{KeptPod, OfStream, WatchedPod},
};

/// All of them.
#[derive(Debug, Default)]
pub struct Pods {
    rows: Mutex<HashMap<Key, Vec<Arc<KeptPod>>>>,
    change: Notify,
}

impl Pods {
    /// The pods of all streams that had or have this name.
    pub fn of(&self, key: &Key) -> Vec<Arc<KeptPod>> {
        self.rows().get(key).cloned().unwrap_or_default()
    }

    /// Shows the pods of each stream that has some. Nobody hears of a change meanwhile.
    pub fn each(&self, mut look: impl FnMut(&Key, &[Arc<KeptPod>])) {
        for (key, pods) in self.rows().iter() {
            look(key, pods);
        }
    }

    /// Waits for a change after the one that was waited for last.
    pub async fn changed(&self) {
        self.change.notified().await;
    }

    /// Follows the watch.
    pub fn take(&self, listing: &mut Listing, event: &Event<WatchedPod>) {
        match event {
            Event::Init => listing.begin(),
            Event::InitApply(pod) => {
                listing.note(pod);
                self.put(pod, true, listing.follows_another());
            }
            Event::Apply(pod) => self.put(pod, true, true),
            Event::Delete(pod) => self.put(pod, false, true),
            Event::InitDone => self.keep_listed(listing),
        }
        self.change.notify_one();
    }

    /// A pod takes the place of the one of its name. Somebody may have taken its stream's label away, or put another's
    /// on it: a pod that `may_stand_elsewhere` is taken out of the other rows.
    fn put(&self, pod: &WatchedPod, exists: bool, may_stand_elsewhere: bool) {
        let (name, Some(namespace)) = (pod.name_any(), pod.namespace()) else { return };
        let own = pod.stream().map(|stream| (namespace.clone(), stream.to_owned()));
        let mut rows = self.rows();
        let row = own.as_ref().and_then(|own| rows.get_mut(own));
        let stood_here = row.is_some_and(|pods| remove(pods, &name));
        if !stood_here && may_stand_elsewhere {
            rows.retain(|(of, _), pods| {
                let is_left_empty = *of == namespace && remove(pods, &name) && pods.is_empty();
                !is_left_empty
            });
        }
        let Some(own) = own else { return };
        if exists {
            let pods = rows.entry(own).or_default();
            // One is the rule.
            pods.reserve_exact(1);
            pods.push(Arc::new(KeptPod::from(pod)));
        } else if rows.get(&own).is_some_and(Vec::is_empty) {
            rows.remove(&own);
        }
    }

    fn keep_listed(&self, listing: &mut Listing) {
        let Some(listed) = listing.end() else { return };
        self.rows().retain(|(namespace, _), pods| {
            pods.retain(|pod| listed.has(namespace, &pod.name));
            !pods.is_empty()
        });
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<Key, Vec<Arc<KeptPod>>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the pod of this name was among them.
fn remove(pods: &mut Vec<Arc<KeptPod>>, name: &str) -> bool {
    let before = pods.len();
    pods.retain(|pod| *pod.name != *name);
    pods.len() < before
}

/// The worker of the stream of this UID: one that has not ended before one that has, one that is not ending before one
/// that is, the newest of several. Pods of an older stream of the name do not count.
pub fn worker<'a>(pods: &'a [Arc<KeptPod>], uid: &str) -> Option<&'a Arc<KeptPod>> {
    let ours = pods.iter().filter(|pod| pod.owner_uid.as_deref() == Some(uid));
    ours.max_by_key(|pod| (!pod.has_ended(), pod.deleted.is_none(), pod.created))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::controller::build::labels;

    fn pod(stream: &str, name: &str) -> WatchedPod {
        serde_json::from_value(json!({"metadata": {
            "name": name, "namespace": "shop", "labels": {(labels::STREAM): stream}}}))
        .unwrap()
    }

    fn names(pods: &Pods, stream: &str) -> Vec<String> {
        let pods = pods.of(&("shop".to_owned(), stream.to_owned()));
        pods.iter().map(|pod| pod.name.to_string()).collect()
    }

    #[test]
    fn a_pod_is_found_by_its_stream_until_it_is_deleted() {
        let (pods, mut listing) = (Pods::default(), Listing::default());
        for event in [
            Event::Init,
            Event::InitApply(pod("orders", "a")),
            Event::InitDone,
            Event::Apply(pod("orders", "b")),
            Event::Apply(pod("carts", "c")),
            Event::Apply(pod("orders", "a")),
        ] {
            pods.take(&mut listing, &event);
        }
        assert_eq!(
            (names(&pods, "orders"), names(&pods, "carts")),
            (vec!["b".into(), "a".into()], vec!["c".into()])
        );
        pods.take(&mut listing, &Event::Delete(pod("orders", "a")));
        assert_eq!(names(&pods, "orders"), ["b"]);
        pods.take(&mut listing, &Event::Delete(pod("orders", "b")));
        assert_eq!(pods.rows().len(), 1, "only that of carts");
    }

    #[test]
    fn a_pod_that_somebody_took_from_its_stream_is_found_there_no_more() {
        let (pods, mut listing) = (Pods::default(), Listing::default());
        let mut adrift = pod("orders", "a");
        adrift.metadata.labels = None;
        pods.take(&mut listing, &Event::Apply(pod("orders", "a")));
        pods.take(&mut listing, &Event::Apply(adrift.clone()));
        assert!(pods.rows().is_empty(), "without a label");
        pods.take(&mut listing, &Event::Apply(pod("orders", "a")));
        pods.take(&mut listing, &Event::Apply(pod("carts", "a")));
        assert_eq!((names(&pods, "orders"), names(&pods, "carts")), (vec![], vec!["a".into()]));
        for event in [Event::Init, Event::InitDone, Event::Init] {
            pods.take(&mut listing, &event);
        }
        pods.take(&mut listing, &Event::Apply(pod("orders", "a")));
        pods.take(&mut listing, &Event::InitApply(adrift));
        pods.take(&mut listing, &Event::InitDone);
        assert!(pods.rows().is_empty(), "nor after a list that names it without one");
    }

    #[tokio::test]
    async fn a_change_is_told_to_who_waits_then_or_later() {
        let (pods, mut listing) = (Pods::default(), Listing::default());
        assert_eq!(futures::FutureExt::now_or_never(pods.changed()), None);
        pods.take(&mut listing, &Event::Apply(pod("orders", "a")));
        pods.changed().await;
        assert_eq!(futures::FutureExt::now_or_never(pods.changed()), None);
    }

    #[test]
    fn a_pod_that_a_new_list_lacks_is_gone_when_it_ends() {
        let (pods, mut listing) = (Pods::default(), Listing::default());
        for event in [Event::Init, Event::InitApply(pod("orders", "a")), Event::InitDone] {
            pods.take(&mut listing, &event);
        }
        for event in [Event::Init, Event::InitApply(pod("orders", "b"))] {
            pods.take(&mut listing, &event);
        }
        assert_eq!(names(&pods, "orders"), ["a", "b"]);
        pods.take(&mut listing, &Event::InitDone);
        assert_eq!(names(&pods, "orders"), ["b"]);
    }

    #[test]
    fn the_worker_is_the_newest_pod_of_the_stream_that_has_not_ended() {
        let pod = |uid: &str, owner: &str, change: &dyn Fn(&mut KeptPod)| {
            let (uid, owner_uid) = (uid.into(), Some(owner.into()));
            let mut pod = KeptPod { uid, owner_uid, ..KeptPod::default() };
            change(&mut pod);
            Arc::new(pod)
        };
        let at = |second: i64| jiff::Timestamp::from_second(second).ok();
        let chosen = |pods: &[Arc<KeptPod>]| worker(pods, "me").map(|pod| pod.uid.to_string());
        let old = pod("old", "me", &|pod| pod.created = at(1));
        let new = pod("new", "me", &|pod| pod.created = at(2));
        let going = pod("going", "me", &|pod| (pod.created, pod.deleted) = (at(3), at(9)));
        let failed = pod("failed", "me", &|pod| {
            pod.created = at(4);
            pod.status.phase = Some("Failed".into());
        });
        let other = pod("other", "elder", &|pod| pod.created = at(5));
        let all = [old, new, going.clone(), failed.clone(), other.clone()];
        assert_eq!(chosen(&all).as_deref(), Some("new"));
        assert_eq!(chosen(&[failed, going, other.clone()]).as_deref(), Some("going"));
        assert_eq!(chosen(&[other]), None);
    }
}
