//! A stream that does under this version what the version before has no word for: its checkpoint is moved. After a step
//! back it stands still, by name and without a word in the log, and forward again it goes on.

use std::sync::Arc;

use crds::annotations::SET_CHECKPOINT;
use crds::conditions::ConditionType;
use crds::v1alpha1::ConditionStatus;
use e2e::resource::{SETTLED, said};
use e2e::wait::{Look, until};
use e2e::workload;
use e2e::{Context, Failure, Result};
use serde_json::Value;

use super::subject::Subject;
use super::watch::Watch;

/// What the version before says of an entry that it cannot read, and what later ones say.
const UNREADABLE: [&str; 2] = ["ArchiveDamaged", "FormatUnsupported"];

pub struct Moved {
    pub subject: Subject,
}

/// The log as it was when the stream was moved, and the looking since.
pub struct Sees {
    log: Log,
    watch: Watch,
}

/// All entries, with their bytes.
type Log = Vec<(Vec<u8>, Value)>;

impl Moved {
    pub async fn of(subject: Subject) -> Result<Self> {
        subject.server.run(&["CREATE TABLE shop.lost (id INT PRIMARY KEY)"]).await?;
        Ok(Self { subject })
    }

    /// Moves the checkpoint over a row that nobody wants.
    pub async fn moves_forward(&self) -> Result<()> {
        let Subject { stream, server, .. } = &self.subject;
        stream.stop().await?;
        server.run(&["INSERT INTO shop.lost VALUES (1)"]).await?;
        let (file, offset) = server.position().await?;
        let newest = stream.archive().entries().await?.pop().context(|| "the log is empty")?.1;
        let archive = newest["archive"].as_str().unwrap_or_default();
        let value = format!("{archive}@{}/{file}:{offset}", newest["n"]);
        stream.annotate(SET_CHECKPOINT, &value).await?;
        self.answers(&value, "Pending").await?;
        stream.set_state("Running").await?;
        self.answers(&value, "Done").await?;
        let status = stream.ready().await?;
        assert_eq!((status.gap_count, status.open_gap_count), (Some(1), Some(0)));
        Ok(())
    }

    async fn answers(&self, value: &str, outcome: &str) -> Result<()> {
        until(format!("{value} is {outcome}"), SETTLED, || async {
            let action = self.subject.stream.status().await?.checkpoint_action;
            let holds = action.as_ref().is_some_and(|action| {
                action.requested == value && action.outcome.as_deref() == Some(outcome)
            });
            Ok::<_, Failure>(Look::holds(holds, || format!("{action:?}")))
        })
        .await
    }

    /// Looks at the stream from now on.
    pub async fn begins_to_stand(&self) -> Result<Sees> {
        let Subject { stream, reached, .. } = &self.subject;
        let log = stream.archive().entries().await?;
        Ok(Sees { log, watch: Watch::begin(Arc::clone(stream), reached.clone()) })
    }

    /// Under the version before: it says what it cannot read and writes nothing, while rows come that it must have later.
    pub async fn stands_still(&mut self, sees: Sees) -> Result<Log> {
        let Subject { stream, server, done, .. } = &mut self.subject;
        let (ready, not) = (ConditionType::Ready, ConditionStatus::False);
        let status = stream.says(ready, not, &UNREADABLE, SETTLED).await?;
        println!("stepped back: moves says: {}", said(&status, ready)?.message);
        *done += workload::large(server, 100, 100).await?;
        let log = stream.archive().entries().await?;
        assert!(log.starts_with(&sees.log), "what was written stays as it was");
        let later = log.iter().skip(sees.log.len()).map(|(_, entry)| entry);
        assert!(later.clone().all(|entry| entry["kind"] != "claim"), "nobody claimed: {later:?}");
        self.subject.reached = sees.watch.end().await?.reached;
        self.subject.stands = true;
        Ok(log)
    }

    /// Forward again: the next entry after those is the claim of a worker that reads them all.
    pub async fn went_on_from(&self, stood: &Log) -> Result<()> {
        let log = self.subject.stream.archive().entries().await?;
        assert!(log.starts_with(stood), "nobody wrote meanwhile");
        let next = log.get(stood.len()).context(|| "nothing was written since")?;
        assert_eq!(next.1["kind"], "claim");
        Ok(())
    }
}
