//! Is our last event still where it was? Asked by SQL before the claim: a reset source whose new file has grown
//! past our position would else be dumped from the middle of an event, which no server answers sensibly.
//!
//! `a_reset_of_mysql_97_that_grew_past_our_position_is_told_by_its_bytes` (e2e) holds it. The dump compares the
//! event's bytes after this.

use archive::State;
use crds::position::FilePosition;
use source::Connection;
use source::preflight::Facts;

use super::decide::{server_name, server_of};

/// Bits of a position in an event's header.
const HEADER_POSITION: u64 = 1 << 32;

/// What differs at the end of our history, if the same server shows another event there. No answer is no
/// difference.
pub async fn difference(control: &mut Connection, state: &State, facts: &Facts) -> Option<String> {
    let stint = state.facts.lineages.last()?;
    let end = state.resume()?.position();
    let at = state.facts.at.as_ref().filter(|at| at.point().position() == end)?;
    let tail = at.tail.as_ref().filter(|tail| tail.pos + u64::from(tail.length) == end.offset)?;
    let here = facts
        .identity
        .binlogs
        .iter()
        .flatten()
        .any(|file| file.name == end.file && file.size >= end.offset);
    let archived = server_name(stint.server.uuid.as_deref(), stint.server.id);
    if !here || !archived.eq_ignore_ascii_case(&server_of(&facts.identity)) {
        return None;
    }
    let start = FilePosition::new(end.file.clone(), tail.pos);
    match control.binlog_event_at(&start).await {
        Ok(Some(event)) if event.end % HEADER_POSITION == end.offset % HEADER_POSITION => None,
        Ok(_) => Some(format!("{start} holds another event than the archive")),
        Err(error) => {
            tracing::debug!(%error, "the source does not show its last archived event");
            None
        }
    }
}
