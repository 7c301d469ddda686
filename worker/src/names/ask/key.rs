//! The key of a table, out of what `information_schema` says of its indexes.
//!
//! What counts is what the server itself logs with `binlog_row_metadata=FULL`: the primary key, or where there is none
//! the first unique index that can hold no NULL. It marks the columns of that one with `PRI`.

use std::collections::{BTreeMap, BTreeSet};

/// The columns of each unique index in their order; `None`: a part that is an expression.
pub(super) type Indexes = BTreeMap<String, Vec<Option<String>>>;

/// The columns of the key in their order; `None`: not all of it is shown, or not which one it is.
pub(super) fn of(indexes: &Indexes, marked: &BTreeSet<String>) -> Option<Vec<String>> {
    if marked.is_empty() && !indexes.contains_key("PRIMARY") {
        return Some(Vec::new());
    }
    let whole = |index: &Vec<Option<String>>| {
        let columns: Vec<String> = index.iter().cloned().collect::<Option<_>>()?;
        let same = columns.len() == marked.len();
        (same && columns.iter().all(|column| marked.contains(column))).then_some(columns)
    };
    if let Some(primary) = indexes.get("PRIMARY") {
        return whole(primary);
    }
    let mut keys = indexes.values().filter_map(whole);
    let key = keys.next()?;
    // Of two in another order nobody is told which one is meant.
    keys.all(|other| other == key).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(name: &str, columns: &[&str]) -> (String, Vec<Option<String>>) {
        (name.to_owned(), columns.iter().map(|name| Some((*name).to_owned())).collect())
    }

    fn key(indexes: &[(String, Vec<Option<String>>)], marked: &[&str]) -> Option<Vec<String>> {
        let marked = marked.iter().map(|name| (*name).to_owned()).collect();
        of(&indexes.iter().cloned().collect(), &marked)
    }

    #[test]
    fn the_key_is_the_primary_one_or_the_unique_one_that_the_server_takes_for_it() {
        let columns = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        let (primary, unique) = (index("PRIMARY", &["b", "a"]), index("u", &["d", "c"]));
        assert_eq!(key(&[], &[]), columns(&[]));
        assert_eq!(key(std::slice::from_ref(&unique), &[]), columns(&[]), "it can hold NULL");
        assert_eq!(key(&[primary, unique.clone()], &["a", "b"]), columns(&["b", "a"]));
        assert_eq!(key(&[index("n", &["e"]), unique], &["c", "d"]), columns(&["d", "c"]));
        let expression = ("x".to_owned(), vec![None]);
        assert_eq!(key(&[expression, index("u", &["a"])], &["a"]), columns(&["a"]));
    }

    #[test]
    fn a_key_that_is_shown_in_part_is_refused() {
        assert_eq!(key(&[], &["a"]), None);
        assert_eq!(key(&[index("PRIMARY", &["a"])], &["a", "b"]), None);
        assert_eq!(key(&[index("PRIMARY", &["a", "b"])], &["a"]), None);
        assert_eq!(key(&[index("u", &["a"])], &["a", "b"]), None);
        let either = [index("u", &["a", "b"]), index("v", &["b", "a"])];
        assert_eq!(key(&either, &["a", "b"]), None, "it is one of the two");
    }
}
