//! The children of every stream, one row a stream: what is compared of them, and nothing else.
//!
//! Copies of their metadata, seven a stream, would be most of the operator's memory. Deployments and pods are kept
//! apart, for their status counts. While a kind is listed again its old entries stay
//! (`what_a_new_list_lacks_is_gone_when_it_ends`).

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use kube::Resource;
use kube_runtime::watcher::Event;

use crate::{
    answers::Key,
    applied::Child,
    controller::{
        build::labels,
        dereference::{Children, describe, version},
    },
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
            Slot::Service => &mut row.service,
        }
    }

    /// What moves when somebody edits it; none where others write it all the time.
    fn moves(self, meta: &kube::api::ObjectMeta) -> Option<u64> {
        match self {
            Slot::Checkpoint | Slot::VolumeClaim => None,
            _ => version(meta),
        }
    }
}

/// All rows.
#[derive(Debug, Default)]
pub struct Kin(Mutex<HashMap<Key, Box<Children>>>);

/// The watch of one kind of children.
#[derive(Debug)]
pub struct Listing {
    slots: &'static [Slot],
    /// Names in the list that is under way.
    listed: HashSet<Key>,
}

impl Listing {
    /// A watch whose objects have these places.
    pub fn of(slots: &'static [Slot]) -> Self {
        Self { slots, listed: HashSet::new() }
    }
}

impl Kin {
    /// The children of a stream; its Deployment is not among them.
    pub fn row(&self, key: &Key) -> Children {
        self.rows().get(key).map(|row| (**row).clone()).unwrap_or_default()
    }

    /// Follows a watch.
    pub fn take<K: Resource<DynamicType = ()>>(&self, listing: &mut Listing, event: &Event<K>) {
        match event {
            Event::Init => listing.listed.clear(),
            Event::InitApply(object) => {
                let meta = object.meta();
                if let (Some(namespace), Some(name)) = (&meta.namespace, &meta.name) {
                    listing.listed.insert((namespace.clone(), name.clone()));
                }
                self.put(listing.slots, object, true);
            }
            Event::Apply(object) => self.put(listing.slots, object, true),
            Event::Delete(object) => self.put(listing.slots, object, false),
            Event::InitDone => self.keep_listed(listing),
        }
    }

    fn put<K: Resource<DynamicType = ()>>(&self, slots: &[Slot], object: &K, exists: bool) {
        let meta = object.meta();
        let (Some(namespace), Some(name)) = (&meta.namespace, &meta.name) else { return };
        for slot in slots {
            let Some(stream) = slot.stream(name) else { continue };
            let key = (namespace.clone(), stream.to_owned());
            let mut rows = self.rows();
            let row = rows.entry(key.clone()).or_default();
            *slot.of(row) = exists.then(|| describe(meta, slot.moves(meta)));
            if **row == Children::default() {
                rows.remove(&key);
            }
        }
    }

    fn keep_listed(&self, listing: &mut Listing) {
        let listed = std::mem::take(&mut listing.listed);
        self.rows().retain(|(namespace, stream), row| {
            for slot in listing.slots {
                if !listed.contains(&(namespace.clone(), slot.name(stream))) {
                    *slot.of(row) = None;
                }
            }
            **row != Children::default()
        });
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<Key, Box<Children>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{api::ObjectMeta, core::PartialObjectMeta};

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

    fn row(kin: &Kin) -> (Option<Child>, Option<Child>) {
        let Children { config, checkpoint, .. } =
            kin.row(&("shop".to_owned(), "orders".to_owned()));
        (config, checkpoint)
    }

    #[test]
    fn a_child_is_found_by_its_name_and_a_checkpoint_has_no_version() {
        let (kin, mut listing) = (Kin::default(), Listing::of(CONFIG_MAPS));
        for name in ["orders-worker", "orders-checkpoint", "orders", "-worker"] {
            kin.take(&mut listing, &Event::Apply(map(name)));
        }
        let (config, checkpoint) = row(&kin);
        assert_eq!(
            config.map(|child| (child.uid, child.version)),
            Some(("uid-orders-worker".into(), Some(7)))
        );
        assert_eq!(checkpoint.and_then(|child| child.version), None);
        assert_eq!(kin.rows().len(), 1);
        kin.take(&mut listing, &Event::Delete(map("orders-worker")));
        kin.take(&mut listing, &Event::Delete(map("orders-checkpoint")));
        assert!(kin.rows().is_empty());
    }

    #[test]
    fn what_a_new_list_lacks_is_gone_when_it_ends() {
        let (kin, mut listing) = (Kin::default(), Listing::of(CONFIG_MAPS));
        kin.take(&mut listing, &Event::Apply(map("orders-worker")));
        kin.take(&mut listing, &Event::<PartialObjectMeta<ConfigMap>>::Init);
        kin.take(&mut listing, &Event::InitApply(map("orders-checkpoint")));
        assert!(matches!(row(&kin), (Some(_), Some(_))), "the list has not ended");
        kin.take(&mut listing, &Event::<PartialObjectMeta<ConfigMap>>::InitDone);
        assert!(matches!(row(&kin), (None, Some(_))));
    }

    #[test]
    fn a_list_of_one_kind_leaves_the_others() {
        let (kin, mut listing) = (Kin::default(), Listing::of(CONFIG_MAPS));
        let mut others = Listing::of(&[Slot::Service]);
        kin.take(&mut others, &Event::Apply(map("orders-worker")));
        kin.take(&mut listing, &Event::<PartialObjectMeta<ConfigMap>>::Init);
        kin.take(&mut listing, &Event::<PartialObjectMeta<ConfigMap>>::InitDone);
        assert!(kin.row(&("shop".to_owned(), "orders".to_owned())).service.is_some());
    }
}
