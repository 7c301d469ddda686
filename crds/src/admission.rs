//! What an apiserver must accept and refuse, as data: the crate's tests hold the list against the
//! definition, and the end-to-end tests replay it on a real apiserver.

use serde_json::{Map, Value};

const CASES: &str = include_str!("admission/cases.yaml");

/// One object, or one change of it, and the verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// What the case shows.
    pub name: String,
    /// The object to create.
    pub create: Value,
    /// What to write into its status after that.
    pub status: Option<Value>,
    /// What to merge into the created object and send (RFC 7396). The verdict is on this if given,
    /// else on the creation.
    pub update: Option<Value>,
    /// Accepted or refused.
    pub verdict: Verdict,
}

/// Accepted or refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Accepted. The text is part of the message of the rule that the case satisfies, or says what
    /// the case shows.
    Allowed(String),
    /// Refused. The text is part of the message that a person reads.
    Refused(String),
}

/// The list could not be read: a fault of this crate, held by its tests.
#[derive(Debug, thiserror::Error)]
pub enum CasesError {
    /// The file is not what it should be.
    #[error("read admission cases: {0}")]
    Malformed(String),
}

/// Every case, its lists written out.
///
/// # Errors
/// The file is not what it should be.
pub fn cases() -> Result<Vec<Case>, CasesError> {
    let file: Value =
        serde_yaml::from_str(CASES).map_err(|error| CasesError::Malformed(error.to_string()))?;
    let base = field(&file, "base")?;
    let cases = field(&file, "cases")?.as_array().ok_or_else(|| malformed("cases"))?;
    cases.iter().map(|case| read(base, case)).collect()
}

/// Merges a patch into an object as RFC 7396 says: null removes.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return };
    for (key, change) in patch {
        if change.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}

fn read(base: &Value, case: &Value) -> Result<Case, CasesError> {
    let name = text(case, "name")?.to_owned();
    let mut create = base.clone();
    if let Some(patch) = case.get("patch") {
        merge(&mut create, patch);
    }
    for fill in case.get("fill").and_then(Value::as_array).into_iter().flatten() {
        merge(&mut create, &filled(fill)?);
    }
    let verdict = match (case.get("allows"), case.get("refuses")) {
        (Some(_), None) => Verdict::Allowed(text(case, "allows")?.to_owned()),
        (None, Some(_)) => Verdict::Refused(text(case, "refuses")?.to_owned()),
        _ => return Err(malformed(&name)),
    };
    let part = |key| case.get(key).cloned();
    Ok(Case { name, create, status: part("status"), update: part("update"), verdict })
}

/// A patch that puts a list, or a text of a given length, at a path.
fn filled(fill: &Value) -> Result<Value, CasesError> {
    let length = fill.get("length").and_then(Value::as_u64).unwrap_or_default() as usize;
    let value = match fill.get("count").and_then(Value::as_u64) {
        None => Value::from(write_out(text(fill, "text")?, 0, length)),
        Some(count) => {
            let template = text(fill, "item")?;
            let mut items: Vec<Value> =
                (0..count).map(|n| Value::from(write_out(template, n, length))).collect();
            if let (Some(last), Some(item)) = (fill.get("last"), items.last_mut()) {
                *item = last.clone();
            }
            Value::from(items)
        }
    };
    let wrap = |inner: Value, key: &str| Value::Object(Map::from_iter([(key.to_owned(), inner)]));
    Ok(text(fill, "path")?.rsplit('.').fold(value, wrap))
}

/// `{n}`: the number, `{s}`: what makes `s0063` a name of 64, `{x}`: as many letters as are missing.
fn write_out(template: &str, n: u64, length: usize) -> String {
    let item = template.replace("{n}", &format!("{n:04}")).replace("{s}", &"x".repeat(59));
    let missing = (length + "{x}".len()).saturating_sub(item.chars().count());
    item.replace("{x}", &"x".repeat(missing))
}

fn field<'a>(value: &'a Value, key: &str) -> Result<&'a Value, CasesError> {
    value.get(key).ok_or_else(|| malformed(key))
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str, CasesError> {
    field(value, key)?.as_str().ok_or_else(|| malformed(key))
}

fn malformed(what: &str) -> CasesError {
    CasesError::Malformed(format!("{what} is missing or of the wrong kind"))
}
