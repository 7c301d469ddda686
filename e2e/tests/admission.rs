//! The definition on a real apiserver: taken without a warning, each rule with an object it takes and one it
//! refuses, every field described, nothing in an applied object that was not asked for.

use std::time::Duration;

use crds::admission::{Case, Verdict, cases};
use e2e::control_plane::ControlPlane;
use e2e::wait::{Look, until};
use e2e::{Context, Failure, Result, site};
use hyper::{Method, Request, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

const LIMIT: Duration = Duration::from_secs(30);
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const STREAMS: &str = "/apis/binlogstream.io/v1alpha1/namespaces/default/binlogstreams";
/// An unknown field is a warning, as kubectl 1.24 and older had it; [`Answer::plain`] fails on any.
const WARN: &str = "fieldValidation=Warn";

/// What the apiserver answered.
struct Answer {
    status: StatusCode,
    warnings: Vec<String>,
    body: Value,
}

impl Answer {
    fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    /// Fails where it was refused or taken with a warning.
    fn plain(self, what: &str) -> Result<Value> {
        if !self.status.is_success() {
            return Err(Failure::new(format!("{what}: {} {}", self.status, self.message())));
        }
        if !self.warnings.is_empty() {
            return Err(Failure::new(format!("{what}: warnings {:?}", self.warnings)));
        }
        Ok(self.body)
    }
}

async fn call(client: &Client, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
    let content = match method {
        Method::PATCH => "application/merge-patch+json",
        _ => "application/json",
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content)
        .body(Body::from(body.map(Value::to_string).unwrap_or_default().into_bytes()))
        .context(|| format!("build a request for {path}"))?;
    let response = client.send(request).await?;
    let status = response.status();
    let warnings = response.headers().get_all("warning").iter();
    let warnings =
        warnings.map(|warning| String::from_utf8_lossy(warning.as_bytes()).into()).collect();
    let bytes = response.into_body().collect_bytes().await?;
    Ok(Answer { status, warnings, body: serde_json::from_slice(&bytes)? })
}

/// One control plane with the definition for all tests.
async fn plane() -> Result<&'static ControlPlane> {
    static PLANE: OnceCell<Result<ControlPlane>> = OnceCell::const_new();
    let plane = PLANE.get_or_init(install).await;
    plane.as_ref().map_err(|failure| Failure::new(failure.to_string()))
}

async fn install() -> Result<ControlPlane> {
    let plane = ControlPlane::start().await?;
    let client = plane.client().await?;
    let definition = crds::schema::crd_json().context(|| "put the definition together")?;
    call(&client, Method::POST, DEFINITIONS, Some(&definition)).await?.plain("the definition")?;
    let path = format!("{DEFINITIONS}/binlogstreams.binlogstream.io");
    until("the definition is established", LIMIT, || async {
        let answer = call(&client, Method::GET, &path, None).await?;
        let conditions =
            answer.body["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let held =
            |kind: &str| conditions.iter().any(|c| c["type"] == kind && c["status"] == "True");
        if held("NonStructuralSchema") {
            return Ok(Look::Never(format!("{conditions:?}")));
        }
        let served = call(&client, Method::GET, STREAMS, None).await?.status.is_success();
        Ok::<_, Failure>(Look::holds(held("Established") && served, || format!("{conditions:?}")))
    })
    .await?;
    Ok(plane)
}

/// What is wrong with the apiserver's verdict on a case, if anything.
async fn judge(client: &Client, case: &Case) -> Result<Option<String>> {
    let name = case.create["metadata"]["name"].as_str().context(|| "a case without a name")?;
    let path = format!("{STREAMS}/{name}");
    let mut answer =
        call(client, Method::POST, &format!("{STREAMS}?{WARN}"), Some(&case.create)).await?;
    let created = answer.status.is_success();
    if created && let Some(status) = &case.status {
        let status = json!({"status": status});
        call(client, Method::PATCH, &format!("{path}/status"), Some(&status))
            .await?
            .plain("the status")?;
    }
    if let Some(update) = &case.update {
        answer.plain("the object before the update")?;
        answer = call(client, Method::PATCH, &format!("{path}?{WARN}"), Some(update)).await?;
    }
    if created {
        call(client, Method::DELETE, &path, None).await?.plain("the deletion")?;
    }
    let status = answer.status;
    Ok(match &case.verdict {
        Verdict::Allowed(_) => {
            answer.plain("should be taken").err().map(|failure| failure.to_string())
        }
        Verdict::Refused(_) if status != StatusCode::UNPROCESSABLE_ENTITY => {
            Some(format!("should be refused: {status} {}", answer.message()))
        }
        Verdict::Refused(text) if !answer.message().contains(text) => {
            Some(format!("the refusal does not say {text:?}: {}", answer.message()))
        }
        Verdict::Refused(_) => None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_rule_is_held_with_its_message_and_without_a_warning() -> Result<()> {
    let client = plane().await?.client().await?;
    let cases = cases().context(|| "read the cases")?;
    let mut wrong = Vec::new();
    for case in &cases {
        let verdict = judge(&client, case).await;
        let found = verdict.unwrap_or_else(|failure| Some(failure.to_string()));
        wrong.extend(found.map(|what| format!("{}: {what}", case.name)));
    }
    let refused = cases.iter().filter(|case| matches!(case.verdict, Verdict::Refused(_))).count();
    println!("{} cases taken, {refused} refused", cases.len() - refused);
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    Ok(())
}

/// Every field of a published schema that has no description.
fn undescribed(schema: &Value, path: &str, found: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        if field["description"].as_str().is_none_or(str::is_empty) {
            found.push(path.clone());
        }
        undescribed(field, &path, found);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            undescribed(&schema[inner], path, found);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_has_a_description_for_every_field() -> Result<()> {
    let plane = plane().await?;
    let client = plane.client().await?;
    let published = until("the schema is published", LIMIT, || async {
        let answer =
            call(&client, Method::GET, "/openapi/v3/apis/binlogstream.io/v1alpha1", None).await?;
        let schema =
            answer.body["components"]["schemas"]["io.binlogstream.v1alpha1.BinlogStream"].clone();
        Ok::<_, Failure>(Look::from_option(schema.is_object().then_some(schema), || {
            "not yet".into()
        }))
    })
    .await?;
    // The metadata's fields are Kubernetes' own.
    let mut found = Vec::new();
    for part in ["spec", "status"] {
        undescribed(&published["properties"][part], part, &mut found);
    }
    assert!(found.is_empty(), "{found:?}");
    for field in ["stream", "streams.spec.archive.commit.maxDelay", "bls.status.conditions.reason"]
    {
        let text = plane.kubectl(&["explain", field]).await?;
        let (_, description) = text.split_once("DESCRIPTION:").context(|| text.clone())?;
        assert!(
            description.trim().len() > 20 && !description.contains("<empty>"),
            "{field}: {text}"
        );
    }
    let spec = plane.kubectl(&["explain", "streams.spec"]).await?;
    assert!(!spec.contains("<no description>"), "{spec}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_applied_sample_shows_no_difference_and_a_typo_is_refused() -> Result<()> {
    let plane = plane().await?;
    plane.kubectl(&["create", "namespace", "samples"]).await?;
    let mut seen = 0;
    for entry in std::fs::read_dir(site::tree().join("config/samples"))? {
        let file = entry?.path().display().to_string();
        let applied = plane.kubectl(&["apply", "-n", "samples", "-f", &file]).await?;
        assert!(applied.contains("created"), "{file}: {applied}");
        // kubectl ends with 1 where there is a difference.
        let difference = plane.kubectl(&["diff", "-n", "samples", "-f", &file]).await?;
        assert_eq!(difference, "", "{file}");
        let again = plane.kubectl(&["apply", "-n", "samples", "-f", &file]).await?;
        assert!(again.contains("unchanged"), "{file}: {again}");
        seen += 1;
    }
    assert!(seen >= 8, "only {seen} samples");
    let sample = std::fs::read_to_string(site::tree().join("config/samples/paused.yaml"))?;
    let file = site::folder("typo")?.join("typo.yaml");
    std::fs::write(&file, sample.replace("  archive:", "  archiv:"))?;
    let refused =
        plane.kubectl(&["apply", "-n", "samples", "-f", &file.display().to_string()]).await;
    let said = refused.err().map(|failure| failure.to_string()).unwrap_or_default();
    assert!(said.contains("unknown field \"spec.archiv\""), "{said}");
    Ok(())
}
