//! The rules an entry must keep, apart from what it changes.

use crate::entry::{Entry, EntryKind, RawSpan};
use crate::layout;

use super::{FoldError, State, broken};

/// V1: dense, linked, of this archive, with an epoch that rises only in a claim.
pub(super) fn chain(before: &State, entry: &Entry) -> Result<(), FoldError> {
    if entry.archive != before.archive {
        return Err(broken(entry, format!("it belongs to archive {}", entry.archive)));
    }
    if entry.n != before.n + 1 {
        return Err(broken(entry, format!("it follows on entry {}", before.n)));
    }
    if entry.prev.as_deref() != Some(before.digest.as_str()) {
        return Err(broken(entry, "its prev is not the digest of the entry before it"));
    }
    if entry.time < before.time {
        return Err(broken(entry, "its time is before that of the entry before it"));
    }
    let expected = before.epoch + u64::from(entry.kind == EntryKind::Claim);
    if entry.epoch != expected {
        let text = format!("its epoch is {} where {expected} is due", entry.epoch);
        return Err(broken(entry, text));
    }
    Ok(())
}

/// The first entry of all.
pub(super) fn first(entry: &Entry) -> Result<(), FoldError> {
    let sound =
        entry.n == 0 && entry.prev.is_none() && entry.kind == EntryKind::Claim && entry.epoch == 1;
    if sound {
        return Ok(());
    }
    Err(broken(entry, "it has no state, and it is not the first claim"))
}

/// The body that the kind asks for, and no other.
pub(super) fn body(entry: &Entry) -> Result<(), FoldError> {
    let has = [
        (EntryKind::Claim, entry.claim.is_some()),
        (EntryKind::Gap, entry.gap.is_some()),
        (EntryKind::Lineage, entry.lineage.is_some()),
        (EntryKind::Maintain, entry.maintain.is_some()),
    ];
    for (kind, present) in has {
        if present != (entry.kind == kind) {
            let problem = format!("a {} entry with a wrong body", entry.kind.as_str());
            return Err(broken(entry, problem));
        }
    }
    let commits = entry.raw.is_some() || entry.changes.is_some() || entry.xa.is_some();
    if commits && entry.kind != EntryKind::Commit {
        return Err(broken(entry, "only a commit moves the raw and changes cursors by objects"));
    }
    Ok(())
}

/// V2: objects of the entry's own epoch, under the keys that their ranges give them.
pub(super) fn objects(entry: &Entry) -> Result<(), FoldError> {
    let own = |key: &str| {
        if layout::epoch_of(key) == Some(entry.epoch) {
            return Ok(());
        }
        Err(broken(entry, format!("object {key} is not of epoch {}", entry.epoch)))
    };
    if let Some(raw) = &entry.raw {
        raw.objects.iter().try_for_each(|object| own(&object.key))?;
        contiguous(entry, raw)?;
    }
    if let Some(changes) = &entry.changes {
        changes.files.iter().try_for_each(|f| own(&format!("{}{}", layout::CHANGES, f.path)))?;
    }
    if let Some(maintain) = &entry.maintain {
        maintain.add_raw.iter().try_for_each(|object| own(&object.key))?;
        maintain.add.iter().try_for_each(|f| own(&format!("{}{}", layout::CHANGES, f.path)))?;
    }
    entry.lists().try_for_each(|list| own(&list.key))
}

/// The objects of a raw span cover it without a hole, each file from 0.
fn contiguous(entry: &Entry, raw: &RawSpan) -> Result<(), FoldError> {
    if entry.list.is_some() && raw.objects.is_empty() {
        return Ok(());
    }
    covers(raw).map_err(|problem| broken(entry, problem))
}

/// Whether the objects of a span cover it; the text says where they do not.
pub(crate) fn covers(raw: &RawSpan) -> Result<(), String> {
    let (mut file, mut pos) = (raw.from.file.as_str(), raw.from.pos);
    for object in &raw.objects {
        if object.file != file {
            let closed = raw.closed.iter().find(|closed| closed.file == file);
            if closed.is_none_or(|closed| closed.size != pos) || object.from != 0 {
                return Err(format!(
                    "raw goes from {file}:{pos} to {}:{}",
                    object.file, object.from
                ));
            }
            (file, pos) = (&object.file, 0);
        }
        if object.from != pos || object.to < object.from {
            return Err(format!("raw object {} does not follow on {file}:{pos}", object.key));
        }
        pos = object.to;
    }
    if (file, pos) != (raw.to.file.as_str(), raw.to.pos) {
        return Err(format!("raw objects end at {file}:{pos}, the span at {}", raw.to));
    }
    Ok(())
}
