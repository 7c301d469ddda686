//! Which streams may hold what a stream takes for itself: an archive root, a server id.
//!
//! They are looked up, so that a reconcile does not walk over ten thousand streams. What is found is only a choice of
//! streams to look at: `validate` judges them as it would judge all
//! (`whoever_holds_what_a_stream_takes_is_found_and_nobody_else`).

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    answers::Key,
    controller::validate::{root::Root, server_id},
    watched::Observed,
};

/// Everything that is taken.
#[derive(Debug, Default)]
pub struct Peers(Mutex<Index>);

#[derive(Debug, Default)]
struct Index {
    taken: HashMap<Arc<Key>, Taken>,
    roots: BTreeSet<(Arc<str>, Arc<Key>)>,
    ids: BTreeSet<(u32, Arc<Key>)>,
    /// The ids that were asked for, each at its source: elsewhere it harms nobody, and a template may ask for one id at
    /// a thousand sources.
    asked: BTreeSet<(u32, Arc<str>, Arc<Key>)>,
}

/// What one stream takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Taken {
    root: Option<Arc<str>>,
    id: Option<u32>,
    /// The source at which it asked for the id; none for one that was allotted.
    asked_at: Option<Arc<str>>,
}

impl Peers {
    /// Learns of a stream as it is now.
    pub fn note(&self, stream: &Observed) {
        self.index().note(stream);
    }

    /// Learns of a stream as it is now, and names those that may hold what it takes.
    pub fn of(&self, stream: &Observed) -> Vec<Arc<Key>> {
        let mut index = self.index();
        let Some(key) = index.note(stream) else { return Vec::new() };
        let mut found = BTreeSet::new();
        if let Some(Taken { root, id, asked_at }) = index.taken.get(&key) {
            if let Some(root) = root {
                index.overlapping(root, &mut found);
            }
            match (id, asked_at) {
                (Some(id), Some(source)) => found.extend(index.askers(*id, source)),
                (Some(id), None) => found.extend(index.holders(*id)),
                (None, _) => {}
            }
        }
        let is_allotted = index.taken.get(&key).is_none_or(|taken| taken.asked_at.is_none());
        if is_allotted {
            // The first of the ids it may be allotted that nobody else holds ends the search.
            let uid = stream.metadata.uid.as_deref().unwrap_or_default();
            for id in server_id::candidates(uid) {
                let others: Vec<_> = index.holders(id).filter(|holder| *holder != key).collect();
                if others.is_empty() {
                    break;
                }
                found.extend(others);
            }
        }
        found.remove(&key);
        found.into_iter().collect()
    }

    /// Forgets streams that are gone.
    pub fn keep_only(&self, is_known: impl Fn(&Key) -> bool) {
        let mut index = self.index();
        let gone: Vec<_> =
            index.taken.keys().filter(|key| !is_known(key)).map(Arc::clone).collect();
        for key in gone {
            index.forget(&key);
        }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.asked.extend(taken.asked(&key));
        self.taken.insert(Arc::clone(&key), taken);
        Some(key)
    }

    fn forget(&mut self, key: &Arc<Key>) {
        let Some(taken) = self.taken.remove(key) else { return };
        taken.asked(key).map(|asked| self.asked.remove(&asked));
        taken.root.map(|root| self.roots.remove(&(root, Arc::clone(key))));
        taken.id.map(|id| self.ids.remove(&(id, Arc::clone(key))));
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

    fn askers<'a>(&'a self, id: u32, source: &'a Arc<str>) -> impl Iterator<Item = Arc<Key>> + 'a {
        let from = (id, Arc::clone(source), Arc::default());
        let askers =
            self.asked.range(from..).take_while(move |(of, at, _)| (*of, at) == (id, source));
        askers.map(|(_, _, key)| Arc::clone(key))
    }
}

impl Taken {
    fn asked(&self, key: &Arc<Key>) -> Option<(u32, Arc<str>, Arc<Key>)> {
        Some((self.id?, Arc::clone(self.asked_at.as_ref()?), Arc::clone(key)))
    }
}

fn taken(stream: &Observed, (namespace, name): &Key) -> Taken {
    let Ok(stream) = &stream.stream else { return Taken::default() };
    let root = Root::of(&stream.spec, namespace, name).map(|root| Arc::from(root.path()));
    let allotted = stream.status.as_ref().and_then(|status| status.server_id);
    let source = &stream.spec.source;
    let at = || format!("{}:{}", source.host.to_ascii_lowercase(), source.port).into();
    let asked_at = stream.spec.server_id.map(|_| at());
    Taken { root, id: stream.spec.server_id.or(allotted), asked_at }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::controller::validate::tests::minimal;

    fn stream(name: &str, change: Value) -> Observed {
        minimal(name, 0, change)
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
        for (name, change) in others {
            peers.note(&stream(name, change));
        }
        assert_eq!(found(&peers, &stream("orders", json!({}))), ["inside"]);
        assert_eq!(found(&peers, &stream("inside", inside)), ["orders"], "whichever is asked");
        let seven = stream("seven", json!({"spec": {"serverId": 7}}));
        assert_eq!(found(&peers, &seven), ["asks"], "who was allotted it gives way");
        let allotted = stream("allotted", json!({"status": {"serverId": 7}}));
        assert_eq!(found(&peers, &allotted), ["asks", "holds", "seven"]);
        peers.keep_only(|key| key.1 != "allotted");
        let mended = stream("seven", json!({"spec": {"serverId": 8}}));
        assert!(found(&peers, &mended).is_empty());
        assert!(found(&peers, &stream("asks", asks)).is_empty(), "what it held before is free");
    }

    #[test]
    fn one_id_that_is_asked_for_at_many_sources_makes_no_peers() {
        let peers = Peers::default();
        let at = |host: &str| json!({"spec": {"serverId": 7, "source": {"host": host}}});
        for number in 0..5 {
            let name = format!("at-{number}");
            assert!(found(&peers, &stream(&name, at(&format!("db-{number}")))).is_empty());
        }
        assert_eq!(found(&peers, &stream("second", at("DB-3"))), ["at-3"]);
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
