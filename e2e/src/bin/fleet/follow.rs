//! Every object of a kind as the API tells of it: what is there first, then each change.

use std::fmt::Debug;

use e2e::{Failure, Result};
use futures::{StreamExt, TryStreamExt};
use kube::api::{Api, WatchEvent, WatchParams};
use serde::de::DeserializeOwned;

/// The version from which a watch tells of everything that is there.
const FROM_THE_START: &str = "0";
const GONE: u16 = 410;

/// Runs until the watch fails; `tell` gets each object as it is now. Deletions are not told: nothing is deleted here.
pub async fn follow<K>(api: Api<K>, labels: &str, mut tell: impl FnMut(K)) -> Result<()>
where
    K: kube::Resource + Clone + DeserializeOwned + Debug,
{
    let params = WatchParams::default().labels(labels);
    let mut version = FROM_THE_START.to_owned();
    loop {
        let mut events = api.watch(&params, &version).await?.boxed();
        while let Some(event) = events.try_next().await? {
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    version = object.meta().resource_version.clone().unwrap_or(version);
                    tell(object);
                }
                WatchEvent::Bookmark(mark) => version = mark.metadata.resource_version,
                WatchEvent::Deleted(_) => {}
                WatchEvent::Error(error) if error.code == GONE => {
                    FROM_THE_START.clone_into(&mut version);
                }
                WatchEvent::Error(error) => return Err(Failure::new(format!("watch: {error:?}"))),
            }
        }
    }
}
