//! The operator is killed again and again while streams are made, changed and deleted. `SEED` repeats a run.

use std::collections::BTreeMap;

use e2e::resource::Owned;
use e2e::site;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;

const NAMES: [&str; 5] = ["churn-a", "churn-b", "churn-c", "churn-d", "churn-e"];
const KILLS: u32 = 12;
/// Longest life of an operator. It starts in half a second and has all children of a stream made in another.
const LIFE: u64 = 2_500;
/// Longest time between two changes.
const PAUSE: u64 = 300;

fn seed() -> Result<u64> {
    match std::env::var("SEED") {
        Ok(text) => text.parse().context(|| format!("SEED={text}: give a whole number")),
        Err(_) => Ok(rand::random::<u32>().into()),
    }
}

async fn sleep(random: &mut StdRng, most: u64) {
    tokio::time::sleep(Duration::from_millis(random.random_range(0..most))).await;
}

/// One stream, and whether it exists.
struct Subject {
    stream: StreamResource,
    exists: bool,
}

impl Subject {
    /// Makes, changes, deletes or replaces it.
    async fn change(&mut self, random: &mut StdRng) -> Result<()> {
        let streams: Api<BinlogStream> = self.stream.api();
        if !self.exists {
            // The one before may be held by what it owned.
            if streams.get_opt(&self.stream.name).await?.is_none() {
                self.stream.create().await?;
                self.exists = true;
            }
            return Ok(());
        }
        match random.random_range(0..10) {
            0..6 => {
                let state = ["Running", "Stopped"][random.random_range(0..2)];
                let events = random.random_range(1..2_000);
                let spec = json!({"spec": {"state": state, "batch": {"maxEvents": events}}});
                self.stream.patch(spec).await
            }
            6 => {
                self.exists = false;
                delete_whole(&self.stream).await
            }
            7 => {
                self.exists = false;
                self.stream.delete().await
            }
            _ => {
                self.stream.delete().await?;
                self.stream.create().await
            }
        }
    }
}

/// Owners of objects by the objects' UIDs: an object never changes its owner.
#[derive(Default)]
struct Owners(BTreeMap<String, Owned>);

impl Owners {
    fn note(&mut self, owned: Vec<Owned>) {
        for object in owned {
            if let Some(stream) = object.stream.as_ref().filter(|_| object.kind == "Deployment") {
                assert_eq!(*stream, object.owner, "made for one stream and owned by another");
            }
            if let Some(before) = self.0.insert(object.uid.clone(), object.clone()) {
                assert_eq!(
                    before.owner, object.owner,
                    "{} {} was adopted",
                    object.kind, object.name
                );
            }
        }
    }
}

/// What the operator's children must be like in the end.
async fn settled(subject: &Subject) -> Result<Look<()>> {
    let stream = &subject.stream;
    let owned = stream.owned().await?;
    if !subject.exists {
        let gone = stream.api::<BinlogStream>().get_opt(&stream.name).await?.is_none();
        return Ok(Look::holds(gone && owned.is_empty(), || format!("{owned:?}")));
    }
    let object = stream.api::<BinlogStream>().get(&stream.name).await?;
    let (uid, generation) = (object.uid().unwrap_or_default(), object.metadata.generation);
    let ours: Vec<_> = owned.iter().filter(|child| child.owner_kind == "BinlogStream").collect();
    let mut kinds: Vec<_> = ours.iter().map(|child| child.kind.as_str()).collect();
    kinds.sort_unstable();
    let all = ["ConfigMap", "Deployment", "Role", "RoleBinding", "Service", "ServiceAccount"];
    let theirs = ours.iter().find(|child| child.owner != uid);
    let status = object.status.unwrap_or_default();
    let config = stream.api::<ConfigMap>().get_opt(&format!("{}-worker", stream.name)).await?;
    let config = config.and_then(|map| map.data).unwrap_or_default();
    let config = config.get("worker.yaml").map_or("", String::as_str);
    let generation = generation.unwrap_or_default();
    let told = config.lines().any(|line| line == format!("generation: {generation}"));
    let events = object.spec.batch.max_events;
    let whole = config.lines().any(|line| line.trim() == format!("maxEvents: {events}"));
    let holds = kinds == all
        && theirs.is_none()
        && told
        && whole
        && status.observed_generation == Some(generation);
    Ok(Look::holds(holds, || {
        format!(
            "{kinds:?}, of another {theirs:?}, generation {generation}: in the configuration \
             {told}, in the status {:?}, {:?}",
            status.observed_generation, status.reason
        )
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_killed_at_any_moment_leaves_nothing_half_made() -> Result<()> {
    let seed = seed()?;
    println!("churn: SEED={seed}");
    let mut stage = Stage::set(ServerKind::MariaDb1011, &NAMES).await?;
    // No node takes their pods: it is the objects that count.
    let nowhere = json!({"worker": {"nodeSelector": {"e2e/nowhere": "yes"}}});
    let mut subjects = Vec::new();
    for name in NAMES {
        let stream = stage.stream(name).await?.with(&nowhere);
        subjects.push(Subject { stream, exists: false });
    }
    let mut owners = Owners::default();
    let over = CancellationToken::new();
    let changes = async {
        let mut random = StdRng::seed_from_u64(seed);
        let mut made = 0;
        while !over.is_cancelled() {
            let subject = &mut subjects[random.random_range(0..NAMES.len())];
            subject.change(&mut random).await?;
            owners.note(subject.stream.owned().await?);
            made += 1;
            sleep(&mut random, PAUSE).await;
        }
        Ok::<_, Failure>(made)
    };
    let operator = &mut stage.operator;
    let kills = async {
        let mut random = StdRng::seed_from_u64(seed ^ 1);
        for _ in 0..KILLS * site::scale()? {
            sleep(&mut random, LIFE).await;
            operator.kill().await?;
            operator.restart()?;
        }
        over.cancel();
        Ok::<_, Failure>(())
    };
    let (made, ()) = tokio::try_join!(changes, kills)?;
    println!("churn: {made} changes in {KILLS} lives");
    for subject in &subjects {
        until(format!("{} has settled", subject.stream.name), SETTLED, || settled(subject)).await?;
        owners.note(subject.stream.owned().await?);
    }
    for subject in &subjects {
        if subject.exists {
            delete_whole(&subject.stream).await?;
        }
    }
    for subject in &subjects {
        gone(&subject.stream, SETTLED).await?;
    }
    stage.operator.check_log(&[], &[SECRET_KEY])
}
