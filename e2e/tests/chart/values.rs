//! The chart's values: documented one by one, held by a strict schema, listed in the chart's README.

use super::*;

const VALUES: &str = "charts/binlog-operator/values.yaml";
const SCHEMA: &str = "charts/binlog-operator/values.schema.json";
const README: &str = "charts/binlog-operator/README.md";

fn schema() -> Result<Value> {
    Ok(serde_json::from_str(&read(SCHEMA)?)?)
}

#[test]
fn typos_are_refused_by_the_values_schema() -> Result<()> {
    let typos = [
        ("replica=2", "replica"),
        ("image.tags=1", "tags"),
        ("image.pullPolicy=Allways", "pullPolicy"),
        ("watchNamespace=shop", "watchNamespace"),
        ("crd.enabled=true", "crd"),
        ("crds.keeep=true", "keeep"),
        ("worker.resources.limit.memory=1Gi", "limit"),
        ("worker.resources.limits.memory=1gb", "memory"),
        ("worker.spool.sizes=1Gi", "sizes"),
        ("worker.terminationGracePeriod=60", "terminationGracePeriod"),
        ("worker.log.level=verbose", "level"),
        ("metrics.service.enable=true", "enable"),
        ("metrics.podMonitor.interval=30", "interval"),
        ("networkPolicy.apiServerPort=443", "apiServerPort"),
        ("rbac.create=yes", "create"),
        ("image.digest=sha256:abc", "digest"),
        ("rollout.atonce=2", "atonce"),
        ("rollout.atOnce=0", "atOnce"),
        ("tracing.otlp.endpoint=collector:4318", "endpoint"),
        ("tracing.otlp.endpoint=http://tenant:secret@collector", "endpoint"),
        ("tracing.otlp.headersSecret=otlp", "headersSecret"),
        ("tracing.ratio=1.5", "ratio"),
        ("tracing.endpoint=http://collector", "tracing"),
    ];
    for (typo, word) in typos {
        let errors = refuse("helm", &["template", RELEASE[0], RELEASE[1], "--set", typo])?;
        assert!(
            errors.contains("values don't meet the specifications") && errors.contains(word),
            "{typo}: {errors}"
        );
    }
    Ok(())
}

#[test]
fn schema_is_strict_everywhere_and_knows_every_value() -> Result<()> {
    for values in documents(&read(VALUES)?)? {
        known(&values, &schema()?, "");
    }
    strict(&schema()?, "");
    Ok(())
}

fn known(value: &Value, schema: &Value, path: &str) {
    let Some(map) = value.as_object() else { return };
    let Some(properties) = schema.get("properties") else { return };
    for (key, value) in map {
        assert!(properties.get(key).is_some(), "{path}.{key} is not in the schema");
        known(value, &properties[key], &format!("{path}.{key}"));
    }
}

fn strict(schema: &Value, path: &str) {
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        // The halves of an if-then name no new keys.
        if schema.get("type").is_some() {
            assert_eq!(schema["additionalProperties"], json!(false), "{path} lets typos through");
        }
        for (key, part) in properties {
            strict(part, &format!("{path}.{key}"));
        }
    }
    if let Some(items) = schema.get("items") {
        strict(items, &format!("{path}[]"));
    }
}

/// Every key of the values with the comment directly above it, in order.
fn commented(yaml: &str) -> Vec<(String, String)> {
    let (mut path, mut comment, mut found) = (Vec::new(), Vec::new(), Vec::new());
    for line in yaml.lines() {
        let text = line.trim_start();
        if let Some(words) = text.strip_prefix("# ") {
            comment.push(words);
        } else if let Some((key, _)) = text.split_once(':') {
            path.truncate((line.len() - text.len()) / 2);
            path.push(key);
            found.push((path.join("."), comment.join(" ")));
            comment.clear();
        } else {
            comment.clear();
        }
    }
    found
}

/// The keys that get a line of their own: those with a comment and none with a comment below.
fn rows(all: &[(String, String)]) -> Vec<(&str, &str)> {
    let described = |(_, comment): &&(String, String)| !comment.is_empty();
    let rows = all.iter().filter(described).filter(|(path, _)| {
        !all.iter().filter(described).any(|(other, _)| other.starts_with(&format!("{path}.")))
    });
    rows.map(|(path, comment)| (&**path, &**comment)).collect()
}

#[test]
fn every_value_has_a_comment() -> Result<()> {
    let text = read(VALUES)?;
    let all = commented(&text);
    let rows = rows(&all);
    for (path, _) in &all {
        let covered = rows.iter().any(|(row, _)| {
            row == path
                || path.starts_with(&format!("{row}."))
                || row.starts_with(&format!("{path}."))
        });
        assert!(covered, "{path} has no comment");
    }
    Ok(())
}

/// The type of a value in words.
fn kind(schema: &Value) -> String {
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
    }
    if let Some(words) = schema["type"].as_array() {
        return words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or ");
    }
    match (text(schema, "/type"), schema["minimum"].as_i64(), schema["maximum"].as_i64()) {
        ("integer", Some(least), Some(most)) => format!("{least} to {most}"),
        ("boolean", ..) => "true, false".into(),
        ("array", ..) => "list".into(),
        ("object", ..) => "map".into(),
        (other, ..) => other.into(),
    }
}

#[test]
fn readme_of_the_chart_lists_every_value() -> Result<()> {
    let (yaml, schema) = (read(VALUES)?, schema()?);
    let values = documents(&yaml)?.remove(0);
    let all = commented(&yaml);
    let mut table =
        vec!["| Value | Type | Default | What it does |".to_owned(), "|---|---|---|---|".into()];
    for (path, comment) in rows(&all) {
        let default = &values.pointer(&format!("/{}", path.replace('.', "/")));
        let default = default.context(|| format!("{path} has no default"))?;
        let part = path.split('.').fold(&schema, |at, key| &at["properties"][key]);
        let comment = comment.replace('|', "\\|");
        table.push(format!("| `{path}` | {} | `{default}` | {comment} |", kind(part)));
    }
    block(README, "values", &table.join("\n"))
}

#[test]
fn every_example_lints_and_renders() -> Result<()> {
    let mut seen = 0;
    for entry in std::fs::read_dir(tree().join("charts/binlog-operator/examples"))? {
        let file = entry?.path();
        let file = file.display().to_string();
        let report = succeed("helm", &["lint", "--strict", RELEASE[1], "--values", &file])?;
        assert!(!report.contains("[WARNING]") && !report.contains("[ERROR]"), "{file}: {report}");
        assert!(!template_with(&["--values", &file])?.is_empty());
        seen += 1;
    }
    assert!(seen >= 5, "only {seen} examples");
    Ok(())
}

fn example(name: &str) -> Result<Vec<Value>> {
    template_with(&["--values", &format!("charts/binlog-operator/examples/{name}.yaml")])
}

#[test]
fn two_replicas_are_spread_over_nodes_and_evicted_one_by_one() -> Result<()> {
    let objects = example("ha")?;
    let budget = of_kind(&objects, "PodDisruptionBudget")?;
    let deployment = of_kind(&objects, "Deployment")?;
    let pod = &deployment["spec"]["template"];
    assert_eq!(budget["spec"]["maxUnavailable"], json!(1));
    assert_eq!(budget["spec"]["selector"], deployment["spec"]["selector"]);
    assert_eq!(deployment["spec"]["replicas"], json!(2));
    let spread = pod["spec"]["topologySpreadConstraints"].as_array().context(|| "no spread")?;
    for constraint in spread {
        let wanted = constraint["labelSelector"]["matchLabels"].as_object();
        for (key, value) in wanted.into_iter().flatten() {
            assert_eq!(&pod["metadata"]["labels"][key], value, "the spread selects other pods");
        }
    }
    assert!(
        of_kind(
            &template(&["replicas=2", "podDisruptionBudget.enabled=false"])?,
            "PodDisruptionBudget"
        )
        .is_err()
    );
    assert!(
        of_kind(&template(&[])?, "PodDisruptionBudget").is_err(),
        "one replica must be evictable"
    );
    Ok(())
}

#[test]
fn openshift_assigns_all_ids() -> Result<()> {
    let objects = example("openshift")?;
    let pod = &of_kind(&objects, "Deployment")?["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"].get("runAsUser"), None);
    assert_eq!(pod["securityContext"].get("runAsGroup"), None);
    let arguments = words(&pod["containers"][0], "args");
    assert!(arguments.contains(&"--worker-run-as-user=none"), "{arguments:?}");
    Ok(())
}

#[test]
fn an_air_gap_takes_both_images_from_the_mirror_by_digest() -> Result<()> {
    let objects = example("air-gap")?;
    let pod = &of_kind(&objects, "Deployment")?["spec"]["template"]["spec"];
    let mirror = "mirror.example.internal/databases/binlog-";
    let image = text(&pod["containers"][0], "/image");
    assert!(image.starts_with(mirror) && image.contains("operator@sha256:"), "{image}");
    let arguments = words(&pod["containers"][0], "args");
    let worker = format!("--worker-image={mirror}worker@sha256:");
    assert!(arguments.iter().any(|argument| argument.starts_with(&worker)), "{arguments:?}");
    assert_eq!(pod["imagePullSecrets"], json!([{"name": "mirror"}]));
    Ok(())
}

#[test]
fn common_labels_are_on_every_object_and_never_in_a_selector() -> Result<()> {
    let labels = json!({"commonLabels": {"team": "db"}, "podLabels": {"team": "pods"}});
    let mut file = tempfile::NamedTempFile::with_suffix(".yaml")?;
    std::io::Write::write_all(&mut file, labels.to_string().as_bytes())?;
    let objects = template_with(&["--values", &file.path().display().to_string()])?;
    for object in &objects {
        if text(object, "/kind") != "CustomResourceDefinition" {
            assert_eq!(text(object, "/metadata/labels/team"), "db", "{}", name(object));
        }
    }
    let deployment = of_kind(&objects, "Deployment")?;
    assert_eq!(deployment["spec"]["selector"]["matchLabels"].get("team"), None);
    assert_eq!(text(deployment, "/spec/template/metadata/labels/team"), "pods");
    Ok(())
}

#[test]
fn variables_are_added_behind_those_the_operator_needs() -> Result<()> {
    let objects = template(&["extraEnv[0].name=HTTPS_PROXY", "extraEnv[0].value=proxy:3128"])?;
    let container = &of_kind(&objects, "Deployment")?["spec"]["template"]["spec"]["containers"][0];
    let names =
        container["env"].as_array().into_iter().flatten().map(|variable| text(variable, "/name"));
    let last = ["MALLOC_TRIM_THRESHOLD_", "HTTPS_PROXY"];
    assert_eq!(names.collect::<Vec<_>>()[4..], last, "after the chart's own");
    Ok(())
}

/// Values of a collector with everything that can be said of it.
const COLLECTOR: [&str; 5] = [
    "tracing.otlp.endpoint=https://[fd00::1]:4319/in",
    "tracing.otlp.headersSecret.name=otlp",
    "tracing.ratio=0.05",
    "tracing.resourceAttributes.deployment\\.environment\\.name=test",
    "tracing.resourceAttributes.team=db",
];

#[test]
fn a_collector_of_traces_is_told_to_the_operator_and_for_its_workers() -> Result<()> {
    let objects = template(&COLLECTOR)?;
    let container = &of_kind(&objects, "Deployment")?["spec"]["template"]["spec"]["containers"][0];
    let variables = container["env"].as_array().into_iter().flatten();
    let told = variables.filter(|variable| text(variable, "/name").starts_with("OTEL_"));
    assert_eq!(
        told.cloned().collect::<Vec<_>>(),
        [
            json!({"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "https://[fd00::1]:4319/in"}),
            json!({"name": "OTEL_TRACES_SAMPLER", "value": "parentbased_traceidratio"}),
            json!({"name": "OTEL_TRACES_SAMPLER_ARG", "value": "0.05"}),
            json!({"name": "OTEL_RESOURCE_ATTRIBUTES",
                "value": "deployment.environment.name=test,team=db"}),
            json!({"name": "OTEL_EXPORTER_OTLP_HEADERS", "valueFrom": {
                "secretKeyRef": {"name": "otlp", "key": "headers", "optional": true}}}),
        ]
    );
    let arguments = words(container, "args").into_iter();
    let of_workers = arguments.filter(|argument| {
        ["otlp", "traces", "attributes"].iter().any(|part| argument.contains(part))
    });
    assert_eq!(
        of_workers.collect::<Vec<_>>(),
        [
            "--worker-otlp-endpoint=https://[fd00::1]:4319/in",
            "--worker-otlp-headers-secret=otlp",
            "--worker-otlp-headers-key=headers",
            "--worker-traces-ratio=0.05",
            "--worker-resource-attributes=deployment.environment.name=test,team=db",
        ]
    );
    let none = template(&COLLECTOR[1..])?;
    let none = of_kind(&none, "Deployment")?.to_string();
    assert!(!none.contains("OTEL_") && !none.contains("otlp"), "there is no collector: {none}");
    Ok(())
}

#[test]
fn policies_lead_to_the_collector_of_traces_by_its_port() -> Result<()> {
    for (endpoint, port) in [
        ("http://collector.observability:4318", 4318),
        ("https://[fd00::1]:4319/in", 4319),
        ("https://otlp.example.com/in", 443),
        ("http://collector", 80),
    ] {
        let endpoint = format!("tracing.otlp.endpoint={endpoint}");
        let objects = template(&[
            &endpoint,
            "networkPolicy.enabled=true",
            "networkPolicy.workers.enabled=true",
            "networkPolicy.workers.namespaces={shop}",
        ])?;
        let policies = objects.iter().filter(|object| text(object, "/kind") == "NetworkPolicy");
        let last: Vec<_> = policies
            .map(|policy| policy["spec"]["egress"].as_array().and_then(|rules| rules.last()))
            .collect();
        assert_eq!(last, [Some(&json!({"ports": [{"port": port}]})); 2], "{endpoint}");
    }
    Ok(())
}

#[test]
fn policies_let_through_what_operator_and_workers_need() -> Result<()> {
    let objects = example("namespaced")?;
    let policies = objects.iter().filter(|object| text(object, "/kind") == "NetworkPolicy");
    let policies = policies.map(|policy| (name(policy), policy)).collect::<BTreeMap<_, _>>();
    assert_eq!(
        policies.keys().collect::<Vec<_>>(),
        [
            "NetworkPolicy bank/binlog-operator-workers",
            "NetworkPolicy binlog-system/binlog-operator",
            "NetworkPolicy shop/binlog-operator-workers",
        ]
    );
    let ports = |policy: &Value| {
        let rules = policy["spec"]["egress"].as_array().into_iter().flatten();
        let ports = rules.flat_map(|rule| rule["ports"].as_array().into_iter().flatten());
        ports.filter_map(|port| port["port"].as_u64()).collect::<Vec<_>>()
    };
    assert_eq!(
        ports(policies["NetworkPolicy binlog-system/binlog-operator"]),
        [53, 53, 443, 6443, 8080]
    );
    let worker = policies["NetworkPolicy shop/binlog-operator-workers"];
    assert_eq!(ports(worker), [53, 53, 3306, 443, 6443]);
    let from = &worker["spec"]["ingress"][0]["from"][0];
    assert_eq!(
        text(from, "/namespaceSelector/matchLabels/kubernetes.io~1metadata.name"),
        "binlog-system"
    );
    let set = ["networkPolicy.workers.enabled=true", "--set", "networkPolicy.enabled=true"];
    let errors =
        refuse("helm", &[&["template", RELEASE[0], RELEASE[1], "--set"][..], &set].concat())?;
    assert!(errors.contains("networkPolicy.workers.namespaces must name"), "{errors}");
    Ok(())
}

#[test]
fn chart_carries_the_version_of_the_workspace_and_what_a_catalogue_shows() -> Result<()> {
    let chart = documents(&read("charts/binlog-operator/Chart.yaml")?)?.remove(0);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!((text(&chart, "/version"), text(&chart, "/appVersion")), (version, version));
    let annotation =
        |key: &str| text(&chart["annotations"], &format!("/artifacthub.io~1{key}")).to_owned();
    let images = documents(&annotation("images"))?.remove(0);
    for (image, name) in images.as_array().into_iter().flatten().zip(["operator", "worker"]) {
        assert_eq!(text(image, "/image"), format!("binlog-{name}:{version}"));
    }
    let examples = documents(&annotation("crdsExamples"))?.remove(0);
    let sample = documents(&read("config/samples/orders-mysql-s3.yaml")?)?;
    let stream = sample.iter().find(|object| object["kind"] == "BinlogStream");
    assert_eq!(Some(&examples[0]), stream, "the example is the first sample");
    for key in ["category", "changes", "crds", "license", "operatorCapabilities", "prerelease"] {
        assert!(!annotation(key).is_empty(), "no annotation {key}");
    }
    Ok(())
}
