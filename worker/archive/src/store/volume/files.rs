//! The blocking half of a volume store.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::failpoint::pass;
use crate::store::{Create, ObjectMeta, Stat};

/// Temporary files begin with this; no key does.
const TEMPORARY: &str = ".tmp-";
/// A temporary file of another process that is older than this belongs to nobody.
const ABANDONED: Duration = Duration::from_hours(1);

/// What went wrong.
#[derive(Debug)]
pub(super) enum Io {
    /// Data that was written may be lost.
    Fsync(io::Error),
    /// Anything else.
    Other(io::Error),
}

impl From<io::Error> for Io {
    fn from(error: io::Error) -> Self {
        Self::Other(error)
    }
}

/// A directory tree.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
    /// Makes the names of temporary files unlike those of any other process.
    process: Uuid,
    next: AtomicU64,
    /// Directories whose parents were fsynced by this process.
    known: Mutex<HashSet<PathBuf>>,
}

impl Files {
    pub(super) fn new(root: PathBuf) -> Self {
        let known = Mutex::new(HashSet::from([root.clone()]));
        Self { root, process: Uuid::new_v4(), next: AtomicU64::new(0), known }
    }

    pub(super) fn root(&self) -> PathBuf {
        self.root.clone()
    }

    pub(super) fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    pub(super) fn create(&self, key: &str, bytes: &[u8]) -> Result<Create, Io> {
        let target = self.path(key);
        let what = what(key);
        let (directory, temporary) = self.write_beside(&target, bytes, what)?;
        let linked = fs::hard_link(&temporary, &target);
        pass(what, "linked");
        let outcome = match linked {
            Ok(()) => Ok(Create::Made),
            // It may be there from an earlier try that did not reach its directory's fsync.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Create::Exists),
            Err(error) => Err(Io::Other(link_error(error))),
        };
        let settled = if outcome.is_ok() { sync_directory(&directory) } else { Ok(()) };
        pass(what, "settled");
        fs::remove_file(&temporary)?;
        pass(what, "unlinked");
        settled?;
        outcome
    }

    pub(super) fn put(&self, key: &str, bytes: &[u8]) -> Result<(), Io> {
        let target = self.path(key);
        let what = what(key);
        let (directory, temporary) = self.write_beside(&target, bytes, what)?;
        fs::rename(&temporary, &target)?;
        pass(what, "renamed");
        sync_directory(&directory)?;
        pass(what, "settled");
        Ok(())
    }

    /// Writes a durable temporary file in the target's directory.
    fn write_beside(
        &self,
        target: &Path,
        bytes: &[u8],
        what: &str,
    ) -> Result<(PathBuf, PathBuf), Io> {
        let directory = target.parent().unwrap_or(&self.root).to_path_buf();
        self.make_directory(&directory)?;
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let temporary = directory.join(format!("{TEMPORARY}{}-{n}", self.process));
        let open = || OpenOptions::new().write(true).create_new(true).open(&temporary);
        let mut file = match open() {
            // Somebody removed the directory that this process knows, as with a table that is to be made anew.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.root.is_dir() => {
                self.forget(&directory);
                self.make_directory(&directory)?;
                open()?
            }
            opened => opened?,
        };
        pass(what, "opened");
        let written = file.write_all(bytes);
        pass(what, "written");
        let synced = written.map_err(Io::Other).and_then(|()| file.sync_all().map_err(Io::Fsync));
        if let Err(error) = synced {
            // Left behind it is harmless; the first error is the one that counts.
            drop(fs::remove_file(&temporary));
            return Err(error);
        }
        pass(what, "synced");
        Ok((directory, temporary))
    }

    /// Forgets a directory and those above it, but not the root: that one is never made.
    fn forget(&self, directory: &Path) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|known| *known == self.root || !directory.starts_with(known));
    }

    /// Makes a directory and those above it, each durable in its parent.
    fn make_directory(&self, directory: &Path) -> Result<(), Io> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(directory);
        if known {
            return Ok(());
        }
        let Some(parent) = directory.parent().filter(|_| directory.starts_with(&self.root)) else {
            return Ok(());
        };
        self.make_directory(parent)?;
        match fs::create_dir(directory) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
        // Also when it existed: whoever made it may not have come so far.
        sync_directory(parent)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(directory.to_path_buf());
        Ok(())
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Bytes>, Io> {
        match fs::read(self.path(key)) {
            Ok(bytes) => Ok(Some(Bytes::from(bytes))),
            Err(error) => self.absent(error),
        }
    }

    /// Absence is only believed while the root itself is there.
    fn absent<T>(&self, error: io::Error) -> Result<Option<T>, Io> {
        if error.kind() == io::ErrorKind::NotFound && self.root.is_dir() {
            return Ok(None);
        }
        Err(error.into())
    }

    pub(super) fn stat(&self, key: &str) -> Result<Option<Stat>, Io> {
        let path = self.path(key);
        let found = match fs::metadata(&path) {
            Ok(found) => found,
            Err(error) => return self.absent(error),
        };
        let age = super::age(&path, &self.clock_file())?;
        Ok(Some(Stat { bytes: found.len(), age }))
    }

    pub(super) fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, Io> {
        let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut found = Vec::new();
        self.walk(folder, &mut found)?;
        found.retain(|meta| meta.key.starts_with(prefix));
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    fn walk(&self, folder: &str, found: &mut Vec<ObjectMeta>) -> Result<(), Io> {
        for (name, entry) in self.read_directory(folder)? {
            let key = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Deleted meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            if metadata.is_dir() {
                self.walk(&key, found)?;
            } else {
                found.push(ObjectMeta { key, bytes: metadata.len() });
            }
        }
        Ok(())
    }

    pub(super) fn children(&self, prefix: &str) -> Result<Vec<String>, Io> {
        let mut names = Vec::new();
        for (name, entry) in self.read_directory(prefix.trim_end_matches('/'))? {
            let folder = entry.file_type()?.is_dir();
            names.push(if folder { format!("{name}/") } else { name });
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Names in a folder, without temporary files; none if it does not exist.
    fn read_directory(&self, folder: &str) -> Result<Vec<(String, fs::DirEntry)>, Io> {
        let entries = match fs::read_dir(self.path(folder)) {
            Ok(entries) => entries,
            Err(error) => return Ok(self.absent(error)?.unwrap_or_default()),
        };
        let mut named = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if !name.starts_with(TEMPORARY) {
                named.push((name, entry));
            }
        }
        Ok(named)
    }

    pub(super) fn delete(&self, key: &str) -> Result<(), Io> {
        match fs::remove_file(self.path(key)) {
            Ok(()) => Ok(()),
            Err(error) => self.absent::<()>(error).map(drop),
        }
    }

    /// Removes temporary files that a killed process left under a prefix.
    pub(super) fn tidy(&self, prefix: &str) -> Result<u64, Io> {
        let directory = self.path(prefix.trim_end_matches('/'));
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) => return self.absent::<u64>(error).map(Option::unwrap_or_default),
        };
        let own = format!("{TEMPORARY}{}", self.process);
        let mut removed = 0;
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if !name.starts_with(TEMPORARY) || name.starts_with(&own) {
                continue;
            }
            // One that is still written is young. Its writer loses nothing: it tries again.
            if super::age(&entry.path(), &self.clock_file())? >= ABANDONED {
                fs::remove_file(entry.path())?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// A fresh name for the file that tells the file system's time.
    fn clock_file(&self) -> PathBuf {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        self.root.join(format!("{TEMPORARY}{}-{n}", self.process))
    }

    /// fsyncs the directory of a prefix and those above it: what a reader saw there stays.
    pub(super) fn settle(&self, prefix: &str) -> Result<(), Io> {
        let mut directory = self.path(prefix.trim_end_matches('/'));
        while directory.starts_with(&self.root) {
            if directory.is_dir() {
                sync_directory(&directory)?;
            }
            if !directory.pop() {
                break;
            }
        }
        Ok(())
    }
}

/// File systems without hard links refuse them in several ways.
fn link_error(error: io::Error) -> io::Error {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, TooManyLinks};
    match error.kind() {
        PermissionDenied | TooManyLinks | CrossesDevices => {
            io::Error::new(io::ErrorKind::Unsupported, error)
        }
        _ => error,
    }
}

fn sync_directory(directory: &Path) -> Result<(), Io> {
    File::open(directory)?.sync_all().map_err(Io::Fsync)
}

/// The failpoints' name for what a key is: the stream's part of it, after namespace and name.
fn what(key: &str) -> &str {
    if key.ends_with("stream.json") {
        return "stream";
    }
    if key.ends_with("_head.json") {
        return "hint";
    }
    let parts = ["log", "raw", "changes", "lists", "schemas"];
    key.split('/').find(|part| parts.contains(part)).unwrap_or("other")
}
