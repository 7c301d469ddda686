//! `/livez`, `/readyz` and `/metrics`.
//!
//! Alive means that the loops run. Ready means that the Lease can be read and written and, for the
//! leader, that its caches are filled. A stand-by is ready: leadership is not required, so that a
//! rollout ends while the one before still leads.

mod readers;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use crds::exposition;
use futures::stream;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use self::readers::Readers;
use crate::metrics::{Metrics, Pages};

/// What the probes read.
#[derive(Debug, Default)]
pub struct Health {
    lease: AtomicBool,
    leading: AtomicBool,
    filled: AtomicBool,
    stopping: AtomicBool,
}

impl Health {
    /// Whether the Lease could just be read, and written where that was our turn.
    pub fn set_lease(&self, answers: bool) {
        self.lease.store(answers, Ordering::Relaxed);
    }

    /// This process leads, with or without an election: from now on the caches must be filled.
    pub fn set_leading(&self) {
        self.leading.store(true, Ordering::Relaxed);
        self.set_lease(true);
    }

    /// The caches are filled.
    pub fn set_filled(&self) {
        self.filled.store(true, Ordering::Relaxed);
    }

    /// Shutdown has begun.
    pub fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Why it is not ready, if it is not.
    pub fn missing(&self) -> Option<&'static str> {
        let is = |fact: &AtomicBool| fact.load(Ordering::Relaxed);
        if is(&self.stopping) {
            Some("the operator ends")
        } else if !is(&self.lease) {
            Some("the lease cannot be read or written; see the log")
        } else if is(&self.leading) && !is(&self.filled) {
            Some("the caches are not filled yet")
        } else {
            None
        }
    }
}

/// The metrics, and who may read them.
#[derive(Clone)]
struct Shown {
    metrics: Arc<Metrics>,
    readers: Option<Arc<Readers>>,
}

/// Serves until `shutdown`. Without `readers` everybody may read the metrics.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    readers: Option<Readers>,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let shown = Shown { metrics, readers: readers.map(Arc::new) };
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(health)
        .merge(Router::new().route("/metrics", get(all_metrics)).with_state(shown));
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

async fn readyz(State(health): State<Arc<Health>>) -> impl IntoResponse {
    match health.missing() {
        None => (StatusCode::OK, "ok"),
        Some(what) => (StatusCode::SERVICE_UNAVAILABLE, what),
    }
}

async fn all_metrics(State(shown): State<Shown>, headers: HeaderMap) -> Response {
    if let Some(readers) = &shown.readers {
        let admitted = readers.admit(&headers).await;
        if admitted != StatusCode::OK {
            return (admitted, "the token must be one that may GET /metrics\n").into_response();
        }
    }
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    match shown.metrics.encode() {
        Ok(pages) => paged(pages, accept.unwrap_or_default().to_owned()),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n")
            .into_response(),
    }
}

/// Each page is put into the form that was asked for when it is sent.
fn paged(pages: Pages, accept: String) -> Response {
    let (kind, _) = exposition::negotiate(String::new(), &accept);
    let form = move |page| Ok::<_, Infallible>(exposition::negotiate(page, &accept).1);
    let body = Body::from_stream(stream::iter(pages.into_iter().map(form)));
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standby_is_ready_and_a_leader_is_with_its_caches() {
        let health = Health::default();
        assert!(health.missing().is_some_and(|what| what.contains("lease")), "nothing was asked");
        health.set_lease(true);
        assert_eq!(health.missing(), None, "a stand-by");
        health.set_leading();
        assert!(health.missing().is_some_and(|what| what.contains("caches")));
        health.set_filled();
        assert_eq!(health.missing(), None, "a leader");
        health.set_stopping();
        assert!(health.missing().is_some());
    }

    #[test]
    fn a_leader_that_cannot_renew_is_not_ready_until_it_can() {
        let health = Health::default();
        health.set_leading();
        health.set_filled();
        health.set_lease(false);
        assert!(health.missing().is_some_and(|what| what.contains("lease")));
        health.set_lease(true);
        assert_eq!(health.missing(), None);
    }
}
