//! Requests to move the checkpoint: do they still hold, and what became of them.
//!
//! A request is one of the start: only one that the process began with is carried out, before the first dump. It
//! names the archive's newest entry, so it holds exactly until something follows on that entry that moves a cursor;
//! the entry that carries it out is such a one. So it is carried out once, whatever crashes in between, and one that
//! is left standing agrees to nothing new.

use std::sync::Arc;

use archive::entry::{Consent, ConsentKind, Entry, EntryKind, GapPhase};
use archive::log::{ReadError, read_entry};
use archive::{Opened, State, Store};
use crds::annotations::CheckpointRequest;
use crds::conditions::Reason;
use crds::worker_config::{Consents, WorkerConfig};
use crds::worker_status::{ActionFacet, Outcome};
use jiff::Timestamp;

use super::aim;
use super::decide::Plan;
use super::housekeeping::by;
use super::{Ready, Session, SessionEnd};
use crate::board::Board;
use crate::fault::{Fault, chain};
use crate::start::archive::{Elapsed, limited};

/// What the log says of a request.
#[derive(Debug, PartialEq)]
enum Standing {
    /// Nothing has moved since.
    Holds,
    /// This entry carried it out.
    Done(u64, Timestamp),
    /// It is about another state of the archive, or about none.
    Void(String),
}

impl Session<'_> {
    /// The request that is to be carried out now, if there is one. One that is not is answered.
    pub(super) async fn request(
        &self,
        config: &WorkerConfig,
        opened: &Opened,
        store: &Arc<dyn Store>,
    ) -> Result<Option<CheckpointRequest>, SessionEnd> {
        let Some(request) = config.consents.checkpoint_request() else { return Ok(None) };
        if self.memory.asked.as_ref() != Some(&request) {
            refuse_late(self.board, &request, opened.state().map(AsRef::as_ref));
            return Ok(None);
        }
        let asked = limited(standing(&**store, opened.state().map(AsRef::as_ref), &request)).await;
        let standing = asked.map_err(|Elapsed| {
            let what = format!("read the log after entry {}: no answer", request.of.n);
            Fault::archive(Reason::ArchiveUnreachable, what)
        })?;
        match standing? {
            Standing::Holds => return Ok(Some(request)),
            Standing::Done(n, at) => {
                let message = format!("entry {n} of the archive carried it out");
                answer(self.board, &request, Outcome::Done, message, at);
            }
            Standing::Void(why) => refuse(self.board, &request, why),
        }
        Ok(None)
    }

    /// A reset whose start leads nowhere is waited out before the claim: each claim is an entry of the log.
    pub(super) fn leads_somewhere(
        &self,
        config: &WorkerConfig,
        ready: &Ready,
    ) -> Result<(), Fault> {
        let is_reset = ready.request.as_ref().is_some_and(|request| request.target.is_none());
        // Any other is refused, wherever it leads.
        let is_tried = matches!(ready.plan, Plan::Resume(_) | Plan::Gap { .. });
        if !(is_reset && is_tried && config.archive.raw.enabled) {
            return Ok(());
        }
        aim::foreseen(&config.start, &ready.facts.identity)
            .map_err(|missed| missed.waits("start"))?;
        match &self.memory.nowhere {
            Some((start, why)) if *start == config.start => {
                Err(Fault::source(Reason::PositionNotFound, why.clone()))
            }
            _ => Ok(()),
        }
    }
}

async fn standing(
    store: &dyn Store,
    state: Option<&State>,
    request: &CheckpointRequest,
) -> Result<Standing, Fault> {
    let of = &request.of;
    let Some(state) = state else {
        return Ok(Standing::Void("there is no archive yet, the stream begins anew".to_owned()));
    };
    let newest = format!("the newest entry is {}@{}", state.archive, state.n);
    if of.archive_id != state.archive || of.n > state.n {
        return Ok(Standing::Void(format!("{newest}, not {of}")));
    }
    for n in of.n + 1..=state.n {
        let missing = || ReadError::Damaged { n, problem: "it is missing".to_owned() };
        let read = read_entry(store, n).await.and_then(|stored| stored.ok_or_else(missing));
        let entry = read.map_err(|error| Fault::archive(error.reason(), chain(&error)))?.entry;
        if uses(&entry, request) {
            return Ok(Standing::Done(n, entry.time));
        }
        if moves(&entry) {
            return Ok(Standing::Void(format!(
                "the stream went on behind entry {} with entry {n}; {newest}: stop the stream and ask \
                 with the newest entry that it has then",
                of.n
            )));
        }
    }
    Ok(Standing::Holds)
}

fn uses(entry: &Entry, request: &CheckpointRequest) -> bool {
    entry.consents.iter().any(|used| used.kind == kind(request) && used.value == request.value)
}

/// Whether a cursor stands elsewhere after the entry.
fn moves(entry: &Entry) -> bool {
    match entry.kind {
        EntryKind::Commit | EntryKind::Lineage | EntryKind::Unknown(_) => true,
        EntryKind::Gap => entry.gap.as_ref().is_some_and(|gap| gap.phase == GapPhase::Passed),
        EntryKind::Claim | EntryKind::Maintain => false,
    }
}

fn kind(request: &CheckpointRequest) -> ConsentKind {
    match request.target {
        None => ConsentKind::ResetCheckpoint,
        Some(_) => ConsentKind::SetCheckpoint,
    }
}

/// The request as the entry that carries it out records it.
pub fn consent(request: &CheckpointRequest, given: &Consents) -> Consent {
    Consent { kind: kind(request), value: request.value.clone(), by: by(given) }
}

/// One that came while the process ran.
pub fn refuse_late(board: &Board, request: &CheckpointRequest, state: Option<&State>) {
    let newest =
        state.map_or_else(String::new, |state| format!(" (now {}@{})", state.archive, state.n));
    let why = format!(
        "it was asked while the worker ran: set state to Stopped, ask with the newest entry that the \
         archive has then{newest}, and set state to Running"
    );
    refuse(board, request, why);
}

/// It will not be carried out. Said once.
pub fn refuse(board: &Board, request: &CheckpointRequest, why: String) {
    let said = board.report().checkpoint_action.is_some_and(|action| {
        action.type_ == request.action() && action.requested == request.value
    });
    if !said {
        tracing::warn!(action = request.action(), value = request.value, why, "request refused");
        answer(board, request, Outcome::Refused, why, Timestamp::now());
    }
}

/// Shows what became of the request.
pub fn answer(
    board: &Board,
    request: &CheckpointRequest,
    outcome: Outcome,
    message: String,
    at: Timestamp,
) {
    let action = ActionFacet {
        type_: request.action().to_owned(),
        requested: request.value.clone(),
        completed_at: Some(at),
        outcome,
        message,
    };
    board.update(|facts| facts.report.checkpoint_action = Some(action.clone()));
    board.acted(action);
}

#[cfg(test)]
mod tests {
    use archive::store::memory::MemoryStore;
    use bytes::Bytes;
    use crds::position::Flavor;
    use serde_json::{Value, json};

    use super::*;

    const ARCHIVE: &str = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff";

    fn claim(n: u64, epoch: u64) -> Value {
        json!({
            "format": 1, "archive": ARCHIVE, "n": n, "epoch": epoch, "kind": "claim",
            "time": "2026-01-01T00:00:00Z", "writer": {"instance": "one", "version": "0.1.0"},
            "claim": {
                "owner": {"cluster": "c", "namespace": "shop", "name": "orders"},
                "holders": [{"instance": "one", "epoch": epoch}],
                "config": {"filter": null, "raw": true, "changes": true, "digest": ""}
            }
        })
    }

    fn lineage(n: u64, consents: &Value) -> Value {
        json!({
            "format": 1, "archive": ARCHIVE, "n": n, "epoch": n, "kind": "lineage",
            "time": "2026-01-01T00:00:00Z", "writer": {"instance": "one", "version": "0.1.0"},
            "consents": consents,
            "lineage": {"id": "0001-7", "cause": "seek", "server": {"id": 7, "version": "11.8"},
                "file": "b.000001", "fromAt": {"lineage": "0001-7", "file": "b.000001", "pos": 4}}
        })
    }

    /// The log of these entries, each linked to the one before, and its state as far as it matters here.
    async fn log(entries: Vec<Value>) -> (MemoryStore, State) {
        let store = MemoryStore::default();
        let mut prev = Value::Null;
        let mut first = None;
        let newest = entries.len() as u64 - 1;
        for mut entry in entries {
            entry["prev"] = prev;
            let entry: Entry = serde_json::from_value(entry).unwrap();
            let bytes = entry.to_bytes().unwrap();
            let digest = archive::entry::sha256(&bytes);
            prev = json!(digest);
            store.create(&archive::layout::entry(entry.n), Bytes::clone(&bytes)).await.unwrap();
            first.get_or_insert(archive::entry::Stored { entry, digest });
        }
        let state = State::begin(Flavor::MariaDB, &first.unwrap()).unwrap();
        (store, State { n: newest, ..state })
    }

    async fn stands(store: &MemoryStore, state: &State, value: &str) -> Standing {
        let request = CheckpointRequest::reset(value).unwrap();
        standing(store, Some(state), &request).await.unwrap()
    }

    #[tokio::test]
    async fn a_request_holds_until_something_moves_behind_its_entry() {
        let of = |n: u64| format!("{ARCHIVE}@{n}");
        let (store, state) = log(vec![claim(0, 1), claim(1, 2), claim(2, 3)]).await;
        for n in 0..=2 {
            assert_eq!(
                stands(&store, &state, &of(n)).await,
                Standing::Holds,
                "claims move nothing"
            );
        }
        assert!(matches!(stands(&store, &state, &of(3)).await, Standing::Void(_)), "not yet there");
        let other = "00000000-8b86-4d01-b42d-00cf4fc964ff@0";
        assert!(
            matches!(stands(&store, &state, other).await, Standing::Void(_)),
            "another archive"
        );
        let (store, state) = log(vec![claim(0, 1), lineage(1, &json!([])), claim(2, 2)]).await;
        let Standing::Void(why) = stands(&store, &state, &of(0)).await else { panic!("it moved") };
        assert!(why.contains("entry 1") && why.contains(&of(2)), "{why}");
        assert_eq!(stands(&store, &state, &of(1)).await, Standing::Holds);
    }

    #[tokio::test]
    async fn the_entry_that_carried_it_out_says_so_for_ever() {
        let value = format!("{ARCHIVE}@0");
        let used = |kind: &str| json!([{"kind": kind, "value": value, "by": "annotation"}]);
        let entries =
            vec![claim(0, 1), claim(1, 2), lineage(2, &used("resetCheckpoint")), claim(3, 3)];
        let (store, state) = log(entries).await;
        let done = stands(&store, &state, &value).await;
        assert!(matches!(done, Standing::Done(2, _)), "{done:?}");
        let (store, state) = log(vec![claim(0, 1), lineage(1, &used("setCheckpoint"))]).await;
        let other = stands(&store, &state, &value).await;
        assert!(matches!(other, Standing::Void(_)), "it was another request: {other:?}");
    }

    #[test]
    fn a_refusal_is_said_once() {
        let board = Board::new("i", None);
        let request = CheckpointRequest::reset(&format!("{ARCHIVE}@0")).unwrap();
        refuse_late(&board, &request, None);
        let first = board.report().checkpoint_action.unwrap();
        assert_eq!((first.type_.as_str(), first.outcome), ("reset-checkpoint", Outcome::Refused));
        assert!(first.message.contains("Stopped"), "{}", first.message);
        refuse(&board, &request, "for another reason".to_owned());
        assert_eq!(board.report().checkpoint_action, Some(first.clone()));
        assert_eq!(board.report().last_handled_action, Some(first));
    }
}
