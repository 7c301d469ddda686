//! A store in memory whose requests can be lost, delayed or refused.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use archive::store::memory::MemoryStore;
use archive::store::{Create, FenceKind, ObjectMeta, Stat, Store, StoreClass, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::Semaphore;

/// What happens to a request.
#[derive(Clone)]
pub enum Deed {
    /// It is carried out, and its reply is lost.
    LoseReply,
    /// It is not carried out.
    Fail(StoreClass),
    /// It is answered by a time-out and carried out when it is let go.
    Late(Gate),
    /// It waits until it is let go, then is carried out and answered.
    Hold(Gate),
}

/// Lets requests go.
#[derive(Clone)]
pub struct Gate {
    permits: Arc<Semaphore>,
    pub reached: Arc<AtomicBool>,
    done: Arc<Semaphore>,
}

impl Default for Gate {
    fn default() -> Self {
        let empty = || Arc::new(Semaphore::new(0));
        Self { permits: empty(), reached: Arc::default(), done: empty() }
    }
}

impl Gate {
    /// Lets one request go, and waits until it was carried out.
    pub async fn release(&self) {
        self.permits.add_permits(1);
        self.done.acquire().await.unwrap().forget();
    }

    pub fn is_reached(&self) -> bool {
        self.reached.load(Ordering::SeqCst)
    }

    async fn pass(&self) {
        self.reached.store(true, Ordering::SeqCst);
        self.permits.acquire().await.unwrap().forget();
    }
}

struct Rule {
    verb: &'static str,
    key: String,
    deed: Deed,
}

/// One writer's view of a shared store in memory.
#[derive(Clone)]
pub struct Faulty {
    pub inner: MemoryStore,
    rules: Arc<Mutex<Vec<Rule>>>,
    pub requests: Arc<Mutex<Vec<String>>>,
    chaos: Option<Arc<Mutex<StdRng>>>,
}

impl Faulty {
    pub fn new(inner: &MemoryStore) -> Self {
        Self { inner: inner.clone(), rules: Arc::default(), requests: Arc::default(), chaos: None }
    }

    /// Loses, delays and refuses at random.
    pub fn chaotic(inner: &MemoryStore, seed: u64) -> Self {
        Self { chaos: Some(Arc::new(Mutex::new(StdRng::seed_from_u64(seed)))), ..Self::new(inner) }
    }

    pub fn shared(&self) -> Arc<dyn Store> {
        Arc::new(self.clone())
    }

    /// The next request of this verb whose key contains `key` meets its deed.
    pub fn next(&self, verb: &'static str, key: &str, deed: Deed) {
        self.rules.lock().unwrap().push(Rule { verb, key: key.to_owned(), deed });
    }

    pub fn count(&self, verb: &str, key: &str) -> usize {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter(|r| r.starts_with(verb) && r.contains(key)).count()
    }

    fn deed(&self, verb: &'static str, key: &str) -> Option<Deed> {
        self.requests.lock().unwrap().push(format!("{verb} {key}"));
        let mut rules = self.rules.lock().unwrap();
        let found = rules.iter().position(|rule| rule.verb == verb && key.contains(&rule.key))?;
        Some(rules.remove(found).deed)
    }

    /// A random wait; whether the request then gets lost, late or refused.
    async fn weather(&self, verb: &str) -> Weather {
        let Some(chaos) = &self.chaos else { return Weather::Fair };
        let (pauses, weather) = {
            let mut random = chaos.lock().unwrap();
            let weather = match random.random_range(0..100) {
                0..8 if verb == "create" || verb == "put" => Weather::Lost,
                8..16 if verb == "create" => Weather::Late(random.random_range(0..200)),
                16..22 => Weather::Refused,
                _ => Weather::Fair,
            };
            (random.random_range(0..8), weather)
        };
        for _ in 0..pauses {
            tokio::task::yield_now().await;
        }
        weather
    }
}

enum Weather {
    Fair,
    Lost,
    Late(u32),
    Refused,
}

fn error(class: StoreClass, key: &str) -> StoreError {
    StoreError::new(class, key, "injected")
}

#[async_trait]
impl Store for Faulty {
    async fn create(&self, key: &str, bytes: Bytes) -> Result<Create, StoreError> {
        match self.weather("create").await {
            Weather::Fair => {}
            Weather::Lost => {
                drop(self.inner.create(key, bytes).await);
                return Err(error(StoreClass::Transient, key));
            }
            Weather::Late(pauses) => {
                let (inner, key) = (self.inner.clone(), key.to_owned());
                tokio::spawn(async move {
                    for _ in 0..pauses {
                        tokio::task::yield_now().await;
                    }
                    drop(inner.create(&key, bytes).await);
                });
                return Err(error(StoreClass::Transient, "late"));
            }
            Weather::Refused => return Err(error(StoreClass::Transient, key)),
        }
        match self.deed("create", key) {
            None => self.inner.create(key, bytes).await,
            Some(Deed::LoseReply) => {
                drop(self.inner.create(key, bytes).await);
                Err(error(StoreClass::Transient, key))
            }
            Some(Deed::Fail(class)) => Err(error(class, key)),
            Some(Deed::Late(gate)) => {
                let (inner, name) = (self.inner.clone(), key.to_owned());
                tokio::spawn(async move {
                    gate.pass().await;
                    drop(inner.create(&name, bytes).await);
                    gate.done.add_permits(1);
                });
                Err(error(StoreClass::Transient, key))
            }
            Some(Deed::Hold(gate)) => {
                gate.pass().await;
                let made = self.inner.create(key, bytes).await;
                gate.done.add_permits(1);
                made
            }
        }
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), StoreError> {
        match self.weather("put").await {
            Weather::Fair => {}
            Weather::Lost => {
                self.inner.put(key, bytes).await?;
                return Err(error(StoreClass::Transient, key));
            }
            Weather::Late(_) | Weather::Refused => return Err(error(StoreClass::Transient, key)),
        }
        match self.deed("put", key) {
            None => self.inner.put(key, bytes).await,
            Some(Deed::LoseReply) => {
                self.inner.put(key, bytes).await?;
                Err(error(StoreClass::Transient, key))
            }
            Some(Deed::Fail(class)) => Err(error(class, key)),
            Some(Deed::Late(gate) | Deed::Hold(gate)) => {
                gate.pass().await;
                let put = self.inner.put(key, bytes).await;
                gate.done.add_permits(1);
                put
            }
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        if let Weather::Refused = self.weather("get").await {
            return Err(error(StoreClass::Transient, key));
        }
        match self.deed("get", key) {
            Some(Deed::Fail(class)) => Err(error(class, key)),
            _ => self.inner.get(key).await,
        }
    }

    async fn stat(&self, key: &str) -> Result<Option<Stat>, StoreError> {
        self.inner.stat(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        match self.deed("list", prefix) {
            Some(Deed::Fail(class)) => Err(error(class, prefix)),
            // A stale listing: nothing is there yet.
            Some(_) => Ok(Vec::new()),
            None => self.inner.list(prefix).await,
        }
    }

    async fn children(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        match self.deed("list", prefix) {
            Some(Deed::Fail(class)) => Err(error(class, prefix)),
            Some(_) => Ok(Vec::new()),
            None => self.inner.children(prefix).await,
        }
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        if let Some(Deed::Hold(gate)) = self.deed("delete", key) {
            gate.pass().await;
            gate.done.add_permits(1);
        }
        self.inner.delete(key).await
    }

    async fn settle(&self, _prefix: &str) -> Result<(), StoreError> {
        Ok(())
    }

    fn fence(&self) -> FenceKind {
        FenceKind::ConditionalCreate
    }

    fn separate(&self) -> Arc<dyn Store> {
        self.shared()
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}

/// A store that looks and then writes: right in turn, wrong at once.
#[derive(Clone, Default)]
pub struct TwoSteps(pub MemoryStore);

#[async_trait]
impl Store for TwoSteps {
    async fn create(&self, key: &str, bytes: Bytes) -> Result<Create, StoreError> {
        if self.0.get(key).await?.is_some() {
            return Ok(Create::Exists);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.0.put(key, bytes).await?;
        Ok(Create::Made)
    }
    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.0.put(key, bytes).await
    }
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.0.get(key).await
    }
    async fn stat(&self, key: &str) -> Result<Option<Stat>, StoreError> {
        self.0.stat(key).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        self.0.list(prefix).await
    }
    async fn children(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.0.children(prefix).await
    }
    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.0.delete(key).await
    }
    async fn settle(&self, prefix: &str) -> Result<(), StoreError> {
        self.0.settle(prefix).await
    }
    fn fence(&self) -> FenceKind {
        FenceKind::ConditionalCreate
    }
    fn separate(&self) -> Arc<dyn Store> {
        Arc::new(self.clone())
    }
    fn describe(&self) -> String {
        "memory".to_owned()
    }
}
