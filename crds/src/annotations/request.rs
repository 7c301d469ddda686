//! Requests to move the checkpoint. Each names the archive and the newest entry that it gives up, so
//! that one left standing in a manifest is spent as soon as anything follows on that entry.

use super::{AcceptedArchive, InvalidConsent, RESET_CHECKPOINT, SET_CHECKPOINT};
use crate::position::{FileName, FilePosition, Flavor, GtidSet};
use crate::v1alpha1::{FilePositionSpec, StartMode, StartSpec};

/// Longest value of a request, in characters: it is shown whole in the status.
pub const MAX_REQUEST: usize = 1024;

/// A request to move the checkpoint, while the stream is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointRequest {
    /// The archive and its newest entry when it was asked.
    pub of: AcceptedArchive,
    /// Where to go on; absent: where `start` leads (a reset).
    pub target: Option<Target>,
    /// The value as it was given, without white space around it.
    pub value: String,
}

/// Where a checkpoint is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// At a file and an offset.
    Position(FilePosition),
    /// Where exactly these transactions were executed.
    Gtids(String),
}

impl Target {
    /// The same as the start of a stream.
    pub fn as_start(&self) -> StartSpec {
        match self {
            Self::Position(at) => StartSpec {
                mode: StartMode::FilePosition,
                file_position: Some(FilePositionSpec {
                    file: at.file.clone(),
                    position: at.offset,
                }),
                gtid_set: None,
            },
            Self::Gtids(set) => StartSpec {
                mode: StartMode::GtidSet,
                file_position: None,
                gtid_set: Some(set.clone()),
            },
        }
    }
}

impl CheckpointRequest {
    /// Reads the value of `reset-checkpoint`: `<archive id>@<number of its newest entry>`.
    ///
    /// # Errors
    /// It is something else.
    pub fn reset(value: &str) -> Result<Self, InvalidConsent> {
        let value = value.trim();
        let of = value.parse::<AcceptedArchive>().map_err(|_| {
            let expected = "<archive id>@<number of its newest entry>";
            InvalidConsent::new(RESET_CHECKPOINT, value, expected)
        })?;
        Ok(Self { of, target: None, value: value.to_owned() })
    }

    /// Reads the value of `set-checkpoint`: `<archive id>@<number of its newest entry>/<position>`, the
    /// position being `<file>:<offset>` or a GTID set.
    ///
    /// # Errors
    /// It is something else, or longer than [`MAX_REQUEST`].
    pub fn set(value: &str) -> Result<Self, InvalidConsent> {
        let value = value.trim();
        let read = value
            .split_once('/')
            .filter(|_| value.chars().count() <= MAX_REQUEST)
            .and_then(|(of, to)| Some((of.parse::<AcceptedArchive>().ok()?, target(to.trim())?)));
        let (of, target) = read.ok_or_else(|| {
            let expected = "<archive id>@<number of its newest entry>/<file>:<offset>, or a GTID \
                            set behind the slash; at most 1024 characters";
            InvalidConsent::new(SET_CHECKPOINT, value, expected)
        })?;
        Ok(Self { of, target: Some(target), value: value.to_owned() })
    }

    /// The action, as the status names it.
    pub const fn action(&self) -> &'static str {
        match self.target {
            None => "reset-checkpoint",
            Some(_) => "set-checkpoint",
        }
    }
}

fn target(text: &str) -> Option<Target> {
    let position = text.rsplit_once(':').and_then(|(file, offset)| {
        let named = FileName::of(file).number.is_some() && !file.contains(['/', '\\']);
        let offset = offset.parse::<u64>().ok().filter(|at| *at >= FilePosition::FIRST_EVENT)?;
        named.then(|| Target::Position(FilePosition::new(file, offset)))
    });
    position.or_else(|| {
        let is_set = |flavor| GtidSet::parse(flavor, text).is_ok_and(|set| !set.is_empty());
        let known = is_set(Flavor::MySQL) || is_set(Flavor::MariaDB);
        known.then(|| Target::Gtids(text.to_owned()))
    })
}
