//! Third stage, pure: a [`ValidStream`] becomes its children. Values, not results: what could fail
//! was found by validation, and the config's own check is the last of it.

pub mod checkpoint;
pub mod config;
pub mod deployment;
pub mod labels;
pub mod mounts;
pub mod rbac;
pub mod service;
pub mod volume_claim;

use crds::{conditions::Reason, worker_config::ConfigError};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, PersistentVolumeClaim, Service, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};

use crate::{
    controller::validate::{Refusal, ValidStream},
    settings::Settings,
};

/// Port of the worker's status, metrics and health pages.
pub const ADMIN_PORT: u16 = 8080;
/// Name of that port.
pub const ADMIN_PORT_NAME: &str = "admin";

/// Everything the operator makes for one stream, in the order in which it is applied.
#[derive(Debug, Clone)]
pub struct Resources {
    /// `<stream>-worker`; none where the stream names an account.
    pub service_account: Option<ServiceAccount>,
    /// Rights on the checkpoint; none where it is not a ConfigMap.
    pub role: Option<Role>,
    /// Gives them to the account.
    pub role_binding: Option<RoleBinding>,
    /// The worker's configuration.
    pub config: ConfigMap,
    /// The checkpoint, without data; none where it is not a ConfigMap.
    pub checkpoint: Option<ConfigMap>,
    /// The archive's claim, where a new volume is asked for.
    pub volume_claim: Option<PersistentVolumeClaim>,
    /// The worker.
    pub deployment: Deployment,
    /// Its name in the cluster's DNS.
    pub service: Service,
}

/// Builds the children of a stream.
///
/// # Errors
/// When the configuration does not pass the check that the worker itself will make of it.
pub fn build(stream: &ValidStream, settings: &Settings) -> Result<Resources, Refusal> {
    let refused = |error: ConfigError| Refusal {
        reason: Reason::SpecInvalid,
        message: format!("the worker's configuration cannot work: {error}"),
        state: Some(stream.spec.state),
    };
    let config = config::worker_config(stream, settings).checked().map_err(refused)?;
    let checkpoint = checkpoint::config_map(stream);
    let has_rights = checkpoint.is_some();
    Ok(Resources {
        service_account: rbac::service_account(stream),
        role: has_rights.then(|| rbac::role(stream)),
        role_binding: has_rights.then(|| rbac::role_binding(stream)),
        config: config::config_map(stream, &config).map_err(refused)?,
        checkpoint,
        volume_claim: volume_claim::volume_claim(stream),
        deployment: deployment::deployment(stream, settings),
        service: service::service(stream),
    })
}

#[cfg(test)]
mod tests;
