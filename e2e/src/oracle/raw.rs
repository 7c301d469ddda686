//! The raw archive of a binlog file against the server's own file, byte for byte.
//!
//! Object by object: a file of any size is compared in the memory of one object.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::{LogFacts, RawObject};
use crate::archive::Archive;
use crate::server::Server;
use crate::{Context, Failure, Result};

/// The in-use flag of the format description: 1 on disk while the file is open or after a crash.
const IN_USE: u64 = 21;

/// Compares every file the server still has: a closed one is equal, the open one up to what is
/// archived, both but for the flag in byte 22. Gives the numbers of closed and open files compared.
pub async fn check_raw(
    archive: &Archive,
    facts: &LogFacts,
    lineage: &str,
    server: &Server,
) -> Result<(usize, usize)> {
    let binlogs = server.binlogs().await?;
    let (mut closed, mut open) = (0, 0);
    for (at, (file, _)) in binlogs.iter().enumerate() {
        let stored = server.binlog(file);
        let objects = facts.raw.iter().filter(|raw| raw.lineage == lineage && raw.file == *file);
        let Some(covered) = compare(archive, objects, &stored).await? else { continue };
        // Above 0 only in the file the stream began in the middle of.
        if covered.start > 0 && closed + open > 0 {
            let from = covered.start;
            return Err(Failure::new(format!("{file} is archived from {from} on, not whole")));
        }
        if at + 1 == binlogs.len() {
            open += 1;
            continue;
        }
        closed += 1;
        // A server that cannot read its own torn end does not send it; the fold shows that nothing is missing.
        let crashed = facts.crashed.contains(&(lineage.to_owned(), file.clone()));
        let size = std::fs::metadata(&stored).context(|| format!("look at {file}"))?.len();
        if covered.end != size && !crashed {
            let end = covered.end;
            return Err(Failure::new(format!("{file} is archived to {end}, and ends at {size}")));
        }
    }
    Ok((closed, open))
}

/// Compares the objects of one file, which follow each other without a hole or an overlap. Gives the range that they
/// cover, if there are any.
async fn compare(
    archive: &Archive,
    objects: impl Iterator<Item = &RawObject>,
    stored: &Path,
) -> Result<Option<Range<u64>>> {
    let mut covered: Option<Range<u64>> = None;
    for RawObject { key, from, to, .. } in objects {
        let covered = covered.get_or_insert(*from..*from);
        if *from != covered.end {
            return Err(Failure::new(format!("{key} does not begin at {}", covered.end)));
        }
        let packed = archive.get(key).await?;
        let bytes = zstd::decode_all(packed.as_slice()).context(|| format!("unpack {key}"))?;
        if *to != from + bytes.len() as u64 {
            return Err(Failure::new(format!("{key} holds {} bytes", bytes.len())));
        }
        let mut expected = vec![0; bytes.len()];
        File::open(stored)
            .and_then(|file| file.read_exact_at(&mut expected, *from))
            .context(|| format!("read {} from {from} to {to}", stored.display()))?;
        // Never sent as set; MariaDB leaves it in a file that a crash ended.
        let flag = IN_USE.checked_sub(*from).and_then(|at| expected.get_mut(at as usize));
        if let Some(flag) = flag {
            *flag &= !1;
        }
        if let Some(at) = first_difference(&bytes, &expected) {
            let (at, stored) = (from + at as u64, stored.display());
            return Err(Failure::new(format!("{key} and {stored} differ at byte {at}")));
        }
        covered.end = *to;
    }
    Ok(covered)
}

fn first_difference(one: &[u8], two: &[u8]) -> Option<usize> {
    if one == two {
        return None;
    }
    let shorter = one.len().min(two.len());
    (0..shorter).find(|&at| one[at] != two[at]).or(Some(shorter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_found_in_bytes_and_in_length() {
        assert_eq!(first_difference(b"abc", b"abc"), None);
        assert_eq!(first_difference(b"abc", b"axc"), Some(1));
        assert_eq!(first_difference(b"abc", b"ab"), Some(2));
    }
}
