//! The worker's identity: an account that may use its own checkpoint ConfigMap and nothing else.
//!
//! With the checkpoint in `stream_state` it may use nothing at all. Held by
//! `worker_role_names_one_config_map` and, against a real API, by the e2e suite.

use k8s_openapi::api::{
    core::v1::ServiceAccount,
    rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject},
};

use super::labels;
use crate::controller::validate::ValidStream;

const GROUP: &str = "rbac.authorization.k8s.io";

/// The account the operator makes; none where the stream names an existing one.
pub fn service_account(stream: &ValidStream) -> Option<ServiceAccount> {
    let wanted = stream.spec.worker.service_account.as_ref();
    if wanted.is_some_and(|account| account.name.is_some()) {
        return None;
    }
    let mut metadata = labels::owned(stream);
    // Workload identity of a cloud (IRSA, GKE) is asked for by annotations of the account.
    let asked = wanted.and_then(|account| account.annotations.clone()).unwrap_or_default();
    metadata
        .annotations
        .get_or_insert_default()
        .extend(asked.into_iter().filter(|(key, _)| !key.starts_with(crds::annotations::DOMAIN)));
    Some(ServiceAccount {
        metadata,
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    })
}

/// Name of the account the pod runs under.
pub fn account_name(stream: &ValidStream) -> String {
    let wanted = stream.spec.worker.service_account.as_ref();
    wanted.and_then(|account| account.name.clone()).unwrap_or_else(|| labels::worker(&stream.name))
}

/// The right to read and write this stream's checkpoint.
pub fn role(stream: &ValidStream) -> Role {
    Role {
        metadata: labels::owned(stream),
        rules: Some(vec![PolicyRule {
            api_groups: Some(vec![String::new()]),
            resources: Some(vec!["configmaps".to_owned()]),
            resource_names: Some(vec![labels::checkpoint(&stream.name)]),
            verbs: ["get", "update", "patch", "watch"].map(str::to_owned).to_vec(),
            ..PolicyRule::default()
        }]),
    }
}

/// Gives the right to the account.
pub fn role_binding(stream: &ValidStream) -> RoleBinding {
    RoleBinding {
        metadata: labels::owned(stream),
        role_ref: RoleRef {
            api_group: GROUP.to_owned(),
            kind: "Role".to_owned(),
            name: labels::worker(&stream.name),
        },
        subjects: Some(vec![Subject {
            api_group: None,
            kind: "ServiceAccount".to_owned(),
            name: account_name(stream),
            namespace: Some(stream.namespace.clone()),
        }]),
    }
}
