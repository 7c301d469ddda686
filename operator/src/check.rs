//! `operator --check`: whether the API server serves BinlogStreams, grants what the operator needs, and
//! whether an operator leads. It changes nothing; `helm test` runs it.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
    coordination::v1::Lease,
};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use tokio::time::Instant;
use tracing::{error, info};

use crate::{api_error, args::Args, lease, watched::Observed};

/// Limit of a single request.
const REQUEST: Duration = Duration::from_secs(10);
/// A Lease renewed longer ago has no holder that works.
const HELD: i64 = 30;
/// How long nobody may hold it while an upgrade hands it over.
const HANDOVER: Duration = lease::DURATION.saturating_add(lease::RETRY);
/// Time between two looks at it.
const LOOK: Duration = Duration::from_secs(1);

/// A resource of an API group, and what the operator does with it.
struct Right {
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
}

const fn right(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
) -> Right {
    Right { group, resource, verbs }
}

const READ: &[&str] = &["get", "list", "watch"];
const MAKE: &[&str] = &["get", "list", "watch", "create", "patch"];

/// What the operator may do in every namespace it watches: the rules of the chart and of `config/rbac`
/// (`the_rights_that_are_checked_are_those_that_are_given`).
const RIGHTS: [Right; 12] = [
    right("binlogstream.io", "binlogstreams", READ),
    right("binlogstream.io", "binlogstreams/status", &["get", "patch", "update"]),
    right("binlogstream.io", "binlogstreams/finalizers", &["update"]),
    right("", "configmaps", &["get", "list", "watch", "create", "patch", "update"]),
    right("", "serviceaccounts", MAKE),
    right("", "services", MAKE),
    right("", "persistentvolumeclaims", MAKE),
    right("", "pods", READ),
    right("apps", "deployments", MAKE),
    right("rbac.authorization.k8s.io", "roles", MAKE),
    right("rbac.authorization.k8s.io", "rolebindings", MAKE),
    right("events.k8s.io", "events", &["create", "patch"]),
];

/// Checks, tells each fault in the log, and counts them.
pub async fn run(args: &Args, client: &Client) -> usize {
    let all = vec![None];
    let listed = args.watch_namespaces.iter().map(|name| Some(name.as_str())).collect::<Vec<_>>();
    let mut faults = 0;
    for namespace in if listed.is_empty() { all } else { listed } {
        faults += told(served(client, namespace).await);
        for right in &RIGHTS {
            for verb in right.verbs {
                faults += told(granted(client, namespace, right, verb).await);
            }
        }
    }
    faults += told(led(args, client).await);
    if faults == 0 {
        info!(
            namespaces = ?args.watch_namespaces,
            "BinlogStreams are served, every right is granted, an operator leads"
        );
    }
    faults
}

fn told(outcome: Result<(), String>) -> usize {
    match outcome {
        Ok(()) => 0,
        Err(fault) => {
            error!("{fault}");
            1
        }
    }
}

async fn answer<T>(
    what: &str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, String> {
    match tokio::time::timeout(REQUEST, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(format!("{what}: {}", api_error::words(&error))),
        Err(_) => Err(format!("{what}: no answer in {} s", REQUEST.as_secs())),
    }
}

async fn served(client: &Client, namespace: Option<&str>) -> Result<(), String> {
    let streams: Api<Observed> = crate::caches::api(client, namespace);
    let first = ListParams::default().limit(1);
    answer("list BinlogStreams", streams.list(&first)).await.map(drop)
}

async fn granted(
    client: &Client,
    namespace: Option<&str>,
    right: &Right,
    verb: &str,
) -> Result<(), String> {
    let (resource, subresource) = match right.resource.split_once('/') {
        Some((resource, sub)) => (resource, Some(sub.to_owned())),
        None => (right.resource, None),
    };
    let attributes = ResourceAttributes {
        group: Some(right.group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource,
        verb: Some(verb.to_owned()),
        namespace: namespace.map(str::to_owned),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let params = PostParams::default();
    let review = answer("ask for a right", reviews.create(&params, &review)).await?;
    if review.status.is_some_and(|status| status.allowed) {
        return Ok(());
    }
    let place =
        namespace.map_or_else(|| "all namespaces".to_owned(), |name| format!("namespace {name}"));
    Err(format!(
        "the operator may not {verb} {}{}{} in {place}; see the rules of the chart",
        right.resource,
        if right.group.is_empty() { "" } else { "." },
        right.group
    ))
}

/// Whether an operator leads, or does so as soon as it can.
async fn led(args: &Args, client: &Client) -> Result<(), String> {
    let patience = Instant::now() + HANDOVER;
    loop {
        match is_held(args, client).await {
            Err(_) if Instant::now() < patience => tokio::time::sleep(LOOK).await,
            outcome => return outcome,
        }
    }
}

async fn is_held(args: &Args, client: &Client) -> Result<(), String> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), &args.lease_namespace);
    let lease = answer("read the Lease", leases.get(&args.lease_name)).await?;
    let spec = lease.spec.unwrap_or_default();
    let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
    let age = spec.renew_time.map(|time| Timestamp::now().duration_since(time.0).as_secs());
    match (holder, age) {
        (Some(_), Some(age)) if age <= HELD => Ok(()),
        _ => {
            Err(format!("no operator holds the Lease {}; see the operator's log", args.lease_name))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Rule {
        api_groups: Vec<String>,
        resources: Vec<String>,
        verbs: Vec<String>,
        #[serde(default)]
        resource_names: Vec<String>,
    }

    #[derive(Deserialize)]
    struct Role {
        rules: Vec<Rule>,
    }

    #[test]
    fn the_rights_that_are_checked_are_those_that_are_given() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/rbac/clusterrole.yaml");
        let text = std::fs::read_to_string(path).unwrap();
        let first = serde_yaml::Deserializer::from_str(&text).next().unwrap();
        let rules = Role::deserialize(first).unwrap().rules;
        let mut given = BTreeSet::new();
        for rule in rules.iter().filter(|rule| rule.resource_names.is_empty()) {
            for resource in &rule.resources {
                for verb in &rule.verbs {
                    given.insert((rule.api_groups.join(","), resource.clone(), verb.clone()));
                }
            }
        }
        let checked = RIGHTS.iter().flat_map(|right| {
            let Right { group, resource, verbs } = right;
            verbs.iter().map(|verb| ((*group).into(), (*resource).into(), (*verb).into()))
        });
        assert_eq!(checked.collect::<BTreeSet<_>>(), given);
    }
}
