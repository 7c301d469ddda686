//! What a configuration must satisfy before anything is touched. Pure; the same checks serve the
//! operator (which builds the file) and the worker (which reads it). The resource's own rules stand
//! in the CRD; here the same bounds hold for files that no apiserver has seen.

mod bounds;
mod parts;

use super::WorkerConfig;
use super::parse::ConfigError;

/// A field that cannot work as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value:?}: {message}")]
pub struct FieldError {
    /// Path of the field.
    pub field: String,
    /// Its value, cut to 80 characters. No secret stands in a configuration.
    pub value: String,
    /// What is wrong, and what mends it.
    pub message: String,
}

/// Something that works and should be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Path of the field.
    pub field: String,
    /// What should be known.
    pub message: String,
}

/// Collects what is wrong.
#[derive(Default)]
pub(super) struct Findings(Vec<FieldError>);

impl Findings {
    /// Notes a field unless it holds.
    #[allow(clippy::needless_pass_by_value, reason = "numbers and texts alike, at 60 call sites")]
    pub(super) fn require(
        &mut self,
        holds: bool,
        field: &str,
        value: impl ToString,
        message: impl Into<String>,
    ) {
        if !holds {
            let value = value.to_string().chars().take(80).collect();
            self.0.push(FieldError { field: field.to_owned(), value, message: message.into() });
        }
    }
}

impl WorkerConfig {
    /// Everything that cannot work; empty when all can.
    pub fn validate(&self) -> Vec<FieldError> {
        let mut found = Findings::default();
        parts::check(self, &mut found);
        found.0
    }

    /// What works and should be known by who runs it.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if self.archive.raw.enabled && !self.filter.is_empty() {
            warnings.push(Warning {
                field: "filter".to_owned(),
                message: "the filter is for the change log only; the raw archive holds every \
                          schema. Set archive.raw.enabled to false if that must not be"
                    .to_owned(),
            });
        }
        warnings
    }

    /// `Ok` if [`validate`](Self::validate) finds nothing.
    ///
    /// # Errors
    /// Every field that cannot work.
    pub fn checked(self) -> Result<Self, ConfigError> {
        let errors = self.validate();
        if errors.is_empty() { Ok(self) } else { Err(ConfigError::Invalid(errors)) }
    }
}
