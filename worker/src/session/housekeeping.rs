//! Requests of people that are carried out while the stream runs: acknowledging gaps that were passed.

use archive::commit::Committer;
use archive::entry::{Consent, ConsentKind, GapBody, GapPhase, OpenGap};
use archive::{Body, LogError, State};
use crds::worker_config::{ALL_GAPS, Consents};
use crds::worker_status::{ActionFacet, Outcome};
use jiff::Timestamp;

use crate::board::Board;

/// Who said so, for the record.
pub fn by(consents: &Consents) -> String {
    consents.by.clone().unwrap_or_else(|| "config".to_owned())
}

/// What people said of gaps, as far as it still holds.
#[derive(Debug, Clone, Copy)]
pub struct GapConsents<'a> {
    given: &'a Consents,
    /// `all` was given and not carried out before. Once carried out it is spent: left standing in a manifest, it
    /// must not wave through what is lost next year.
    all: bool,
}

impl<'a> GapConsents<'a> {
    /// What still holds, by the log.
    pub fn new(given: &'a Consents, state: &State) -> Self {
        let spent = state
            .facts
            .consents
            .iter()
            .any(|used| used.kind == ConsentKind::AcknowledgeGap && used.value == ALL_GAPS);
        Self { given, all: given.acknowledges_all() && !spent }
    }

    /// The consent to this gap, if there is one.
    pub fn to(&self, gap: &str) -> Option<Consent> {
        let value = if self.given.acknowledges(gap) {
            gap
        } else if self.all {
            ALL_GAPS
        } else {
            return None;
        };
        let kind = ConsentKind::AcknowledgeGap;
        Some(Consent { kind, value: value.to_owned(), by: by(self.given) })
    }
}

/// Records the acknowledgement of every passed gap that a person acknowledged.
pub async fn acknowledge_gaps(
    committer: &Committer,
    consents: GapConsents<'_>,
    board: &Board,
) -> Result<(), LogError> {
    let open: Vec<OpenGap> = committer.durable().borrow().state.facts.gaps.clone();
    let passed = open.into_iter().filter(|gap| gap.phase == GapPhase::Passed);
    for (gap, consent) in passed.filter_map(|gap| consents.to(&gap.id).map(|given| (gap, given))) {
        let body = GapBody {
            id: gap.id.clone(),
            phase: GapPhase::Acknowledged,
            reason: gap.reason,
            from: gap.from,
            to: gap.to,
            missing: None,
            by: consent.by.clone(),
        };
        committer.append(Body::gap(body, None, vec![consent])).await?;
        tracing::info!(gap = gap.id, "gap acknowledged");
        handled(
            board,
            "acknowledge-gap",
            &gap.id,
            "the acknowledgement is recorded in the archive",
        );
    }
    Ok(())
}

/// Shows the consents that a claim has recorded.
pub fn recorded(board: &Board, consents: &[Consent]) {
    for Consent { kind, value, .. } in consents {
        let (action, message) = match kind {
            ConsentKind::AdoptArchive => ("adopt-archive", "the archive is this stream's now"),
            ConsentKind::AcceptArchive => {
                ("accept-archive", "the stream goes on with the archive as it is")
            }
            // Recorded by the entries that they allow, and shown there.
            ConsentKind::AcceptSource
            | ConsentKind::AcknowledgeGap
            | ConsentKind::ResetCheckpoint
            | ConsentKind::SetCheckpoint => continue,
        };
        handled(board, action, value, message);
    }
}

/// Shows that a request was carried out.
pub fn handled(board: &Board, action: &str, value: &str, message: &str) {
    board.acted(ActionFacet {
        type_: action.to_owned(),
        requested: value.to_owned(),
        completed_at: Some(Timestamp::now()),
        outcome: Outcome::Done,
        message: message.to_owned(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_by_consent_is_shown_as_carried_out() {
        let board = Board::new("i", None);
        let consent =
            |kind, value: &str| Consent { kind, value: value.into(), by: "config".into() };
        recorded(&board, &[consent(ConsentKind::AcceptSource, "7")]);
        assert_eq!(board.report().last_handled_action, None);
        recorded(&board, &[consent(ConsentKind::AdoptArchive, "0d9c1b52")]);
        let action = board.report().last_handled_action.unwrap();
        assert_eq!(
            (action.type_.as_str(), action.requested.as_str()),
            ("adopt-archive", "0d9c1b52")
        );
        assert_eq!(action.outcome, Outcome::Done);
    }
}
