//! The spans that operator and worker hand to a collector of traces, with their attributes: closed lists, so that what
//! leaves a cluster that way can be read in one place. No attribute holds a secret, a value of a row or the words of a
//! server or a store.

/// Target of the spans, by which they are told apart from log lines.
pub const TARGET: &str = "otlp";
/// `service.name` of the operator, unless the environment says another one.
pub const OPERATOR: &str = "binlog-operator";
/// `service.name` of a worker, unless the environment says another one.
pub const WORKER: &str = "binlog-worker";

/// One kind of span.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// Who makes it.
    pub service: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The span it is a part of; none begins a trace.
    pub parent: Option<&'static str>,
    /// From when to when it goes.
    pub covers: &'static str,
    /// Its attributes, all of [`ATTRIBUTES`].
    pub attributes: &'static [&'static str],
}

const STREAM: [&str; 2] = ["binlogstream.namespace", "binlogstream.name"];
const OUTCOME: &str = "binlogstream.outcome";
const REASON: &str = "binlogstream.reason";
const ENTRY: &str = "binlogstream.entry";
const ERROR: &str = "error.type";

/// Every span, parents first.
pub const ALL: &[Told] = &[
    Told {
        service: OPERATOR,
        name: "reconcile",
        parent: None,
        covers: "one look at a stream, from its objects to its status",
        attributes: &[STREAM[0], STREAM[1], OUTCOME, REASON, ERROR],
    },
    Told {
        service: OPERATOR,
        name: "validate",
        parent: Some("reconcile"),
        covers: "the specification is checked and the children are built",
        attributes: &[],
    },
    Told {
        service: OPERATOR,
        name: "apply",
        parent: Some("reconcile"),
        covers: "the children are compared and written where they differ",
        attributes: &[],
    },
    Told {
        service: OPERATOR,
        name: "update_status",
        parent: Some("reconcile"),
        covers: "the status is computed, and written if it is worth it",
        attributes: &[],
    },
    Told {
        service: OPERATOR,
        name: "poll",
        parent: None,
        covers: "a worker is asked for its report; only of one that has not answered yet that it is past its start, \
                 or that gave no answer the last time",
        attributes: &[STREAM[0], STREAM[1], OUTCOME],
    },
    Told {
        service: WORKER,
        name: "open",
        parent: None,
        covers: "a session begins: from the archive's log to the claim",
        attributes: &["binlogstream.epoch", ERROR],
    },
    Told {
        service: WORKER,
        name: "read_archive",
        parent: Some("open"),
        covers: "checkpoint and log are read",
        attributes: &[],
    },
    Told {
        service: WORKER,
        name: "inspect_source",
        parent: Some("open"),
        covers: "the source is asked who it is and whether it can be streamed",
        attributes: &[],
    },
    Told {
        service: WORKER,
        name: "probe_store",
        parent: Some("open"),
        covers: "the store proves that its creates are exclusive",
        attributes: &[],
    },
    Told {
        service: WORKER,
        name: "claim",
        parent: Some("open"),
        covers: "the epoch is taken",
        attributes: &[],
    },
    Told {
        service: WORKER,
        name: "connect",
        parent: None,
        covers: "one connection to the source: from the look for another writer to the open dump",
        attributes: &[ERROR],
    },
    Told {
        service: WORKER,
        name: "commit",
        parent: None,
        covers: "one cut: from the first byte that is uploaded for it until it is durable; without an entry it was \
                 given up, and is read again",
        attributes: &[ENTRY],
    },
    Told {
        service: WORKER,
        name: "upload",
        parent: Some("commit"),
        covers: "one object on its way into the store, until it is there",
        attributes: &["binlogstream.part", "binlogstream.bytes", "binlogstream.attempts", ERROR],
    },
    Told {
        service: WORKER,
        name: "append",
        parent: Some("commit"),
        covers: "a log entry is created: in the trace of its first cut, or by itself where it has none",
        attributes: &[ENTRY, "binlogstream.cuts", ERROR],
    },
    Told {
        service: WORKER,
        name: "checkpoint",
        parent: None,
        covers: "the checkpoint is written",
        attributes: &[ENTRY, OUTCOME, ERROR],
    },
    Told {
        service: WORKER,
        name: "publish",
        parent: None,
        covers: "the change table is brought up to an entry",
        attributes: &[ENTRY, ERROR],
    },
];

/// Every attribute of a span, and what it tells.
pub const ATTRIBUTES: &[(&str, &str)] = &[
    (STREAM[0], "namespace of the stream; on a worker's spans it is an attribute of the resource"),
    (STREAM[1], "name of the stream; likewise"),
    (
        OUTCOME,
        "what came of it, a word of a closed list: of a reconcile `applied`, `waiting`, `held`, `refused`, `failed` or \
         `deleting`, of a poll that of the metric, of a checkpoint `stored` or `stale`",
    ),
    (REASON, "why a stream is refused, one of the reasons above"),
    (ENTRY, "number of the log entry"),
    ("binlogstream.epoch", "epoch that was claimed"),
    ("binlogstream.part", "`raw` or `changes`"),
    ("binlogstream.bytes", "bytes as they are stored"),
    ("binlogstream.attempts", "tries until the store had it"),
    ("binlogstream.cuts", "cuts in the entry"),
    (
        ERROR,
        "what failed, a word of a closed list: of a reconcile that of the metric, else one of the reasons above",
    ),
];

/// The README's tables of spans and attributes.
pub fn tables() -> String {
    let mut lines = vec!["| Service | Span | Part of | What it covers | Attributes |".to_owned()];
    lines.push("|---|---|---|---|---|".to_owned());
    for Told { service, name, parent, covers, attributes } in ALL {
        let parent = parent.map(|parent| format!("`{parent}`")).unwrap_or_default();
        let attributes: Vec<_> = attributes.iter().map(|key| format!("`{key}`")).collect();
        let attributes = attributes.join(", ");
        lines.push(format!("| `{service}` | `{name}` | {parent} | {covers} | {attributes} |"));
    }
    lines.extend(["", "| Attribute | What it tells |", "|---|---|"].map(str::to_owned));
    lines.extend(ATTRIBUTES.iter().map(|(key, tells)| format!("| `{key}` | {tells} |")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attribute_is_told_and_every_one_that_is_told_is_used() {
        let told: Vec<_> = ATTRIBUTES.iter().map(|(key, _)| *key).collect();
        for span in ALL {
            for key in span.attributes {
                assert!(told.contains(key), "{} has {key}, which nobody explains", span.name);
            }
        }
        for key in told {
            let used = ALL.iter().any(|span| span.attributes.contains(&key));
            assert!(used, "no span has {key}");
        }
    }

    #[test]
    fn every_part_is_of_a_span_before_it_of_the_same_service() {
        for (at, span) in ALL.iter().enumerate() {
            let Some(parent) = span.parent else { continue };
            let known = ALL[..at]
                .iter()
                .any(|before| (before.service, before.name) == (span.service, parent));
            assert!(known, "{} is a part of {parent}, which is not there", span.name);
        }
    }
}
