//! The archive's claim, where the stream asks for a new volume.
//!
//! It has no owner reference: deleting a BinlogStream deletes no archive data (P8), and a stream of
//! the same name finds its volume again.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};

use super::labels;
use crate::controller::validate::ValidStream;

/// The claim to make, if any.
pub fn volume_claim(stream: &ValidStream) -> Option<PersistentVolumeClaim> {
    let volume = stream.spec.archive.volume.as_ref()?;
    let size = volume.size.as_ref()?;
    Some(PersistentVolumeClaim {
        metadata: labels::kept(stream, labels::archive(&stream.name), labels::ARCHIVE),
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([(
                    "storage".to_owned(),
                    Quantity(size.as_str().to_owned()),
                )])),
                ..VolumeResourceRequirements::default()
            }),
            storage_class_name: volume.storage_class_name.clone(),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    })
}

/// Name of the claim to mount: the one the stream brings along, or the one made here.
pub fn claim_name(stream: &ValidStream) -> Option<String> {
    let volume = stream.spec.archive.volume.as_ref()?;
    Some(volume.claim_name.clone().unwrap_or_else(|| labels::archive(&stream.name)))
}
