//! Who this process is: the pod's UID, or an id kept in the working directory.
//!
//! - Two processes of one working directory are not two instances: the second finds it locked and
//!   must end (exit 81) before any claim (`the_second_user_of_a_directory_is_refused`).
//! - An instance that was fenced remembers it across a crash, so that a restart does not take the
//!   archive back from whoever holds it (`a_fenced_instance_remembers`).

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use uuid::Uuid;

const LOCK_FILE: &str = "instance";
const MARKER_FILE: &str = "fenced";

/// Why a process is nobody.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// Another process uses the working directory.
    #[error("lock {}: another worker runs in this directory; end it or use another workDir", .0.display())]
    Locked(PathBuf),
    /// The working directory cannot be used.
    #[error("use working directory {}: {source}; it must exist and be writable", at.display())]
    Io {
        /// The file at fault.
        at: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
}

/// This process, for as long as it holds the directory's lock.
#[derive(Debug)]
pub struct Instance {
    id: String,
    directory: PathBuf,
    /// Held open for its lock.
    lock: File,
}

impl Instance {
    /// Takes the working directory. With a pod's UID that is the id; else an id is made on first use
    /// and kept.
    ///
    /// # Errors
    /// Another process has it, or it cannot be written.
    pub fn acquire(directory: &Path, pod_uid: Option<&str>) -> Result<Self, InstanceError> {
        let at = directory.join(LOCK_FILE);
        let wrong = |source| InstanceError::Io { at: at.clone(), source };
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut lock = options.open(&at).map_err(wrong)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(InstanceError::Locked(at)),
            Err(TryLockError::Error(error)) => return Err(wrong(error)),
        }
        let id = match pod_uid {
            Some(uid) => uid.to_owned(),
            None => kept_id(&mut lock).map_err(wrong)?,
        };
        Ok(Self { id, directory: directory.to_path_buf(), lock })
    }

    /// Lets another process work in the directory meanwhile: a paused worker holds nothing.
    ///
    /// # Errors
    /// The lock cannot be given back.
    pub fn release(&self) -> Result<(), InstanceError> {
        self.lock.unlock().map_err(|source| self.wrong(source))
    }

    /// Takes the directory again.
    ///
    /// # Errors
    /// Another process has it.
    pub fn retake(&self) -> Result<(), InstanceError> {
        self.lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => InstanceError::Locked(self.directory.join(LOCK_FILE)),
            TryLockError::Error(source) => self.wrong(source),
        })
    }

    fn wrong(&self, source: io::Error) -> InstanceError {
        InstanceError::Io { at: self.directory.join(LOCK_FILE), source }
    }

    /// The instance id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether this instance was fenced since the marker was last removed.
    pub fn was_fenced(&self) -> bool {
        let text = std::fs::read_to_string(self.marker());
        text.is_ok_and(|text| text.trim() == self.id)
    }

    /// Remembers that this instance was fenced.
    ///
    /// # Errors
    /// The marker could not be written; the log itself still knows the last eight holders.
    pub fn mark_fenced(&self) -> Result<(), InstanceError> {
        let at = self.marker();
        let write = || {
            let mut file = File::create(&at)?;
            writeln!(file, "{}", self.id)?;
            file.sync_all()?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(|source| InstanceError::Io { at: at.clone(), source })
    }

    /// Forgets it: a claim succeeded.
    ///
    /// # Errors
    /// The marker could not be removed.
    pub fn forget_fence(&self) -> Result<(), InstanceError> {
        let at = self.marker();
        match std::fs::remove_file(&at) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(InstanceError::Io { at, source })
            }
            _ => Ok(()),
        }
    }

    fn marker(&self) -> PathBuf {
        self.directory.join(MARKER_FILE)
    }
}

/// The id in the lock file; a new one if there is none.
fn kept_id(file: &mut File) -> io::Result<String> {
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    if let Ok(id) = Uuid::try_parse(text.trim()) {
        return Ok(id.to_string());
    }
    let id = Uuid::new_v4().to_string();
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{id}")?;
    file.sync_all()?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_user_of_a_directory_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let first = Instance::acquire(directory.path(), None).unwrap();
        let second = Instance::acquire(directory.path(), None).unwrap_err();
        assert!(matches!(second, InstanceError::Locked(_)), "{second}");
        let id = first.id().to_owned();
        drop(first);
        assert_eq!(Instance::acquire(directory.path(), None).unwrap().id(), id);
    }

    #[test]
    fn a_directory_that_was_released_serves_another_until_it_is_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let paused = Instance::acquire(directory.path(), None).unwrap();
        paused.release().unwrap();
        let other = Instance::acquire(directory.path(), None).unwrap();
        assert_eq!(other.id(), paused.id());
        assert!(matches!(paused.retake(), Err(InstanceError::Locked(_))));
        drop(other);
        paused.retake().unwrap();
        assert!(Instance::acquire(directory.path(), None).is_err());
    }

    #[test]
    fn a_fenced_instance_remembers() {
        let directory = tempfile::tempdir().unwrap();
        let instance = Instance::acquire(directory.path(), Some("pod-1")).unwrap();
        assert!(!instance.was_fenced());
        instance.mark_fenced().unwrap();
        drop(instance);
        let again = Instance::acquire(directory.path(), Some("pod-1")).unwrap();
        assert!(again.was_fenced());
        again.forget_fence().unwrap();
        assert!(!again.was_fenced());
        drop(again);
        // Another pod on the same node directory is another instance.
        Instance::acquire(directory.path(), Some("pod-1")).unwrap().mark_fenced().unwrap();
        assert!(!Instance::acquire(directory.path(), Some("pod-2")).unwrap().was_fenced());
    }
}
