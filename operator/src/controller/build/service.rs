//! A name for the worker's admin port: metrics for Prometheus, and later the query API.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{ADMIN_PORT, ADMIN_PORT_NAME, labels};
use crate::controller::validate::ValidStream;

/// Headless, and naming the pod even while it is not ready: a worker that waits is the one whose
/// metrics are wanted.
pub fn service(stream: &ValidStream) -> Service {
    Service {
        metadata: labels::owned(stream),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(labels::selector(&stream.name)),
            ports: Some(vec![ServicePort {
                name: Some(ADMIN_PORT_NAME.to_owned()),
                port: i32::from(ADMIN_PORT),
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::String(ADMIN_PORT_NAME.to_owned())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
