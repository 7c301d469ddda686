//! What the derive cannot say.
//!
//! - `Option` fields lose `nullable`: an explicit null is then dropped, as with every other CRD.
//! - `format: uint*` goes: the apiserver warns of formats it does not know.
//! - Descriptions lose the line ends of the source; kubectl breaks lines itself.
//! - The root gets its rules, the status its default (an object without a status must not read as
//!   finished to kstatus).

use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use super::{rule, rule_at};
use crate::v1alpha1::BinlogStream;

/// The CRD could not be put together: a fault of this crate, held by its tests.
#[derive(Debug, thiserror::Error)]
pub enum CrdError {
    /// Turning the derived CRD into JSON or back.
    #[error("turn the derived resource definition into json")]
    Json(#[from] serde_json::Error),
    /// Writing it as YAML.
    #[error("write the resource definition as yaml")]
    Yaml(#[from] serde_yaml::Error),
    /// A bound that is no whole number.
    #[error("write the resource definition: {0} is no whole number")]
    Number(String),
    /// A part that must exist does not.
    #[error("finish the resource definition: {0} is missing")]
    Missing(&'static str),
}

/// The CRD as an object of the Kubernetes API.
pub fn crd() -> Result<
    k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    CrdError,
> {
    Ok(serde_json::from_value(crd_json()?)?)
}

/// The CRD as it is shipped.
pub fn crd_json() -> Result<Value, CrdError> {
    let mut crd = serde_json::to_value(BinlogStream::crd())?;
    let schema = crd
        .pointer_mut("/spec/versions/0/schema/openAPIV3Schema")
        .ok_or(CrdError::Missing("openAPIV3Schema"))?;
    clean(schema);
    let root = schema.as_object_mut().ok_or(CrdError::Missing("root schema"))?;
    root.insert("x-kubernetes-validations".into(), json!(root_rules()));
    let status = schema
        .pointer_mut("/properties/status")
        .and_then(Value::as_object_mut)
        .ok_or(CrdError::Missing("status"))?;
    status.insert("default".into(), json!({ "observedGeneration": -1 }));
    if let Some(root) = crd.as_object_mut() {
        root.remove("status");
    }
    Ok(crd)
}

fn root_rules() -> [Value; 2] {
    [
        rule(
            "self.metadata.name.matches('^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$')",
            "metadata.name must have at most 52 characters, begin with a letter and hold only \
             a-z, 0-9 and -; names of the objects made for it are derived from it",
        ),
        rule_at(
            ".spec.start",
            "!has(oldSelf.status) || !has(oldSelf.status.start) || self.spec.start == oldSelf.spec.start",
            "spec.start is pinned once resolved; reset the checkpoint or create a new BinlogStream",
        ),
    ]
}

/// Walks a schema and everything in it.
fn clean(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            clean_object(object);
            object.values_mut().for_each(clean);
        }
        Value::Array(items) => items.iter_mut().for_each(clean),
        _ => {}
    }
}

fn clean_object(object: &mut Map<String, Value>) {
    // `nullable: true` is a keyword; a property of that name would be an object.
    if object.get("nullable").is_some_and(Value::is_boolean) {
        object.remove("nullable");
    }
    if object.get("format").and_then(Value::as_str).is_some_and(|f| f.starts_with("uint")) {
        object.remove("format");
    }
    if let Some(Value::String(text)) = object.get_mut("description") {
        let paragraphs: Vec<String> = text.split("\n\n").map(|p| p.replace('\n', " ")).collect();
        *text = paragraphs.join("\n\n");
    }
    if let Some(values) = object.get_mut("enum").and_then(Value::as_array_mut) {
        values.retain(|value| !value.is_null());
    }
}
