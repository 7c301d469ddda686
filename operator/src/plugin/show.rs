//! A stream's status in words, pure.

use std::fmt::Write as _;

use crds::{
    conditions::ConditionType,
    v1alpha1::{BinlogStream, BinlogStreamStatus, Condition, ConditionStatus},
};
use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::status::lag::bucket;

/// What stands for what is not known.
const UNKNOWN: &str = "?";

/// One line a stream, the same words as `kubectl get streams`, and what the worst one says.
pub(super) fn table(streams: &[BinlogStream], with_namespace: bool) -> String {
    if streams.is_empty() {
        return "no BinlogStream\n".to_owned();
    }
    let mut lines = vec![
        ["NAMESPACE", "NAME", "READY", "STATUS", "LAG", "ARCHIVED", "GAPS"].map(str::to_owned),
    ];
    for stream in streams {
        let status = stream.status.as_ref();
        let ready = status.and_then(|status| condition(status, ConditionType::Ready));
        lines.push([
            stream.namespace().unwrap_or_default(),
            stream.name_any(),
            ready.map_or(UNKNOWN, |ready| word(ready.status)).to_owned(),
            status.and_then(|status| status.reason.clone()).unwrap_or_else(|| UNKNOWN.to_owned()),
            status
                .and_then(|status| status.lag.as_ref())
                .map_or(UNKNOWN, |lag| &lag.text)
                .to_owned(),
            status
                .and_then(|status| status.archive.as_ref())
                .map_or(UNKNOWN, |archive| &archive.text)
                .to_owned(),
            status
                .and_then(|status| status.gap_count)
                .map_or_else(|| UNKNOWN.to_owned(), |count| count.to_string()),
        ]);
    }
    columns(&lines, usize::from(!with_namespace))
}

/// Lines whose cells stand below each other, from the given column on.
fn columns<const N: usize>(lines: &[[String; N]], from: usize) -> String {
    let width =
        |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let cells: Vec<String> =
            (from..N).map(|at| format!("{:<1$}", line[at], widths[at])).collect();
        text.push_str(cells.join("   ").trim_end());
        text.push('\n');
    }
    text
}

/// All that a person needs of one stream, what is wrong with its mend first of all.
pub(super) fn one(stream: &BinlogStream, now: Timestamp) -> String {
    let name = stream.name_any();
    let Some(status) = &stream.status else {
        return format!("{name}: no operator has reported on it yet\n");
    };
    let mut text = table(std::slice::from_ref(stream), false);
    let stale = stream.metadata.generation > status.observed_generation;
    if stale {
        text.push_str("\nThe newest change of the specification is not taken up yet.\n");
    }
    section(&mut text, "What is wrong", &faults(status, now));
    section(&mut text, "Gaps", &gaps(&name, status));
    section(&mut text, "Tables that stand still", &stopped(status));
    section(&mut text, "Where it is", &facts(status));
    section(&mut text, "Last action", action(status).as_slice());
    text
}

fn section(text: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    // Writing into a String does not fail.
    let written = write!(text, "\n{title}\n  {}\n", lines.join("\n  "));
    debug_assert!(written.is_ok());
}

fn faults(status: &BinlogStreamStatus, now: Timestamp) -> Vec<String> {
    let bad = status.conditions.iter().filter(|condition| {
        // Being late and being paused are no faults.
        let kind = condition
            .kind()
            .filter(|kind| !matches!(kind, ConditionType::CaughtUp | ConditionType::Paused));
        kind.is_some_and(|kind| condition.status != ConditionStatus::of(kind.true_is_good()))
    });
    bad.map(|condition| {
        let age = now.as_second() - condition.last_transition_time.0.as_second();
        let age = bucket(u64::try_from(age).unwrap_or_default());
        let Condition { type_, status, reason, message, .. } = condition;
        format!("{type_}={}  {reason}, for {age}\n      {message}", word(*status))
    })
    .collect()
}

fn gaps(name: &str, status: &BinlogStreamStatus) -> Vec<String> {
    let mut lines: Vec<String> = status
        .gaps
        .iter()
        .map(|gap| {
            let to = gap.to.as_deref().unwrap_or(UNKNOWN);
            let (id, reason, from) = (&gap.id, &gap.reason, &gap.from);
            match &gap.acknowledged_at {
                Some(at) => format!("{id}  {reason}  {from} to {to}, acknowledged {}", at.0),
                None => format!("{id}  {reason}  {from} to {to}, open"),
            }
        })
        .collect();
    let more = status.gap_count.unwrap_or_default() as usize;
    if more > lines.len() {
        lines.push(format!("and {} more in the archive", more - lines.len()));
    }
    if status.open_gap_count.unwrap_or_default() > 0 {
        lines.push(format!("agree to one with: kubectl binlog acknowledge-gap {name} <id>"));
    }
    lines
}

fn stopped(status: &BinlogStreamStatus) -> Vec<String> {
    let Some(tables) = &status.tables else { return Vec::new() };
    let mut lines: Vec<String> = tables
        .stopped
        .iter()
        .map(|table| format!("{}  {}, since {}", table.name, table.reason, table.since))
        .collect();
    let count = tables.stopped_count as usize;
    if count > lines.len() {
        lines.push(format!("and {} more", count - lines.len()));
    }
    lines
}

fn facts(status: &BinlogStreamStatus) -> Vec<String> {
    let mut lines = Vec::new();
    let mut fact = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            lines.push(format!("{name:<12} {value}"));
        }
    };
    let source = status.source.as_ref();
    fact("source", source.and_then(|source| source.address.clone()));
    fact("version", source.and_then(|source| source.version.clone()));
    fact("durable", status.position.as_ref().and_then(|position| position.text.clone()));
    let archive = status.archive.as_ref();
    let time = |time: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
        time.map(|time| time.0.to_string())
    };
    fact("from", time(archive.and_then(|archive| archive.recoverable_from.as_ref())));
    fact("until", time(archive.and_then(|archive| archive.recoverable_until.as_ref())));
    fact(
        "purged in",
        source
            .and_then(|source| source.purge_headroom.as_ref())
            .map(|left| format!("{left}: the source then removes what is not durable here")),
    );
    if let Some(worker) = &status.worker {
        let on = worker.node.as_deref().map(|node| format!(" on {node}")).unwrap_or_default();
        fact("pod", worker.pod.as_ref().map(|pod| format!("{pod}{on}")));
        fact("image", worker.image.clone());
        fact("epoch", worker.epoch.map(|epoch| epoch.to_string()));
        fact("restarts", worker.restarts.map(|restarts| restarts.to_string()));
    }
    lines
}

fn action(status: &BinlogStreamStatus) -> Option<String> {
    let action = status.last_handled_action.as_ref()?;
    let outcome = action.outcome.as_deref().unwrap_or("under way");
    let message = action.message.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
    Some(format!("{} {}: {outcome}{message}", action.type_, action.requested))
}

fn condition(status: &BinlogStreamStatus, kind: ConditionType) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.kind() == Some(kind))
}

const fn word(status: ConditionStatus) -> &'static str {
    match status {
        ConditionStatus::True => "True",
        ConditionStatus::False => "False",
        ConditionStatus::Unknown => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn stream(name: &str, status: &Value) -> BinlogStream {
        let whole = json!({
            "apiVersion": "binlogstream.io/v1alpha1", "kind": "BinlogStream",
            "metadata": {"name": name, "namespace": "shop", "generation": 2},
            "spec": {
                "source": {"host": "db", "credentialsSecretRef": {"name": "s"}},
                "archive": {"s3": {"bucket": "history"}},
            },
            "status": status,
        });
        serde_json::from_value(whole).unwrap()
    }

    fn broken() -> BinlogStream {
        let condition = |kind: &str, status: &str, reason: &str, message: &str| {
            json!({"type": kind, "status": status, "reason": reason, "message": message,
                "lastTransitionTime": "2026-11-27T10:00:00Z"})
        };
        stream(
            "stock",
            &json!({
                "observedGeneration": 2, "reason": "AuthFailed", "gapCount": 3, "openGapCount": 1,
                "conditions": [
                    condition("Ready", "False", "AuthFailed", "check the password"),
                    condition("CaughtUp", "False", "CatchingUp", "late"),
                    condition("ArchiveHealthy", "True", "Current", "fine"),
                    condition("Paused", "False", "NotPaused", "runs"),
                ],
                "lag": {"state": "Unknown", "text": "?"},
                "archive": {"state": "Behind", "text": "behind 2m"},
                "gaps": [
                    {"id": "000003", "reason": "BinlogPurged", "from": "b.000001:4", "to": "b.000002:4",
                     "detectedAt": "2026-11-27T09:00:00Z"},
                    {"id": "000001", "reason": "BinlogPurged", "from": "b.000001:4",
                     "detectedAt": "2026-11-27T08:00:00Z", "acknowledgedAt": "2026-11-27T08:30:00Z"},
                ],
                "tables": {"stoppedCount": 1, "stopped": [
                    {"name": "shop.x", "reason": "SchemaUnknown", "since": "b.000002:99"}]},
                "lastHandledAction": {"type": "acknowledge-gap", "requested": "000001", "outcome": "Done"},
            }),
        )
    }

    #[test]
    fn a_line_has_the_words_of_kubectl_get() {
        let fresh = stream("fresh", &Value::Null);
        assert_eq!(
            table(&[broken(), fresh], true),
            "NAMESPACE   NAME    READY   STATUS       LAG   ARCHIVED    GAPS\n\
             shop        stock   False   AuthFailed   ?     behind 2m   3\n\
             shop        fresh   ?       ?            ?     ?           ?\n"
        );
        assert_eq!(table(&[], false), "no BinlogStream\n");
    }

    #[test]
    fn what_is_wrong_comes_with_its_mend_and_what_is_well_is_not_told() {
        let text = one(&broken(), "2026-11-27T10:02:30Z".parse().unwrap());
        for part in [
            "What is wrong\n  Ready=False  AuthFailed, for 2m\n      check the password\n",
            "  000003  BinlogPurged  b.000001:4 to b.000002:4, open\n",
            "  000001  BinlogPurged  b.000001:4 to ?, acknowledged 2026-11-27T08:30:00Z\n",
            "  and 1 more in the archive\n",
            "  agree to one with: kubectl binlog acknowledge-gap stock <id>\n",
            "  shop.x  SchemaUnknown, since b.000002:99\n",
            "  acknowledge-gap 000001: Done\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        for word in ["CaughtUp", "ArchiveHealthy", "NotPaused", "not taken up"] {
            assert!(!text.contains(word), "{word} is in\n{text}");
        }
    }

    #[test]
    fn a_status_of_an_older_specification_is_said_to_be_one() {
        let old = stream("old", &json!({"observedGeneration": 1}));
        assert!(one(&old, Timestamp::now()).contains("is not taken up yet"));
        assert!(one(&stream("new", &Value::Null), Timestamp::now()).contains("no operator"));
    }
}
