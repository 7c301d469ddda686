//! The children of every stream, one row a stream: what is compared of them, and nothing else.
//!
//! Copies of their metadata, eight a stream, would be most of the operator's memory. While a kind is listed again its
//! old entries stay (`what_a_new_list_lacks_is_gone_when_it_ends`).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kube::{Resource, core::PartialObjectMeta};
use kube_runtime::watcher::Event;

use crate::{
    answers::Key,
    applied::Child,
    controller::{
        build::labels,
        dereference::{Children, describe, generation, version},
    },
    listing::Listing,
    watched::{Deployed, WatchedDeployment},
};

/// A child's place in its stream's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// ServiceAccount.
    ServiceAccount,
    /// Role.
    Role,
    /// RoleBinding.
    RoleBinding,
    /// The worker's ConfigMap.
    Config,
    /// The checkpoint's ConfigMap.
    Checkpoint,
    /// The archive's claim.
    VolumeClaim,
    /// Deployment.
    Deployment,
    /// Service.
    Service,
}

impl Slot {
    fn name(self, stream: &str) -> String {
        match self {
            Slot::Checkpoint => labels::checkpoint(stream),
            Slot::VolumeClaim => labels::archive(stream),
            _ => labels::worker(stream),
        }
    }

    /// The stream whose child has this name.
    fn stream(self, name: &str) -> Option<&str> {
        name.strip_suffix(self.name("").as_str()).filter(|stream| !stream.is_empty())
    }

    fn of(self, row: &mut Children) -> &mut Option<Child> {
        match self {
            Slot::ServiceAccount => &mut row.service_account,
            Slot::Role => &mut row.role,
            Slot::RoleBinding => &mut row.role_binding,
            Slot::Config => &mut row.config,
            Slot::Checkpoint => &mut row.checkpoint,
            Slot::VolumeClaim => &mut row.volume_claim,
            Slot::Deployment => &mut row.deployment,
            Slot::Service => &mut row.service,
        }
    }

    /// What moves when somebody edits it; none where others write it all the time.
    fn moves(self, meta: &kube::api::ObjectMeta) -> Option<u64> {
        match self {
            Slot::Checkpoint | Slot::VolumeClaim => None,
            Slot::Deployment => generation(meta),
            _ => version(meta),
        }
    }
}

/// What a watch tells of a child.
pub trait Told: Resource<DynamicType = ()> {
    /// What is kept beside what is kept of every child.
    fn deployed(&self) -> Option<Deployed> {
        None
    }
}

impl<K: Resource<DynamicType = ()>> Told for PartialObjectMeta<K> {}

impl Told for WatchedDeployment {
    fn deployed(&self) -> Option<Deployed> {
        Some(self.into())
    }
}

/// The children of a stream.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// What is compared of each.
    pub children: Children,
    /// The rest of the Deployment.
    pub deployed: Option<Arc<Deployed>>,
}

/// All rows.
#[derive(Debug, Default)]
pub struct Kin(Mutex<HashMap<Key, Box<Row>>>);

impl Kin {
    /// The children of a stream.
    pub fn row(&self, key: &Key) -> Row {
        self.rows().get(key).map(|row| (**row).clone()).unwrap_or_default()
    }

    /// The rows whose Deployment is noted to roll.
    pub fn rolling(&self) -> Vec<(Key, Row)> {
        let rolls = |row: &Row| {
            let notes = row.children.deployment.as_ref().and_then(|child| child.notes.as_ref());
            notes.is_some_and(|notes| notes.roll.is_some())
        };
        let rows = self.rows();
        let rolling = rows.iter().filter(|(_, row)| rolls(row));
        rolling.map(|(key, row)| (key.clone(), (**row).clone())).collect()
    }

    /// Follows the watch of the kind that has these places.
    pub fn take<K: Told>(&self, slots: &[Slot], listing: &mut Listing, event: &Event<K>) {
        match event {
            Event::Init => listing.begin(),
            Event::InitApply(object) => {
                listing.note(object);
                self.put(slots, object, true);
            }
            Event::Apply(object) => self.put(slots, object, true),
            Event::Delete(object) => self.put(slots, object, false),
            Event::InitDone => self.keep_listed(slots, listing),
        }
    }

    fn put<K: Told>(&self, slots: &[Slot], object: &K, exists: bool) {
        let meta = object.meta();
        let (Some(namespace), Some(name)) = (&meta.namespace, &meta.name) else { return };
        for &slot in slots {
            let Some(stream) = slot.stream(name) else { continue };
            let key = (namespace.clone(), stream.to_owned());
            let mut rows = self.rows();
            let row = rows.entry(key.clone()).or_default();
            row.set(slot, exists.then(|| describe(meta, slot.moves(meta))), object.deployed());
            if **row == Row::default() {
                rows.remove(&key);
            }
        }
    }

    fn keep_listed(&self, slots: &[Slot], listing: &mut Listing) {
        let Some(listed) = listing.end() else { return };
        self.rows().retain(|(namespace, stream), row| {
            for &slot in slots {
                if !listed.has(namespace, &slot.name(stream)) {
                    row.set(slot, None, None);
                }
            }
            **row != Row::default()
        });
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<Key, Box<Row>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Row {
    fn set(&mut self, slot: Slot, child: Option<Child>, deployed: Option<Deployed>) {
        if slot == Slot::Deployment {
            self.deployed = deployed.filter(|_| child.is_some()).map(Arc::new);
        }
        *slot.of(&mut self.children) = child;
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::ObjectMeta;
    use serde_json::json;

    use super::*;

    const CONFIG_MAPS: &[Slot] = &[Slot::Config, Slot::Checkpoint];

    fn map(name: &str) -> PartialObjectMeta<ConfigMap> {
        let text = |text: &str| Some(text.to_owned());
        PartialObjectMeta {
            metadata: ObjectMeta {
                name: text(name),
                namespace: text("shop"),
                uid: text(&format!("uid-{name}")),
                resource_version: text("7"),
                ..ObjectMeta::default()
            },
            ..PartialObjectMeta::default()
        }
    }

    fn key() -> Key {
        ("shop".to_owned(), "orders".to_owned())
    }

    fn row(kin: &Kin) -> (Option<Child>, Option<Child>) {
        let Children { config, checkpoint, .. } = kin.row(&key()).children;
        (config, checkpoint)
    }

    #[test]
    fn a_child_is_found_by_its_name_and_a_checkpoint_has_no_version() {
        let (kin, mut listing) = (Kin::default(), Listing::default());
        for name in ["orders-worker", "orders-checkpoint", "orders", "-worker"] {
            kin.take(CONFIG_MAPS, &mut listing, &Event::Apply(map(name)));
        }
        let (config, checkpoint) = row(&kin);
        assert_eq!(
            config.map(|child| (child.uid, child.version)),
            Some(("uid-orders-worker".into(), Some(7)))
        );
        assert_eq!(checkpoint.and_then(|child| child.version), None);
        assert_eq!(kin.rows().len(), 1);
        kin.take(CONFIG_MAPS, &mut listing, &Event::Delete(map("orders-worker")));
        kin.take(CONFIG_MAPS, &mut listing, &Event::Delete(map("orders-checkpoint")));
        assert!(kin.rows().is_empty());
    }

    #[test]
    fn what_a_new_list_lacks_is_gone_when_it_ends() {
        let (kin, mut listing) = (Kin::default(), Listing::default());
        for event in [Event::Init, Event::InitApply(map("orders-worker")), Event::InitDone] {
            kin.take(CONFIG_MAPS, &mut listing, &event);
        }
        for event in [Event::Init, Event::InitApply(map("orders-checkpoint"))] {
            kin.take(CONFIG_MAPS, &mut listing, &event);
        }
        assert!(matches!(row(&kin), (Some(_), Some(_))), "the list has not ended");
        kin.take(CONFIG_MAPS, &mut listing, &Event::<PartialObjectMeta<ConfigMap>>::InitDone);
        assert!(matches!(row(&kin), (None, Some(_))));
    }

    #[test]
    fn a_list_of_one_kind_leaves_the_others() {
        let kin = Kin::default();
        kin.take(&[Slot::Service], &mut Listing::default(), &Event::Apply(map("orders-worker")));
        let mut listing = Listing::default();
        for event in [Event::Init, Event::InitDone, Event::Init, Event::InitDone] {
            kin.take(
                CONFIG_MAPS,
                &mut listing,
                &Event::<PartialObjectMeta<ConfigMap>>::clone(&event),
            );
        }
        assert!(kin.row(&key()).children.service.is_some());
    }

    #[test]
    fn a_deployment_is_kept_with_its_counts_and_found_while_it_rolls() {
        let (kin, mut listing) = (Kin::default(), Listing::default());
        let mut take = |event| kin.take(&[Slot::Deployment], &mut listing, &event);
        let deployment = |roll: &str| -> WatchedDeployment {
            let annotations = json!({
                (labels::MADE_FROM): r#"{"template":"t","asked":"a","generation":1}"#,
                (labels::ROLL): roll,
            });
            serde_json::from_value(json!({
                "metadata": {"name": "orders-worker", "namespace": "shop", "generation": 4,
                    "annotations": annotations},
                "spec": {"replicas": 1},
                "status": {"readyReplicas": 1},
            }))
            .unwrap()
        };
        take(Event::Apply(deployment("")));
        assert!(kin.rolling().is_empty());
        take(Event::Apply(deployment(r#"{"before":"Ready","again":false}"#)));
        let [(of, row)] = &kin.rolling()[..] else { panic!("one rolls") };
        let deployed = row.deployed.as_ref().unwrap();
        assert_eq!(
            (of, deployed.replicas, deployed.status.ready_replicas),
            (&key(), Some(1), Some(1))
        );
        assert_eq!(row.children.deployment.as_ref().and_then(|child| child.version), Some(4));
        take(Event::Delete(deployment("")));
        assert!(kin.rows().is_empty());
    }
}
