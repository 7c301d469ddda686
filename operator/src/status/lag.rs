//! LAG and ARCHIVED as words in buckets, so that a status does not change each second.

use std::time::Duration;

use crds::v1alpha1::{ArchiveState, LagState, LagStatus};
use crds::worker_status::{ArchiveFacet, WorkerStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::voice::Voice;

const NOT_KNOWN: &str = "?";

/// How far reading is behind. Nobody but the worker asks the source, so without it nobody knows.
pub fn lag(voice: &Voice<'_>, now: Timestamp) -> LagStatus {
    match voice.spoken() {
        Some(report) => LagStatus {
            state: report.lag.state,
            seconds: report.lag.seconds,
            text: text(report.lag.state, report.lag.seconds),
            observed_at: report.lag.observed_at.map(Time),
        },
        None => LagStatus {
            state: LagState::Unknown,
            seconds: None,
            text: NOT_KNOWN.to_owned(),
            observed_at: Some(Time(now)),
        },
    }
}

fn text(state: LagState, seconds: Option<u64>) -> String {
    match state {
        LagState::CaughtUp => bucket(seconds.unwrap_or(0)),
        LagState::CatchingUp => {
            seconds.map_or_else(|| NOT_KNOWN.to_owned(), |seconds| bucket(seconds.max(1)))
        }
        LagState::Idle => "idle".to_owned(),
        LagState::Stalled => "stalled".to_owned(),
        LagState::Unknown => NOT_KNOWN.to_owned(),
    }
}

/// How far the archive is behind reading.
pub fn archived(report: &WorkerStatus) -> String {
    let ArchiveFacet { state, oldest_pending_at, .. } = &report.archive;
    match state {
        ArchiveState::Current => "current".to_owned(),
        ArchiveState::Behind => {
            // Both times are of the worker's clock.
            let waited = oldest_pending_at.map(|since| report.observed_at.duration_since(since));
            let waited = waited.and_then(|waited| Duration::try_from(waited).ok());
            format!("behind {}", bucket(waited.unwrap_or_default().as_secs().max(1)))
        }
        ArchiveState::Failing => "failing".to_owned(),
        ArchiveState::Disabled => "off".to_owned(),
        ArchiveState::Unknown => NOT_KNOWN.to_owned(),
    }
}

/// Seconds in a coarse word: `0s`, `<10s`, `40s`, `2m`, `3h`, `5d`.
pub fn bucket(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match seconds {
        0 => "0s".to_owned(),
        1..10 => "<10s".to_owned(),
        10..MINUTE => format!("{}s", seconds / 10 * 10),
        MINUTE..HOUR => format!("{}m", seconds / MINUTE),
        HOUR..DAY => format!("{}h", seconds / HOUR),
        _ => format!("{}d", seconds / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_fall_into_few_words() {
        let words: Vec<_> =
            [0, 1, 9, 10, 19, 59, 60, 150, 3599, 3600, 90_000].map(bucket).into_iter().collect();
        assert_eq!(
            words,
            ["0s", "<10s", "<10s", "10s", "10s", "50s", "1m", "2m", "59m", "1h", "1d"]
        );
    }

    #[test]
    fn catching_up_is_never_zero_and_idle_is_no_number() {
        assert_eq!(text(LagState::CatchingUp, Some(0)), "<10s");
        assert_eq!(text(LagState::CatchingUp, None), "?");
        assert_eq!(text(LagState::CaughtUp, None), "0s");
        assert_eq!(text(LagState::Idle, Some(3600)), "idle");
        assert_eq!(text(LagState::Unknown, Some(3)), "?");
    }
}
