//! From Rust types to the CRD that is shipped: rules as data, and the finishing of what the derive
//! produces (`tests/schema.rs` holds each property).

mod finish;
mod output;

pub use finish::{CrdError, crd, crd_json};
pub use output::outputs;

use serde_json::{Value, json};

/// One CEL rule: what must hold, and what a person reads when it does not. The message names the
/// field and the mend.
pub(crate) fn rule(holds: &str, message: &str) -> Value {
    json!({ "rule": holds, "message": message })
}

/// A rule whose refusal is shown at another field than the one it stands on.
pub(crate) fn rule_at(field: &str, holds: &str, message: &str) -> Value {
    json!({ "rule": holds, "message": message, "fieldPath": field })
}

/// The rule that a duration lies within bounds.
pub(crate) fn duration_within(field: &str, least: &str, most: &str) -> Value {
    rule(
        &format!("duration(self) >= duration('{least}') && duration(self) <= duration('{most}')"),
        &format!("{field} must be a duration from {least} to {most}"),
    )
}

/// The rule that a size lies within bounds.
pub(crate) fn quantity_within(field: &str, least: &str, most: &str) -> Value {
    rule(
        &format!(
            "quantity(self).compareTo(quantity('{least}')) >= 0 && \
             quantity(self).compareTo(quantity('{most}')) <= 0"
        ),
        &format!("{field} must be a size from {least} to {most}"),
    )
}

/// The rule that a field never changes.
pub(crate) fn fixed(message: &str) -> Value {
    rule("self == oldSelf", message)
}
