//! What the identities of operator and worker may do, as one table: SECURITY.md shows it, and the authorizer of a real
//! API server is asked about every cell, the empty ones too.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};

use crate::{Context, Failure, Result};

/// Every verb of RBAC that means something for these resources.
pub const VERBS: [&str; 11] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "bind",
    "escalate",
    "impersonate",
];

/// One line: a resource, `plural[/subresource][.group]`, perhaps one by name, and the verbs that are granted.
#[derive(Debug)]
pub struct Row {
    /// The resource.
    pub resource: &'static str,
    /// Only the object of this name.
    pub name: Option<&'static str>,
    /// Of the operator, in the namespaces that it handles.
    pub operator: &'static str,
    /// Of a worker, in its own namespace.
    pub worker: &'static str,
}

/// A line for a resource that nobody is given.
const fn none(resource: &'static str) -> Row {
    Row { resource, name: None, operator: "", worker: "" }
}

/// A line for a resource of which a worker has nothing.
const fn operator(resource: &'static str, operator: &'static str) -> Row {
    Row { resource, name: None, operator, worker: "" }
}

/// The checkpoint of the worker that is asked about.
pub const OWN_CHECKPOINT: &str = "one-checkpoint";

/// The whole table. What an install in some namespaces gives the operator is the same, in those namespaces.
pub const ROWS: [Row; 33] = [
    operator("binlogstreams.binlogstream.io", "get list watch"),
    operator("binlogstreams/status.binlogstream.io", "get update patch"),
    operator("binlogstreams/finalizers.binlogstream.io", "update"),
    operator("configmaps", "get list watch create update patch"),
    Row {
        resource: "configmaps",
        name: Some(OWN_CHECKPOINT),
        operator: "get list watch create update patch",
        worker: "get watch update patch",
    },
    operator("serviceaccounts", "get list watch create patch"),
    operator("services", "get list watch create patch"),
    operator("persistentvolumeclaims", "get list watch create patch"),
    operator("pods", "get list watch"),
    operator("deployments.apps", "get list watch create patch"),
    operator("roles.rbac.authorization.k8s.io", "get list watch create patch"),
    operator("rolebindings.rbac.authorization.k8s.io", "get list watch create patch"),
    operator("events.events.k8s.io", "create patch"),
    none("secrets"),
    none("serviceaccounts/token"),
    none("pods/exec"),
    none("pods/attach"),
    none("pods/portforward"),
    none("pods/proxy"),
    none("pods/log"),
    none("pods/ephemeralcontainers"),
    none("pods/eviction"),
    none("services/proxy"),
    none("replicasets.apps"),
    none("statefulsets.apps"),
    none("daemonsets.apps"),
    none("jobs.batch"),
    none("networkpolicies.networking.k8s.io"),
    none("persistentvolumes"),
    none("nodes"),
    none("clusterroles.rbac.authorization.k8s.io"),
    none("clusterrolebindings.rbac.authorization.k8s.io"),
    none("customresourcedefinitions.apiextensions.k8s.io"),
];

/// The table in Markdown.
pub fn markdown() -> String {
    let cell =
        |verbs: &str| if verbs.is_empty() { "none".to_owned() } else { verbs.replace(' ', ", ") };
    let head = "| Resource | Operator, where it handles streams | Worker, in its namespace |\n|---|---|---|\n";
    let line = |Row { resource, name, operator, worker }: &Row| {
        let whose = if name.is_some() { ", its own checkpoint" } else { "" };
        format!("| `{resource}`{whose} | {} | {} |\n", cell(operator), cell(worker))
    };
    std::iter::once(head.to_owned()).chain(ROWS.iter().map(line)).collect()
}

/// What the authorizer answers otherwise than the table: the operator's account in namespaces that it handles and in
/// others, and a worker's in its own.
pub async fn differences(
    client: &Client,
    operator: &str,
    handled: &[&str],
    others: &[&str],
) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for row in &ROWS {
        for (namespaces, verbs) in [(handled, row.operator), (others, "")] {
            for namespace in namespaces {
                wrong.extend(unlike(client, operator, namespace, row, verbs).await?);
            }
        }
    }
    Ok(wrong)
}

/// The same for a worker: nothing is granted outside its namespace.
pub async fn differences_of_worker(
    client: &Client,
    worker: &str,
    own: &str,
    others: &[&str],
) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for row in &ROWS {
        wrong.extend(unlike(client, worker, own, row, row.worker).await?);
        for namespace in others {
            wrong.extend(unlike(client, worker, namespace, row, "").await?);
        }
    }
    Ok(wrong)
}

async fn unlike(
    client: &Client,
    user: &str,
    namespace: &str,
    row: &Row,
    granted: &str,
) -> Result<Vec<String>> {
    let asked = VERBS.map(|verb| async move {
        let expected = granted.split(' ').any(|word| word == verb);
        let name = row.name.map(|name| format!(" {name}")).unwrap_or_default();
        let what = format!("{verb} {}{name}", row.resource);
        let differs = may(client, user, namespace, &what).await? != expected;
        Ok::<_, Failure>(
            differs.then(|| format!("{user} in {namespace:?}: {what} is not {expected}")),
        )
    });
    Ok(futures::future::try_join_all(asked).await?.into_iter().flatten().collect())
}

/// Whether the authorizer lets a user do what is written as `verb resource[/subresource][.group][ name]`.
pub async fn may(client: &Client, user: &str, namespace: &str, what: &str) -> Result<bool> {
    let mut words = what.split(' ');
    let verb = words.next().context(|| "no verb")?;
    let resource = words.next().context(|| format!("{what:?} is no verb and resource"))?;
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let text = |text: &str| Some(text.to_owned());
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: text(user),
            groups: Some(vec![
                "system:authenticated".into(),
                "system:serviceaccounts".into(),
                format!("system:serviceaccounts:{}", user.split(':').nth(2).unwrap_or_default()),
            ]),
            resource_attributes: Some(ResourceAttributes {
                namespace: text(namespace),
                verb: text(verb),
                group: text(group),
                resource: text(resource),
                subresource: text(subresource),
                name: words.next().and_then(text),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}
