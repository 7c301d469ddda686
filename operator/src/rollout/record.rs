//! What the operator notes on a Deployment about its pod template, so that nothing of a rollout is
//! only in its memory.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use serde::{Deserialize, Serialize};

use crate::{
    controller::{
        build::{deployment, labels},
        validate::ValidStream,
    },
    digest::{Digest, digest},
};

/// What a pod template was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MadeFrom {
    /// Digest of the template.
    pub template: String,
    /// Digest of what the stream's own spec asks of its pod.
    pub asked: String,
    /// Generation of that spec.
    pub generation: i64,
    /// Value of the stream's restart annotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted_at: Option<String>,
}

impl MadeFrom {
    /// What the template of `deployment` is made from.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn new(
        stream: &ValidStream,
        deployment: &Deployment,
    ) -> Result<MadeFrom, serde_json::Error> {
        Ok(MadeFrom {
            template: digest(&deployment.spec.as_ref().map(|spec| &spec.template))?.to_string(),
            asked: digest(&deployment::asked(stream))?.to_string(),
            generation: stream.generation,
            restarted_at: stream.restarted_at.clone(),
        })
    }

    /// Whether somebody asked for the step from here to `next`. The digest alone would not do: a
    /// newer operator may take it of more than an older one did. The generation alone would let a
    /// paused stream have a newer image, too.
    pub fn is_left_by_request(&self, next: &MadeFrom) -> bool {
        let edited = self.generation != next.generation && self.asked != next.asked;
        edited || self.restarted_at != next.restarted_at
    }
}

/// A change of the template that is ours; it stands on the Deployment until the worker is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Roll {
    /// How the worker was before.
    pub before: Before,
    /// Whether the roll before this one failed.
    pub again: bool,
}

/// How a worker was before it was rolled: what its new pod is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Before {
    /// No process ran: the new pod is no worse, whatever becomes of it.
    Down,
    /// Its process ran and was not ready: the new one must run.
    Running,
    /// It was ready: the new one must be.
    Ready,
}

/// All that is noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notes {
    /// What the template was made from.
    pub made_from: MadeFrom,
    /// The roll that is not settled yet.
    pub roll: Option<Roll>,
}

impl Notes {
    /// As annotations of the Deployment.
    ///
    /// # Errors
    /// When they cannot be written as JSON.
    pub fn write(&self) -> Result<BTreeMap<String, String>, serde_json::Error> {
        let mut notes = BTreeMap::new();
        notes.insert(labels::MADE_FROM.to_owned(), serde_json::to_string(&self.made_from)?);
        if let Some(roll) = self.roll {
            notes.insert(labels::ROLL.to_owned(), serde_json::to_string(&roll)?);
        }
        Ok(notes)
    }

    /// From the annotations of a Deployment. What another version wrote in a form of its own is not
    /// read.
    pub fn read(annotations: Option<&BTreeMap<String, String>>) -> Option<Notes> {
        let annotations = annotations?;
        let made_from = serde_json::from_str(annotations.get(labels::MADE_FROM)?).ok()?;
        let roll = annotations.get(labels::ROLL);
        Some(Notes { made_from, roll: roll.and_then(|roll| serde_json::from_str(roll).ok()) })
    }
}

/// Digest of what people ask for and the worker's configuration carries.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn asked(stream: &ValidStream) -> Result<Digest, serde_json::Error> {
    digest(&(stream.generation, stream.server_id, &stream.wishes))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        controller::{build::build, validate::tests::valid_with},
        settings::{Settings, tests::settings},
    };

    /// What the template of a stream with this spec is made from.
    fn made_from(change: &Value, settings: &Settings) -> MadeFrom {
        let mut stream = valid_with(change.clone());
        if stream.spec.worker.image.is_none() {
            stream.pod.image = settings.worker_image.clone();
        }
        MadeFrom::new(&stream, &build(&stream, settings).unwrap().deployment).unwrap()
    }

    fn newer() -> Settings {
        Settings { worker_image: "registry.example/binlog-worker:next".to_owned(), ..settings() }
    }

    #[test]
    fn a_newer_default_is_our_wish_and_an_edit_is_the_persons() {
        let before = made_from(&json!({}), &settings());
        let ours = made_from(&json!({}), &newer());
        assert_ne!(before.template, ours.template);
        assert!(!before.is_left_by_request(&ours));
        for theirs in [
            json!({"metadata": {"generation": 4}, "spec": {"worker": {"nodeSelector": {"disk": "fast"}}}}),
            json!({"metadata": {"generation": 4}, "spec": {"source": {"credentialsSecretRef": {"name": "other"}}}}),
            json!({"metadata": {"generation": 4}, "spec": {"archive": {"s3": null, "volume": {"size": "1Gi"}}}}),
            json!({"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}),
        ] {
            assert!(before.is_left_by_request(&made_from(&theirs, &newer())), "{theirs}");
        }
    }

    #[test]
    fn an_edit_that_is_not_about_the_pod_does_not_bring_a_newer_default() {
        let before = made_from(&json!({}), &settings());
        for edit in [
            json!({"metadata": {"generation": 4}, "spec": {"state": "Paused"}}),
            json!({"metadata": {"generation": 4}, "spec": {"filter": {"schemas": ["shop"]}}}),
            json!({"metadata": {"generation": 4}, "spec": {"worker": {"logLevel": "debug"}}}),
        ] {
            assert!(!before.is_left_by_request(&made_from(&edit, &newer())), "{edit}");
        }
    }

    #[test]
    fn a_digest_that_an_older_operator_took_of_less_is_no_request() {
        let now = made_from(&json!({}), &settings());
        let older = MadeFrom { asked: "of less".to_owned(), ..now.clone() };
        assert!(!older.is_left_by_request(&now));
    }

    #[test]
    fn notes_read_back_and_a_form_of_another_version_is_not_read() {
        let roll = Some(Roll { before: Before::Ready, again: true });
        let notes = Notes { made_from: made_from(&json!({}), &settings()), roll };
        let mut written = notes.write().unwrap();
        assert_eq!(Notes::read(Some(&written)), Some(notes.clone()));
        written.insert(labels::ROLL.to_owned(), "from the future".to_owned());
        assert_eq!(Notes::read(Some(&written)), Some(Notes { roll: None, ..notes }));
        written.insert(labels::MADE_FROM.to_owned(), "from the future".to_owned());
        assert_eq!(Notes::read(Some(&written)), None);
    }

    #[test]
    fn what_people_ask_for_is_seen_in_annotations_too() {
        let digest = |change: Value| asked(&valid_with(change)).unwrap();
        let before = digest(json!({}));
        let gap = json!({"metadata": {"annotations": {"binlogstream.io/acknowledge-gap": "all"}}});
        assert_ne!(before, digest(gap));
        assert_ne!(before, digest(json!({"metadata": {"generation": 4}})));
        let others = json!({"metadata": {"annotations": {"example.com/note": "mine"}}});
        assert_eq!(before, digest(others));
    }
}
