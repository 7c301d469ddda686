//! The checkpoint ConfigMap: made empty, because creating cannot be limited to one name and so is
//! no right of the worker; made again when deleted; its `data` is the worker's alone.
//!
//! It has no owner reference: it outlives the stream, and one of the same name resumes from it.

use crds::v1alpha1::CheckpointStoreKind;
use k8s_openapi::api::core::v1::ConfigMap;

use super::labels;
use crate::controller::validate::ValidStream;

/// The empty ConfigMap; none where the checkpoint is in `stream_state`.
pub fn config_map(stream: &ValidStream) -> Option<ConfigMap> {
    match stream.spec.checkpoint.store {
        CheckpointStoreKind::ConfigMap => Some(ConfigMap {
            metadata: labels::kept(stream, labels::checkpoint(&stream.name), labels::CHECKPOINT),
            ..ConfigMap::default()
        }),
        CheckpointStoreKind::StreamState => None,
    }
}
