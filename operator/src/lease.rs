//! Leader election by a Lease.
//!
//! Held for 15 s, renewed each 2 s, given up by its holder after 10 s without a renewal, taken by
//! another only 15 s after it last *saw* the Lease change: clocks of different machines are never
//! compared. A renewal counts from before its request, and none is waited for beyond the ten
//! seconds. Released on a clean exit, so that a rollout takes a second and not fifteen.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{admin::Health, tenure::Tenure};

/// How long the Lease is good for after a renewal, as others see it.
pub const DURATION: Duration = Duration::from_secs(15);
/// How long the holder goes on without a renewal.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Time between two attempts.
pub const RETRY: Duration = Duration::from_secs(2);

/// Limit of one request.
const REQUEST: Duration = Duration::from_secs(5);

/// Why leadership ended or could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The holder could not renew in time, or another took over.
    #[error("lost the lease {namespace}/{name}: {why}")]
    Lost {
        /// Namespace of the Lease.
        namespace: String,
        /// Name of the Lease.
        name: String,
        /// What was seen.
        why: String,
    },
}

/// A candidate for one Lease.
pub struct Elector {
    leases: Api<Lease>,
    namespace: String,
    name: String,
    me: String,
    health: Arc<Health>,
    tenure: Arc<Tenure>,
}

/// What a look at the Lease tells a candidate.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    /// Ours already, or free: write it.
    Take,
    /// Another holds it.
    Wait,
}

/// The Lease as last seen changing, by our own clock.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    holder: Option<String>,
    renewed: Option<Timestamp>,
    duration: Duration,
    at: Instant,
}

impl Elector {
    /// A candidate named `me`, which must differ from every other process. Whether the Lease can be
    /// read and written is told to `health`, and how long it may write to `tenure`.
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        me: &str,
        health: Arc<Health>,
        tenure: Arc<Tenure>,
    ) -> Elector {
        Elector {
            leases: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            me: me.to_owned(),
            health,
            tenure,
        }
    }

    /// Waits until this process leads, and says since when; nothing when `shutdown` came first.
    pub async fn acquire(&self, shutdown: &CancellationToken) -> Option<Instant> {
        let mut seen: Option<Seen> = None;
        loop {
            let begun = Instant::now();
            let turn = self.look_and_take(&mut seen).await;
            if self.told(turn) == Some(Turn::Take) {
                self.tenure.renewed(begun);
                info!(lease = %self.name, identity = %self.me, "leading");
                return Some(begun);
            }
            debug!(holder = ?seen.as_ref().and_then(|s| s.holder.as_deref()), "standing by");
            tokio::select! {
                () = shutdown.cancelled() => return None,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    /// One attempt: the Lease is written when it is our turn.
    async fn look_and_take(&self, seen: &mut Option<Seen>) -> Result<Turn, RequestError> {
        let lease = limit(self.leases.get_opt(&self.name)).await?;
        let now = Instant::now();
        *seen = newest(seen.take(), lease.as_ref().map(|lease| look(lease, now)));
        let turn = turn(seen.as_ref(), &self.me, now);
        if turn == Turn::Take {
            self.write(lease, Some(&self.me)).await?;
        }
        Ok(turn)
    }

    /// Tells probe and log how an attempt went. That another was faster is no fault.
    fn told<T>(&self, attempt: Result<T, RequestError>) -> Option<T> {
        match attempt {
            Ok(done) => {
                self.health.set_lease(true);
                Some(done)
            }
            Err(error) if error.is_conflict() => {
                self.health.set_lease(true);
                None
            }
            Err(error) => {
                self.health.set_lease(false);
                warn!(%error, lease = %self.name, "read or write the lease, retrying");
                None
            }
        }
    }

    /// Renews until `shutdown` what was acquired at `since`.
    ///
    /// # Errors
    /// When the Lease is lost: the process must stop its work and exit.
    pub async fn hold(
        &self,
        since: Instant,
        shutdown: &CancellationToken,
    ) -> Result<(), LeaseError> {
        let renew = async || {
            let asked = Instant::now();
            let held = self.told(self.renew().await);
            if held == Some(true) {
                self.tenure.renewed(asked);
            }
            held
        };
        match keep(since, shutdown, renew).await {
            None => Ok(()),
            Some(why) => Err(LeaseError::Lost {
                namespace: self.namespace.clone(),
                name: self.name.clone(),
                why,
            }),
        }
    }

    /// Gives the Lease up, so that the next candidate need not wait for its end.
    pub async fn release(&self) {
        let released = match limit(self.leases.get_opt(&self.name)).await {
            Ok(Some(lease)) if holder(&lease) == Some(self.me.as_str()) => {
                self.write(Some(lease), None).await
            }
            Ok(_) => return,
            Err(error) => Err(error),
        };
        match released {
            Ok(()) => info!(lease = %self.name, "released the lease"),
            Err(error) => warn!(%error, lease = %self.name, "release the lease"),
        }
    }

    async fn renew(&self) -> Result<bool, RequestError> {
        let lease = limit(self.leases.get_opt(&self.name)).await?;
        if lease.as_ref().and_then(holder) != Some(self.me.as_str()) {
            return Ok(false);
        }
        self.write(lease, Some(&self.me)).await.map(|()| true)
    }

    /// Writes the Lease over the version that was read: of two candidates one gets a conflict.
    async fn write(&self, read: Option<Lease>, holder: Option<&str>) -> Result<(), RequestError> {
        let now = MicroTime(Timestamp::now());
        let params = PostParams::default();
        let previous = read.as_ref().and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let changed_hands = holder.is_some() && previous.holder_identity.as_deref() != holder;
        let spec = LeaseSpec {
            holder_identity: Some(holder.unwrap_or_default().to_owned()),
            lease_duration_seconds: Some(match holder {
                Some(_) => DURATION.as_secs() as i32,
                None => 1,
            }),
            acquire_time: if changed_hands { Some(now.clone()) } else { previous.acquire_time },
            renew_time: Some(now),
            lease_transitions: Some(
                previous.lease_transitions.unwrap_or(0).saturating_add(i32::from(changed_hands)),
            ),
            ..LeaseSpec::default()
        };
        if let Some(mut lease) = read {
            lease.spec = Some(spec);
            limit(self.leases.replace(&self.name, &params, &lease)).await?;
        } else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            limit(self.leases.create(&params, &Lease { metadata, spec: Some(spec) })).await?;
        }
        Ok(())
    }
}

/// Renews until `shutdown`, or says why the Lease is lost: at the deadline, whether an attempt
/// fails, hangs or would still succeed, for another may take the Lease five seconds later.
async fn keep(
    mut renewed: Instant,
    shutdown: &CancellationToken,
    renew: impl AsyncFn() -> Option<bool>,
) -> Option<String> {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return None,
            () = tokio::time::sleep(RETRY) => {}
        }
        let begun = Instant::now();
        match tokio::time::timeout_at(renewed + RENEW_DEADLINE, renew()).await {
            Ok(Some(true)) => renewed = begun,
            Ok(Some(false)) => return Some("another process holds it".to_owned()),
            Ok(None) if renewed.elapsed() < RENEW_DEADLINE => {}
            Ok(None) | Err(_) => {
                return Some(format!("not renewed for {} s", RENEW_DEADLINE.as_secs()));
            }
        }
    }
}

/// A request that failed or took too long.
#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error("{}", crate::api_error::words(.0))]
    Api(#[from] kube::Error),
    #[error("no answer within {} s", REQUEST.as_secs())]
    TimedOut,
}

impl RequestError {
    /// Somebody else wrote meanwhile.
    fn is_conflict(&self) -> bool {
        matches!(self, RequestError::Api(error) if crate::api_error::code(error) == Some(409))
    }
}

async fn limit<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, RequestError> {
    match tokio::time::timeout(REQUEST, request).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(RequestError::TimedOut),
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

fn look(lease: &Lease, at: Instant) -> Seen {
    let spec = lease.spec.as_ref();
    Seen {
        holder: holder(lease).map(str::to_owned),
        renewed: spec.and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0),
        duration: spec
            .and_then(|spec| spec.lease_duration_seconds)
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map_or(DURATION, Duration::from_secs),
        at,
    }
}

/// Keeps the moment at which the current content was first seen.
fn newest(before: Option<Seen>, now: Option<Seen>) -> Option<Seen> {
    let unchanged = matches!((&before, &now), (Some(before), Some(now))
        if before.holder == now.holder && before.renewed == now.renewed);
    if unchanged { before } else { now }
}

fn turn(seen: Option<&Seen>, me: &str, now: Instant) -> Turn {
    let Some(Seen { holder: Some(holder), renewed: _, duration, at }) = seen else {
        return Turn::Take;
    };
    if holder == me || now.duration_since(*at) > *duration { Turn::Take } else { Turn::Wait }
}

#[cfg(test)]
mod tests;
