//! The chart, the kustomize tree and the README's tables. No cluster here; `install.rs` has one.
//!
//! `GENERATE=1` writes what is generated instead of comparing it.

#[path = "chart/argocd.rs"]
mod argocd;
#[path = "chart/flux.rs"]
mod flux;
#[path = "chart/monitoring.rs"]
mod monitoring;
#[path = "chart/overlays.rs"]
mod overlays;
#[path = "chart/values.rs"]
mod values;

use std::collections::BTreeMap;
use std::process::{Command, Output};

use crds::conditions::{ConditionType, Reason};
use e2e::site::tree;
use e2e::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

const RELEASE: [&str; 2] = ["binlog-operator", "charts/binlog-operator"];

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(tree().join(path)).context(|| format!("read {path}"))
}

/// Runs helm or kubectl from the set-up's cache.
fn run(program: &str, arguments: &[&str]) -> Result<Output> {
    Command::new(e2e::site::program(program)?)
        .args(arguments)
        .current_dir(tree())
        .env_remove("KUBECONFIG")
        .output()
        .context(|| format!("start {program}"))
}

fn succeed(program: &str, arguments: &[&str]) -> Result<String> {
    let output = run(program, arguments)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).context(|| format!("read what {program} printed"))
}

/// The error text of a command that must fail.
fn refuse(program: &str, arguments: &[&str]) -> Result<String> {
    let output = run(program, arguments)?;
    assert!(!output.status.success(), "{program} {arguments:?} was accepted");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn documents(text: &str) -> Result<Vec<Value>> {
    let documents = serde_yaml::Deserializer::from_str(text).map(Value::deserialize);
    let documents = documents.collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(documents.into_iter().filter(|value| !value.is_null()).collect())
}

/// The chart's objects with more of Helm's flags, without those of `helm test`.
fn template_with(flags: &[&str]) -> Result<Vec<Value>> {
    let place =
        ["template", RELEASE[0], RELEASE[1], "--namespace", "binlog-system", "--skip-tests"];
    documents(&succeed("helm", &[&place[..], flags].concat())?)
}

fn template(settings: &[&str]) -> Result<Vec<Value>> {
    let flags = settings.iter().flat_map(|setting| ["--set", setting]).collect::<Vec<_>>();
    template_with(&flags)
}

/// Holds a generated file to what it should be.
fn generated(path: &str, should: &str) -> Result<()> {
    if std::env::var_os("GENERATE").is_some() {
        std::fs::write(tree().join(path), should)?;
    }
    let is = read(path)?;
    assert!(
        is == should,
        "{path} is out of date; run this test with GENERATE=1. It should be:\n{should}"
    );
    Ok(())
}

/// The same for a block of a file, between `<!-- part: generated -->` and `<!-- end -->`.
fn block(path: &str, part: &str, should: &str) -> Result<()> {
    let start = format!("<!-- {part}: generated -->\n");
    let text = read(path)?;
    let (before, rest) = text.split_once(&start).context(|| format!("{path} has no {start}"))?;
    let (_, after) = rest.split_once("<!-- end -->\n").context(|| format!("{part} has no end"))?;
    generated(path, &format!("{before}{start}{should}\n<!-- end -->\n{after}"))
}

/// The first object of a kind.
fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Result<&'a Value> {
    objects.iter().find(|object| object["kind"] == kind).context(|| format!("no {kind} was made"))
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn name(object: &Value) -> String {
    format!(
        "{} {}/{}",
        text(object, "/kind"),
        text(object, "/metadata/namespace"),
        text(object, "/metadata/name")
    )
}

/// Objects by name, without the marks that say who installed them.
fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let objects = objects.into_iter().map(|mut object| {
        for (pointer, keys) in [
            ("/metadata/labels", &["helm.sh/chart", "app.kubernetes.io/managed-by"][..]),
            ("/metadata/annotations", &["helm.sh/resource-policy"][..]),
        ] {
            if let Some(map) = object.pointer_mut(pointer).and_then(Value::as_object_mut) {
                map.retain(|key, _| !keys.contains(&key.as_str()));
            }
        }
        if let Some(metadata) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) {
            for part in ["labels", "annotations"] {
                if metadata
                    .get(part)
                    .and_then(Value::as_object)
                    .is_some_and(serde_json::Map::is_empty)
                {
                    metadata.remove(part);
                }
            }
        }
        (name(&object), object)
    });
    objects.collect()
}

#[test]
fn chart_lints_without_a_warning() -> Result<()> {
    let report = succeed("helm", &["lint", "--strict", RELEASE[1]])?;
    assert!(!report.contains("[WARNING]") && !report.contains("[ERROR]"), "{report}");
    Ok(())
}

#[test]
fn crd_of_the_chart_is_the_generated_one_and_can_be_kept_or_left_out() -> Result<()> {
    let of = |objects: Vec<Value>| {
        objects.into_iter().find(|object| object["kind"] == "CustomResourceDefinition")
    };
    let kept = of(template(&[])?).context(|| "no definition was made")?;
    assert_eq!(
        kept.pointer("/metadata/annotations/helm.sh~1resource-policy"),
        Some(&json!("keep"))
    );
    let generated = documents(&read("crds/generated/binlogstreams.yaml")?)?;
    assert_eq!(by_name(vec![kept]), by_name(generated));
    let dropped = of(template(&["crds.keep=false"])?).context(|| "no definition was made")?;
    assert_eq!(dropped.pointer("/metadata/annotations/helm.sh~1resource-policy"), None);
    assert_eq!(of(template(&["crds.enabled=false"])?), None);
    Ok(())
}

fn rules(objects: &[Value]) -> impl Iterator<Item = (String, &Value)> {
    objects.iter().flat_map(|object| {
        let rules = object.get("rules").and_then(Value::as_array).into_iter().flatten();
        rules.map(|rule| (name(object), rule))
    })
}

fn words<'a>(rule: &'a Value, part: &str) -> Vec<&'a str> {
    rule[part].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn no_role_of_any_install_reaches_secrets_pods_or_more_roles_than_it_holds() -> Result<()> {
    for settings in [&[][..], &["watchNamespaces={shop,bank}", "clusterId=here"][..]] {
        for (role, rule) in rules(&template(settings)?) {
            let (resources, verbs) = (words(rule, "resources"), words(rule, "verbs"));
            for word in resources.iter().chain(&verbs).chain(&words(rule, "apiGroups")) {
                assert_ne!(*word, "*", "{role}: {rule}");
            }
            for resource in resources {
                assert!(
                    !["secrets", "pods/exec", "pods/log", "pods/attach", "pods/portforward"]
                        .contains(&resource),
                    "{role}: {rule}"
                );
            }
            for verb in verbs {
                assert!(!["escalate", "bind", "impersonate"].contains(&verb), "{role}: {rule}");
            }
        }
    }
    Ok(())
}

#[test]
fn edit_role_cannot_write_a_status() -> Result<()> {
    let objects = template(&[])?;
    let edit = objects.iter().find(|object| name(object) == "ClusterRole /binlog-operator-edit");
    for (_, rule) in rules(std::slice::from_ref(edit.context(|| "there is no edit role")?)) {
        assert_eq!(words(rule, "resources"), ["binlogstreams"]);
    }
    Ok(())
}

#[test]
fn namespaced_install_asks_for_a_cluster_id_and_has_no_cluster_wide_right() -> Result<()> {
    let shop = "watchNamespaces={shop,bank}";
    let errors = refuse("helm", &["template", RELEASE[0], RELEASE[1], "--set", shop])?;
    assert!(errors.contains("clusterId must be set") && errors.contains("kube-system"), "{errors}");
    let objects = template(&[shop, "clusterId=here", "rbac.aggregate=false"])?;
    let kinds = objects.iter().map(|object| text(object, "/kind")).collect::<Vec<_>>();
    assert!(!kinds.contains(&"ClusterRole") && !kinds.contains(&"ClusterRoleBinding"));
    for namespace in ["shop", "bank"] {
        let role = format!("Role {namespace}/binlog-operator");
        assert!(objects.iter().any(|object| name(object) == role), "{role} is missing");
    }
    Ok(())
}

#[test]
fn pods_meet_the_restricted_standard() -> Result<()> {
    let objects = template(&[])?;
    let deployment = of_kind(&objects, "Deployment")?;
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], json!(true));
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], json!("RuntimeDefault"));
    let container = &pod["containers"][0];
    assert_eq!(
        container["securityContext"],
        json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        })
    );
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        assert!(container[probe].is_object(), "{probe} is missing");
    }
    Ok(())
}

#[test]
fn operator_knows_every_argument_the_chart_gives_it() -> Result<()> {
    let settings = [
        "watchNamespaces={shop,bank}",
        "clusterId=here",
        "imagePullSecrets={pull}",
        "worker.imageAllowList={registry.example.com/db/}",
        "worker.allowedEndpoints={127.0.0.0/8,fd00::1}",
        "platformAssignsIds=true",
        "metrics.authentication.enabled=true",
        "tracing.otlp.endpoint=http://collector:4318",
        "tracing.otlp.headersSecret.name=otlp",
        "tracing.resourceAttributes.team=db",
    ];
    let objects = template(&settings)?;
    let deployment = of_kind(&objects, "Deployment")?;
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let arguments = words(container, "args");
    // --help still parses what stands before it.
    let output =
        Command::new(e2e::site::built("operator")?).args(&arguments).arg("--help").output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    Ok(())
}

#[test]
fn readme_tables_equal_the_closed_lists() -> Result<()> {
    let mut conditions = vec!["| Condition | Good when | What `True` says |".to_owned()];
    conditions.push("|---|---|---|".into());
    for kind in ConditionType::ALL {
        let good = if kind.true_is_good() { "True" } else { "False" };
        conditions.push(format!("| `{kind}` | {good} | {} |", kind.meaning()));
    }
    let mut reasons = vec!["| Reason | State | Meaning |".to_owned(), "|---|---|---|".into()];
    for reason in Reason::ALL {
        let class = format!("{:?}", reason.class());
        reasons.push(format!("| `{reason}` | {class} | {} |", reason.meaning()));
    }
    block("README.md", "spans", &crds::spans::tables())?;
    block("README.md", "conditions", &conditions.join("\n"))?;
    block("README.md", "reasons", &reasons.join("\n"))
}
