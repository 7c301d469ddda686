//! What every reconcile shares.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use jiff::Timestamp;
use kube::Client;
use kube_runtime::reflector::ObjectRef;
use tokio::{sync::OnceCell, time::Instant};

use crate::{
    answers::{Answers, Key},
    applied::AppliedBook,
    backoff::Backoff,
    caches::Caches,
    events::Events,
    metrics::Metrics,
    peers::Peers,
    rollout::turns::Turns,
    settings::Settings,
    status::{
        budget::StatusBudget,
        write::{Change, Writes},
    },
    tenure::Tenure,
    watched::{KeptStream, Observed},
};

/// Handles, settings and the memory between two reconciles.
pub struct Context {
    /// The API.
    pub client: Client,
    /// The operator's settings.
    pub settings: Settings,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Events.
    pub events: Events,
    /// Failures in a row.
    pub backoff: Backoff,
    /// What the workers last answered.
    pub answers: Answers,
    /// What was last applied.
    pub applied: AppliedBook,
    /// Who may roll.
    pub turns: Turns,
    /// Writes of statuses, of all streams together.
    pub budget: StatusBudget,
    /// Status writes of each stream, by UID.
    pub writes: Mutex<HashMap<String, Written>>,
    /// Until when this process may write.
    pub tenure: Arc<Tenure>,
    /// What every stream takes for itself.
    pub peers: Peers,
    /// The caches, one per watched namespace or one for all.
    pub caches: OnceLock<Vec<Scope>>,
}

/// The caches of one namespace, or of all.
pub struct Scope {
    /// The namespace; none = all.
    pub namespace: Option<String>,
    /// Its caches.
    pub caches: Arc<Caches>,
    /// Whether what its streams take was noted.
    pub noted: OnceCell<()>,
}

/// The status writes of one stream.
#[derive(Debug, Clone, Default)]
pub struct Written {
    /// When they were made.
    pub writes: Writes,
    /// Resource version that the last one led to.
    pub version: Option<u64>,
}

impl Context {
    /// The caches that hold `namespace`.
    pub fn caches(&self, namespace: &str) -> Option<&Arc<Caches>> {
        self.scope(namespace).map(|scope| &scope.caches)
    }

    fn scope(&self, namespace: &str) -> Option<&Scope> {
        let scopes = self.caches.get()?;
        scopes.iter().find(|scope| scope.namespace.as_deref().is_none_or(|own| own == namespace))
    }

    /// The streams that may hold what this one takes for itself.
    pub async fn peers(&self, stream: &Observed) -> Vec<Arc<KeptStream>> {
        let namespace = stream.metadata.namespace.as_deref().unwrap_or_default();
        if let Some(scope) = self.scope(namespace) {
            scope.noted.get_or_init(|| self.note_all(scope)).await;
        }
        let known = |(namespace, name): &Key| {
            let reference = ObjectRef::new(name).within(namespace);
            self.caches(namespace)?.streams.get(&reference)
        };
        self.peers.of(stream).iter().filter_map(|key| known(key)).collect()
    }

    /// Opens every stream once, and lets others run meanwhile.
    async fn note_all(&self, scope: &Scope) {
        for stream in scope.caches.streams.state() {
            self.peers.note(&stream.open());
            tokio::task::consume_budget().await;
        }
    }

    /// Every stream that is watched.
    pub fn all_streams(&self) -> Vec<Arc<KeptStream>> {
        self.caches
            .get()
            .iter()
            .flat_map(|scopes| scopes.iter())
            .flat_map(|scope| scope.caches.streams.state())
            .collect()
    }

    /// Now, by the wall clock: for what people read.
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// The status writes of a stream.
    pub fn written(&self, uid: &str) -> Written {
        let writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        writes.get(uid).cloned().unwrap_or_default()
    }

    /// Notes a status write and what it was made for.
    pub fn note_write(&self, uid: &str, change: Change, version: Option<u64>) {
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        let written = writes.entry(uid.to_owned()).or_default();
        written.writes.note(change, Instant::now());
        written.version = version.or(written.version);
    }

    /// Drops the memory of streams that are gone, by their UIDs.
    pub fn keep_only(&self, is_known: impl Fn(&str) -> bool) {
        self.backoff.keep_only(&is_known);
        self.events.keep_only(&is_known);
        self.applied.keep_only(&is_known);
        self.budget.keep_only(&is_known);
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        writes.retain(|uid, _| is_known(uid));
    }
}
