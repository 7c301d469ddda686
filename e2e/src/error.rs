//! What the harness says when something does not work: what was being done, then why.

use std::fmt;

/// A failure of the harness or of the thing under test.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

/// What every harness function returns.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// A failure with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// Adds what was being done to an error of any kind.
pub trait Context<T> {
    /// Turns the error into a [`Failure`] that starts with what was being done.
    fn context<D: fmt::Display>(self, doing: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: std::error::Error> Context<T> for std::result::Result<T, E> {
    fn context<D: fmt::Display>(self, doing: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| Failure(format!("{}: {}", doing(), with_sources(&error))))
    }
}

impl<T> Context<T> for Option<T> {
    fn context<D: fmt::Display>(self, doing: impl FnOnce() -> D) -> Result<T> {
        self.ok_or_else(|| Failure(doing().to_string()))
    }
}

macro_rules! failure_from {
    ($($error:ty => $doing:literal),* $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self(format!("{}: {}", $doing, with_sources(&error)))
            }
        }
    )*};
}

failure_from! {
    std::io::Error => "input or output",
    kube::Error => "call the Kubernetes API",
    mysql_async::Error => "run SQL",
    serde_json::Error => "read or write JSON",
    serde_yaml::Error => "read or write YAML",
    tokio::task::JoinError => "join a task",
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !message.contains(&cause_text) {
            message = format!("{message}: {cause_text}");
        }
        source = cause.source();
    }
    message
}
