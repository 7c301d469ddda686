//! What was last applied, so that a reconcile in which nothing changed sends nothing.
//!
//! Each child carries a digest of what was applied. It is applied again when the digest differs
//! from what is wanted (an edit of the stream, an upgrade of the operator), when it is gone, and
//! when its version moved past the one our own write led to (somebody edited the child). The last
//! is known only to the process that wrote: after a restart the digest is trusted.

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
};

use crate::{digest::Digest, rollout::record::Notes};

/// A child as the cache shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Child {
    /// UID of the object.
    pub uid: Box<str>,
    /// UID of the stream that owns it, where it has an owner.
    pub owner_uid: Option<Box<str>>,
    /// Digest of what was applied.
    pub digest: Option<Digest>,
    /// What moves when somebody edits it: the generation where there is one, else the resource
    /// version; none where the object is written by others all the time.
    pub version: Option<u64>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// What is noted about its pod template, where it has one.
    pub notes: Option<Arc<Notes>>,
    /// Digest of what people asked for when it was written, where that is noted.
    pub asked: Option<Digest>,
}

/// What one write led to. There are seven of a stream, so no more is kept than is asked for: digest and
/// UID are only compared, so their hashes are kept.
#[derive(Debug, Clone)]
struct Entry {
    kind: &'static str,
    digest: u64,
    child_uid: u64,
    version: Option<u64>,
    notes: Option<Arc<Notes>>,
}

impl Entry {
    fn of(kind: &'static str, child: &Child, digest: Digest) -> Entry {
        let (digest, child_uid) = (hash(&digest), hash(&child.uid));
        Entry { kind, digest, child_uid, version: child.version, notes: child.notes.clone() }
    }

    /// Puts it in the place of the one of its kind.
    fn note(self, entries: &mut Vec<Entry>) {
        entries.retain(|entry| entry.kind != self.kind);
        entries.push(self);
    }
}

fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// Memory of the children's last writes, by UID of the stream.
#[derive(Debug, Default)]
pub struct AppliedBook(Mutex<HashMap<String, Vec<Entry>>>);

impl AppliedBook {
    /// Whether a child that exists must be written.
    pub fn is_stale(
        &self,
        stream_uid: &str,
        kind: &'static str,
        seen: &Child,
        digest: Digest,
    ) -> bool {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = book.entry(stream_uid.to_owned()).or_default();
        let now = Entry::of(kind, seen, digest);
        let known = entries.iter().find(|entry| entry.kind == kind);
        match known.filter(|entry| entry.child_uid == now.child_uid) {
            // The cache may lag behind our own write.
            Some(entry) => entry.digest != now.digest || seen.version > entry.version,
            None if seen.digest == Some(digest) => {
                now.note(entries);
                false
            }
            None => true,
        }
    }

    /// Notes a write.
    pub fn note(&self, stream_uid: &str, kind: &'static str, child: &Child, digest: Digest) {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Entry::of(kind, child, digest).note(book.entry(stream_uid.to_owned()).or_default());
    }

    /// A child as it is now: as the cache shows it, or as our own last write left it where the cache
    /// lags behind that.
    pub fn newest(&self, stream_uid: &str, kind: &'static str, seen: &Child) -> Child {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = book.get(stream_uid);
        let entry = entries.and_then(|entries| entries.iter().find(|entry| entry.kind == kind));
        let newer = entry
            .filter(|entry| entry.child_uid == hash(&seen.uid) && entry.version > seen.version);
        match newer {
            Some(Entry { version, notes, .. }) => {
                Child { version: *version, notes: notes.clone(), ..seen.clone() }
            }
            None => seen.clone(),
        }
    }

    /// Drops the memory of streams that are gone.
    pub fn keep_only(&self, is_known: impl Fn(&str) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| is_known(uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::digest;

    fn of(text: &str) -> Digest {
        digest(&text).unwrap()
    }

    fn child(version: u64, digest: &str) -> Child {
        Child {
            uid: "child".into(),
            digest: Some(of(digest)),
            version: Some(version),
            ..Child::default()
        }
    }

    #[test]
    fn an_unchanged_child_is_not_written_again() {
        let book = AppliedBook::default();
        assert!(!book.is_stale("s", "Role", &child(5, "a"), of("a")));
        assert!(!book.is_stale("s", "Role", &child(5, "a"), of("a")));
        assert!(book.is_stale("s", "Role", &child(5, "a"), of("b")));
    }

    #[test]
    fn an_edited_child_is_written_again_and_our_own_write_is_no_edit() {
        let book = AppliedBook::default();
        book.note("s", "Role", &child(7, "a"), of("a"));
        assert!(!book.is_stale("s", "Role", &child(5, "old"), of("a")), "the cache lags");
        assert!(!book.is_stale("s", "Role", &child(7, "a"), of("a")));
        assert!(book.is_stale("s", "Role", &child(9, "a"), of("a")), "somebody edited it");
    }

    #[test]
    fn a_child_is_as_our_last_write_left_it_until_the_cache_shows_more() {
        let book = AppliedBook::default();
        let version = |seen: u64| book.newest("s", "Role", &child(seen, "a")).version;
        assert_eq!(version(5), Some(5));
        book.note("s", "Role", &child(7, "a"), of("a"));
        assert_eq!((version(5), version(9)), (Some(7), Some(9)));
        let other = Child { uid: "other".into(), ..child(1, "c") };
        assert_eq!(book.newest("s", "Role", &other), other);
    }

    #[test]
    fn another_object_of_the_same_name_is_judged_anew() {
        let book = AppliedBook::default();
        book.note("s", "Role", &child(7, "a"), of("a"));
        let other = Child { uid: "other".into(), digest: None, ..child(8, "a") };
        assert!(book.is_stale("s", "Role", &other, of("a")));
    }
}
