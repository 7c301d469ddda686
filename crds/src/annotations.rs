//! Every annotation and label key, in one place.
//!
//! The operator never adds or removes an annotation on a BinlogStream: an action is asked for by an
//! annotation, carried out by the worker, and echoed in `status.lastHandledAction`. README lists them
//! (`every_annotation_stands_in_the_readme` in `tests/annotations.rs`).

mod request;

pub use request::{CheckpointRequest, MAX_REQUEST, Target};

/// Domain of every key and of the API group.
pub const DOMAIN: &str = "binlogstream.io";

/// Annotation: let this stream take over the archive with the given id.
pub const ADOPT_ARCHIVE: &str = "binlogstream.io/adopt-archive";
/// Annotation: go on with the server of the given uuid or server id in a new lineage.
pub const ACCEPT_SOURCE: &str = "binlogstream.io/accept-source";
/// Annotation: go on with the archive as it is, `<archive id>@<entry number>`.
pub const ACCEPT_ARCHIVE: &str = "binlogstream.io/accept-archive";
/// Annotation: acknowledge a gap by its id, or `all`.
pub const ACKNOWLEDGE_GAP: &str = "binlogstream.io/acknowledge-gap";
/// Annotation: make durable at once what the worker holds; any new value, as a time.
pub const COMMIT_NOW: &str = "binlogstream.io/commit-now";
/// Annotation: begin again where `spec.start` leads, `<archive id>@<entry number>`.
pub const RESET_CHECKPOINT: &str = "binlogstream.io/reset-checkpoint";
/// Annotation: go on further ahead, `<archive id>@<entry number>/<position>`.
pub const SET_CHECKPOINT: &str = "binlogstream.io/set-checkpoint";
/// Annotation: restart the worker; any new value (kubectl's own key).
pub const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// Every annotation that a person may set on a BinlogStream.
pub const ON_STREAMS: [&str; 8] = [
    ADOPT_ARCHIVE,
    ACCEPT_SOURCE,
    ACCEPT_ARCHIVE,
    ACKNOWLEDGE_GAP,
    COMMIT_NOW,
    RESET_CHECKPOINT,
    SET_CHECKPOINT,
    RESTARTED_AT,
];

/// Label on every object of a stream: its name.
pub const STREAM_LABEL: &str = "binlogstream.io/stream";
/// Annotation on every object of a stream: the uid of its BinlogStream.
pub const OWNER_UID: &str = "binlogstream.io/owner-uid";

/// What an annotation asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedArchive {
    /// Id of the archive.
    pub archive_id: uuid::Uuid,
    /// Number of its newest entry at the time of the consent.
    pub n: u64,
}

/// A value of an annotation that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {value:?} is not {expected}")]
pub struct InvalidConsent {
    /// Key of the annotation.
    pub key: &'static str,
    /// The value, cut to 80 characters.
    pub value: String,
    /// What was expected.
    pub expected: &'static str,
}

impl InvalidConsent {
    fn new(key: &'static str, value: &str, expected: &'static str) -> Self {
        Self { key, value: value.chars().take(80).collect(), expected }
    }
}

impl std::str::FromStr for AcceptedArchive {
    type Err = InvalidConsent;

    fn from_str(value: &str) -> Result<Self, InvalidConsent> {
        let parsed = value.trim().split_once('@').and_then(|(archive, n)| {
            Some(Self { archive_id: archive.parse().ok()?, n: n.parse().ok()? })
        });
        parsed.ok_or_else(|| {
            InvalidConsent::new(ACCEPT_ARCHIVE, value, "<archive id>@<number of its newest entry>")
        })
    }
}

impl std::fmt::Display for AcceptedArchive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.archive_id, self.n)
    }
}

/// Reads the value of `adopt-archive`.
///
/// # Errors
/// It is no archive id.
pub fn parse_adopt_archive(value: &str) -> Result<uuid::Uuid, InvalidConsent> {
    let parsed = value.trim().parse();
    parsed.map_err(|_| InvalidConsent::new(ADOPT_ARCHIVE, value, "an archive id (a UUID)"))
}

/// Reads the value of `accept-source`: a server uuid or a server id.
///
/// # Errors
/// It is neither.
pub fn parse_accept_source(value: &str) -> Result<String, InvalidConsent> {
    let value = value.trim();
    let known = uuid::Uuid::try_parse(value).is_ok() || value.parse::<u32>().is_ok();
    known.then(|| value.to_owned()).ok_or_else(|| {
        InvalidConsent::new(ACCEPT_SOURCE, value, "a server uuid or a numeric server id")
    })
}

/// Reads the value of `acknowledge-gap`: gap ids with commas, or `all`.
///
/// # Errors
/// It is empty or holds something that cannot be an id.
pub fn parse_acknowledge_gap(value: &str) -> Result<Vec<String>, InvalidConsent> {
    let ids: Vec<String> =
        value.split(',').map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned).collect();
    let is_id = |id: &String| {
        id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    if ids.is_empty() || !ids.iter().all(is_id) {
        return Err(InvalidConsent::new(ACKNOWLEDGE_GAP, value, "a gap id or all"));
    }
    Ok(ids)
}

/// Reads the value of `commit-now`.
///
/// # Errors
/// It is empty, longer than 256 characters, or holds control characters.
pub fn parse_commit_now(value: &str) -> Result<String, InvalidConsent> {
    let value = value.trim();
    let usable = (1..=256).contains(&value.chars().count()) && !value.contains(char::is_control);
    usable.then(|| value.to_owned()).ok_or_else(|| {
        InvalidConsent::new(COMMIT_NOW, value, "a new text of at most 256 characters, as a time")
    })
}
