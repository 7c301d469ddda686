//! Events (events.k8s.io), on transitions only.
//!
//! The last word said on each topic of each object is kept; the same word again is silence, so a
//! fault that lasts for hours is one event and not one per retry.

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
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
    /// By UID: topics and what was last said on each, as hashes.
    said: Mutex<HashMap<String, Vec<(u64, u64)>>>,
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
        if let Some(topics) = said.get_mut(uid) {
            topics.retain(|(of, _)| *of != hash(topic));
        }
    }

    /// Forgets objects that are gone.
    pub fn keep_only(&self, is_known: impl Fn(&str) -> bool) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.retain(|uid, _| is_known(uid));
    }

    fn is_news(&self, uid: &str, topic: &str, word: &str) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let topics = said.entry(uid.to_owned()).or_default();
        let (topic, word) = (hash(topic), hash(word));
        if let Some((_, last)) = topics.iter_mut().find(|(of, _)| *of == topic) {
            return std::mem::replace(last, word) != word;
        }
        topics.push((topic, word));
        true
    }
}

/// What was said is only compared, so its hash is kept.
fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
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

    #[tokio::test]
    async fn a_word_is_news_once_until_another_is_said_or_the_topic_is_settled() {
        let api = FakeApi::start(|_| (500, serde_json::Value::Null)).await;
        let events = Events::new(api.client.clone(), "test");
        assert!(events.is_news("u", "Ready", "fine") && !events.is_news("u", "Ready", "fine"));
        assert!(events.is_news("u", "Ready", "bad") && events.is_news("u", "Ready", "fine"));
        assert!(events.is_news("u", "Gap", "fine") && events.is_news("other", "Ready", "fine"));
        events.settle("u", "Ready");
        assert!(events.is_news("u", "Ready", "fine") && !events.is_news("u", "Gap", "fine"));
        events.keep_only(|uid| uid != "u");
        assert!(events.is_news("u", "Gap", "fine") && !events.is_news("other", "Ready", "fine"));
    }

    #[test]
    fn long_notes_are_cut_at_a_character() {
        let note = "ü".repeat(1000);
        let cut = shortened(&note);
        assert!(cut.len() <= LONGEST_NOTE && cut.ends_with("..."));
        assert_eq!(shortened("short"), "short");
    }
}
