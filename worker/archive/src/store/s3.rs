//! A bucket of S3 or of a store that speaks its protocol.
//!
//! - Creates carry `If-None-Match: *`; 412 is "exists", 409 is "come again" (`error.rs`).
//! - Only 404 with NoSuchKey is absence (`a_refusal_is_never_absence`).
//! - The SDK never tries again by itself: after its own retry a lost success looks like "exists",
//!   and what that means is for the log to decide.
//! - Keys, certificates and tokens are read again when the store refuses them, so that a rotation
//!   needs no restart.
//! - Where a proxy is on the way, every message names it.

mod client;
mod error;
mod held;
mod proxy;
mod resolve;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ServerSideEncryption;
use aws_smithy_types::base64;
use bytes::Bytes;
use crds::endpoint::Guard;
use sha2::{Digest as _, Sha256};

use super::{Create, FenceKind, ObjectMeta, Stat, Store, StoreClass, StoreError, Turn};
use client::{ClientSlot, StoreClock, proxy_on_the_way};
use error::{Answer, classify};
use held::HoldBody;
pub use proxy::Proxy;

/// Limit of one request, and what is added per MiB of its body.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
const LIMIT_PER_MIB: Duration = Duration::from_secs(2);
/// Keys of one page of a listing.
const PAGE: i32 = 1_000;

/// Files that hold a static access key. Read at each request, so a rotated key is used at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFiles {
    /// Access key id.
    pub access_key_id: PathBuf,
    /// Secret access key.
    pub secret_access_key: PathBuf,
    /// Session token; the file need not exist.
    pub session_token: Option<PathBuf>,
}

/// Encryption by the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// A key of the store.
    Aes256,
    /// A key of the key service; absent: the account's default key.
    AwsKms(Option<String>),
}

/// Which bucket, and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Settings {
    /// Name of the bucket.
    pub bucket: String,
    /// Path in the bucket, without slashes at its ends; may be empty.
    pub prefix: String,
    /// Region; absent: AWS_REGION, AWS_DEFAULT_REGION, else us-east-1.
    pub region: Option<String>,
    /// URL of a store other than AWS.
    pub endpoint: Option<String>,
    /// Bucket in the path instead of the host name.
    pub force_path_style: bool,
    /// Certificates of the endpoint's authority, PEM; absent: the system's.
    pub ca_file: Option<PathBuf>,
    /// Static access key; absent: the standard chain.
    pub keys: Option<KeyFiles>,
    /// Encryption; absent: as the bucket is set.
    pub encryption: Option<Encryption>,
    /// Which addresses are not connected to, whatever the names resolve to.
    pub endpoints: Guard,
    /// Proxy for the store and its credential service; absent: none.
    pub proxy: Option<Proxy>,
}

/// A bucket as a store.
#[derive(Clone)]
pub struct S3Store {
    settings: Arc<S3Settings>,
    client: Arc<ClientSlot>,
    /// ` through proxy <host>:<port>`, if there is one on the way.
    way: Arc<str>,
}

impl S3Store {
    /// The store. Connects when it is first used.
    pub fn new(settings: S3Settings) -> Self {
        let settings =
            S3Settings { prefix: settings.prefix.trim_matches('/').to_owned(), ..settings };
        let way = proxy_on_the_way(&settings).map(|proxy| format!(" through proxy {proxy}"));
        let settings = Arc::new(settings);
        let client = Arc::new(ClientSlot::new(Arc::clone(&settings)));
        Self { settings, client, way: way.unwrap_or_default().into() }
    }

    fn key(&self, key: &str) -> String {
        match self.settings.prefix.as_str() {
            "" => key.to_owned(),
            prefix => format!("{prefix}/{key}"),
        }
    }

    fn what(&self, action: &str, key: &str) -> String {
        format!("{action} s3://{}/{}{}", self.settings.bucket, self.key(key), self.way)
    }

    fn put_request(&self, client: &Client, key: &str, bytes: Bytes) -> PutObjectFluentBuilder {
        // The digest goes as a header, so the store itself refuses a body that was altered.
        let digest = base64::encode(Sha256::digest(&bytes));
        let request = client
            .put_object()
            .bucket(&self.settings.bucket)
            .key(self.key(key))
            .checksum_sha256(digest)
            .body(ByteStream::from(bytes));
        match &self.settings.encryption {
            None => request,
            Some(Encryption::Aes256) => {
                request.server_side_encryption(ServerSideEncryption::Aes256)
            }
            Some(Encryption::AwsKms(id)) => request
                .server_side_encryption(ServerSideEncryption::AwsKms)
                .set_ssekms_key_id(id.clone()),
        }
    }

    /// Runs one request within its limit; a refused key or certificate makes the next one start with
    /// fresh files.
    async fn run<T>(
        &self,
        action: &str,
        key: &str,
        bytes: usize,
        request: impl Future<Output = Result<T, Answer>>,
    ) -> Result<T, Answer> {
        let limit = REQUEST_LIMIT + LIMIT_PER_MIB.saturating_mul((bytes >> 20) as u32);
        let answer = tokio::time::timeout(limit, request).await.unwrap_or_else(|_| {
            let text = format!("no answer within {}s", limit.as_secs());
            Err(Answer::Failed(StoreError::new(
                StoreClass::Transient,
                self.what(action, key),
                text,
            )))
        });
        if let Err(Answer::Failed(error)) = &answer {
            let stale = [StoreClass::Credentials, StoreClass::Denied, StoreClass::Tls];
            if stale.contains(&error.class) {
                self.client.renew();
            }
        }
        answer
    }

    async fn create_held(
        &self,
        key: &str,
        bytes: Bytes,
        hold: Option<HoldBody>,
    ) -> Result<Create, StoreError> {
        let what = self.what("create", key);
        let client = self.client.get(&what).await?;
        let length = bytes.len();
        let mut request = self.put_request(&client, key, bytes).if_none_match("*").customize();
        if let Some(hold) = hold {
            request = request.interceptor(hold);
        }
        let answer = self.run("create", key, length, async {
            request.send().await.map_err(|error| classify(&what, &error))
        });
        match Box::pin(answer).await {
            Ok(_) => Ok(Create::Made),
            Err(Answer::Exists) => Ok(Create::Exists),
            Err(answer) => Err(answer.into_error(&what)),
        }
    }

    async fn list_page(
        &self,
        prefix: &str,
        delimiter: Option<&str>,
        after: Option<String>,
    ) -> Result<Page, StoreError> {
        let what = self.what("list", prefix);
        let client = self.client.get(&what).await?;
        let request = client
            .list_objects_v2()
            .bucket(&self.settings.bucket)
            .prefix(self.key(prefix))
            .max_keys(PAGE)
            .set_delimiter(delimiter.map(str::to_owned))
            .set_continuation_token(after);
        let answer = self.run("list", prefix, 0, async {
            request.send().await.map_err(|error| classify(&what, &error))
        });
        let output = match Box::pin(answer).await {
            Ok(output) => output,
            Err(answer) => return Err(answer.into_error(&what)),
        };
        let own = self.key("");
        let relative = |key: &str| key.strip_prefix(&own).map(str::to_owned);
        let keys = output.contents().iter().filter_map(|object| {
            let bytes = u64::try_from(object.size().unwrap_or_default()).unwrap_or_default();
            Some(ObjectMeta { key: relative(object.key()?)?, bytes })
        });
        let folders = output.common_prefixes().iter().filter_map(|p| relative(p.prefix()?));
        let more = output.is_truncated().unwrap_or_default();
        let next = output.next_continuation_token().filter(|_| more).map(str::to_owned);
        Ok(Page { keys: keys.collect(), folders: folders.collect(), next })
    }
}

struct Page {
    keys: Vec<ObjectMeta>,
    folders: Vec<String>,
    next: Option<String>,
}

#[async_trait]
impl Store for S3Store {
    async fn create(&self, key: &str, bytes: Bytes) -> Result<Create, StoreError> {
        self.create_held(key, bytes, None).await
    }

    async fn create_in_turn(
        &self,
        key: &str,
        bytes: Bytes,
        turn: Turn,
    ) -> Result<Create, StoreError> {
        self.create_held(key, bytes, Some(HoldBody::until(turn))).await
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), StoreError> {
        let what = self.what("put", key);
        let client = self.client.get(&what).await?;
        let length = bytes.len();
        let request = self.put_request(&client, key, bytes);
        let answer = self.run("put", key, length, async {
            request.send().await.map_err(|error| classify(&what, &error))
        });
        Box::pin(answer).await.map(drop).map_err(|answer| answer.into_error(&what))
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let what = self.what("get", key);
        let client = self.client.get(&what).await?;
        let request = client.get_object().bucket(&self.settings.bucket).key(self.key(key));
        let answer = self.run("get", key, 64 << 20, async {
            let output = request.send().await.map_err(|error| classify(&what, &error))?;
            let body = output.body.collect().await.map_err(|error| {
                let text = format!("the body broke off: {error}");
                Answer::Failed(StoreError::new(StoreClass::Transient, &*what, text))
            })?;
            Ok(body.into_bytes())
        });
        match Box::pin(answer).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Answer::NoSuchKey) => Ok(None),
            Err(answer) => Err(answer.into_error(&what)),
        }
    }

    async fn stat(&self, key: &str) -> Result<Option<Stat>, StoreError> {
        let what = self.what("stat", key);
        let client = self.client.get(&what).await?;
        let clock = StoreClock::default();
        let request = client
            .head_object()
            .bucket(&self.settings.bucket)
            .key(self.key(key))
            .customize()
            .interceptor(clock.clone());
        let answer = self.run("stat", key, 0, async {
            request.send().await.map_err(|error| classify(&what, &error))
        });
        if let Ok(output) = Box::pin(answer).await {
            let bytes = u64::try_from(output.content_length().unwrap_or_default());
            let age = clock.since(output.last_modified());
            return Ok(Some(Stat { bytes: bytes.unwrap_or_default(), age }));
        }
        // A reply to HEAD has no body that could tell a missing key from a missing bucket, or why it
        // was refused.
        let found = self.get(key).await?;
        Ok(found.map(|bytes| Stat { bytes: bytes.len() as u64, age: Duration::ZERO }))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = self.list_page(prefix, None, after).await?;
            found.extend(page.keys);
            after = page.next;
            if after.is_none() {
                return Ok(found);
            }
        }
    }

    async fn children(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let mut names = Vec::new();
        let mut after = None;
        loop {
            let page = self.list_page(prefix, Some("/"), after).await?;
            names.extend(page.folders);
            names.extend(page.keys.into_iter().map(|meta| meta.key));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let mut names: Vec<String> =
            names.iter().filter_map(|key| key.strip_prefix(prefix).map(str::to_owned)).collect();
        names.sort_unstable();
        Ok(names)
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let what = self.what("delete", key);
        let client = self.client.get(&what).await?;
        let request = client.delete_object().bucket(&self.settings.bucket).key(self.key(key));
        let answer = self.run("delete", key, 0, async {
            request.send().await.map_err(|error| classify(&what, &error))
        });
        match Box::pin(answer).await {
            Ok(_) | Err(Answer::NoSuchKey) => Ok(()),
            Err(answer) => Err(answer.into_error(&what)),
        }
    }

    async fn settle(&self, _prefix: &str) -> Result<(), StoreError> {
        Ok(())
    }

    fn fence(&self) -> FenceKind {
        FenceKind::ConditionalCreate
    }

    fn separate(&self) -> Arc<dyn Store> {
        Arc::new(Self::new((*self.settings).clone()))
    }

    fn describe(&self) -> String {
        let S3Settings { bucket, prefix, .. } = &*self.settings;
        let slash = if prefix.is_empty() { "" } else { "/" };
        format!("s3://{bucket}{slash}{prefix}{}", self.way)
    }
}
