//! What a person agrees to and asks for by annotations on the stream.
//!
//! The operator hands them to the worker through its config and never removes one: a consent names
//! what it is for, so left standing it does no harm. A value that cannot be used is ignored with a
//! Warning (`bad_values_are_ignored_with_a_word`). A request to move the checkpoint is handed over only
//! while the status says that it is pending, which it becomes while the stream is stopped
//! (`status/actions.rs`, `a_request_reaches_the_worker_only_while_it_is_pending`).

use std::collections::BTreeMap;

use crds::{
    annotations::{
        ACCEPT_ARCHIVE, ACCEPT_SOURCE, ACKNOWLEDGE_GAP, ADOPT_ARCHIVE, AcceptedArchive, COMMIT_NOW,
        CheckpointRequest, DOMAIN, InvalidConsent, OWNER_UID, RESET_CHECKPOINT, SET_CHECKPOINT,
        parse_accept_source, parse_acknowledge_gap, parse_adopt_archive, parse_commit_now,
    },
    v1alpha1::HandledAction,
    worker_config::Consents,
};

/// What the annotations say.
#[derive(Debug, Default)]
pub struct Read {
    /// What the worker is told.
    pub consents: Consents,
    /// The request to move the checkpoint that is there, pending or not.
    pub request: Option<CheckpointRequest>,
    /// A word on each annotation of ours that cannot be used.
    pub ignored: Vec<String>,
}

/// Reads them. `recorded` is the request that the status shows.
pub fn read(annotations: &BTreeMap<String, String>, recorded: Option<&HandledAction>) -> Read {
    let Read { mut consents, mut request, mut ignored } = Read::default();
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
            COMMIT_NOW => parse_commit_now(value).map(|value| consents.commit_now = Some(value)),
            RESET_CHECKPOINT => {
                CheckpointRequest::reset(value).and_then(|new| newer(&mut request, new))
            }
            SET_CHECKPOINT => {
                CheckpointRequest::set(value).and_then(|new| newer(&mut request, new))
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
    let pending = |request: &&CheckpointRequest| {
        recorded.is_some_and(|known| {
            known.is_pending() && known.is_of(request.action(), &request.value)
        })
    };
    if let Some(request) = request.as_ref().filter(pending) {
        let value = Some(request.value.clone());
        match request.target {
            None => consents.reset_checkpoint = value,
            Some(_) => consents.set_checkpoint = value,
        }
    }
    let given = consents != Consents::default();
    consents.by = given.then(|| "annotation of the BinlogStream".to_owned());
    Read { consents, request, ignored }
}

/// Of a reset and a set the one that names the newer entry counts: the other is spent, and may be left standing.
#[allow(clippy::unnecessary_wraps)] // stands where reading a value may fail
fn newer(
    request: &mut Option<CheckpointRequest>,
    new: CheckpointRequest,
) -> Result<(), InvalidConsent> {
    if request.as_ref().is_none_or(|known| known.of.n <= new.of.n) {
        *request = Some(new);
    }
    Ok(())
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
        let given = annotations(&[
            (ADOPT_ARCHIVE, archive),
            (ACCEPT_SOURCE, "4711"),
            (ACCEPT_ARCHIVE, &format!("{archive}@12")),
            (ACKNOWLEDGE_GAP, "all"),
            (COMMIT_NOW, "2026-11-27T10:00:00Z"),
            ("example.com/theirs", "untouched"),
        ]);
        let Read { consents, ignored, .. } = read(&given, None);
        assert_eq!(ignored, Vec::<String>::new());
        assert_eq!(consents.adopt_archive.map(|id| id.to_string()).as_deref(), Some(archive));
        assert_eq!(consents.accept_source.as_deref(), Some("4711"));
        assert_eq!(consents.accept_archive, Some(format!("{archive}@12")));
        assert_eq!(consents.acknowledge_gaps, ["all"]);
        assert_eq!(consents.commit_now.as_deref(), Some("2026-11-27T10:00:00Z"));
        assert!(consents.by.is_some());
    }

    #[test]
    fn bad_values_are_ignored_with_a_word() {
        let given = annotations(&[
            (ADOPT_ARCHIVE, "mine"),
            (ACKNOWLEDGE_GAP, ""),
            (RESET_CHECKPOINT, "yes"),
            (SET_CHECKPOINT, "binlog.000007:4"),
            (COMMIT_NOW, ""),
            ("binlogstream.io/reconcile", "paused"),
            ("binlogstream.io/acknowledge-gaps", "all"),
        ]);
        let Read { consents, request, ignored } = read(&given, None);
        assert_eq!((consents, request), (Consents::default(), None));
        assert_eq!(ignored.len(), 7, "{ignored:?}");
    }

    #[test]
    fn a_request_reaches_the_worker_only_while_it_is_pending() {
        let value = "0d9c1b52-6a51-4b0e-9f7e-0a53ab5b0f10@12";
        let given = annotations(&[(RESET_CHECKPOINT, value)]);
        let recorded = |requested: &str, outcome: &str| HandledAction {
            type_: "reset-checkpoint".to_owned(),
            requested: requested.to_owned(),
            completed_at: None,
            outcome: Some(outcome.to_owned()),
            message: None,
        };
        let told = |recorded: Option<HandledAction>| {
            let read = read(&given, recorded.as_ref());
            assert_eq!(read.request.unwrap().value, value);
            read.consents.reset_checkpoint
        };
        assert_eq!(told(None), None);
        assert_eq!(told(Some(recorded(value, "Refused"))), None);
        assert_eq!(told(Some(recorded("another", "Pending"))), None);
        assert_eq!(told(Some(recorded(value, "Done"))), None);
        assert_eq!(told(Some(recorded(value, "Pending"))).as_deref(), Some(value));
    }

    #[test]
    fn of_a_reset_and_a_set_the_newer_one_counts() {
        let archive = "0d9c1b52-6a51-4b0e-9f7e-0a53ab5b0f10";
        let action = |reset: u64, set: u64| {
            let (reset, set) =
                (format!("{archive}@{reset}"), format!("{archive}@{set}/b.000007:4"));
            let given = annotations(&[(RESET_CHECKPOINT, &reset), (SET_CHECKPOINT, &set)]);
            read(&given, None).request.unwrap().action()
        };
        assert_eq!(action(12, 13), "set-checkpoint");
        assert_eq!(action(13, 12), "reset-checkpoint");
    }
}
