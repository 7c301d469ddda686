//! The worker's Deployment: one pod or none, never two at once (`Recreate`), restricted.

use std::collections::BTreeMap;

use crds::{
    annotations::{DOMAIN, OWNER_UID, RESTARTED_AT},
    v1alpha1::{CheckpointStoreKind, ComputeResources, ResourceQuantity, StreamState, WorkerSpec},
};
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy},
        core::v1::{
            Capabilities, ConfigMapProjection, ConfigMapVolumeSource, Container, ContainerPort,
            DownwardAPIProjection, DownwardAPIVolumeFile, EmptyDirVolumeSource, EnvVar,
            EnvVarSource, HTTPGetAction, KeyToPath, LocalObjectReference, ObjectFieldSelector,
            PersistentVolumeClaimVolumeSource, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
            ProjectedVolumeSource, ResourceRequirements, SeccompProfile, SecretKeySelector,
            SecurityContext, ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity, apis::meta::v1::LabelSelector, util::intstr::IntOrString,
    },
};
use kube::api::ObjectMeta;
use serde::Serialize;

use super::{ADMIN_PORT, ADMIN_PORT_NAME, labels, mounts, rbac, volume_claim};
use crate::{
    controller::validate::ValidStream,
    settings::{Settings, WorkerTraces},
};

const CONTAINER: &str = "worker";
const CONFIG: &str = "config";
const SECRETS: &str = "secrets";
const WORK: &str = "work";
const ARCHIVE: &str = "archive";
const TOKEN: &str = "token";
const TOKEN_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Readable by the one user of the pod, whoever the platform makes it.
const FILE_MODE: i32 = 0o444;

/// The Deployment `<stream>-worker`.
pub fn deployment(stream: &ValidStream, settings: &Settings) -> Deployment {
    let wanted = match stream.spec.state {
        StreamState::Running | StreamState::Paused => 1,
        StreamState::Stopped => 0,
    };
    Deployment {
        metadata: labels::owned(stream),
        spec: Some(DeploymentSpec {
            replicas: Some(wanted),
            revision_history_limit: Some(2),
            progress_deadline_seconds: Some(600),
            // Two writers at once are safe by the fence, and pointless.
            strategy: Some(DeploymentStrategy {
                type_: Some("Recreate".to_owned()),
                rolling_update: None,
            }),
            selector: LabelSelector {
                match_labels: Some(labels::selector(&stream.name)),
                match_expressions: None,
            },
            template: template(stream, settings),
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

/// What the stream's own spec asks of its pod: the part of the template that is not ours.
pub fn asked(stream: &ValidStream) -> impl Serialize + use<> {
    // These two are told by the configuration.
    let worker = WorkerSpec { log_level: None, proxy: None, ..stream.spec.worker.clone() };
    let claim = volume_claim::claim_name(stream);
    (worker, mounts::projections(stream), claim, needs_token(stream))
}

fn template(stream: &ValidStream, settings: &Settings) -> PodTemplateSpec {
    let asked = stream.spec.worker.pod_metadata.clone().unwrap_or_default();
    let mut pod_labels = asked.labels;
    pod_labels.extend(labels::of_worker(&stream.name));
    let mut annotations: BTreeMap<String, String> =
        asked.annotations.into_iter().filter(|(key, _)| !key.starts_with(DOMAIN)).collect();
    annotations.insert(OWNER_UID.to_owned(), stream.uid.clone());
    if let Some(at) = &stream.restarted_at {
        annotations.insert(RESTARTED_AT.to_owned(), at.clone());
    }
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(pod_labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(pod(stream, settings)),
    }
}

fn pod(stream: &ValidStream, settings: &Settings) -> PodSpec {
    let worker = &stream.spec.worker;
    let shape = &stream.pod;
    PodSpec {
        service_account_name: Some(rbac::account_name(stream)),
        // The one token the worker may need is mounted below, short-lived.
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(i64::from(shape.grace_seconds)),
        image_pull_secrets: none_if_empty(
            shape
                .pull_secrets
                .iter()
                .map(|name| LocalObjectReference { name: name.clone() })
                .collect::<Vec<_>>(),
        ),
        priority_class_name: worker.priority_class_name.clone(),
        node_selector: (!worker.node_selector.is_empty()).then(|| worker.node_selector.clone()),
        affinity: worker.affinity.clone(),
        tolerations: none_if_empty(shape.tolerations.clone()),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: shape.run_as_user,
            run_as_group: shape.run_as_user,
            fs_group: shape.fs_group,
            // A large volume is not walked at each start once its root has the right group.
            fs_group_change_policy: shape.fs_group.map(|_| "OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        containers: vec![container(stream, settings)],
        volumes: Some(volumes(stream)),
        ..PodSpec::default()
    }
}

fn container(stream: &ValidStream, settings: &Settings) -> Container {
    let config = format!("{}/{}", mounts::CONFIG_DIR, mounts::CONFIG_FILE);
    Container {
        name: CONTAINER.to_owned(),
        image: Some(stream.pod.image.clone()),
        image_pull_policy: Some(settings.pull_policy.as_str().to_owned()),
        args: Some(vec!["run".to_owned(), "--config".to_owned(), config]),
        env: Some(environment(settings)),
        ports: Some(vec![ContainerPort {
            name: Some(ADMIN_PORT_NAME.to_owned()),
            container_port: i32::from(ADMIN_PORT),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        resources: Some(requirements(&stream.pod.resources)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
        // Faults of source, store, Secret or config wait inside the process; only a process that
        // no longer answers at all is restarted, and not for a short stop.
        liveness_probe: Some(Probe { failure_threshold: Some(6), ..probe("/livez", 10) }),
        readiness_probe: Some(Probe { failure_threshold: Some(2), ..probe("/readyz", 5) }),
        volume_mounts: Some(volume_mounts(stream)),
        ..Container::default()
    }
}

/// Who and where the pod is, and where it hands its traces.
fn environment(settings: &Settings) -> Vec<EnvVar> {
    let mut variables = vec![
        downward("POD_NAME", "metadata.name"),
        downward("POD_UID", "metadata.uid"),
        downward("NODE_NAME", "spec.nodeName"),
    ];
    variables.extend(settings.traces.iter().flat_map(collector));
    variables
}

/// The collector of traces, in the words of OpenTelemetry. A Secret that is missing must not keep the pod from starting.
fn collector(traces: &WorkerTraces) -> Vec<EnvVar> {
    let WorkerTraces { endpoint, headers, ratio, attributes } = traces;
    let mut variables = vec![
        variable("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        variable("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        variable("OTEL_TRACES_SAMPLER_ARG", ratio),
    ];
    variables.extend(attributes.iter().map(|text| variable("OTEL_RESOURCE_ATTRIBUTES", text)));
    variables.extend(headers.iter().map(|(name, key)| EnvVar {
        name: "OTEL_EXPORTER_OTLP_HEADERS".to_owned(),
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: name.clone(),
                key: key.clone(),
                optional: Some(true),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }));
    variables
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), ..EnvVar::default() }
}

fn downward(name: &str, field: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: field.to_owned(),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

fn probe(path: &str, period_seconds: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(ADMIN_PORT_NAME.to_owned()),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(5),
        success_threshold: Some(1),
        ..Probe::default()
    }
}

fn requirements(resources: &ComputeResources) -> ResourceRequirements {
    let ComputeResources { requests, limits } = resources;
    ResourceRequirements {
        requests: amounts(requests),
        limits: amounts(limits),
        ..ResourceRequirements::default()
    }
}

fn amounts(amounts: &BTreeMap<String, ResourceQuantity>) -> Option<BTreeMap<String, Quantity>> {
    let amounts: BTreeMap<_, _> =
        amounts.iter().map(|(name, amount)| (name.clone(), Quantity(amount.0.clone()))).collect();
    (!amounts.is_empty()).then_some(amounts)
}

fn volume_mounts(stream: &ValidStream) -> Vec<VolumeMount> {
    let mut mounts = vec![
        mount(CONFIG, mounts::CONFIG_DIR, true),
        mount(SECRETS, mounts::SECRETS_DIR, true),
        mount(WORK, mounts::WORK_DIR, false),
    ];
    if volume_claim::claim_name(stream).is_some() {
        mounts.push(mount(ARCHIVE, mounts::ARCHIVE_DIR, false));
    }
    if needs_token(stream) {
        mounts.push(mount(TOKEN, TOKEN_DIR, true));
    }
    mounts
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

fn volumes(stream: &ValidStream) -> Vec<Volume> {
    let mut volumes = vec![
        Volume {
            name: CONFIG.to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: labels::worker(&stream.name),
                default_mode: Some(FILE_MODE),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        },
        projected(SECRETS, mounts::projections(stream)),
        Volume {
            name: WORK.to_owned(),
            empty_dir: Some(EmptyDirVolumeSource {
                size_limit: Some(Quantity(work_dir_size(stream))),
                ..EmptyDirVolumeSource::default()
            }),
            ..Volume::default()
        },
    ];
    if let Some(claim_name) = volume_claim::claim_name(stream) {
        volumes.push(Volume {
            name: ARCHIVE.to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name,
                ..PersistentVolumeClaimVolumeSource::default()
            }),
            ..Volume::default()
        });
    }
    if needs_token(stream) {
        volumes.push(projected(TOKEN, token()));
    }
    volumes
}

/// The spool may fill up to its size and the worker then stops reading; a pod is evicted above the
/// limit of its emptyDir, so a tenth and 64 MiB are left for the rest of the working directory.
fn work_dir_size(stream: &ValidStream) -> String {
    let spool = stream.pod.spool.get();
    let mebibytes = spool.saturating_add(spool / 10).div_ceil(1 << 20).saturating_add(64);
    format!("{mebibytes}Mi")
}

fn projected(name: &str, sources: Vec<VolumeProjection>) -> Volume {
    Volume {
        name: name.to_owned(),
        projected: Some(ProjectedVolumeSource {
            default_mode: Some(FILE_MODE),
            sources: Some(sources),
        }),
        ..Volume::default()
    }
}

/// Only a checkpoint in a ConfigMap needs the API.
fn needs_token(stream: &ValidStream) -> bool {
    stream.spec.checkpoint.store == CheckpointStoreKind::ConfigMap
}

/// What a client in a pod expects at the usual place, with a token of an hour.
fn token() -> Vec<VolumeProjection> {
    vec![
        VolumeProjection {
            service_account_token: Some(ServiceAccountTokenProjection {
                path: "token".to_owned(),
                expiration_seconds: Some(3600),
                audience: None,
            }),
            ..VolumeProjection::default()
        },
        VolumeProjection {
            config_map: Some(ConfigMapProjection {
                name: "kube-root-ca.crt".to_owned(),
                items: Some(vec![KeyToPath {
                    key: "ca.crt".to_owned(),
                    path: "ca.crt".to_owned(),
                    mode: None,
                }]),
                optional: None,
            }),
            ..VolumeProjection::default()
        },
        VolumeProjection {
            downward_api: Some(DownwardAPIProjection {
                items: Some(vec![DownwardAPIVolumeFile {
                    path: "namespace".to_owned(),
                    field_ref: Some(ObjectFieldSelector {
                        api_version: Some("v1".to_owned()),
                        field_path: "metadata.namespace".to_owned(),
                    }),
                    ..DownwardAPIVolumeFile::default()
                }]),
            }),
            ..VolumeProjection::default()
        },
    ]
}

fn none_if_empty<T>(items: Vec<T>) -> Option<Vec<T>> {
    (!items.is_empty()).then_some(items)
}
