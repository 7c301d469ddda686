//! What a person agrees to by annotations on the stream.
//!
//! The operator hands them to the worker through its config and never removes one: a consent names
//! what it is for, so left standing it does no harm. A value that cannot be used is ignored with a
//! Warning (`bad_values_are_ignored_with_a_word`).

use std::collections::BTreeMap;

use crds::{
    annotations::{
        ACCEPT_ARCHIVE, ACCEPT_SOURCE, ACKNOWLEDGE_GAP, ADOPT_ARCHIVE, AcceptedArchive, DOMAIN,
        OWNER_UID, parse_accept_source, parse_acknowledge_gap, parse_adopt_archive,
    },
    worker_config::Consents,
};

/// The consents, and a word on each annotation of ours that cannot be used.
pub fn read(annotations: &BTreeMap<String, String>) -> (Consents, Vec<String>) {
    let mut consents = Consents::default();
    let mut ignored = Vec::new();
    for (key, value) in annotations {
        let Some(ours) = key.strip_prefix(DOMAIN).and_then(|rest| rest.strip_prefix('/')) else {
            continue;
        };
        let read = match key.as_str() {
            ADOPT_ARCHIVE => parse_adopt_archive(value).map(|id| consents.adopt_archive = Some(id)),
            ACCEPT_SOURCE => {
                parse_accept_source(value).map(|server| consents.accept_source = Some(server))
            }
            ACCEPT_ARCHIVE => value.parse().map(|accepted: AcceptedArchive| {
                consents.accept_archive = Some(accepted.to_string());
            }),
            ACKNOWLEDGE_GAP => {
                parse_acknowledge_gap(value).map(|gaps| consents.acknowledge_gaps = gaps)
            }
            OWNER_UID => Ok(()),
            _ => {
                ignored.push(format!("{key} is no annotation of this version ({ours:?}); ignored"));
                Ok(())
            }
        };
        if let Err(error) = read {
            ignored.push(format!("{error}; ignored"));
        }
    }
    let given = consents != Consents::default();
    consents.by = given.then(|| "annotation of the BinlogStream".to_owned());
    (consents, ignored)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_consent_reaches_the_worker() {
        let archive = "0d9c1b52-6a51-4b0e-9f7e-0a53ab5b0f10";
        let (consents, ignored) = read(&annotations(&[
            (ADOPT_ARCHIVE, archive),
            (ACCEPT_SOURCE, "4711"),
            (ACCEPT_ARCHIVE, &format!("{archive}@12")),
            (ACKNOWLEDGE_GAP, "all"),
            ("example.com/theirs", "untouched"),
        ]));
        assert_eq!(ignored, Vec::<String>::new());
        assert_eq!(consents.adopt_archive.map(|id| id.to_string()).as_deref(), Some(archive));
        assert_eq!(consents.accept_source.as_deref(), Some("4711"));
        assert_eq!(consents.accept_archive, Some(format!("{archive}@12")));
        assert_eq!(consents.acknowledge_gaps, ["all"]);
        assert!(consents.by.is_some());
    }

    #[test]
    fn bad_values_are_ignored_with_a_word() {
        let (consents, ignored) = read(&annotations(&[
            (ADOPT_ARCHIVE, "mine"),
            (ACKNOWLEDGE_GAP, ""),
            ("binlogstream.io/reconcile", "paused"),
            ("binlogstream.io/acknowledge-gaps", "all"),
        ]));
        assert_eq!(consents, Consents::default());
        assert_eq!(ignored.len(), 4, "{ignored:?}");
    }
}
