//! The slim forms in which the operator watches objects.
//!
//! Two rules: one BinlogStream that cannot be decoded never stops the watch of the others
//! (`undecodable_stream_keeps_its_metadata`), and no more is kept of an object than somebody reads, so that ten
//! thousand streams fit in memory (`footprint`).

mod deployment;
mod pod;
mod stream;

use crds::annotations::STREAM_LABEL;
use kube::{api::ObjectMeta, core::PartialObjectMeta};

pub use self::{
    deployment::{Deployed, DeploymentPart, TemplateMetadata, TemplatePart, WatchedDeployment},
    pod::{ContainerPart, KeptPod, PodPart, PodPlace, StatePart, WatchedPod},
    stream::{KeptStream, Observed},
};

/// What belongs to a stream.
pub trait OfStream {
    /// Name of the stream: checkpoint and archive claim have no owner reference.
    fn stream(&self) -> Option<&str>;
}

impl<K> OfStream for PartialObjectMeta<K> {
    fn stream(&self) -> Option<&str> {
        stream_label(&self.metadata)
    }
}

fn stream_label(metadata: &ObjectMeta) -> Option<&str> {
    metadata.labels.as_ref()?.get(STREAM_LABEL).map(String::as_str)
}

/// A slim form is asked of the API as the kind it stands for.
macro_rules! stands_for {
    ($slim:ty, $full:ty) => {
        impl kube::Resource for $slim {
            type DynamicType = ();
            type Scope = k8s_openapi::NamespaceResourceScope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                <$full as kube::Resource>::kind(&())
            }
            fn group((): &()) -> std::borrow::Cow<'_, str> {
                <$full as kube::Resource>::group(&())
            }
            fn version((): &()) -> std::borrow::Cow<'_, str> {
                <$full as kube::Resource>::version(&())
            }
            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                <$full as kube::Resource>::plural(&())
            }
            fn meta(&self) -> &kube::api::ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut kube::api::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

use stands_for;
