//! Streams to look at again, named by tasks that are no watch.

use kube_runtime::reflector::ObjectRef;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::mpsc;

use crate::{answers::Key, watched::KeptStream};

/// Where a scope's controller takes streams to look at again.
pub struct WakeUp {
    /// The scope's namespace; none = all.
    pub namespace: Option<String>,
    /// Its queue.
    pub queue: mpsc::Sender<ObjectRef<KeptStream>>,
}

/// The queues of all scopes.
pub struct WakeUps {
    queues: Vec<WakeUp>,
    queued: Gauge,
}

impl WakeUps {
    /// Of these scopes; `queued` counts what is not taken yet.
    pub fn new(queues: Vec<WakeUp>, queued: Gauge) -> WakeUps {
        WakeUps { queues, queued }
    }

    /// Has a stream looked at again. When its queue is full nothing happens: the caller comes again.
    pub fn wake(&self, key: &Key) -> bool {
        let reference = ObjectRef::new(&key.1).within(&key.0);
        let scope = self
            .queues
            .iter()
            .find(|scope| scope.namespace.as_deref().is_none_or(|own| own == key.0));
        let woken = scope.is_some_and(|scope| scope.queue.try_send(reference).is_ok());
        if woken {
            self.queued.inc();
        }
        woken
    }
}
