//! Text to configuration.

mod shape;

use serde_json::Value;

use super::WorkerConfig;
use super::validate::FieldError;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The text is neither YAML nor JSON.
    #[error("read configuration: it is no valid yaml: {0}")]
    Syntax(String),
    /// A key is not known.
    #[error("read configuration: {field} is not known{suggestion}")]
    UnknownKey {
        /// Path of the key.
        field: String,
        /// A key that was probably meant, in words.
        suggestion: String,
    },
    /// A value is of the wrong kind, or a field is missing.
    #[error("read configuration: {field}: {problem}")]
    Value {
        /// Path of the field, or of the part that lacks one.
        field: String,
        /// What is wrong.
        problem: String,
    },
    /// Values that cannot work.
    #[error("check configuration: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<FieldError>),
}

impl WorkerConfig {
    /// Reads the file's text and validates it.
    ///
    /// # Errors
    /// It is no YAML, a key is not known, a value is of the wrong kind, or cannot work.
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        let value: Value =
            serde_yaml::from_str(text).map_err(|error| ConfigError::Syntax(error.to_string()))?;
        let schema = schemars::generate::SchemaSettings::draft07()
            .with(|settings| settings.inline_subschemas = true)
            .into_generator()
            .into_root_schema_for::<Self>()
            .to_value();
        shape::check(&schema, &value, "")?;
        let config: Self = serde_json::from_value(value).map_err(|error| ConfigError::Value {
            field: "file".into(),
            problem: error.to_string(),
        })?;
        let errors = config.validate();
        if errors.is_empty() { Ok(config) } else { Err(ConfigError::Invalid(errors)) }
    }

    /// The file's text.
    ///
    /// # Errors
    /// Serialisation failed; it does not for this type.
    pub fn to_yaml(&self) -> Result<String, ConfigError> {
        serde_yaml::to_string(self).map_err(|error| ConfigError::Syntax(error.to_string()))
    }
}
