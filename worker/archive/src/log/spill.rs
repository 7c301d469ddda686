//! What is too long for an entry stands in list objects beside it: the entry keeps the key and the digest, a reader
//! fills it in again ([`fill`]). So no entry outgrows [`MAX_ENTRY_BYTES`](crate::entry::MAX_ENTRY_BYTES), however
//! many tables stop, transactions gather or sets are fragmented (`tests/suite/spill.rs`).

use bytes::Bytes;
use crds::checkpoint::MAX_INLINE_GTID_SET;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::LogError;
use super::read::{ReadError, unpacked};
use crate::entry::{Entry, FullGtid, GtidStep, ListRef, Objects, Snapshot, sha256};
use crate::layout;
use crate::store::Store;

/// zstd level of lists: they are small and rare.
const LIST_LEVEL: i32 = 3;
/// Objects named in the entry itself; more go to a list object.
const MAX_INLINE_OBJECTS: usize = 512;
/// Table gaps in the entry, and in its state.
const MAX_INLINE_GAPS: usize = 128;
/// Fingerprints of new column descriptions in the entry.
const MAX_INLINE_SCHEMAS: usize = 1024;
/// Prepared transactions in the entry, opened or closed, and in its state.
const MAX_INLINE_XA: usize = 128;
/// Bytes of any other GTID set's text.
const MAX_INLINE_TEXT: usize = 64 << 10;

/// Takes out of one entry what is too long for it.
pub(super) struct Lists {
    n: u64,
    epoch: u64,
    /// The lists' keys and bytes.
    pub(super) made: Vec<(String, Bytes)>,
}

impl Lists {
    pub(super) fn new(entry: &Entry) -> Self {
        Self { n: entry.n, epoch: entry.epoch, made: Vec::new() }
    }

    /// All but the state.
    pub(super) fn entry(&mut self, entry: &mut Entry) -> Result<(), LogError> {
        self.objects(entry)?;
        entry.gap_list = self.items("gaps.json", &mut entry.gaps, MAX_INLINE_GAPS)?;
        if let Some(xa) = &mut entry.xa {
            xa.opened_list = self.items("xa-opened.json", &mut xa.opened, MAX_INLINE_XA)?;
            xa.closed_list = self.items("xa-closed.json", &mut xa.closed, MAX_INLINE_XA)?;
        }
        if let Some(changes) = &mut entry.changes {
            let schemas = &mut changes.schemas;
            changes.schema_list = self.items("schemas.json", schemas, MAX_INLINE_SCHEMAS)?;
        }
        if let Some(GtidStep { added, list, .. }) = entry.at.as_mut().map(|at| &mut at.gtid)
            && added.len() > MAX_INLINE_TEXT
        {
            *list = Some(self.keep("added.gtid", std::mem::take(added).as_bytes())?);
        }
        if let Some(missing) = entry.gap.as_mut().and_then(|gap| gap.missing.as_mut())
            && let Some(text) = missing.gtid.take_if(|text| text.len() > MAX_INLINE_TEXT)
        {
            missing.list = Some(self.keep("missing.gtid", text.as_bytes())?);
        }
        if let Some(body) = &mut entry.lineage {
            self.set("begin.gtid", body.gtid.as_mut(), MAX_INLINE_TEXT)?;
            self.set("held.gtid", body.held.as_mut(), MAX_INLINE_TEXT)?;
            self.set("held-by-server.gtid", body.held_by_server.as_mut(), MAX_INLINE_TEXT)?;
            if let Some(proof) = &mut body.proof {
                // It convinces people, no program: a digest tells as much as 100 kB.
                for set in [&mut proof.ours, &mut proof.executed, &mut proof.purged] {
                    if set.len() > MAX_INLINE_TEXT {
                        *set = format!("sha256:{}", sha256(set.as_bytes()));
                    }
                }
            }
        }
        Ok(())
    }

    /// The state, whose lists are its own: it is read without the entries before it.
    pub(super) fn state(&mut self, state: &mut Snapshot) -> Result<(), LogError> {
        self.set("gtid", Some(&mut state.gtid), MAX_INLINE_GTID_SET)?;
        let gaps = &mut state.table_gaps;
        state.table_gap_list = self.items("open-gaps.json", gaps, MAX_INLINE_GAPS)?;
        state.xa_list = self.items("xa.json", &mut state.xa, MAX_INLINE_XA)?;
        if let Some(stint) = state.lineages.last_mut() {
            self.set("stint-held.gtid", stint.held.as_mut(), MAX_INLINE_TEXT)?;
            self.set("stint-held-by-server.gtid", stint.held_by_server.as_mut(), MAX_INLINE_TEXT)?;
        }
        Ok(())
    }

    fn objects(&mut self, entry: &mut Entry) -> Result<(), LogError> {
        let raw = entry.raw.as_ref().map_or(0, |raw| raw.objects.len());
        let changes = entry.changes.as_ref().map_or(0, |changes| changes.files.len());
        if raw + changes <= MAX_INLINE_OBJECTS {
            return Ok(());
        }
        let raw = entry.raw.as_mut().map(|raw| std::mem::take(&mut raw.objects));
        let changes = entry.changes.as_mut().map(|span| std::mem::take(&mut span.files));
        let objects =
            Objects { raw: raw.unwrap_or_default(), changes: changes.unwrap_or_default() };
        entry.list = Some(self.keep("json", &json(&objects)?)?);
        Ok(())
    }

    fn items<T: Serialize>(
        &mut self,
        what: &str,
        items: &mut Vec<T>,
        limit: usize,
    ) -> Result<Option<ListRef>, LogError> {
        if items.len() <= limit {
            return Ok(None);
        }
        self.keep(what, &json(&std::mem::take(items))?).map(Some)
    }

    fn set(
        &mut self,
        what: &str,
        full: Option<&mut FullGtid>,
        limit: usize,
    ) -> Result<(), LogError> {
        let Some(full) = full else { return Ok(()) };
        if let Some(text) = full.set.take_if(|text| text.len() > limit) {
            full.list = Some(self.keep(what, text.as_bytes())?);
        }
        Ok(())
    }

    fn keep(&mut self, what: &str, text: &[u8]) -> Result<ListRef, LogError> {
        let packed = zstd::encode_all(text, LIST_LEVEL).map(Bytes::from);
        let packed = packed.map_err(|error| LogError::Encode(error.to_string()))?;
        let key = layout::list(self.n, self.epoch, what);
        let list = ListRef { key: key.clone(), sha256: sha256(&packed) };
        self.made.push((key, packed));
        Ok(list)
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, LogError> {
    serde_json::to_vec(value).map_err(|error| LogError::Encode(error.to_string()))
}

/// Reads back what stands in lists, but for the objects: they may be many, and few readers want them.
pub(super) async fn fill(store: &dyn Store, entry: &mut Entry) -> Result<(), ReadError> {
    let n = entry.n;
    items(store, n, entry.gap_list.as_ref(), &mut entry.gaps).await?;
    if let Some(xa) = &mut entry.xa {
        items(store, n, xa.opened_list.as_ref(), &mut xa.opened).await?;
        items(store, n, xa.closed_list.as_ref(), &mut xa.closed).await?;
    }
    if let Some(changes) = &mut entry.changes {
        items(store, n, changes.schema_list.as_ref(), &mut changes.schemas).await?;
    }
    if let Some(GtidStep { added, list: Some(list), .. }) = entry.at.as_mut().map(|at| &mut at.gtid)
    {
        *added = text(store, n, list).await?;
    }
    if let Some(body) = &mut entry.lineage {
        let sets = [&mut body.gtid, &mut body.held, &mut body.held_by_server];
        for full in sets.into_iter().flatten() {
            set(store, n, full).await?;
        }
    }
    if let Some(state) = &mut entry.state {
        set(store, n, &mut state.gtid).await?;
        items(store, n, state.table_gap_list.as_ref(), &mut state.table_gaps).await?;
        items(store, n, state.xa_list.as_ref(), &mut state.xa).await?;
        if let Some(stint) = state.lineages.last_mut() {
            for full in [&mut stint.held, &mut stint.held_by_server].into_iter().flatten() {
                set(store, n, full).await?;
            }
        }
    }
    Ok(())
}

async fn items<T: DeserializeOwned>(
    store: &dyn Store,
    n: u64,
    list: Option<&ListRef>,
    items: &mut Vec<T>,
) -> Result<(), ReadError> {
    let Some(list) = list else { return Ok(()) };
    let text = unpacked(store, n, list).await?;
    *items = serde_json::from_slice(&text).map_err(|error| {
        ReadError::damaged(n, format!("its list {} is no list: {error}", list.key))
    })?;
    Ok(())
}

async fn set(store: &dyn Store, n: u64, full: &mut FullGtid) -> Result<(), ReadError> {
    if let (None, Some(list)) = (&full.set, &full.list) {
        full.set = Some(text(store, n, list).await?);
    }
    Ok(())
}

async fn text(store: &dyn Store, n: u64, list: &ListRef) -> Result<String, ReadError> {
    let text = unpacked(store, n, list).await?;
    String::from_utf8(text)
        .map_err(|_| ReadError::damaged(n, format!("its list {} is no text", list.key)))
}
