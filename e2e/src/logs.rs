//! What a log of ours may hold: no line of level ERROR that a test did not expect, no secret ever.

use crate::{Failure, Result};

/// Fails on an ERROR line without one of the `expected` fragments, and on any of the `secrets`.
pub fn check(log: &str, expected: &[&str], secrets: &[&str]) -> Result<()> {
    for line in log.lines() {
        if let Some(secret) = secrets.iter().position(|secret| line.contains(secret)) {
            // The line is not shown: it holds the secret.
            return Err(Failure::new(format!("a log line holds secret number {secret}")));
        }
        if is_error(line) && !expected.iter().any(|fragment| line.contains(fragment)) {
            return Err(Failure::new(format!("unexpected error in the log: {line}")));
        }
    }
    if log.contains("panicked at") {
        return Err(Failure::new(format!("a panic in the log:\n{log}")));
    }
    Ok(())
}

/// Lines of level ERROR, in the text and in the JSON form.
fn is_error(line: &str) -> bool {
    line.contains("\"level\":\"ERROR\"")
        || line.split_whitespace().take(3).any(|word| word == "ERROR")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_line_must_be_expected() {
        let log = "2026-11-21T10:00:00Z  INFO worker: connected\n\
                   2026-11-21T10:00:01Z ERROR worker: the bucket is gone\n";
        assert!(check(log, &[], &[]).is_err());
        assert!(check(log, &["bucket is gone"], &[]).is_ok());
        assert!(check("{\"level\":\"ERROR\",\"message\":\"no\"}", &[], &[]).is_err());
    }

    #[test]
    fn a_secret_is_found_and_not_repeated() {
        let failure = check("password hunter2 refused", &[], &["other", "hunter2"]).unwrap_err();
        assert_eq!(failure.to_string(), "a log line holds secret number 1");
    }
}
