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
                self.put(pod, true);
            }
            Event::Apply(pod) => self.put(pod, true),
            Event::Delete(pod) => self.put(pod, false),
            Event::InitDone => self.keep_listed(listing),
        }
        self.change.notify_one();
    }

    /// A pod takes the place of the one of its name.
    fn put(&self, pod: &WatchedPod, exists: bool) {
        let (Some(stream), Some(namespace)) = (pod.stream(), pod.namespace()) else { return };
        let key = (namespace, stream.to_owned());
        let mut rows = self.rows();
        let pods = rows.entry(key.clone()).or_default();
        pods.retain(|known| *known.name != *pod.name_any());
        if exists {
            // One is the rule.
            pods.reserve_exact(1);
            pods.push(Arc::new(KeptPod::from(pod)));
        } else if pods.is_empty() {
            rows.remove(&key);
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
