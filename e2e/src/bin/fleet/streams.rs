//! The streams: made some at a time, and what their statuses say, as a watch tells it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crds::conditions::ConditionType;
use crds::v1alpha1::{BinlogStream, ConditionStatus};
use e2e::wait::{Look, until};
use e2e::{Failure, Result};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use serde_json::json;
use tokio_util::task::AbortOnDropHandle;

use crate::follow::follow;
use crate::players;
use crate::stage::Stage;

const PER_NAMESPACE: usize = 250;
/// Streams that are made at once.
const AT_ONCE: usize = 16;

/// What a status says.
#[derive(Debug, Clone, Default)]
struct Said {
    ready: bool,
    reason: String,
    source_version: String,
}

type All = Arc<Mutex<HashMap<(String, String), Said>>>;

/// All streams, followed until dropped.
pub struct Streams {
    client: Client,
    all: All,
    followed: AbortOnDropHandle<Result<()>>,
}

impl Streams {
    /// Follows the streams of a control plane.
    pub async fn follow(stage: &Stage) -> Result<Self> {
        let client = stage.plane.client().await?;
        let all = All::default();
        let api: Api<BinlogStream> = Api::all(client.clone());
        let noted = Arc::clone(&all);
        let followed = follow(api, "", move |stream| note(&noted, &stream));
        let followed = AbortOnDropHandle::new(tokio::spawn(followed));
        Ok(Self { client, all, followed })
    }

    /// Makes so many, spread over namespaces.
    pub async fn make(&self, count: usize) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        for number in 0..count.div_ceil(PER_NAMESPACE) {
            let metadata = ObjectMeta { name: Some(namespace(number)), ..ObjectMeta::default() };
            let namespace = Namespace { metadata, ..Namespace::default() };
            namespaces.create(&PostParams::default(), &namespace).await?;
        }
        let made = |number: usize| async move {
            let namespace = namespace(number / PER_NAMESPACE);
            let streams: Api<BinlogStream> = Api::namespaced(self.client.clone(), &namespace);
            streams.create(&PostParams::default(), &resource(number)?).await?;
            Ok::<_, Failure>(())
        };
        stream::iter((0..count).map(made)).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Waits until all are Ready; tells how many are each half minute.
    pub async fn all_ready(
        &self,
        count: usize,
        limit: Duration,
        mut tell: impl FnMut(usize),
    ) -> Result<()> {
        const TELL_EVERY: usize = 300;
        let mut looks = 0;
        until(format!("{count} streams are Ready"), limit, || {
            let (ready, others) = self.ready();
            looks += 1;
            if usize::is_multiple_of(looks, TELL_EVERY) {
                tell(ready);
            }
            let ended = self.followed.is_finished();
            async move {
                Ok::<_, Failure>(match (ended, ready == count) {
                    (true, _) => Look::Never("the watch of the streams ended".into()),
                    (false, true) => Look::Yes(()),
                    (false, false) => Look::NotYet(format!("{ready} Ready; {others:?}")),
                })
            }
        })
        .await
    }

    /// How many are Ready, and the reasons of the others.
    fn ready(&self) -> (usize, HashMap<String, usize>) {
        let mut others = HashMap::new();
        let mut ready = 0;
        for said in lock(&self.all).values() {
            if said.ready {
                ready += 1;
            } else {
                *others.entry(said.reason.clone()).or_default() += 1;
            }
        }
        (ready, others)
    }

    /// How many show what the workers say of their sources after so many changes.
    pub fn current(&self, changes: usize) -> usize {
        let version = players::source_version(changes);
        lock(&self.all).values().filter(|said| said.source_version == version).count()
    }
}

fn note(all: &All, stream: &BinlogStream) {
    let meta = &stream.metadata;
    let key = (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
    let status = stream.status.clone().unwrap_or_default();
    let ready = status.conditions.iter().find(|said| said.kind() == Some(ConditionType::Ready));
    let said = Said {
        ready: ready.is_some_and(|ready| ready.status == ConditionStatus::True),
        reason: ready.map_or_else(String::new, |ready| ready.reason.clone()),
        source_version: status.source.and_then(|source| source.version).unwrap_or_default(),
    };
    lock(all).insert(key, said);
}

fn lock(all: &All) -> MutexGuard<'_, HashMap<(String, String), Said>> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

fn namespace(number: usize) -> String {
    format!("fleet-{number}")
}

fn resource(number: usize) -> Result<BinlogStream> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "binlogstream.io/v1alpha1", "kind": "BinlogStream",
        "metadata": {"name": format!("stream-{number}")},
        "spec": {
            "source": {
                "host": format!("db-{number}.example"),
                "credentialsSecretRef": {"name": format!("source-{number}")},
            },
            "archive": {"s3": {
                "bucket": "history", "prefix": "prod", "region": "eu-west-1",
                "credentialsSecretRef": {"name": "store"},
            }},
        },
    }))?)
}
