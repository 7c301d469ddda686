//! Which streams may hold what a stream takes for itself: an archive root, a server id.
//!
//! They are looked up, so that a reconcile does not walk over ten thousand streams. What is found is only a choice of
//! streams to look at: `validate` judges them as it would judge all
//! (`whoever_holds_what_a_stream_takes_is_found_and_nobody_else`).

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    answers::Key,
    controller::validate::{root::Root, server_id},
    watched::{KeptStream, Observed},
};

/// Everything that is taken.
#[derive(Debug, Default)]
pub struct Peers(Mutex<Index>);

#[derive(Debug, Default)]
struct Index {
    /// Scopes whose streams are all known.
    known: HashSet<Option<String>>,
    taken: HashMap<Arc<Key>, Taken>,
    roots: BTreeSet<(Arc<str>, Arc<Key>)>,
    ids: BTreeSet<(u32, Arc<Key>)>,
}

/// What one stream takes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Taken {
    root: Option<Arc<str>>,
    id: Option<u32>,
}

impl Peers {
    /// Learns of all streams of a scope, once.
    pub fn know(&self, scope: Option<&str>, streams: impl FnOnce() -> Vec<Arc<KeptStream>>) {
        let mut index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if index.known.insert(scope.map(str::to_owned)) {
            for stream in streams() {
                index.note(&stream.open());
            }
        }
    }

    /// Learns of a stream as it is now, and names those that may hold what it takes.
    pub fn of(&self, stream: &Observed) -> Vec<Arc<Key>> {
        let mut index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(key) = index.note(stream) else { return Vec::new() };
        let mut found = BTreeSet::new();
        if let Some(Taken { root, id }) = index.taken.get(&key) {
            if let Some(root) = root {
                index.overlapping(root, &mut found);
            }
            if let Some(id) = id {
                found.extend(index.holders(*id));
            }
        }
        // The first of the ids it may be allotted that nobody else holds ends the search.
        let uid = stream.metadata.uid.as_deref().unwrap_or_default();
        for id in server_id::candidates(uid) {
            let others: Vec<_> = index.holders(id).filter(|holder| *holder != key).collect();
            if others.is_empty() {
                break;
            }
            found.extend(others);
        }
        found.remove(&key);
        found.into_iter().collect()
    }

    /// Forgets streams that are gone.
    pub fn keep_only(&self, is_known: impl Fn(&Key) -> bool) {
        let mut index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> =
            index.taken.keys().filter(|key| !is_known(key)).map(Arc::clone).collect();
        for key in gone {
            index.forget(&key);
        }
    }
}

impl Index {
    fn note(&mut self, stream: &Observed) -> Option<Arc<Key>> {
        let meta = &stream.metadata;
        let key = (meta.namespace.clone()?, meta.name.clone()?);
        let taken = taken(stream, &key);
        if let Some((known, before)) = self.taken.get_key_value(&key)
            && *before == taken
        {
            return Some(Arc::clone(known));
        }
        let key = Arc::new(key);
        self.forget(&key);
        self.roots.extend(taken.root.iter().map(|root| (Arc::clone(root), Arc::clone(&key))));
        self.ids.extend(taken.id.map(|id| (id, Arc::clone(&key))));
        self.taken.insert(Arc::clone(&key), taken);
        Some(key)
    }

    fn forget(&mut self, key: &Arc<Key>) {
        let Some(Taken { root, id }) = self.taken.remove(key) else { return };
        root.map(|root| self.roots.remove(&(root, Arc::clone(key))));
        id.map(|id| self.ids.remove(&(id, Arc::clone(key))));
    }

    /// Those whose root lies in `root`, and those in whose root it lies.
    fn overlapping(&self, root: &Arc<str>, found: &mut BTreeSet<Arc<Key>>) {
        let from = |path: &str| -> (Arc<str>, Arc<Key>) { (Arc::from(path), Arc::default()) };
        let within =
            self.roots.range(from(root)..).take_while(|(path, _)| path.starts_with(&**root));
        found.extend(within.map(|(_, key)| Arc::clone(key)));
        for (end, _) in root.match_indices('/') {
            let above = &root[..=end];
            let same = self.roots.range(from(above)..).take_while(|(path, _)| **path == *above);
            found.extend(same.map(|(_, key)| Arc::clone(key)));
        }
    }

    fn holders(&self, id: u32) -> impl Iterator<Item = Arc<Key>> + '_ {
        let from = (id, Arc::default());
        self.ids.range(from..).take_while(move |(of, _)| *of == id).map(|(_, key)| Arc::clone(key))
    }
}

fn taken(stream: &Observed, (namespace, name): &Key) -> Taken {
    let Ok(stream) = &stream.stream else { return Taken { root: None, id: None } };
    let root = Root::of(&stream.spec, namespace, name).map(|root| Arc::from(root.path()));
    let allotted = stream.status.as_ref().and_then(|status| status.server_id);
    Taken { root, id: stream.spec.server_id.or(allotted) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::controller::validate::tests::{minimal, object};

    fn stream(name: &str, change: Value) -> Observed {
        minimal(name, 0, change)
    }

    fn kept((name, change): &(&str, Value)) -> Arc<KeptStream> {
        Arc::new(serde_json::from_value(object(name, 0, change.clone())).unwrap())
    }

    fn found(peers: &Peers, stream: &Observed) -> Vec<String> {
        peers.of(stream).iter().map(|key| key.1.clone()).collect()
    }

    #[test]
    fn whoever_holds_what_a_stream_takes_is_found_and_nobody_else() {
        let peers = Peers::default();
        let inside = json!({"spec": {"archive": {"s3": {"prefix": "shop/orders"}}}});
        let elsewhere =
            json!({"spec": {"archive": {"s3": {"bucket": "other", "prefix": "shop/orders"}}}});
        let (asks, holds) = (json!({"spec": {"serverId": 7}}), json!({"status": {"serverId": 7}}));
        let others = [
            ("alone", json!({})),
            ("inside", inside.clone()),
            ("elsewhere", elsewhere),
            ("asks", asks.clone()),
            ("holds", holds),
        ];
        peers.know(None, || others.iter().map(kept).collect());
        assert_eq!(found(&peers, &stream("orders", json!({}))), ["inside"]);
        assert_eq!(found(&peers, &stream("inside", inside)), ["orders"], "whichever is asked");
        let seven = stream("seven", json!({"spec": {"serverId": 7}}));
        assert_eq!(found(&peers, &seven), ["asks", "holds"]);
        let mended = stream("seven", json!({"spec": {"serverId": 8}}));
        assert!(found(&peers, &mended).is_empty());
        assert_eq!(found(&peers, &stream("asks", asks)), ["holds"], "what it held before is free");
    }

    #[test]
    fn whoever_holds_an_id_that_may_be_allotted_is_found() {
        let peers = Peers::default();
        let ids: Vec<u32> = server_id::candidates("uid-new").take(3).collect();
        for id in &ids[..2] {
            let holder = stream(&format!("holds-{id}"), json!({"status": {"serverId": id}}));
            assert!(found(&peers, &holder).is_empty());
        }
        assert_eq!(found(&peers, &stream("new", json!({}))).len(), 2);
    }

    #[test]
    fn a_stream_that_is_gone_is_found_no_more() {
        let peers = Peers::default();
        let [one, other] =
            ["one", "other"].map(|name| stream(name, json!({"spec": {"serverId": 7}})));
        assert!(found(&peers, &one).is_empty());
        assert_eq!(found(&peers, &other), ["one"]);
        peers.keep_only(|key| key.1 != "one");
        assert!(found(&peers, &other).is_empty());
    }
}
