//! The log alone: dense, linked by digests, epochs that rise only in claims, cursors that meet.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::archive::Archive;
use crate::{Context, Failure, Result};

/// What a checked log says.
#[derive(Debug, Clone, Default)]
pub struct LogFacts {
    /// Number of entries.
    pub entries: u64,
    /// Epoch of the newest entry.
    pub epoch: u64,
    /// Entries of kind `claim`.
    pub claims: u64,
    /// Raw objects named, in order.
    pub raw: Vec<RawObject>,
    /// Change files named, in order, with their rows.
    pub changes: Vec<(String, u64)>,
    /// Sizes of the binlog files that are closed, by lineage and name.
    pub closed: BTreeMap<(String, String), u64>,
    /// Those that a crash closed.
    pub crashed: BTreeSet<(String, String)>,
    /// Objects under the root that no entry names: dead, for the sweep.
    pub unnamed: BTreeSet<String>,
}

/// A raw object that an entry names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawObject {
    /// Key under the root.
    pub key: String,
    /// Lineage of its range.
    pub lineage: String,
    /// Binlog file.
    pub file: String,
    /// First byte.
    pub from: u64,
    /// Byte after the last.
    pub to: u64,
}

/// Checks the log and that everything it names is there with the size and digest it names.
pub async fn check_log(archive: &Archive) -> Result<LogFacts> {
    let mut facts = LogFacts::default();
    let mut named = BTreeSet::new();
    let mut cursors: BTreeMap<&'static str, Value> = BTreeMap::new();
    let mut previous = Value::Null;
    for (number, (bytes, entry)) in archive.entries().await?.iter().enumerate() {
        let wrong = |what: &str| Failure::new(format!("log entry {number}: {what}: {entry}"));
        let kind = text(entry, "/kind")?;
        let epoch = number_at(entry, "/epoch")?;
        if number_at(entry, "/n")? != number as u64 {
            return Err(wrong("the log is not dense"));
        }
        if entry["prev"] != previous {
            return Err(wrong("`prev` is not the digest of the entry before"));
        }
        previous = Value::String(hex::encode(Sha256::digest(bytes)));
        if epoch < facts.epoch || (epoch > facts.epoch && kind != "claim") {
            return Err(wrong("the epoch fell, or rose outside a claim"));
        }
        facts.epoch = epoch;
        facts.entries += 1;
        facts.claims += u64::from(kind == "claim");
        jump(&mut cursors, entry);
        for cursor in ["raw", "changes"] {
            let Some(span) = entry.get(cursor) else { continue };
            if cursors.get(cursor) != Some(&span["from"]) {
                return Err(wrong(&format!("{cursor} does not begin where it stands")));
            }
            cursors.insert(cursor, span["to"].clone());
        }
        for named_object in objects(archive, entry).await? {
            let Named { key, sha256, .. } = &named_object;
            let stored =
                archive.get(key).await.context(|| format!("entry {number} names {key}"))?;
            if hex::encode(Sha256::digest(&stored)) != *sha256 {
                return Err(wrong(&format!("the bytes of {key} are not those named")));
            }
            if !named.insert(key.clone()) {
                return Err(wrong(&format!("{key} is named twice")));
            }
            match named_object.object {
                Object::Raw(raw) => facts.raw.push(raw),
                Object::Changes { rows } => facts.changes.push((key.clone(), rows)),
                Object::List => {}
            }
        }
        mentioned_lists(entry, &mut named);
        for closed in list(entry, "/raw/closed") {
            let lineage = text(entry, "/raw/to/lineage")?.to_owned();
            let file = text(closed, "/file")?.to_owned();
            if closed["how"] == "crash" {
                facts.crashed.insert((lineage.clone(), file.clone()));
            }
            facts.closed.insert((lineage, file), number_at(closed, "/size")?);
        }
    }
    for prefix in ["raw/", "changes/date=", "lists/"] {
        for (key, _) in archive.list(prefix).await? {
            if !named.contains(&key) {
                facts.unnamed.insert(key);
            }
        }
    }
    Ok(facts)
}

/// Moves the cursors where an entry that is no commit moves them. Raw files are whole: in a new file raw begins at
/// byte 0, and within one it goes on.
fn jump(cursors: &mut BTreeMap<&'static str, Value>, entry: &Value) {
    for begun in list(entry, "/claim/coverage") {
        let sink = if begun["sink"] == "raw" { "raw" } else { "changes" };
        cursors.insert(sink, begun["from"].clone());
    }
    if let Some(begins) = entry.get("lineage") {
        let whole = json!({"lineage": begins["id"], "file": begins["file"], "pos": 0});
        cursors.insert("raw", whole);
        cursors.insert("changes", begins["fromAt"].clone());
    }
    let Some(gap) = entry.get("gap").filter(|gap| gap["phase"] == "passed") else { return };
    let to = &gap["to"];
    let in_it = |at: &Value| (&at["lineage"], &at["file"]) == (&to["lineage"], &to["file"]);
    if !cursors.get("raw").is_some_and(in_it) {
        let whole = json!({"lineage": to["lineage"], "file": to["file"], "pos": 0});
        cursors.insert("raw", whole);
    }
    let ahead = |at: &Value| in_it(at) && at["pos"].as_u64() > to["pos"].as_u64();
    if !cursors.get("changes").is_some_and(ahead) {
        cursors.insert("changes", to.clone());
    }
}

struct Named {
    key: String,
    sha256: String,
    object: Object,
}

enum Object {
    Raw(RawObject),
    Changes { rows: u64 },
    List,
}

/// The objects an entry names, those of its list included.
async fn objects(archive: &Archive, entry: &Value) -> Result<Vec<Named>> {
    let mut named = Vec::new();
    let mut lists = vec![
        (list(entry, "/raw/objects"), list(entry, "/changes/files")),
        (list(entry, "/maintain/addRaw"), list(entry, "/maintain/add")),
    ];
    let listed: Value;
    if let Some(reference) = entry.get("list") {
        let key = text(reference, "/key")?;
        let packed = archive.get(key).await?;
        let bytes = zstd::decode_all(packed.as_slice()).context(|| format!("unpack {key}"))?;
        listed = serde_json::from_slice(&bytes)?;
        lists.push((list(&listed, "/raw"), list(&listed, "/changes")));
        named.push(Named {
            key: key.into(),
            sha256: text(reference, "/sha256")?.into(),
            object: Object::List,
        });
    }
    for (raw, changes) in lists {
        for object in raw {
            let key = text(object, "/key")?.to_owned();
            // raw/<lineage>/<file>/<name>
            let lineage = key.split('/').nth(1).unwrap_or_default().to_owned();
            let raw = RawObject {
                key: key.clone(),
                lineage,
                file: text(object, "/file")?.into(),
                from: number_at(object, "/from")?,
                to: number_at(object, "/to")?,
            };
            let sha256 = text(object, "/sha256")?.into();
            named.push(Named { key, sha256, object: Object::Raw(raw) });
        }
        for file in changes {
            named.push(Named {
                key: format!("changes/{}", text(file, "/path")?),
                sha256: text(file, "/sha256")?.into(),
                object: Object::Changes { rows: number_at(file, "/rows")? },
            });
        }
    }
    Ok(named)
}

/// Every key under `lists/` that an entry mentions anywhere: full GTID sets stand there too.
fn mentioned_lists(value: &Value, named: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if text.starts_with("lists/") => {
            named.insert(text.clone());
        }
        Value::Array(values) => values.iter().for_each(|value| mentioned_lists(value, named)),
        Value::Object(fields) => fields.values().for_each(|value| mentioned_lists(value, named)),
        _ => {}
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> Result<&'a str> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.context(|| format!("no text at {pointer} of {value}"))
}

fn number_at(value: &Value, pointer: &str) -> Result<u64> {
    let found = value.pointer(pointer).and_then(Value::as_u64);
    found.context(|| format!("no number at {pointer} of {value}"))
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
