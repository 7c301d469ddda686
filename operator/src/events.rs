//! Events (events.k8s.io), on transitions only.
//!
//! The last word said on each topic of each object is kept; the same word again is silence, so a
//! fault that lasts for hours is one event and not one per retry.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube_runtime::events::{Event, EventType, Recorder, Reporter};
use tracing::warn;

/// Longest note the API takes, in bytes.
const LONGEST_NOTE: usize = 1024;
/// Limit of one write: events are worth a little waiting, never a stuck reconcile.
const REQUEST: Duration = Duration::from_secs(5);

/// Normal or Warning.
pub use kube_runtime::events::EventType as Kind;

/// Something to tell about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What it is about; one word is remembered per topic.
    pub topic: String,
    /// Normal or Warning.
    pub kind: EventType,
    /// CamelCase reason.
    pub reason: String,
    /// What happened and what to do next. Part of what is compared.
    pub note: String,
}

/// Writer of events.
pub struct Events {
    client: Client,
    reporter: Reporter,
    said: Mutex<HashMap<(String, String), String>>,
}

impl Events {
    /// A writer that signs as `binlog-operator` and this instance.
    pub fn new(client: Client, instance: &str) -> Events {
        let reporter = Reporter {
            controller: "binlogstream.io/binlog-operator".to_owned(),
            instance: Some(instance.to_owned()),
        };
        Events { client, reporter, said: Mutex::default() }
    }

    /// Publishes `notice` unless it is what was last said on its topic.
    pub async fn tell(&self, about: &ObjectReference, notice: Notice) {
        let Notice { topic, kind, reason, note } = notice;
        let uid = about.uid.clone().unwrap_or_default();
        if !self.is_news(&uid, &topic, &format!("{reason} {note}")) {
            return;
        }
        let event = Event {
            type_: kind,
            reason,
            note: Some(shortened(&note)),
            action: topic,
            secondary: None,
        };
        // One that remembers what it published adds to an event of the same reason, whose note stays the old one.
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        match tokio::time::timeout(REQUEST, recorder.publish(&event, about)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, reason = %event.reason, "publish an event"),
            Err(_) => warn!(reason = %event.reason, "publish an event: no answer in time"),
        }
    }

    /// Forgets a topic: when its fault comes back, that is news.
    pub fn settle(&self, uid: &str, topic: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.remove(&(uid.to_owned(), topic.to_owned()));
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, uid: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.retain(|(of, _), _| of != uid);
    }

    fn is_news(&self, uid: &str, topic: &str, word: &str) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.insert((uid.to_owned(), topic.to_owned()), word.to_owned()).as_deref() != Some(word)
    }
}

fn shortened(note: &str) -> String {
    if note.len() <= LONGEST_NOTE {
        return note.to_owned();
    }
    let mut end = LONGEST_NOTE - "...".len();
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...", &note[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_api::FakeApi;

    #[tokio::test]
    async fn a_reason_that_comes_back_with_another_note_is_an_event_of_its_own() {
        let api = FakeApi::start(|asked| (201, asked.body.clone())).await;
        let events = Events::new(api.client.clone(), "me");
        let about = ObjectReference {
            name: Some("orders".to_owned()),
            namespace: Some("shop".to_owned()),
            uid: Some("u".to_owned()),
            ..ObjectReference::default()
        };
        for note in ["made", "made", "evicted"] {
            let notice = Notice {
                topic: "Ready".to_owned(),
                kind: Kind::Normal,
                reason: "Starting".to_owned(),
                note: note.to_owned(),
            };
            events.tell(&about, notice).await;
        }
        let written: Vec<_> = api
            .written()
            .into_iter()
            .map(|asked| (asked.what, asked.body["note"].clone()))
            .collect();
        assert_eq!(
            written,
            ["made", "evicted"].map(|note| ("POST events".to_owned(), note.into())),
            "the same word again is silence"
        );
    }

    #[test]
    fn long_notes_are_cut_at_a_character() {
        let note = "ü".repeat(1000);
        let cut = shortened(&note);
        assert!(cut.len() <= LONGEST_NOTE && cut.ends_with("..."));
        assert_eq!(shortened("short"), "short");
    }
}
