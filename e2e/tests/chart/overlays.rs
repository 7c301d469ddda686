//! `config/`: each way of installing with kubectl gives the objects of the chart with the same choice made.

use super::*;

const MONITORING: [&str; 5] = [
    "metrics.serviceMonitor.enabled=true",
    "metrics.podMonitor.enabled=true",
    "metrics.prometheusRule.enabled=true",
    "metrics.dashboard.enabled=true",
    "metrics.kubeStateMetrics.enabled=true",
];
const NAMESPACED: [&str; 3] = [
    "watchNamespaces={shop,bank}",
    "clusterId=9b2f6a7e-0000-4000-8000-000000000000",
    "rbac.aggregate=false",
];

fn kustomize(folder: &str) -> Result<BTreeMap<String, Value>> {
    let mut objects = by_name(documents(&succeed("kubectl", &["kustomize", folder])?)?);
    // Helm makes the namespace by a flag.
    assert!(objects.remove("Namespace /binlog-system").is_some(), "{folder} makes no namespace");
    Ok(objects)
}

fn same(folder: &str, settings: &[&str]) -> Result<()> {
    let (chart, kustomize) = (by_name(template(settings)?), kustomize(folder)?);
    assert_eq!(
        chart.keys().collect::<Vec<_>>(),
        kustomize.keys().collect::<Vec<_>>(),
        "objects of the chart, objects of {folder}"
    );
    for (name, object) in &chart {
        assert_eq!(object, &kustomize[name], "{name}: chart, {folder}");
    }
    Ok(())
}

#[test]
fn kustomize_gives_the_same_objects_as_the_chart() -> Result<()> {
    same("config/default", &[])
}

#[test]
fn namespaced_overlay_gives_the_same_objects_as_the_chart() -> Result<()> {
    same("config/namespaced", &NAMESPACED)
}

#[test]
fn prometheus_overlay_gives_the_same_objects_as_the_chart() -> Result<()> {
    let plain = by_name(template(&[])?);
    let mut file = String::from("# Generated from the chart's templates; do not edit.\n");
    for (name, object) in by_name(template(&MONITORING)?) {
        if !plain.contains_key(&name) {
            file.push_str("---\n");
            file.push_str(&serde_yaml::to_string(&object)?);
        }
    }
    generated("config/prometheus/monitoring.yaml", &file)?;
    same("config/prometheus", &MONITORING)
}

#[test]
fn flux_examples_install_this_chart_and_count_a_paused_stream_as_done() -> Result<()> {
    let release = documents(&read("config/flux/helmrelease.yaml")?)?;
    let release = of_kind(&release, "HelmRelease")?;
    let values = documents(&read("charts/binlog-operator/values.yaml")?)?.remove(0);
    for key in release["spec"]["values"].as_object().into_iter().flatten().map(|(key, _)| key) {
        assert!(values.get(key).is_some(), "the chart has no value {key}");
    }
    assert_eq!(
        text(release, "/spec/upgrade/crds"),
        "",
        "the definition is a template of the chart"
    );
    let streams = documents(&read("config/flux/streams.yaml")?)?;
    let check = &of_kind(&streams, "Kustomization")?["spec"]["healthCheckExprs"][0];
    assert_eq!(text(check, "/apiVersion"), "binlogstream.io/v1alpha1");
    assert_eq!(text(check, "/kind"), "BinlogStream");
    let known = ConditionType::ALL.map(ConditionType::as_str);
    for verdict in ["current", "failed", "inProgress"] {
        let expression = text(check, &format!("/{verdict}"));
        let mut asked = expression.split("type == '").skip(1).peekable();
        assert!(asked.peek().is_some() || expression.contains("observedGeneration"), "{verdict}");
        for kind in asked.filter_map(|rest| rest.split('\'').next()) {
            assert!(known.contains(&kind), "{verdict} asks for condition {kind}");
        }
    }
    Ok(())
}
