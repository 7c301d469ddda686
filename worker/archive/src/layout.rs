//! Where things are, relative to the root of one stream.
//!
//! Names that come from outside (binlog files, lineages) are percent-encoded, so that a key has
//! exactly the parts written here (`names_with_slashes_stay_one_part`).

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The archive's identity.
pub const STREAM_JSON: &str = "stream.json";
/// A hint at the newest entry.
pub const HEAD_HINT: &str = "log/_head.json";
/// The log.
pub const LOG: &str = "log/";
/// The raw binlog.
pub const RAW: &str = "raw/";
/// The change log.
pub const CHANGES: &str = "changes/";
/// Long lists of entries.
pub const LISTS: &str = "lists/";
/// Keys of the probe, under the store's root and not the stream's.
pub const PROBE: &str = ".probe/";

/// Entries in one directory of the log.
pub const ENTRIES_PER_DIRECTORY: u64 = 10_000;

/// The root of one stream in its store.
pub fn stream_root(namespace: &str, name: &str) -> String {
    format!("{}/{}", encode(namespace), encode(name))
}

/// Directory of entry `n`, ending in `/`.
pub fn entry_directory(n: u64) -> String {
    format!("{LOG}{:08}/", n / ENTRIES_PER_DIRECTORY)
}

/// Key of entry `n`.
pub fn entry(n: u64) -> String {
    format!("{}{n:012}.json", entry_directory(n))
}

/// The number in the last part of an entry's key.
pub fn entry_number(name: &str) -> Option<u64> {
    let digits = name.rsplit('/').next()?.strip_suffix(".json")?;
    let whole = digits.len() >= 12 && digits.bytes().all(|b| b.is_ascii_digit());
    whole.then(|| digits.parse().ok()).flatten()
}

/// Directory of a binlog file's raw objects, ending in `/`.
pub fn raw_file(lineage: &str, file: &str) -> String {
    format!("{RAW}{}/{}/", encode(lineage), encode(file))
}

/// Key of the raw object with the bytes `[from, to)` of a file.
pub fn raw(lineage: &str, file: &str, from: u64, to: u64, epoch: u64, seq: u64) -> String {
    format!("{}{from}-{to}.{epoch}-{seq}.binlog.zst", raw_file(lineage, file))
}

/// Path of a change file relative to `changes/`, as the Delta table names it.
pub fn change_path(date: &str, epoch: u64, seq: u64) -> String {
    format!("date={date}/{epoch}-{seq}.parquet")
}

/// Key of a list of entry `n`: `json` for its objects, `gtid` for the full GTID set of its state, longer words for
/// whatever else is too long for it.
pub fn list(n: u64, epoch: u64, what: &str) -> String {
    format!("{LISTS}{n:012}.{epoch}.{what}.zst")
}

/// Key of the column description with the given fingerprint.
pub fn schema(fingerprint: &str) -> String {
    format!("schemas/{}.json", encode(fingerprint))
}

/// Folder of a lineage's records of how tables were described, ending in `/`.
pub fn names_of(lineage: &str) -> String {
    format!("names/{}/", encode(lineage))
}

/// Key of records that a writer stored before a position of a file.
pub fn names(lineage: &str, epoch: u64, file: &str, to: u64, id: &str) -> String {
    format!("{}{epoch:012}/{}-{to}.{id}.json", names_of(lineage), encode(file))
}

/// The epoch of the writer that stored such records, by their key; `None` for other names.
pub fn names_epoch(key: &str) -> Option<u64> {
    key.strip_prefix("names/")?.split('/').nth(1)?.parse().ok()
}

/// UTC day of a time, `YYYY-MM-DD`.
pub fn day(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).date().to_string()
}

/// The epoch in the name of a raw object, a change file or a list; `None` for other names.
pub fn epoch_of(key: &str) -> Option<u64> {
    let name = key.rsplit('/').next()?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok()).flatten()
    };
    if key.starts_with(RAW) {
        let (_, rest) = name.strip_suffix(".binlog.zst")?.split_once('.')?;
        return number(rest.split_once('-')?.0);
    }
    if key.starts_with(CHANGES) {
        let (epoch, seq) = name.strip_suffix(".parquet")?.split_once('-')?;
        number(seq)?;
        return number(epoch);
    }
    if key.starts_with(LISTS) {
        let mut parts = name.split('.');
        number(parts.next()?)?;
        return number(parts.next()?);
    }
    None
}

/// The number within its epoch in the name of a raw object or a change file; `None` for other names.
/// Objects of an epoch are named by its entries in the order of these numbers.
pub fn seq_of(key: &str) -> Option<u64> {
    let name = key.rsplit('/').next()?;
    let packed = name.strip_suffix(".binlog.zst").and_then(|name| name.split_once('.'));
    let numbers = match packed {
        Some((_, numbers)) => numbers,
        None => name.strip_suffix(".parquet")?,
    };
    epoch_of(key)?;
    numbers.split_once('-')?.1.parse().ok()
}

/// The bytes `[from, to)` of its file that a raw object holds, by its key; `None` for other names.
pub fn raw_range(key: &str) -> Option<(u64, u64)> {
    let name = key.rsplit('/').next()?.strip_suffix(".binlog.zst")?;
    let (from, to) = name.split_once('.')?.0.split_once('-')?;
    Some((from.parse().ok()?, to.parse().ok()?))
}

/// Percent-encodes everything but letters, digits, `-`, `_` and inner dots.
pub fn encode(name: &str) -> String {
    let dots_only = name.bytes().all(|b| b == b'.');
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if plain || (byte == b'.' && !dots_only) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _infallible = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_log_sort_by_number() {
        assert_eq!(entry(0), "log/00000000/000000000000.json");
        assert_eq!(entry(10_000), "log/00000001/000000010000.json");
        assert_eq!(entry_number(&entry(123_456)), Some(123_456));
        assert_eq!(entry_number("log/_head.json"), None);
        assert!(entry(9_999) < entry(10_000));
    }

    #[test]
    fn names_with_slashes_stay_one_part() {
        assert_eq!(encode("a/b %é.1"), "a%2Fb%20%25%C3%A9.1");
        assert_eq!(encode(".."), "%2E%2E");
        assert_eq!(
            raw("0001-x", "../f.000001", 0, 9, 2, 3),
            "raw/0001-x/..%2Ff.000001/0-9.2-3.binlog.zst"
        );
    }

    #[test]
    fn a_raw_object_is_named_by_its_bytes() {
        assert_eq!(
            raw_range(&raw("l", "f.000001", 4, 5_000_000_000, 7, 3)),
            Some((4, 5_000_000_000))
        );
        assert_eq!(raw_range("raw/l/f.000001/"), None);
        assert_eq!(raw_range(&entry(1)), None);
    }

    #[test]
    fn every_swept_name_carries_its_epoch() {
        assert_eq!(epoch_of(&raw("l", "f.000001", 0, 10, 7, 3)), Some(7));
        assert_eq!(epoch_of(&format!("changes/{}", change_path("2026-01-02", 8, 1))), Some(8));
        assert_eq!(list(5, 9, "json"), "lists/000000000005.9.json.zst");
        for what in ["json", "gtid", "open-gaps.json"] {
            assert_eq!(epoch_of(&list(5, 9, what)), Some(9));
        }
        assert_eq!(epoch_of("changes/_delta_log/00000000000000000000.json"), None);
        assert_eq!(epoch_of("schemas/ab.json"), None);
        assert_eq!(epoch_of("log/00000000/000000000000.json"), None);
    }
}
