//! The series of each stream: its conditions, and why it is as it is.
//!
//! A family of gauges keeps the three labels of each series by themselves: with eleven series a stream that would be
//! a third of the operator's memory. Here a stream is one row, and the labels are put together when somebody asks.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use crds::{conditions::ConditionType, v1alpha1::ConditionStatus};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};

use crate::answers::Key;

/// What is shown of all streams.
#[derive(Debug, Clone, Default)]
pub struct Shown(Arc<Mutex<HashMap<Key, Row>>>);

#[derive(Debug)]
struct Row {
    /// In the order of [`ConditionType::ALL`].
    conditions: [Option<ConditionStatus>; ConditionType::ALL.len()],
    reason: Box<str>,
}

impl Shown {
    /// Shows the conditions of a stream and why it is as it is, in the place of what was shown before.
    pub fn show(
        &self,
        namespace: &str,
        stream: &str,
        conditions: impl IntoIterator<Item = (ConditionType, ConditionStatus)>,
        reason: &str,
    ) {
        let mut row = Row { conditions: [None; ConditionType::ALL.len()], reason: reason.into() };
        for (kind, status) in conditions {
            let place = ConditionType::ALL.into_iter().position(|known| known == kind);
            if let Some(place) = place.and_then(|place| row.conditions.get_mut(place)) {
                *place = Some(status);
            }
        }
        let key = (namespace.to_owned(), stream.to_owned());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, row);
    }

    /// Drops the series of streams that are gone.
    pub fn keep_only(&self, is_known: impl Fn(&Key) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| is_known(key));
    }
}

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let help = "Each condition of each stream: 1 True, 0 False, -1 Unknown.";
        let mut family =
            encoder.encode_descriptor("stream_condition", help, None, MetricType::Gauge)?;
        for ((namespace, stream), row) in rows.iter() {
            for (kind, status) in ConditionType::ALL.into_iter().zip(row.conditions) {
                let Some(status) = status else { continue };
                let labels = [
                    ("namespace", namespace.as_str()),
                    ("stream", stream.as_str()),
                    ("condition", kind.as_str()),
                ];
                ConstGauge::new(value(status)).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "1 for the reason of each stream's Ready condition.";
        let mut family =
            encoder.encode_descriptor("stream_reason", help, None, MetricType::Gauge)?;
        for ((namespace, stream), row) in rows.iter() {
            let labels = [
                ("namespace", namespace.as_str()),
                ("stream", stream.as_str()),
                ("reason", &*row.reason),
            ];
            ConstGauge::new(1_i64).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn value(status: ConditionStatus) -> i64 {
    match status {
        ConditionStatus::True => 1,
        ConditionStatus::False => 0,
        ConditionStatus::Unknown => -1,
    }
}
