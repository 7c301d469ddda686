//! Health and actions for Argo CD, run by its own interpreter with the libraries that it opens.

use std::io::Write as _;
use std::process::Stdio;

use super::*;

const HEALTH: &str = "config/argocd/health.lua";
const ACTIONS: &str = "config/argocd/actions.yaml";

/// A value as Lua writes it.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "nil".into(),
        Value::Array(items) => {
            format!("{{{}}}", items.iter().map(literal).collect::<Vec<_>>().join(", "))
        }
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| format!("[{key:?}] = {}", literal(value));
            format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// Runs a script of Argo CD on an object, and `then` on what it returns; the printed line.
fn lua(script: &str, object: &Value, then: &str) -> Result<String> {
    let program = format!(
        "obj = {}\nlocal function run()\n{script}\nend\nlocal made = run()\n{then}\n",
        literal(object)
    );
    judged(&["argocd"], &program)
}

/// What the engines of the tools around a cluster say of an input.
pub(super) fn judged(arguments: &[&str], input: &str) -> Result<String> {
    let mut engine = Command::new(e2e::site::program("gitops")?)
        .args(arguments)
        .current_dir(tree())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context(|| "start gitops")?;
    let mut stdin = engine.stdin.take().context(|| "gitops has no input")?;
    stdin.write_all(input.as_bytes())?;
    drop(stdin);
    let output = engine.wait_with_output()?;
    assert!(output.status.success(), "{input}{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A condition, its status and its reason.
pub(super) type Said = (ConditionType, &'static str, &'static str);

/// A stream that is well, but for these conditions.
pub(super) fn stream(but: &[Said]) -> Value {
    let conditions = ConditionType::ALL.map(|kind| {
        let other = but.iter().find(|(other, _, _)| *other == kind);
        let good = if kind.true_is_good() { "True" } else { "False" };
        let (status, reason) =
            other.map_or((good, "Fine"), |(_, status, reason)| (*status, *reason));
        json!({"type": kind.as_str(), "status": status, "reason": reason, "message": "what to do"})
    });
    json!({
        "metadata": {"name": "orders", "generation": 3},
        "spec": {},
        "status": {"observedGeneration": 3, "conditions": conditions},
    })
}

fn health(object: &Value) -> Result<String> {
    lua(&read(HEALTH)?, object, "print(made.status .. ' ' .. made.message)")
}

#[test]
fn health_follows_each_condition() -> Result<()> {
    use ConditionType::{
        ArchiveHealthy, CaughtUp, CheckpointHealthy, DecodingHealthy, GapDetected, Paused, Ready,
        Reconciling, SourceConnected, Stalled,
    };
    let not_ready = |reason| (Ready, "False", reason);
    let cases: [(&[Said], &str); 14] = [
        (&[], "Healthy Fine: what to do"),
        (&[(CaughtUp, "False", "CatchingUp")], "Healthy Fine"),
        (&[not_ready("Starting"), (Reconciling, "True", "RollingOut")], "Progressing RollingOut"),
        (
            &[not_ready("ConnectionLost"), (SourceConnected, "False", "ConnectionLost")],
            "Progressing ConnectionLost",
        ),
        (
            &[not_ready("ArchiveUnreachable"), (ArchiveHealthy, "False", "ArchiveUnreachable")],
            "Progressing ArchiveUnreachable",
        ),
        (
            &[not_ready("CheckpointConflict"), (CheckpointHealthy, "False", "CheckpointConflict")],
            "Progressing CheckpointConflict",
        ),
        (
            &[not_ready("TableStopped"), (DecodingHealthy, "False", "TableStopped")],
            "Degraded TableStopped",
        ),
        (&[not_ready("AuthFailed"), (Stalled, "True", "AuthFailed")], "Degraded AuthFailed"),
        (
            &[not_ready("AuthFailed"), (Stalled, "True", "AuthFailed"), (Reconciling, "True", "x")],
            "Degraded AuthFailed",
        ),
        (&[not_ready("GapDetected"), (GapDetected, "True", "GapDetected")], "Degraded GapDetected"),
        (&[not_ready("Paused"), (Paused, "True", "Paused")], "Suspended Paused"),
        (
            &[
                not_ready("Paused"),
                (Paused, "True", "Paused"),
                (GapDetected, "True", "GapDetected"),
            ],
            "Degraded GapDetected",
        ),
        (&[(Ready, "Unknown", "StatusStale")], "Unknown StatusStale"),
        (
            &[(Ready, "Unknown", "Unknown"), (Reconciling, "True", "Starting")],
            "Progressing Starting",
        ),
    ];
    for (but, expected) in cases {
        let is = health(&stream(but))?;
        assert!(is.starts_with(expected), "{but:?}: {is}");
    }
    Ok(())
}

#[test]
fn health_of_an_old_status_is_not_believed() -> Result<()> {
    let mut changed = stream(&[]);
    changed["metadata"]["generation"] = json!(4);
    assert_eq!(health(&changed)?, "Progressing waits for the operator");
    let new =
        json!({"metadata": {"generation": 1}, "spec": {}, "status": {"observedGeneration": -1}});
    assert_eq!(health(&new)?, "Progressing waits for the operator");
    assert_eq!(
        health(&json!({"metadata": {"generation": 1}}))?,
        "Progressing waits for the operator"
    );
    let mut gone = stream(&[]);
    gone["metadata"]["deletionTimestamp"] = json!("2026-11-27T00:00:00Z");
    assert!(health(&gone)?.starts_with("Progressing is being deleted"));
    Ok(())
}

fn actions() -> Result<Value> {
    Ok(documents(&read(ACTIONS)?)?.remove(0))
}

fn act(name: &str, object: &Value, then: &str) -> Result<String> {
    let actions = actions()?;
    let definitions = actions["definitions"].as_array().context(|| "there are no actions")?;
    let action = definitions.iter().find(|action| action["name"] == name);
    lua(text(action.context(|| format!("no action {name}"))?, "/action.lua"), object, then)
}

#[test]
fn actions_change_the_state_or_acknowledge_each_open_gap() -> Result<()> {
    for (action, state) in [("pause", "Paused"), ("stop", "Stopped"), ("resume", "Running")] {
        assert_eq!(act(action, &stream(&[]), "print(made.spec.state)")?, state);
    }
    let mut gaps = stream(&[]);
    gaps["status"]["gaps"] = json!([
        {"id": "g-3"}, {"id": "g-2"}, {"id": "g-1", "acknowledgedAt": "2026-11-27T00:00:00Z"},
    ]);
    let print =
        format!("print(made.metadata.annotations[{:?}])", crds::annotations::ACKNOWLEDGE_GAP);
    assert_eq!(act("acknowledge-gaps", &gaps, &print)?, "g-3,g-2");
    Ok(())
}

#[test]
fn actions_that_are_asked_for_by_a_time_write_the_present_one() -> Result<()> {
    let now = || jiff::Timestamp::now().as_second();
    let annotated = json!({"metadata": {"annotations": {"theirs": "stays"}}, "spec": {}});
    for (action, key) in [
        ("commit-now", crds::annotations::COMMIT_NOW),
        ("restart", crds::annotations::RESTARTED_AT),
    ] {
        for object in [stream(&[]), annotated.clone()] {
            let before = now();
            let print = format!("print(made.metadata.annotations[{key:?}])");
            let at = act(action, &object, &print)?;
            let at = at.parse::<jiff::Timestamp>().context(|| format!("{action} wrote {at:?}"))?;
            assert!((before..=now()).contains(&at.as_second()), "{action} wrote {at}");
        }
        let kept = act(action, &annotated, "print(made.metadata.annotations.theirs)")?;
        assert_eq!(kept, "stays");
    }
    Ok(())
}

#[test]
fn menu_offers_what_would_change_something() -> Result<()> {
    let actions = actions()?;
    let script = text(&actions, "/discovery.lua");
    let print = "local on = {}\nfor name, action in pairs(made) do\nif not action.disabled then table.insert(on, name) end\n\
                 end\ntable.sort(on)\nprint(table.concat(on, ' '))";
    let mut object = stream(&[]);
    assert_eq!(lua(script, &object, print)?, "commit-now pause restart stop");
    object["spec"]["state"] = json!("Paused");
    object["status"]["openGapCount"] = json!(2);
    assert_eq!(lua(script, &object, print)?, "acknowledge-gaps restart resume stop");
    object["spec"]["state"] = json!("Stopped");
    assert_eq!(lua(script, &object, print)?, "acknowledge-gaps pause resume");
    let offered = actions["definitions"].as_array().into_iter().flatten();
    for name in offered.map(|action| text(action, "/name")) {
        assert!(script.contains(&format!("[\"{name}\"]")), "{name} is never offered");
    }
    Ok(())
}

#[test]
fn both_reach_argo_cd_under_the_keys_it_reads() -> Result<()> {
    let objects = documents(&succeed("kubectl", &["kustomize", "config/argocd"])?)?;
    let map = of_kind(&objects, "ConfigMap")?;
    assert_eq!(name(map), "ConfigMap argocd/argocd-cm");
    for (part, file) in [("health", HEALTH), ("actions", ACTIONS)] {
        let key = format!("resource.customizations.{part}.binlogstream.io_BinlogStream");
        assert_eq!(map["data"][&key], json!(read(file)?), "{key}");
    }
    Ok(())
}
