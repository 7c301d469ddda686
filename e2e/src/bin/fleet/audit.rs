//! Requests as the API server's audit log counts them, by the name their client gives itself.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;

use e2e::{Context, Failure, Result};
use serde::Deserialize;

use crate::stage::{OPERATOR_AGENT, Stage, WORKER_AGENT};

/// The log from a point on.
pub struct Audit {
    log: PathBuf,
    from: u64,
}

/// Who asked how often.
#[derive(Debug, Default)]
pub struct Counted {
    pub operator: Requests,
    pub workers: Requests,
}

/// Requests by what was asked: verb and resource.
#[derive(Debug, Clone, Default)]
pub struct Requests(BTreeMap<(Kind, String), u64>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Write,
    Read,
    Watch,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    stage: String,
    verb: String,
    user_agent: Option<String>,
    object_ref: Option<Object>,
}

#[derive(Deserialize)]
struct Object {
    resource: Option<String>,
    subresource: Option<String>,
}

impl Audit {
    /// From now on.
    pub fn of(stage: &Stage) -> Result<Self> {
        let log = stage.audit.clone();
        let from = std::fs::metadata(&log).context(|| "look at the audit log")?.len();
        Ok(Self { log, from })
    }

    /// What was asked since then. Nothing by the operator, which renews its lease, is an error: the name is wrong then.
    pub fn since_then(&self) -> Result<Counted> {
        let mut file = std::fs::File::open(&self.log).context(|| "open the audit log")?;
        file.seek(SeekFrom::Start(self.from)).context(|| "find the place in the audit log")?;
        let mut counted = Counted::default();
        for line in BufReader::new(file).lines() {
            let line = line.context(|| "read the audit log")?;
            // The last line may be half written.
            let Ok(event) = serde_json::from_str::<Event>(&line) else { continue };
            counted.note(&event);
        }
        if counted.operator.0.is_empty() {
            return Err(Failure::new("the audit log names no request of the operator"));
        }
        Ok(counted)
    }
}

impl Counted {
    fn note(&mut self, event: &Event) {
        let agent = event.user_agent.as_deref().unwrap_or_default();
        let requests = match agent {
            agent if agent.starts_with(OPERATOR_AGENT) => &mut self.operator,
            agent if agent.starts_with(WORKER_AGENT) => &mut self.workers,
            _ => return,
        };
        let kind = match (event.verb.as_str(), event.stage.as_str()) {
            ("watch", "ResponseStarted") => Kind::Watch,
            ("watch", _) | (_, "ResponseStarted") => return,
            ("get" | "list", _) => Kind::Read,
            _ => Kind::Write,
        };
        let object = event.object_ref.as_ref();
        let resource = object.and_then(|object| object.resource.as_deref()).unwrap_or("-");
        let below = object.and_then(|object| object.subresource.as_deref());
        let below = below.map_or(String::new(), |below| format!("/{below}"));
        let what = format!("{} {resource}{below}", event.verb);
        *requests.0.entry((kind, what)).or_default() += 1;
    }
}

impl Requests {
    fn sum(&self, kind: Kind) -> u64 {
        self.0.iter().filter(|((of, _), _)| *of == kind).map(|(_, count)| count).sum()
    }

    /// Requests that change something.
    pub fn writes(&self) -> u64 {
        self.sum(Kind::Write)
    }

    /// Gets and lists.
    pub fn reads(&self) -> u64 {
        self.sum(Kind::Read)
    }

    /// Watches that were begun.
    pub fn watches(&self) -> u64 {
        self.sum(Kind::Watch)
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (who, requests) in [("operator", &self.operator), ("workers", &self.workers)] {
            for ((_, what), count) in &requests.0 {
                writeln!(f, "  {who}: {what} {count}")?;
            }
        }
        Ok(())
    }
}
