//! Test hook: `BINLOG_FAILPOINT=name[:n]=abort|hold` ends or freezes the process when the point
//! `name` is passed for the n-th time (the first by default). For crash tests of the shipped binary
//! only; without the variable a point costs one load.
//!
//! Points are named `<what>.<step>`: `log.linked` is after link(2) of a log entry on a volume,
//! `commit.sent` after an entry's create was acknowledged. The name is printed when it strikes.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Environment variable that arms a point.
pub const VARIABLE: &str = "BINLOG_FAILPOINT";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Abort,
    Hold,
}

#[derive(Debug)]
struct Armed {
    name: String,
    left: AtomicU64,
    deed: Deed,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

fn armed() -> Option<&'static Armed> {
    ARMED.get_or_init(|| std::env::var(VARIABLE).ok().and_then(|text| parse(&text))).as_ref()
}

fn parse(text: &str) -> Option<Armed> {
    let (point, deed) = text.rsplit_once('=')?;
    let deed = match deed {
        "abort" => Deed::Abort,
        "hold" => Deed::Hold,
        _ => return None,
    };
    let (name, nth) = match point.rsplit_once(':') {
        Some((name, nth)) => (name, nth.parse().ok().filter(|nth| *nth > 0)?),
        None => (point, 1),
    };
    Some(Armed { name: name.to_owned(), left: AtomicU64::new(nth), deed })
}

/// Whether this passing is the one that was armed.
fn strikes(point: &Armed, what: &str, step: &str) -> bool {
    let named = point.name.strip_prefix(what).and_then(|rest| rest.strip_prefix('.')) == Some(step);
    named && point.left.fetch_sub(1, Ordering::SeqCst) == 1
}

fn announce(point: &Armed) {
    tracing::warn!(name = point.name, deed = ?point.deed, "failpoint reached");
    eprintln!("failpoint reached: {}", point.name);
}

/// A point in blocking code.
pub fn pass(what: &str, step: &str) {
    let Some(point) = armed() else { return };
    if !strikes(point, what, step) {
        return;
    }
    announce(point);
    match point.deed {
        Deed::Abort => std::process::abort(),
        Deed::Hold => loop {
            std::thread::park();
        },
    }
}

/// A point in async code.
pub async fn reach(what: &str, step: &str) {
    let Some(point) = armed() else { return };
    if !strikes(point, what, step) {
        return;
    }
    announce(point);
    match point.deed {
        Deed::Abort => std::process::abort(),
        Deed::Hold => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strikes_at_the_nth_passing_only() {
        let point = parse("log.linked:2=abort").unwrap();
        assert_eq!(point.deed, Deed::Abort);
        assert!(!strikes(&point, "raw", "linked"));
        assert!(!strikes(&point, "log", "linked"));
        assert!(strikes(&point, "log", "linked"));
        assert!(!strikes(&point, "log", "linked"));
        assert!(parse("log.linked=explode").is_none());
        assert!(parse("log.linked:0=hold").is_none());
    }
}
