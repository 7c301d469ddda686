//! XA transactions that are prepared and wait for their verdict, by reference to their bytes in the raw archive.
//!
//! Most verdicts come within moments, before the bytes are durable: those of the newest are kept in memory too, up to
//! [`MAX_KEPT`]. All else is read back from the archive.
//!
//! Invariants
//! - The set at a boundary is what the log gives at the entry that ends there
//!   (`a_verdict_after_a_resume_finds_what_was_prepared_before_it`).
//! - What is kept in memory is bounded, however many are open (`only_the_newest_keep_their_bytes`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use archive::entry::XaOpened;
use crds::position::FilePosition;

/// Bytes of prepared transactions kept in memory.
const MAX_KEPT: usize = 16 << 20;

/// A prepared transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Its id, `X'6162',X'',1`.
    pub xid: String,
    /// GTID of its group.
    pub gtid: Option<String>,
    /// Lineage of the group; `None` = the one that is being read.
    pub lineage: Option<String>,
    /// First byte of the group.
    pub from: FilePosition,
    /// Behind its last byte.
    pub to: u64,
    /// Its events end in a CRC32.
    pub crc32: bool,
    /// The group's bytes, if they are kept.
    pub bytes: Option<Arc<[u8]>>,
}

impl Prepared {
    /// One that the log holds open.
    pub fn of(open: &XaOpened) -> Self {
        Self {
            xid: open.xid.clone(),
            gtid: open.gtid.clone(),
            lineage: Some(open.lineage.clone()),
            from: FilePosition::new(open.file.clone(), open.from),
            to: open.to,
            crc32: open.crc32,
            bytes: None,
        }
    }
}

/// A verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// Id of the transaction.
    pub xid: String,
    /// Whether its changes hold.
    pub committed: bool,
}

/// What one step of the archive says about prepared transactions. One that was prepared and decided within it is in
/// neither list.
#[derive(Debug, Default)]
pub struct XaStep {
    /// Prepared, and open at the step's end.
    pub opened: Vec<Prepared>,
    /// Decided, and prepared before the step.
    pub decided: Vec<Decided>,
}

impl XaStep {
    /// Takes the verdict about what was open.
    pub fn decide(&mut self, verdict: Decided) {
        match self.opened.iter().rposition(|open| open.xid == verdict.xid) {
            Some(at) => drop(self.opened.remove(at)),
            None => self.decided.push(verdict),
        }
    }
}

/// All prepared transactions at one place of the stream.
#[derive(Debug, Clone, Default)]
pub struct PreparedSet {
    open: BTreeMap<String, Prepared>,
    /// Ids of those with bytes, the oldest first; some may be decided already.
    kept: VecDeque<String>,
    kept_bytes: usize,
}

impl PreparedSet {
    /// What the log holds open.
    pub fn of(open: &[XaOpened]) -> Self {
        let open = open.iter().map(|open| (open.xid.clone(), Prepared::of(open)));
        Self { open: open.collect(), ..Self::default() }
    }

    /// The transaction of this id.
    pub fn get(&self, xid: &str) -> Option<&Prepared> {
        self.open.get(xid)
    }

    /// Takes one that was prepared. `seen`: its group was archived before, and is read again on another server; what
    /// was archived first stays.
    pub fn prepare(&mut self, prepared: &Prepared, seen: bool) -> bool {
        let known = self.open.get(&prepared.xid);
        if seen && known.is_some_and(|known| known.gtid == prepared.gtid) {
            return false;
        }
        self.take(&prepared.xid);
        if let Some(bytes) = &prepared.bytes {
            self.kept.push_back(prepared.xid.clone());
            self.kept_bytes += bytes.len();
        }
        self.open.insert(prepared.xid.clone(), prepared.clone());
        while self.kept_bytes > MAX_KEPT
            && let Some(oldest) = self.kept.pop_front()
        {
            let bytes = self.open.get_mut(&oldest).and_then(|open| open.bytes.take());
            self.kept_bytes -= bytes.map_or(0, |bytes| bytes.len());
        }
        true
    }

    /// Takes the transaction out: its verdict is there.
    pub fn take(&mut self, xid: &str) -> Option<Prepared> {
        let prepared = self.open.remove(xid)?;
        if let Some(bytes) = &prepared.bytes {
            self.kept_bytes -= bytes.len();
            self.kept.retain(|kept| kept != xid);
        }
        Some(prepared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(n: usize, bytes: usize) -> Prepared {
        Prepared {
            xid: format!("X'{n:04x}',X'',1"),
            gtid: Some(format!("0-1-{n}")),
            lineage: None,
            from: FilePosition::new("b.000001", n as u64),
            to: n as u64 + bytes as u64,
            crc32: true,
            bytes: Some(vec![0; bytes].into()),
        }
    }

    #[test]
    fn only_the_newest_keep_their_bytes() {
        let mut set = PreparedSet::default();
        for n in 0..40 {
            set.prepare(&prepared(n, 1 << 20), false);
            set.take(&prepared(n / 2, 0).xid);
            set.prepare(&prepared(n / 2, 1 << 20), false);
        }
        let kept = set.open.values().filter_map(|open| open.bytes.as_ref());
        assert_eq!(kept.map(|bytes| bytes.len()).sum::<usize>(), set.kept_bytes);
        assert_eq!((set.open.len(), set.kept_bytes, set.kept.len()), (40, MAX_KEPT, 16));
        for n in 0..40 {
            assert!(set.take(&prepared(n, 0).xid).is_some());
        }
        assert_eq!((set.kept_bytes, set.kept.len()), (0, 0));
    }

    #[test]
    fn a_transaction_read_again_elsewhere_stays_the_one_it_is() {
        let (mut set, here) = (PreparedSet::default(), prepared(1, 10));
        assert!(set.prepare(&here, false));
        let there = Prepared { from: FilePosition::new("x.000009", 4), ..here.clone() };
        assert!(!set.prepare(&there, true));
        assert_eq!(set.get(&here.xid), Some(&here));
        assert!(set.prepare(&there, false), "a server that was reset uses both ids again");
        assert_eq!(set.get(&here.xid), Some(&there));
    }
}
