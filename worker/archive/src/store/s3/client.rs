//! The SDK's client: TLS, credentials, and the store's own clock.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, IdentityCache, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::{DateTime, Format};

use super::resolve::{Guarded, check_url};
use super::{KeyFiles, Proxy, S3Settings};
use crate::store::{StoreClass, StoreError};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const READ_LIMIT: Duration = Duration::from_secs(30);
const DEFAULT_REGION: &str = "us-east-1";

/// The client, made on first use and again after the store refused its key or certificate.
pub(super) struct ClientSlot {
    settings: Arc<S3Settings>,
    client: Mutex<Option<Client>>,
}

impl ClientSlot {
    pub(super) fn new(settings: Arc<S3Settings>) -> Self {
        Self { settings, client: Mutex::new(None) }
    }

    fn current(&self) -> Option<Client> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) async fn get(&self, action: &str) -> Result<Client, StoreError> {
        if let Some(client) = self.current() {
            return Ok(client);
        }
        let made = make(&self.settings, action).await?;
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(client.get_or_insert(made).clone())
    }

    /// The next request reads certificates and keys anew.
    pub(super) fn renew(&self) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

async fn make(settings: &S3Settings, action: &str) -> Result<Client, StoreError> {
    let region = Region::new(region(settings));
    let proxy = settings.proxy.as_ref();
    for url in
        [settings.endpoint.as_deref(), proxy.map(|proxy| proxy.url.as_str())].into_iter().flatten()
    {
        check_url(&settings.endpoints, url, action)?;
    }
    let guarded = Some(Guarded(settings.endpoints.clone()));
    let http = http_client(settings.ca_file.as_deref(), proxy, guarded, action).await?;
    let credentials = match &settings.keys {
        Some(files) => SharedCredentialsProvider::new(FileKeys(files.clone())),
        None => standard_chain(region.clone(), proxy, action).await?,
    };
    let timeouts =
        TimeoutConfig::builder().connect_timeout(CONNECT_LIMIT).read_timeout(READ_LIMIT).build();
    let mut config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(region)
        .force_path_style(settings.force_path_style)
        .credentials_provider(credentials)
        .http_client(http)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    if settings.keys.is_some() {
        config = config.identity_cache(IdentityCache::no_cache());
    }
    if let Some(endpoint) = &settings.endpoint {
        config = config.endpoint_url(endpoint);
    }
    Ok(Client::from_conf(config.build()))
}

fn region(settings: &S3Settings) -> String {
    let named = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let of_environment = || named("AWS_REGION").or_else(|| named("AWS_DEFAULT_REGION"));
    let region = settings.region.clone().or_else(of_environment);
    region.unwrap_or_else(|| DEFAULT_REGION.to_owned())
}

/// `host:port` of the proxy on the way to the store, if there is one.
pub(super) fn proxy_on_the_way(settings: &S3Settings) -> Option<String> {
    let proxy = settings.proxy.as_ref()?;
    match &settings.endpoint {
        Some(endpoint) => proxy.on_the_way_to(endpoint),
        None => proxy.on_the_way_to(&format!("https://s3.{}.amazonaws.com", region(settings))),
    }
}

async fn http_client(
    ca_file: Option<&Path>,
    proxy: Option<&Proxy>,
    guarded: Option<Guarded>,
    action: &str,
) -> Result<SharedHttpClient, StoreError> {
    let tls = |text: String| StoreError::new(StoreClass::Tls, action, text);
    let trust = match ca_file {
        None => TrustStore::default(),
        Some(file) => {
            let shown = file.display();
            let pem = tokio::fs::read(file).await.map_err(|error| {
                tls(format!(
                    "read the certificate authority {shown}: {error}; see archive.s3.caRef"
                ))
            })?;
            if !pem.windows(27).any(|part| part == b"-----BEGIN CERTIFICATE-----") {
                return Err(tls(format!("{shown} holds no PEM certificate; see archive.s3.caRef")));
            }
            TrustStore::empty().with_pem_certificate(pem)
        }
    };
    let context = TlsContext::builder().with_trust_store(trust).build();
    let context =
        context.map_err(|error| tls(format!("use the certificate authority: {error}")))?;
    // What the SDK's builder of https clients does, and the proxy, which that builder does not know.
    let proxy = Proxy::config(proxy, action)?;
    Ok(Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder()
            .proxy_config(proxy.clone())
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(context.clone());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        match &guarded {
            Some(guarded) => connector.build_with_resolver(guarded.clone()),
            None => connector.build(),
        }
    }))
}

/// Environment, profile, web identity, container, instance role: what asks the metadata services, and may. The region is given, so that only
/// the last two ask the network, and only when a request needs a key.
async fn standard_chain(
    region: Region,
    proxy: Option<&Proxy>,
    action: &str,
) -> Result<SharedCredentialsProvider, StoreError> {
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .region(region)
        .http_client(http_client(None, proxy, None, action).await?);
    let provider = loader.load().await.credentials_provider();
    provider.ok_or_else(|| {
        StoreError::new(StoreClass::Credentials, action, "there is no credentials provider")
    })
}

/// A static access key in files.
#[derive(Debug)]
struct FileKeys(KeyFiles);

impl FileKeys {
    async fn load(&self) -> Result<Credentials, CredentialsError> {
        let KeyFiles { access_key_id, secret_access_key, session_token } = &self.0;
        let id = read(access_key_id).await?;
        let secret = read(secret_access_key).await?;
        let token = match session_token {
            Some(file) if tokio::fs::try_exists(file).await.unwrap_or_default() => {
                Some(read(file).await?)
            }
            _ => None,
        };
        Ok(Credentials::new(id, secret, token, None, "key files"))
    }
}

/// One value; a trailing line end is not part of it.
async fn read(file: &Path) -> Result<String, CredentialsError> {
    let text = tokio::fs::read_to_string(file).await.map_err(|error| {
        CredentialsError::not_loaded(format!(
            "read {}: {error}; see archive.s3.credentialsSecretRef",
            file.display()
        ))
    })?;
    let value = text.trim_end_matches(['\r', '\n']);
    if value.is_empty() {
        let text = format!("{} is empty; see archive.s3.credentialsSecretRef", file.display());
        return Err(CredentialsError::not_loaded(text));
    }
    Ok(value.to_owned())
}

impl ProvideCredentials for FileKeys {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.load())
    }
}

/// Takes the `Date` of a reply: an object's age is told by the store's clock, not by ours.
#[derive(Clone, Debug, Default)]
pub(super) struct StoreClock(Arc<Mutex<Option<DateTime>>>);

impl StoreClock {
    /// Time from `written` to the reply. Zero when the store tells neither: then nothing is old.
    pub(super) fn since(&self, written: Option<&DateTime>) -> Duration {
        let now = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(now), Some(written)) = (now, written) else { return Duration::ZERO };
        Duration::from_secs(u64::try_from(now.secs() - written.secs()).unwrap_or_default())
    }
}

impl Intercept for StoreClock {
    fn name(&self) -> &'static str {
        "StoreClock"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let date = date.and_then(|text| DateTime::from_str(text, Format::HttpDate).ok());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date;
        Ok(())
    }
}
