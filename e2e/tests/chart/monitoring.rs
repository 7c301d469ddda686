//! Alert rules, dashboard and the configuration of kube-state-metrics: by the tools that read them, and against
//! what operator and worker really have.

use std::collections::BTreeSet;
use std::io::Write as _;

use super::argocd::{judged, stream};
use super::*;

const RULES: &str = "charts/binlog-operator/monitoring/alerts.yaml";
const DASHBOARD: &str = "charts/binlog-operator/monitoring/dashboard.json";
const KUBE_STATE_METRICS: &str = "charts/binlog-operator/monitoring/kube-state-metrics.yaml";
const ALL: [&str; 5] = [
    "metrics.serviceMonitor.enabled=true",
    "metrics.podMonitor.enabled=true",
    "metrics.prometheusRule.enabled=true",
    "metrics.dashboard.enabled=true",
    "metrics.kubeStateMetrics.enabled=true",
];

/// Runs promtool; what it prints when it is content.
fn promtool(arguments: &[&str]) -> Result<String> {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(tree())
        .output()
        .context(|| "promtool is missing; install it with: sudo apt-get install prometheus")?;
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(output.status.success(), "promtool {arguments:?}: {}", said.concat());
    Ok(said.concat())
}

/// The metrics that the README lists; unit tests of operator and worker hold its tables to their registries.
fn metrics() -> Result<BTreeSet<String>> {
    let readme = read("README.md")?;
    let mut names = BTreeSet::new();
    for block in readme.split(" metrics: generated -->").skip(1) {
        let table = block.split("<!-- end -->").next().unwrap_or_default();
        let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        for (name, row) in rows {
            if row.starts_with(" | histogram") {
                names.extend(["_bucket", "_sum", "_count"].map(|part| format!("{name}{part}")));
            } else {
                names.insert(name.to_owned());
            }
        }
    }
    assert!(names.len() > 30, "{names:?}");
    Ok(names)
}

/// The metrics of ours that an expression or text names.
fn named(text: &str) -> Vec<&str> {
    let word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    text.split(|letter| !word(letter))
        .filter(|name| name.starts_with("binlog_operator_") || name.starts_with("binlog_worker_"))
        .collect()
}

fn queries() -> Result<Vec<(String, String)>> {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)?)?;
    let panels = dashboard["panels"].as_array().context(|| "the dashboard has no panels")?;
    let queries = panels.iter().flat_map(|panel| {
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(|target| (text(panel, "/title").to_owned(), text(target, "/expr").to_owned()))
    });
    Ok(queries.collect())
}

#[test]
fn alert_rules_pass_their_checks_and_cases() -> Result<()> {
    promtool(&["check", "rules", RULES])?;
    promtool(&["test", "rules", "e2e/prometheus/alerts_test.yaml"])?;
    Ok(())
}

#[test]
fn every_alert_has_a_case_a_severity_and_says_what_to_do() -> Result<()> {
    let rules = documents(&read(RULES)?)?.remove(0);
    let cases = read("e2e/prometheus/alerts_test.yaml")?;
    let groups = rules["groups"].as_array().context(|| "there are no groups")?;
    for rule in groups.iter().flat_map(|group| group["rules"].as_array().into_iter().flatten()) {
        let alert = text(rule, "/alert");
        assert!(cases.contains(&format!("alertname=\"{alert}\"")), "{alert} has no case");
        assert!(["critical", "warning"].contains(&text(rule, "/labels/severity")), "{alert}");
        for part in ["/annotations/summary", "/annotations/description"] {
            assert!(text(rule, part).len() > 20, "{alert} has no {part}");
        }
    }
    Ok(())
}

#[test]
fn rules_and_dashboard_ask_for_metrics_that_exist() -> Result<()> {
    let known = metrics()?;
    let rules = read(RULES)?;
    for name in named(&rules) {
        assert!(known.contains(name), "{RULES} asks for {name}");
    }
    for (panel, query) in queries()? {
        assert!(!named(&query).is_empty(), "{panel}: {query} asks for nothing of ours");
        for name in named(&query) {
            assert!(known.contains(name), "panel {panel} asks for {name}");
        }
    }
    Ok(())
}

#[test]
fn every_query_of_the_dashboard_parses() -> Result<()> {
    let rules = queries()?.into_iter().enumerate().map(|(number, (_, query))| {
        let query = query.replace("$__rate_interval", "5m");
        json!({"record": format!("query:{number}"), "expr": query.replace("$namespace", ".*").replace("$stream", ".*")})
    });
    let rules = json!({"groups": [{"name": "dashboard", "rules": rules.collect::<Vec<_>>()}]});
    let mut file = tempfile::NamedTempFile::new()?;
    write!(file, "{rules}")?;
    promtool(&["check", "rules", &file.path().display().to_string()])?;
    Ok(())
}

#[test]
fn dashboard_has_no_two_panels_in_one_place_and_asks_the_chosen_source() -> Result<()> {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)?)?;
    let panels = dashboard["panels"].as_array().context(|| "the dashboard has no panels")?;
    let mut taken = BTreeSet::new();
    for panel in panels {
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap_or_default();
        assert!(place("x") + place("w") <= 24, "{} is too wide", panel["title"]);
        for column in place("x")..place("x") + place("w") {
            for line in place("y")..place("y") + place("h") {
                assert!(taken.insert((column, line)), "{} covers another", panel["title"]);
            }
        }
        let sources = panel["targets"].as_array().into_iter().flatten();
        for target in sources {
            assert_eq!(target["datasource"]["uid"], json!("${datasource}"), "{}", panel["title"]);
        }
    }
    Ok(())
}

#[test]
fn every_path_of_kube_state_metrics_is_in_the_resource() -> Result<()> {
    let config = documents(&read(KUBE_STATE_METRICS)?)?.remove(0);
    let definition = documents(&read("crds/generated/binlogstreams.yaml")?)?.remove(0);
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let resource = &config["spec"]["resources"][0];
    paths_exist(schema, &resource["labelsFromPath"]);
    let metrics = resource["metrics"].as_array().context(|| "there are no metrics")?;
    for metric in metrics {
        let each = metric["each"].as_object().into_iter().flat_map(|each| each.values());
        for each in each.filter(|each| each.is_object()) {
            let base = follow(schema, each.get("path"));
            let base = base.context(|| format!("{}: no path {}", metric["name"], each["path"]))?;
            paths_exist(base, &each["labelsFromPath"]);
            if each.get("valueFrom").is_some() {
                let value = follow(base, each.get("valueFrom"));
                let value =
                    value.context(|| format!("{}: no {}", metric["name"], each["valueFrom"]))?;
                let listed = each["list"]
                    .as_array()
                    .is_none_or(|list| value["enum"].as_array().is_none_or(|words| words == list));
                assert!(listed, "{}: {} and {}", metric["name"], each["list"], value["enum"]);
            }
        }
    }
    Ok(())
}

#[test]
fn kube_state_metrics_tells_how_a_stream_is_by_its_own_engine() -> Result<()> {
    let mut object = stream(&[(ConditionType::Ready, "False", "GapDetected")]);
    object["apiVersion"] = json!("binlogstream.io/v1alpha1");
    object["kind"] = json!("BinlogStream");
    let at = "2026-11-21T09:00:00Z";
    object["metadata"]["namespace"] = json!("shop");
    object["metadata"]["creationTimestamp"] = json!(at);
    object["spec"] = json!({
        "state": "Paused", "source": {"host": "db.shop"}, "archive": {"s3": {"bucket": "history"}},
    });
    let status = &mut object["status"];
    status["reason"] = json!("GapDetected");
    (status["gapCount"], status["openGapCount"]) = (json!(2), json!(1));
    status["source"] = json!({"flavor": "MySQL", "version": "9.7.0"});
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        condition["lastTransitionTime"] = json!(at);
    }
    let said = judged(&["kube-state-metrics", KUBE_STATE_METRICS], &object.to_string())?;

    let value = |name: &str, labels: &str| {
        let named = format!("kube_binlogstream_{name}{{");
        let mut lines = said.lines().filter(|line| line.starts_with(&named));
        let labels: Vec<_> = labels.split(' ').filter(|label| !label.is_empty()).collect();
        let found = lines.find(|line| labels.iter().all(|label| line.contains(label)))?;
        found.rsplit(' ').next()?.parse::<f64>().ok()
    };
    let seconds = serde_json::from_value::<jiff::Timestamp>(json!(at))?.as_second() as f64;
    let expected = [
        ("info", r#"host="db.shop" flavor="MySQL" version="9.7.0" bucket="history""#, 1.0),
        ("spec_state", r#"namespace="shop" stream="orders" state="Paused""#, 1.0),
        ("spec_state", r#"state="Running""#, 0.0),
        ("status_condition", r#"condition="Ready" status="False""#, 1.0),
        ("status_condition", r#"condition="Ready" status="True""#, 0.0),
        ("status_condition", r#"condition="SourceConnected" status="True""#, 1.0),
        ("status_reason", r#"reason="GapDetected""#, 1.0),
        ("status_condition_last_transition_time_seconds", r#"condition="Ready""#, seconds),
        ("status_gaps", "", 2.0),
        ("status_open_gaps", "", 1.0),
        ("generation", "", 3.0),
        ("status_observed_generation", "", 3.0),
        ("created_timestamp_seconds", "", seconds),
    ];
    for (name, labels, expected) in expected {
        assert_eq!(value(name, labels), Some(expected), "{name} {labels}: {said}");
    }
    let config = documents(&read(KUBE_STATE_METRICS)?)?.remove(0);
    let metrics = config["spec"]["resources"][0]["metrics"].as_array();
    for metric in metrics.into_iter().flatten() {
        assert!(expected.iter().any(|(name, ..)| metric["name"] == **name), "{}", metric["name"]);
    }
    Ok(())
}

fn paths_exist(base: &Value, labels: &Value) {
    for (label, path) in labels.as_object().into_iter().flatten() {
        let found = follow(base, Some(path)).is_some();
        assert!(found, "label {label}: no {path} below {}", base["description"]);
    }
}

/// The schema at a path; a list is meant by its items. Metadata is not in the schema of a definition.
fn follow<'a>(schema: &'a Value, path: Option<&Value>) -> Option<&'a Value> {
    let path = path.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if path.first().is_some_and(|first| first == "metadata") {
        return Some(schema);
    }
    let mut at = schema;
    for part in path {
        at = at["properties"].get(part.as_str()?)?;
    }
    Some(at.get("items").unwrap_or(at))
}

#[test]
fn chart_takes_rules_dashboard_and_configuration_whole() -> Result<()> {
    let objects = template(&ALL)?;
    let rule = of_kind(&objects, "PrometheusRule")?;
    assert_eq!(rule["spec"], documents(&read(RULES)?)?[0]);
    let data = |suffix: &str, key: &str| {
        let name = format!("ConfigMap binlog-system/binlog-operator-{suffix}");
        let found = objects.iter().find(|object| super::name(object) == name);
        text(found.unwrap_or(&Value::Null), &format!("/data/{key}")).to_owned()
    };
    assert_eq!(data("dashboard", "binlog-streams.json"), read(DASHBOARD)?.trim());
    assert_eq!(data("kube-state-metrics", "config.yaml"), read(KUBE_STATE_METRICS)?.trim());
    Ok(())
}

#[test]
fn one_alert_can_be_left_out_and_one_that_does_not_exist_is_named() -> Result<()> {
    let on = "metrics.prometheusRule.enabled=true";
    let alerts = |settings: &[&str]| -> Result<Vec<String>> {
        let objects = template(settings)?;
        let rule = of_kind(&objects, "PrometheusRule")?.to_string();
        Ok(rule
            .split("\"alert\":\"")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap_or_default().to_owned())
            .collect())
    };
    let (all, fewer) =
        (alerts(&[on])?, alerts(&[on, "metrics.prometheusRule.disabledAlerts={BinlogStreamGap}"])?);
    assert_eq!(all.len(), fewer.len() + 1);
    assert!(!fewer.contains(&"BinlogStreamGap".to_owned()));
    let typo = "metrics.prometheusRule.disabledAlerts={BinlogStreamGaps}";
    let errors = refuse("helm", &["template", RELEASE[0], RELEASE[1], "--set", on, "--set", typo])?;
    assert!(errors.contains("there is no alert BinlogStreamGaps"), "{errors}");
    let severity = "metrics.prometheusRule.alertLabels.severity=page";
    let objects = template(&[on, severity])?;
    let rule = of_kind(&objects, "PrometheusRule")?;
    assert_eq!(text(rule, "/spec/groups/0/rules/0/labels/severity"), "page");
    Ok(())
}

#[test]
fn monitors_find_what_operator_and_chart_make() -> Result<()> {
    let objects = template(&ALL)?;
    let service = of_kind(&objects, "Service")?;
    let monitor = of_kind(&objects, "ServiceMonitor")?;
    assert_eq!(monitor["spec"]["endpoints"][0]["port"], service["spec"]["ports"][0]["name"]);
    assert_eq!(monitor["spec"]["endpoints"][0]["honorLabels"], json!(true));
    for (key, value) in monitor["spec"]["selector"]["matchLabels"].as_object().into_iter().flatten()
    {
        assert_eq!(&service["metadata"]["labels"][key], value);
    }
    // What the operator builds for a worker, as its own snapshot shows it.
    let snapshots = "operator/src/controller/build/snapshots";
    let built = read(&format!(
        "{snapshots}/operator__controller__build__tests__children_of_a_minimal_stream.snap"
    ))?;
    let monitor = of_kind(&objects, "PodMonitor")?;
    assert!(built.contains("app.kubernetes.io/name: binlog-worker"));
    assert_eq!(
        monitor["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"],
        json!("binlog-worker")
    );
    assert!(
        built.contains("name: admin")
            && monitor["spec"]["podMetricsEndpoints"][0]["port"] == "admin"
    );
    let label = crds::annotations::STREAM_LABEL.replace(['.', '/'], "_");
    let source = &monitor["spec"]["podMetricsEndpoints"][0]["relabelings"][0]["sourceLabels"][0];
    assert_eq!(source, &json!(format!("__meta_kubernetes_pod_label_{label}")));
    let errors = ["metrics.serviceMonitor.enabled=true", "--set", "metrics.service.enabled=false"];
    let errors =
        refuse("helm", &[&["template", RELEASE[0], RELEASE[1], "--set"][..], &errors].concat())?;
    assert!(errors.contains("needs metrics.service.enabled"), "{errors}");
    Ok(())
}
