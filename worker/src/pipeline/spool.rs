//! Where parts wait for the archive: in memory, and when that is full on disk, and when that is full too nowhere.
//!
//! What waits here is durable nowhere and is claimed by nobody: files are not synced, and go with the session.
//!
//! Invariants
//! - A part comes out as it went in, and parts come out in the order in which they went in, wherever each waited
//!   (`any_parts_come_out_whole_and_in_order_within_the_bounds`).
//! - Room comes first: a part that has left its owner never waits for any.
//! - A disk that cannot be written costs no part: the part stays in memory, and the next one waits for room there
//!   (`a_part_that_cannot_be_written_stays_in_memory`).
//! - A part deleted or fetched leaves no file (`any_parts_come_out_whole_and_in_order_within_the_bounds`).
//! - One part is encoded at a time: that takes its memory once more.
//! - A file that does not hold what was written is not archived (`an_altered_file_is_noticed`).

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use changes::{BatchError, ChangeFile};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::assemble::Part;
use super::raw::RawPart;

/// Bytes that may wait in memory.
pub const MEMORY_BYTES: usize = 48 << 20;
/// What disks give out; the bound on disk is counted in it.
const BLOCK: usize = 4096;

/// Held while rows are encoded.
static ENCODING: Mutex<()> = Mutex::new(());

/// A part that cannot go to the archive.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Rows could not be brought into their form; a bug.
    #[error(transparent)]
    Rows(#[from] BatchError),
    /// The disk does not give back what it took. The source still has it.
    #[error("read back {}: {error}; check the disk. What waited is read from the source again", .path.display())]
    ReadBack {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: io::Error,
    },
    /// The process ends.
    #[error("the process ends")]
    Ends,
}

/// Memory and disk for waiting parts.
pub struct Spool {
    memory: Arc<Semaphore>,
    memory_bytes: usize,
    disk: Arc<Disk>,
}

/// The half on disk.
pub struct Disk {
    folder: PathBuf,
    /// Free blocks.
    free: Arc<Semaphore>,
    blocks: usize,
    /// One part at a time is on its way to the disk; one that it does not take keeps the way closed.
    way: Arc<Semaphore>,
    warned: AtomicBool,
    spooled: Gauge,
}

impl Spool {
    /// A spool of at most `size` bytes in `folder`, which is made if it is missing, and emptied. `spooled` shows the
    /// bytes in it.
    pub async fn open(folder: PathBuf, size: u64, spooled: Gauge) -> Self {
        let emptied = folder.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || empty(&emptied)).await {
            let folder = folder.display();
            tracing::warn!(%folder, %error, "spool folder could not be emptied");
        }
        Self::new(MEMORY_BYTES, folder, size, spooled)
    }

    fn new(memory_bytes: usize, folder: PathBuf, size: u64, spooled: Gauge) -> Self {
        let blocks = usize::try_from(size / BLOCK as u64).unwrap_or(usize::MAX);
        let blocks = blocks.min(Semaphore::MAX_PERMITS);
        let disk = Disk {
            folder,
            free: Arc::new(Semaphore::new(blocks)),
            blocks,
            way: Arc::new(Semaphore::new(1)),
            warned: AtomicBool::new(false),
            spooled,
        };
        Self { memory: Arc::new(Semaphore::new(memory_bytes)), memory_bytes, disk: Arc::new(disk) }
    }

    /// Waits for room for a part of so many bytes, in memory rather than on disk. May be cancelled.
    pub async fn room(&self, bytes: usize) -> Place {
        // One part may be larger than all of the memory: it then waits for all of it.
        let wanted = u32::try_from(bytes.clamp(1, self.memory_bytes)).unwrap_or(u32::MAX);
        tokio::select! {
            biased;
            Ok(room) = Arc::clone(&self.memory).acquire_many_owned(wanted) => Place::Memory(room),
            place = self.disk.room(bytes) => place,
        }
    }
}

impl Disk {
    async fn room(self: &Arc<Self>, bytes: usize) -> Place {
        let wanted = blocks(bytes);
        if wanted as usize <= self.blocks
            && let Ok(way) = Arc::clone(&self.way).acquire_owned().await
            && let Ok(space) = Arc::clone(&self.free).acquire_many_owned(wanted).await
        {
            return Place::Disk(Arc::clone(self), Room { way, space });
        }
        // Nothing of this size ever fits: it waits for memory.
        std::future::pending().await
    }

    /// Writes the part. One that the disk does not take is given back, with the way that it then blocks.
    fn keep(self: &Arc<Self>, part: Part, room: Room) -> Result<Kept, BatchError> {
        let packed = Packed::new(part)?;
        let Room { way, mut space } = room;
        if !fit(&mut space, &self.free, packed.bytes().len()) {
            return Ok(Kept::Memory(packed, way));
        }
        let path = self.folder.join(next_name());
        match write(&path, packed.bytes()) {
            Ok(()) => Ok(Kept::Disk(Spooled::new(self, path, packed, space))),
            Err(error) => {
                if !self.warned.swap(true, Ordering::Relaxed) {
                    let path = path.display();
                    tracing::warn!(%path, %error, "spool file could not be written, reading waits for memory");
                }
                Ok(Kept::Memory(packed, way))
            }
        }
    }
}

/// Room on the disk and on the way to it.
pub struct Room {
    way: OwnedSemaphorePermit,
    space: OwnedSemaphorePermit,
}

/// Room for one part.
pub enum Place {
    /// In memory.
    Memory(OwnedSemaphorePermit),
    /// On disk.
    Disk(Arc<Disk>, Room),
}

impl Place {
    /// Puts the part there. Never waits.
    pub fn put(self, part: Part) -> Waiting {
        match self {
            Self::Memory(room) => Waiting::Memory(Box::new(part), room),
            Self::Disk(disk, room) => {
                Waiting::Disk(tokio::task::spawn_blocking(move || disk.keep(part, room)))
            }
        }
    }
}

/// A part that waits for its turn.
pub enum Waiting {
    /// In memory.
    Memory(Box<Part>, OwnedSemaphorePermit),
    /// On disk, or on its way there.
    Disk(JoinHandle<Result<Kept, BatchError>>),
}

impl Waiting {
    /// The part as bytes; its room is free when the second half is dropped.
    pub async fn fetch(self) -> Result<(Packed, Option<OwnedSemaphorePermit>), SpoolError> {
        let fetched = match self {
            Self::Memory(part, room) => {
                let packed = blocking(move || Packed::new(*part)).await?;
                return Ok((packed?, Some(room)));
            }
            Self::Disk(kept) => match kept.await.map_err(|_| SpoolError::Ends)?? {
                Kept::Memory(packed, way) => return Ok((packed, Some(way))),
                Kept::Disk(file) => blocking(move || file.read()).await?,
            },
        };
        Ok((fetched?, None))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SpoolError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| SpoolError::Ends)
}

/// What became of a part that went to the disk.
pub enum Kept {
    /// It is there.
    Disk(Spooled),
    /// The disk did not take it.
    Memory(Packed, OwnedSemaphorePermit),
}

/// A part as bytes.
#[derive(Debug)]
pub enum Packed {
    /// Raw bytes.
    Raw(RawPart),
    /// A Parquet file.
    Changes(ChangeFile),
}

impl Packed {
    fn new(part: Part) -> Result<Self, BatchError> {
        Ok(match part {
            Part::Raw(raw) => Self::Raw(raw),
            Part::Changes(rows, _) => {
                let _turn = ENCODING.lock().unwrap_or_else(PoisonError::into_inner);
                Self::Changes(rows.encode()?)
            }
        })
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Raw(raw) => &raw.bytes,
            Self::Changes(file) => &file.bytes,
        }
    }

    /// The same part with other bytes.
    fn with(self, bytes: Vec<u8>) -> Self {
        match self {
            Self::Raw(raw) => Self::Raw(RawPart { bytes, ..raw }),
            Self::Changes(file) => Self::Changes(ChangeFile { bytes: Bytes::from(bytes), ..file }),
        }
    }
}

/// A part on disk. Dropped, its file is deleted.
pub struct Spooled {
    path: PathBuf,
    /// All but the bytes.
    label: Option<Packed>,
    length: usize,
    crc: u32,
    gauge: Gauge,
    _space: OwnedSemaphorePermit,
}

impl Spooled {
    fn new(disk: &Disk, path: PathBuf, packed: Packed, space: OwnedSemaphorePermit) -> Self {
        let (length, crc) = (packed.bytes().len(), crc32fast::hash(packed.bytes()));
        disk.spooled.inc_by(length as i64);
        let (label, gauge) = (Some(packed.with(Vec::new())), disk.spooled.clone());
        Self { path, label, length, crc, gauge, _space: space }
    }

    fn read(mut self) -> Result<Packed, SpoolError> {
        let failed = |error| SpoolError::ReadBack { path: self.path.clone(), error };
        let mut bytes = Vec::with_capacity(self.length);
        File::open(&self.path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(failed)?;
        if bytes.len() != self.length || crc32fast::hash(&bytes) != self.crc {
            return Err(failed(io::Error::other("it does not hold what was written")));
        }
        self.label.take().map(|label| label.with(bytes)).ok_or(SpoolError::Ends)
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "spool file not deleted");
        }
        self.gauge.dec_by(self.length as i64);
    }
}

/// Keeps as much space as so many bytes need: less than the rows took in memory, as a rule.
fn fit(space: &mut OwnedSemaphorePermit, free: &Arc<Semaphore>, bytes: usize) -> bool {
    let (have, need) = (space.num_permits(), blocks(bytes) as usize);
    if have >= need {
        drop(space.split(have - need));
        return true;
    }
    match Arc::clone(free).try_acquire_many_owned((need - have) as u32) {
        Ok(more) => {
            space.merge(more);
            true
        }
        Err(_) => false,
    }
}

fn blocks(bytes: usize) -> u32 {
    u32::try_from(bytes.max(1).div_ceil(BLOCK)).unwrap_or(u32::MAX)
}

/// No two files of a process have one name: the last session's may still be on their way out.
fn next_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{:010}.part", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Row values stand in the file: nobody else may read it.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes).inspect_err(|_| drop(std::fs::remove_file(path)))
}

fn empty(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for entry in std::fs::read_dir(folder)? {
        std::fs::remove_file(entry?.path())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
