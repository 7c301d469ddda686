//! A stream is looked at all the time: which pods it has, and how far it has come, which never goes back.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt::{Display, Formatter};
use std::sync::Arc;
use std::time::Duration;

use crds::position::FilePosition;
use e2e::resource::StreamResource;
use e2e::{Failure, Result};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Several looks in the shortest time between two checkpoints.
const EVERY: Duration = Duration::from_millis(250);

/// How far a stream has come.
#[derive(Debug, Clone, Default)]
pub struct Reached {
    /// Entry and position that its checkpoint names.
    checkpoint: Option<(u64, FilePosition)>,
    /// The position that its status shows.
    shown: Option<FilePosition>,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    pub reached: Reached,
    /// UIDs of the pods.
    pub pods: BTreeSet<String>,
}

/// The looking, until its end is asked for.
#[derive(Debug)]
pub struct Watch {
    over: CancellationToken,
    looking: JoinHandle<Result<Seen>>,
}

impl Watch {
    /// Looks from now on at a stream that had come so far.
    pub fn begin(stream: Arc<StreamResource>, reached: Reached) -> Self {
        let over = CancellationToken::new();
        let looking = tokio::spawn(look(stream, reached, over.clone()));
        Self { over, looking }
    }

    /// What was seen; a failure where something went back.
    pub async fn end(self) -> Result<Seen> {
        self.over.cancel();
        self.looking.await?
    }
}

async fn look(
    stream: Arc<StreamResource>,
    reached: Reached,
    over: CancellationToken,
) -> Result<Seen> {
    let mut seen = Seen { reached, ..Seen::default() };
    let mut tick = tokio::time::interval(EVERY);
    let mut last = false;
    while !last {
        // Once more at the end.
        last = over.is_cancelled();
        tick.tick().await;
        // An API server that is slow says nothing about the stream.
        if let Ok(pods) = stream.pods().await {
            seen.pods.extend(pods.into_iter().filter_map(|pod| pod.metadata.uid));
        }
        if let Ok(Some(checkpoint)) = stream.checkpoint().await {
            seen.reached.checkpointed(checkpoint)?;
        }
        let position = stream.status().await.ok().and_then(|status| status.position);
        if let Some((file, offset)) = position.and_then(|at| at.file.zip(at.offset)) {
            seen.reached.shows(&FilePosition::new(file, offset))?;
        }
    }
    Ok(seen)
}

impl Reached {
    fn checkpointed(&mut self, (n, at): (u64, FilePosition)) -> Result<()> {
        if let Some((before, was_at)) = self.checkpoint.replace((n, at.clone())) {
            let holds = n >= before && is_not_before(&at, &was_at);
            let what = || format!("the checkpoint went from {before} ({was_at}) to {n} ({at})");
            return holds.then_some(()).ok_or_else(|| Failure::new(what()));
        }
        Ok(())
    }

    fn shows(&mut self, at: &FilePosition) -> Result<()> {
        if let Some(before) = self.shown.replace(at.clone()) {
            let what = || format!("the status went from {before} to {at}");
            return is_not_before(at, &before).then_some(()).ok_or_else(|| Failure::new(what()));
        }
        Ok(())
    }
}

impl Display for Reached {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match &self.checkpoint {
            Some((n, at)) => write!(f, "checkpoint {n} at {at}"),
            None => write!(f, "no checkpoint"),
        }
    }
}

fn is_not_before(at: &FilePosition, before: &FilePosition) -> bool {
    at.cmp_in_lineage(before).is_some_and(Ordering::is_ge)
}
