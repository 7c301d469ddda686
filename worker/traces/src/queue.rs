//! Between a span's end and the collector: a bounded queue, emptied by a thread of its own.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor,
};

use crate::client::Trouble;
use crate::tally::Tally;

/// Spans that may wait.
pub(crate) const ROOM: usize = 2048;
/// Most spans in one request.
const BATCH: usize = 512;

/// Starts the thread; it ends with the processor's shutdown.
pub(crate) fn start<E>(exporter: E, trouble: Trouble, tally: Arc<Tally>) -> Queue
where
    E: SpanExporter + Send + 'static,
{
    // How often it sends is the environment's to say (OTEL_BSP_SCHEDULE_DELAY, 5 s); how much may wait is ours.
    let bounds =
        BatchConfigBuilder::default().with_max_queue_size(ROOM).with_max_export_batch_size(BATCH);
    let counted = Counted { exporter, trouble, tally: Arc::clone(&tally) };
    let thread = BatchSpanProcessor::builder(counted).with_batch_config(bounds.build()).build();
    Queue { thread, tally }
}

/// Lets in what there is room for. The library's own queue has the same bound, but does not say what it drops.
#[derive(Debug)]
pub(crate) struct Queue {
    thread: BatchSpanProcessor,
    tally: Arc<Tally>,
}

impl SpanProcessor for Queue {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.thread.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.tally.enters() {
            self.thread.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.thread.force_flush()
    }

    fn shutdown_with_timeout(&self, limit: Duration) -> OTelSdkResult {
        self.thread.shutdown_with_timeout(limit)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.thread.set_resource(resource);
    }
}

/// Counts what leaves the queue, and what the collector made of it.
#[derive(Debug)]
struct Counted<E> {
    exporter: E,
    trouble: Trouble,
    tally: Arc<Tally>,
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        self.tally.leave(spans);
        let outcome = self.exporter.export(batch).await;
        match &outcome {
            Ok(()) => self.tally.exported(spans),
            // The library says no more than that it failed.
            Err(error) => {
                let why = self.trouble.take().unwrap_or_else(|| error.to_string());
                self.tally.failed(spans, &why);
            }
        }
        outcome
    }

    fn shutdown_with_timeout(&self, limit: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(limit)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
