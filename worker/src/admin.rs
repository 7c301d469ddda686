//! The worker's HTTP endpoint: probes, metrics and the report. It takes no request body and changes nothing.
//!
//! | path | answers |
//! |---|---|
//! | `/livez` | 200 while the process's loops run |
//! | `/readyz`, `/healthz`, `/health` | 200 while the stream is connected and its archive and checkpoint are healthy, else 503 and the reason |
//! | `/metrics` | OpenMetrics, or the older text to who does not ask for it |
//! | `/status` | the report as JSON |

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use crds::conditions::Reason;
use crds::exposition;
use crds::worker_status::{Phase, WorkerStatus};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::metrics::Metrics;

/// What the handlers read.
#[derive(Clone)]
struct Shared {
    board: Board,
    metrics: Metrics,
    registry: Arc<Registry>,
}

/// Serves until `stop`. A connection that stays open is cut with it.
pub async fn serve(
    listener: TcpListener,
    board: Board,
    metrics: Metrics,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let registry = metrics.register();
    let app = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/healthz", get(ready))
        .route("/health", get(ready))
        .route("/metrics", get(text_metrics))
        .route("/status", get(status))
        .with_state(Shared { board, metrics, registry });
    let serving = axum::serve(listener, app).with_graceful_shutdown(stop.clone().cancelled_owned());
    tokio::select! {
        outcome = serving => outcome,
        () = stop.cancelled() => Ok(()),
    }
}

async fn status(State(shared): State<Shared>) -> Json<WorkerStatus> {
    Json(shared.board.report())
}

async fn ready(State(shared): State<Shared>) -> impl IntoResponse {
    let report = shared.board.report();
    match not_ready(&report) {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

/// The first thing that keeps the stream from being ready.
fn not_ready(report: &WorkerStatus) -> Option<String> {
    if let Some(error) = &report.config_error {
        return Some(format!("{}: {error}", Reason::ConfigInvalid));
    }
    let facets = [
        (report.phase == Phase::Streaming, report.reason, &report.message),
        (report.source.connected, report.source.reason, &report.source.message),
        (report.archive.healthy, report.archive.reason, &report.archive.message),
    ];
    let (_, reason, message) = facets.iter().find(|(healthy, _, _)| !healthy)?;
    Some(format!("{reason}: {message}"))
}

async fn text_metrics(State(shared): State<Shared>, headers: HeaderMap) -> impl IntoResponse {
    let report = shared.board.report();
    let ready = not_ready(&report).is_none();
    shared.metrics.read(&report, ready, shared.board.silence_seconds());
    let mut text = String::new();
    let status = match prometheus_client::encoding::text::encode(&mut text, &shared.registry) {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let (kind, text) = exposition::negotiate(text, accept.unwrap_or_default());
    (status, [(header::CONTENT_TYPE, kind)], text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_names_the_first_thing_that_is_wrong() {
        let board = Board::new("i", None);
        assert!(not_ready(&board.report()).unwrap().starts_with("Starting"));
        board.enter(Phase::Streaming, Reason::Streaming, "");
        board.source_lost(Reason::AuthFailed, "the password was refused");
        assert_eq!(not_ready(&board.report()).unwrap(), "AuthFailed: the password was refused");
        board.update(|facts| {
            facts.report.source.connected = true;
            facts.report.archive.healthy = true;
        });
        assert_eq!(not_ready(&board.report()), None);
        board.update(|facts| facts.report.config_error = Some("batch.size: no such key".into()));
        assert_eq!(not_ready(&board.report()).unwrap(), "ConfigInvalid: batch.size: no such key");
    }
}
