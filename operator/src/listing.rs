//! The names of a list that is under way, so that what it lacks is dropped when it ends, and not before.

use std::collections::{HashMap, HashSet};

use kube::Resource;

/// The lists of one watch.
#[derive(Debug, Default)]
pub struct Listing {
    is_again: bool,
    names: Option<Listed>,
}

/// Names of objects, by namespace.
#[derive(Debug, Default)]
pub struct Listed(HashMap<String, HashSet<String>>);

impl Listing {
    /// A list begins. Before the first there was nothing that it could lack, so its names are not noted.
    pub fn begin(&mut self) {
        self.names = std::mem::replace(&mut self.is_again, true).then(Listed::default);
    }

    /// Whether there was one before: only then something may be known that it lacks, or shows otherwise.
    pub fn follows_another(&self) -> bool {
        self.names.is_some()
    }

    /// It names an object.
    pub fn note(&mut self, object: &impl Resource) {
        let (Some(Listed(names)), meta) = (&mut self.names, object.meta()) else { return };
        if let (Some(namespace), Some(name)) = (&meta.namespace, &meta.name) {
            names.entry(namespace.clone()).or_default().insert(name.clone());
        }
    }

    /// It ends; what it named, if something may be dropped.
    pub fn end(&mut self) -> Option<Listed> {
        self.names.take()
    }
}

impl Listed {
    /// Whether the list named this object.
    pub fn has(&self, namespace: &str, name: &str) -> bool {
        self.0.get(namespace).is_some_and(|names| names.contains(name))
    }
}
