//! Whether the worker's pod may be changed now, or takes turns with those of other streams.

use std::collections::BTreeMap;

use crds::v1alpha1::StreamState;
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::Error;

use super::Found;
use crate::{
    answers::Key,
    context::Context,
    controller::validate::ValidStream,
    rollout::{
        conductor::seen,
        record::{MadeFrom, Notes},
        standing,
        step::{Present, Step, step},
        turns::Held,
    },
};

/// What may be done to the Deployment.
pub(super) enum Turn {
    /// It may be written, with these notes on it.
    Now(BTreeMap<String, String>),
    /// It stays as it is.
    Held(Held),
}

/// Finds out, and asks for a turn where it takes one.
pub(super) fn turn(
    context: &Context,
    stream: &ValidStream,
    deployment: &Deployment,
    found: &Found,
) -> Result<Turn, Error> {
    let key = (stream.namespace.clone(), stream.name.clone());
    let made_from = MadeFrom::new(stream, deployment)?;
    let present = present(context, stream, &key, found);
    let stopped = stream.spec.state == StreamState::Stopped;
    let roll = match step(present.as_ref(), &made_from, stopped) {
        Step::Free(roll) => {
            context.turns.withdraw(&key);
            roll
        }
        Step::Paced(roll) => match context.turns.ask(&key, &made_from.template, roll.again) {
            Ok(()) => Some(roll),
            Err(held) => return Ok(Turn::Held(held)),
        },
    };
    Ok(Turn::Now(Notes { made_from, roll }.write()?))
}

/// The Deployment as it is, our own last write included.
fn present(context: &Context, stream: &ValidStream, key: &Key, found: &Found) -> Option<Present> {
    let child = found.children.deployment.as_ref()?;
    let child = context.applied.newest(&stream.uid, "Deployment", child);
    let deployed = found.deployed.as_deref()?;
    let pod = found.pod.as_deref();
    let generation = child.version.and_then(|version| i64::try_from(version).ok()).unwrap_or(0);
    let seen = seen(context, key, Some(stream.spec.state), deployed, generation, pod);
    let (made_from, roll) =
        child.notes.map_or((None, None), |notes| (Some(notes.made_from.clone()), notes.roll));
    Some(Present {
        made_from,
        roll: roll.map(|roll| (roll, standing::standing(roll, &seen))),
        worker: standing::before(&deployed.status, pod, seen.now),
        has_pod: deployed.replicas.unwrap_or(1) > 0,
    })
}
