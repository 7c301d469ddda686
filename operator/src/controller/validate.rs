//! Second stage, pure: a resource becomes a [`ValidStream`], or the reason why not.
//!
//! The schema and its rules have refused at apply what one object alone can tell. Left for here is
//! what needs other objects or the operator's settings: two streams on one archive, server ids,
//! the image allow list, refused addresses. What is refused changes nothing: children that exist
//! stay as they were, so that a bad edit does not stop a good stream.

pub mod consents;
pub mod image;
pub mod restart;
pub mod root;
pub mod server_id;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crds::{
    annotations::{CheckpointRequest, DOMAIN, RESTARTED_AT},
    conditions::Reason,
    endpoint::host_of,
    units::QuantityText,
    v1alpha1::{BinlogStream, BinlogStreamSpec, ComputeResources, LogLevel, StreamState},
    worker_config::Consents,
};
use k8s_openapi::api::core::v1::Toleration;
use kube::{Resource as _, ResourceExt, api::ObjectMeta};

use self::root::Root;
use crate::{
    settings::Settings,
    watched::{KeptStream, Observed},
};

/// What the stage looks at.
pub struct Input<'a> {
    /// The stream.
    pub stream: &'a Observed,
    /// The streams that may hold what this one takes for itself; others do no harm. They are opened one by one, since
    /// they may be many, and one is enough for a refusal.
    pub peers: &'a [Arc<KeptStream>],
    /// The operator's settings.
    pub settings: &'a Settings,
    /// Value of kubectl's restart annotation in the Deployment's pod template.
    pub deployed_restart: Option<&'a str>,
}

/// A stream that can be built: every value that a child needs, defaults filled in.
#[derive(Debug, Clone)]
pub struct ValidStream {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID; children of another UID are never touched.
    pub uid: String,
    /// Generation of the spec.
    pub generation: i64,
    /// The spec.
    pub spec: BinlogStreamSpec,
    /// Server id of the worker, asked for or allotted.
    pub server_id: u32,
    /// What the annotations agree to.
    pub consents: Consents,
    /// Every annotation of ours on the stream, as it stands there.
    pub wishes: BTreeMap<String, String>,
    /// The request to move the checkpoint that an annotation makes, pending or not.
    pub request: Option<CheckpointRequest>,
    /// Value of kubectl's restart annotation on the stream, where it is for the Deployment.
    pub restarted_at: Option<String>,
    /// The pod, defaults filled in.
    pub pod: PodShape,
    /// Annotations that were ignored, and why.
    pub ignored: Vec<String>,
}

/// The worker's pod, defaults filled in.
#[derive(Debug, Clone)]
pub struct PodShape {
    /// Image.
    pub image: String,
    /// Pull secrets.
    pub pull_secrets: Vec<String>,
    /// CPU and memory.
    pub resources: ComputeResources,
    /// Size of the spool.
    pub spool: QuantityText,
    /// Seconds to drain.
    pub grace_seconds: u32,
    /// Log level.
    pub log_level: LogLevel,
    /// User id; none = the platform assigns it.
    pub run_as_user: Option<i64>,
    /// Group of the volumes; none = the platform assigns it.
    pub fs_group: Option<i64>,
    /// Tolerations.
    pub tolerations: Vec<Toleration>,
}

/// Why a stream cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Word for the status.
    pub reason: Reason,
    /// Field, value and mend.
    pub message: String,
    /// spec.state, as far as it could be read: a stream that is to be stopped is stopped whatever
    /// else is wrong with it.
    pub state: Option<StreamState>,
}

/// Validates one stream.
///
/// # Errors
/// [`Refusal`], the first that applies.
pub fn validate(input: &Input<'_>) -> Result<ValidStream, Refusal> {
    let stream = input.stream.stream.as_ref().map_err(|error| Refusal {
        reason: Reason::SpecInvalid,
        message: format!(
            "the resource cannot be read by this version of the operator: {error}; correct the \
             field, or upgrade the operator"
        ),
        state: None,
    })?;
    check(input, stream).map_err(|(reason, message)| Refusal {
        reason,
        message,
        state: Some(stream.spec.state),
    })
}

type Problem = (Reason, String);

fn check(input: &Input<'_>, stream: &BinlogStream) -> Result<ValidStream, Problem> {
    let spec = &stream.spec;
    let pod = pod_shape(spec, input.settings);
    check_image(&pod.image, input.settings)?;
    check_hosts(spec, input.settings)?;
    check_root(input, stream)?;
    let server_id = choose_server_id(input, stream)?;
    let status = stream.status.as_ref();
    let recorded = status.and_then(|status| status.checkpoint_action.as_ref());
    let consents::Read { consents, request, ignored } =
        consents::read(stream.annotations(), recorded);
    Ok(ValidStream {
        namespace: stream.namespace().unwrap_or_default(),
        name: stream.name_any(),
        uid: stream.uid().unwrap_or_default(),
        generation: stream.metadata.generation.unwrap_or_default(),
        spec: spec.clone(),
        server_id,
        consents,
        wishes: wishes(stream),
        request,
        restarted_at: restart::asked(
            stream.annotations().get(RESTARTED_AT),
            status.and_then(|status| status.worker.as_ref()?.restarted_at.as_deref()),
            input.deployed_restart,
        ),
        pod,
        ignored,
    })
}

fn wishes(stream: &BinlogStream) -> BTreeMap<String, String> {
    let ours = stream.annotations().iter().filter(|(key, _)| key.starts_with(DOMAIN));
    ours.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn pod_shape(spec: &BinlogStreamSpec, settings: &Settings) -> PodShape {
    let worker = &spec.worker;
    let security = worker.security_context.clone().unwrap_or_default();
    PodShape {
        image: worker.image.clone().unwrap_or_else(|| settings.worker_image.clone()),
        pull_secrets: if worker.image_pull_secrets.is_empty() {
            settings.pull_secrets.clone()
        } else {
            worker.image_pull_secrets.iter().map(|secret| secret.name.clone()).collect()
        },
        resources: resources(worker.resources.as_ref(), &settings.resources),
        spool: worker.spool.as_ref().map_or(&settings.spool, |spool| &spool.size).clone(),
        grace_seconds: worker.termination_grace_period_seconds.unwrap_or(settings.grace_seconds),
        log_level: worker.log_level.unwrap_or(settings.log_level),
        run_as_user: security.run_as_user.or(settings.run_as_user),
        fs_group: security.fs_group.or(settings.fs_group),
        tolerations: tolerations(&worker.tolerations),
    }
}

/// A default stands for each name the stream leaves open, unless the stream's own limit is about
/// that name: a default request above the stream's limit would be refused by the API.
fn resources(asked: Option<&ComputeResources>, defaults: &ComputeResources) -> ComputeResources {
    let Some(asked) = asked else { return defaults.clone() };
    let mut merged = asked.clone();
    for (name, amount) in &defaults.requests {
        if !asked.limits.contains_key(name) {
            merged.requests.entry(name.clone()).or_insert_with(|| amount.clone());
        }
    }
    for (name, amount) in &defaults.limits {
        if !asked.requests.contains_key(name) {
            merged.limits.entry(name.clone()).or_insert_with(|| amount.clone());
        }
    }
    merged
}

/// A lost node is left after 30 s instead of five minutes: the fence makes an early take-over safe.
fn tolerations(asked: &[Toleration]) -> Vec<Toleration> {
    let mut all = asked.to_vec();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        if !asked.iter().any(|one| one.key.as_deref() == Some(key)) {
            all.push(Toleration {
                key: Some(key.to_owned()),
                operator: Some("Exists".to_owned()),
                effect: Some("NoExecute".to_owned()),
                toleration_seconds: Some(30),
                ..Toleration::default()
            });
        }
    }
    all
}

fn check_image(image: &str, settings: &Settings) -> Result<(), Problem> {
    if image == settings.worker_image || image::is_allowed(image, &settings.allowed_images) {
        return Ok(());
    }
    let message = format!(
        "spec.worker.image {image:?} comes from no allowed repository ({}); name one of them, or \
         ask for an entry in the operator's --image-allow-list",
        settings.allowed_images.join(", ")
    );
    Err((Reason::ImageNotAllowed, message))
}

fn check_hosts(spec: &BinlogStreamSpec, settings: &Settings) -> Result<(), Problem> {
    let state = spec.checkpoint.stream_state.as_ref();
    let named = [
        ("spec.source.host", Some(spec.source.host.as_str())),
        ("spec.checkpoint.streamState.host", state.and_then(|state| state.host.as_deref())),
        (
            "spec.archive.s3.endpoint",
            spec.archive.s3.as_ref().and_then(|s3| s3.endpoint.as_deref()).map(host_of),
        ),
        ("spec.worker.proxy.url", spec.worker.proxy.as_ref().map(|proxy| host_of(&proxy.url))),
    ];
    for (field, host) in named {
        let Some(host) = host else { continue };
        if let Some(refused) = settings.endpoints.host(host) {
            let message = format!("{field} {host:?} {}", refused.why());
            return Err((Reason::EndpointNotAllowed, message));
        }
    }
    Ok(())
}

/// Of two streams on one archive the younger is refused, and the older does not notice.
fn check_root(input: &Input<'_>, stream: &BinlogStream) -> Result<(), Problem> {
    let namespace = stream.namespace().unwrap_or_default();
    let name = stream.name_any();
    let Some(ours) = Root::of(&stream.spec, &namespace, &name) else {
        return Err((
            Reason::SpecInvalid,
            "spec.archive has neither s3 nor volume; set exactly one of them".to_owned(),
        ));
    };
    for peer in peers(input) {
        let (Some(peer_namespace), Some(peer_name)) =
            (peer.metadata.namespace.as_deref(), peer.metadata.name.as_deref())
        else {
            continue;
        };
        let overlaps = Root::of(&peer.spec, peer_namespace, peer_name)
            .is_some_and(|theirs| ours.overlaps(&theirs));
        if overlaps && is_older(&peer.metadata, &stream.metadata) {
            let what = match ours {
                Root::Bucket { .. } => {
                    "its path in the bucket overlaps with ours; change \
                    spec.archive.s3.prefix by making a new BinlogStream"
                }
                _ => "it uses the same volume claim; a claim holds one stream",
            };
            let message = format!(
                "the archive is in use by BinlogStream {peer_namespace}/{peer_name}: {what}"
            );
            return Err((Reason::PrefixInUse, message));
        }
    }
    Ok(())
}

/// An id that was asked for is kept or refused; one that was allotted is pinned, and given up only
/// when an older stream turns out to have it.
fn choose_server_id(input: &Input<'_>, stream: &BinlogStream) -> Result<u32, Problem> {
    if let Some(asked) = stream.spec.server_id {
        let holder = peers(input).find(|peer| {
            server_id_of(peer) == Some(asked)
                && same_source(&peer.spec, &stream.spec)
                && (is_older(&peer.metadata, &stream.metadata) && peer.spec.server_id.is_some())
        });
        return match holder {
            None => Ok(asked),
            Some(peer) => Err((
                Reason::ServerIdConflict,
                format!(
                    "spec.serverId {asked} is in use by BinlogStream {}/{} at the same source; \
                     choose another, or leave it out to have one allotted",
                    peer.namespace().unwrap_or_default(),
                    peer.name_any()
                ),
            )),
        };
    }
    let pinned = stream.status.as_ref().and_then(|status| status.server_id);
    if let Some(pinned) = pinned {
        let lost = peers(input).any(|peer| {
            server_id_of(&peer) == Some(pinned)
                && (peer.spec.server_id.is_some() || is_older(&peer.metadata, &stream.metadata))
        });
        if !lost {
            return Ok(pinned);
        }
    }
    let taken: BTreeSet<u32> = peers(input).filter_map(|peer| server_id_of(&peer)).collect();
    Ok(server_id::allot(stream.metadata.uid.as_deref().unwrap_or_default(), &taken))
}

fn server_id_of(stream: &BinlogStream) -> Option<u32> {
    stream.spec.server_id.or_else(|| stream.status.as_ref().and_then(|status| status.server_id))
}

fn same_source(ours: &BinlogStreamSpec, theirs: &BinlogStreamSpec) -> bool {
    ours.source.port == theirs.source.port
        && ours.source.host.eq_ignore_ascii_case(&theirs.source.host)
}

/// Every other stream that can be read. One that is being deleted counts until it is gone: its
/// worker may still write.
fn peers<'a>(input: &Input<'a>) -> impl Iterator<Item = Box<BinlogStream>> + use<'a> {
    let uid = input.stream.metadata.uid.as_deref();
    input
        .peers
        .iter()
        .filter(move |peer| peer.meta().uid.as_deref() != uid)
        .filter_map(|peer| peer.open().stream.ok())
}

/// Order of streams: by creation, then by UID, so that of two one is always the older.
fn is_older(one: &ObjectMeta, other: &ObjectMeta) -> bool {
    let key = |meta: &ObjectMeta| {
        (meta.creation_timestamp.as_ref().map(|time| time.0), meta.uid.clone().unwrap_or_default())
    };
    key(one) < key(other)
}

#[cfg(test)]
pub(crate) mod tests;
