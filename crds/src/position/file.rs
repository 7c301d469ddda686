//! A binlog file name and a byte offset in it.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A place in a binlog file: the byte `offset` of `file`, counted from 0 (the magic bytes are 0..4,
/// the first event starts at 4). 64 bits: a file grows past 4 GiB inside one transaction, where the
/// positions in event headers wrap.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FilePosition {
    /// Name of the binlog file, without a directory: `binlog.000002`.
    pub file: String,
    /// Byte offset in the file.
    pub offset: u64,
}

impl FilePosition {
    /// The byte offset of the first event of every binlog file.
    pub const FIRST_EVENT: u64 = 4;

    /// A position from its parts.
    pub fn new(file: impl Into<String>, offset: u64) -> Self {
        Self { file: file.into(), offset }
    }

    /// Orders two positions of one server history. `None` when the names do not belong to one
    /// numbered series (another base name, or no number): then nothing can be said.
    pub fn cmp_in_lineage(&self, other: &Self) -> Option<Ordering> {
        if self.file == other.file {
            return Some(self.offset.cmp(&other.offset));
        }
        let files = FileName::of(&self.file).cmp_in_series(&FileName::of(&other.file))?;
        Some(files.then(self.offset.cmp(&other.offset)))
    }
}

impl Ord for FilePosition {
    /// By base name, number of the file, offset; total, and consistent with equality.
    fn cmp(&self, other: &Self) -> Ordering {
        FileName::of(&self.file)
            .cmp(&FileName::of(&other.file))
            .then(self.offset.cmp(&other.offset))
    }
}

impl PartialOrd for FilePosition {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for FilePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.offset)
    }
}

/// A binlog file name taken apart: `mysql-bin.000042` is number 42 of the series `mysql-bin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileName<'a> {
    /// The whole name.
    pub name: &'a str,
    /// The part before the last dot (the whole name if there is no number).
    pub base: &'a str,
    /// The number after the last dot, if it is one that fits.
    pub number: Option<u64>,
}

impl<'a> FileName<'a> {
    /// Takes a name apart. Never fails: a name without a number has `number: None`.
    pub fn of(name: &'a str) -> Self {
        let numbered = name.rsplit_once('.').and_then(|(base, digits)| {
            let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            let number = all_digits.then(|| digits.parse::<u64>().ok()).flatten()?;
            Some((base, number))
        });
        match numbered {
            Some((base, number)) => Self { name, base, number: Some(number) },
            None => Self { name, base: name, number: None },
        }
    }

    /// Orders two files of one series by number; `None` if they are not of one series.
    pub fn cmp_in_series(&self, other: &Self) -> Option<Ordering> {
        if self.base != other.base {
            return None;
        }
        Some(self.number?.cmp(&other.number?))
    }
}

impl Ord for FileName<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.base
            .cmp(other.base)
            .then(self.number.cmp(&other.number))
            // `b.7` and `b.000007` are the same number and still two names.
            .then(self.name.cmp(other.name))
    }
}

impl PartialOrd for FileName<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(file: &str, offset: u64) -> FilePosition {
        FilePosition::new(file, offset)
    }

    #[test]
    fn files_are_ordered_by_number() {
        assert!(at("binlog.999999", 900) < at("binlog.1000000", 4));
        assert_eq!(
            at("binlog.999999", 900).cmp_in_lineage(&at("binlog.1000000", 4)),
            Some(Ordering::Less)
        );
    }

    #[test]
    fn offsets_past_4_gib_are_ordered() {
        assert!(at("b.000001", 1 << 32) > at("b.000001", (1 << 32) - 1));
    }

    #[test]
    fn another_series_cannot_be_compared() {
        assert_eq!(at("binlog.000001", 4).cmp_in_lineage(&at("mysql-bin.000002", 4)), None);
        assert_eq!(at("binlog", 4).cmp_in_lineage(&at("binlog.000002", 4)), None);
        assert_eq!(at("odd", 4).cmp_in_lineage(&at("odd", 9)), Some(Ordering::Less));
    }

    #[test]
    fn base_names_may_hold_dots_and_numbers_may_be_too_long() {
        let name = FileName::of("db.eu-1.000007");
        assert_eq!((name.base, name.number), ("db.eu-1", Some(7)));
        assert_eq!(FileName::of("b.99999999999999999999").number, None);
        assert_eq!(FileName::of("b.+7").number, None);
        assert_eq!(FileName::of("b.").number, None);
    }

    #[test]
    fn order_is_consistent_with_equality() {
        assert_ne!(at("b.7", 4).cmp(&at("b.000007", 4)), Ordering::Equal);
    }
}
