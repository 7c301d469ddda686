//! Deployments: of what they are made and how far they have come.

use std::collections::BTreeMap;

use crds::annotations::RESTARTED_AT;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus};
use kube::api::ObjectMeta;
use serde::Deserialize;

use super::{OfStream, stands_for, stream_label};

/// A Deployment's metadata, size and status, and the annotations of its pods.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct WatchedDeployment {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// The part of its spec the operator reads.
    #[serde(default)]
    pub spec: DeploymentPart,
    /// Status, as the Deployment controller writes it.
    #[serde(default)]
    pub status: DeploymentStatus,
}

/// What is kept of a Deployment beside what is kept of every child.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Deployed {
    /// Pods asked for.
    pub replicas: Option<i32>,
    /// When somebody asked for a restart, by kubectl's annotation of its pods.
    pub restarted_at: Option<String>,
    /// Counts, and the conditions that are not as they should be.
    pub status: DeploymentStatus,
}

impl From<&WatchedDeployment> for Deployed {
    fn from(deployment: &WatchedDeployment) -> Self {
        let annotations = deployment.spec.template.metadata.annotations.as_ref();
        let mut status = deployment.status.clone();
        if let Some(conditions) = &mut status.conditions {
            let is_failure = |kind: &str| kind == "ReplicaFailure";
            conditions.retain(|one| (one.status == "True") == is_failure(&one.type_));
            conditions.shrink_to_fit();
        }
        Deployed {
            replicas: deployment.spec.replicas,
            restarted_at: annotations.and_then(|all| all.get(RESTARTED_AT)).cloned(),
            status,
        }
    }
}

/// The part of a Deployment's spec the operator reads.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct DeploymentPart {
    /// Pods asked for.
    pub replicas: Option<i32>,
    /// What its pods are made from.
    #[serde(default)]
    pub template: TemplatePart,
}

/// The part of a pod template the operator reads.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct TemplatePart {
    /// Metadata of the pods.
    #[serde(default)]
    pub metadata: TemplateMetadata,
}

/// Metadata of pods that are to be made.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct TemplateMetadata {
    /// Annotations.
    pub annotations: Option<BTreeMap<String, String>>,
}

impl OfStream for WatchedDeployment {
    fn stream(&self) -> Option<&str> {
        stream_label(&self.metadata)
    }
}

stands_for!(WatchedDeployment, Deployment);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_restart_that_was_asked_for_on_the_deployment_is_seen() {
        let restarted_at = |template: Value| {
            let object =
                json!({"metadata": {"name": "a"}, "spec": {"replicas": 1, "template": template}});
            let deployment: WatchedDeployment = serde_json::from_value(object).unwrap();
            Deployed::from(&deployment).restarted_at
        };
        let at = "2026-11-27T10:00:00Z";
        let restarted = json!({"metadata": {"creationTimestamp": null, "annotations": {
            "kubectl.kubernetes.io/restartedAt": at}}, "spec": {"containers": []}});
        assert_eq!(restarted_at(restarted).as_deref(), Some(at));
        assert_eq!(restarted_at(json!({"metadata": {"annotations": null}})), None);
    }

    #[test]
    fn of_a_deployment_the_conditions_are_kept_that_are_not_as_they_should_be() {
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status});
        let kept = |conditions: Value| {
            let object = json!({"metadata": {}, "status": {"conditions": conditions}});
            let deployment: WatchedDeployment = serde_json::from_value(object).unwrap();
            let kept = Deployed::from(&deployment).status.conditions.unwrap();
            kept.into_iter().map(|one| one.type_).collect::<Vec<_>>()
        };
        let well = json!([condition("Available", "True"), condition("Progressing", "True")]);
        assert!(kept(well).is_empty());
        let ill = json!([condition("Progressing", "False"), condition("ReplicaFailure", "True")]);
        assert_eq!(kept(ill), ["Progressing", "ReplicaFailure"]);
    }
}
