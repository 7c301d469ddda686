//! Health for Flux: what its own evaluator makes of each condition by the expressions of the example.

use super::argocd::{Said, judged, stream};
use super::*;

const KUSTOMIZATION: &str = "config/flux/streams.yaml";

fn health(object: &Value) -> Result<String> {
    let mut object = object.clone();
    object["apiVersion"] = json!("binlogstream.io/v1alpha1");
    object["kind"] = json!("BinlogStream");
    judged(&["flux", KUSTOMIZATION], &object.to_string())
}

#[test]
fn flux_follows_each_condition() -> Result<()> {
    use ConditionType::{
        ArchiveHealthy, CaughtUp, CheckpointHealthy, DecodingHealthy, GapDetected, Paused, Ready,
        Reconciling, SourceConnected, Stalled,
    };
    let not_ready = |reason| (Ready, "False", reason);
    let stalled = |reason| (Stalled, "True", reason);
    let cases: [(&[Said], &str); 12] = [
        (&[], "Current"),
        (&[(CaughtUp, "False", "CatchingUp")], "Current"),
        (&[not_ready("Starting"), (Reconciling, "True", "RollingOut")], "InProgress"),
        (
            &[not_ready("ConnectionLost"), (SourceConnected, "False", "ConnectionLost")],
            "InProgress",
        ),
        (
            &[not_ready("ArchiveUnreachable"), (ArchiveHealthy, "False", "ArchiveUnreachable")],
            "InProgress",
        ),
        (
            &[not_ready("CheckpointConflict"), (CheckpointHealthy, "False", "CheckpointConflict")],
            "InProgress",
        ),
        (
            &[
                not_ready("TableStopped"),
                (DecodingHealthy, "False", "TableStopped"),
                stalled("TableStopped"),
            ],
            "Failed",
        ),
        (
            &[
                not_ready("GapDetected"),
                (GapDetected, "True", "GapDetected"),
                stalled("GapDetected"),
            ],
            "Failed",
        ),
        (&[not_ready("AuthFailed"), stalled("AuthFailed")], "Failed"),
        (&[not_ready("Paused"), (Paused, "True", "Paused")], "Current"),
        (&[not_ready("Fenced"), (Paused, "True", "Paused"), stalled("Fenced")], "Failed"),
        (&[(Ready, "Unknown", "StatusStale")], "InProgress"),
    ];
    let mut told = std::collections::BTreeSet::new();
    for (but, expected) in cases {
        assert_eq!(health(&stream(but))?, expected, "{but:?}");
        told.extend(but.iter().map(|(kind, ..)| *kind));
    }
    assert_eq!(told.len(), ConditionType::ALL.len(), "some condition is in no case");
    Ok(())
}

#[test]
fn flux_does_not_believe_an_old_status() -> Result<()> {
    let mut changed = stream(&[]);
    changed["metadata"]["generation"] = json!(4);
    assert_eq!(health(&changed)?, "InProgress");
    let new =
        json!({"metadata": {"generation": 1}, "spec": {}, "status": {"observedGeneration": -1}});
    assert_eq!(health(&new)?, "InProgress");
    Ok(())
}
