//! The way to the store through a proxy: https by CONNECT, http by requests with whole URLs.
//!
//! - Without a proxy in the settings none is used, whatever the environment of the process says.
//! - The services that hand out a node's credentials are never asked through a proxy: it would
//!   answer with its own (`credentials_of_the_node_are_not_asked_for_through_a_proxy`).

use aws_smithy_http_client::proxy::ProxyConfig;
use hyper_util::client::proxy::matcher::Matcher;

use crate::store::{StoreClass, StoreError};

/// Link-local services of a node or a pod: AWS's metadata, ECS's and EKS's credentials.
const NEVER: [&str; 2] = ["169.254.0.0/16", "fd00:ec2::/32"];

/// A proxy for the store and its credential service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Its URL, without user and password.
    pub url: String,
    /// Hosts, domains (with all below them), addresses and networks that are reached without it.
    pub no_proxy: Vec<String>,
}

impl Proxy {
    /// The SDK's form of it; `None` is no proxy.
    ///
    /// # Errors
    /// The URL cannot be used.
    pub(super) fn config(proxy: Option<&Self>, action: &str) -> Result<ProxyConfig, StoreError> {
        let Some(proxy) = proxy else { return Ok(ProxyConfig::disabled()) };
        let config = ProxyConfig::all(proxy.url.as_str()).map_err(|error| {
            let text = format!("{error}; correct archive.s3.proxy.url");
            StoreError::new(StoreClass::Unreachable, action, text)
        })?;
        Ok(config.no_proxy(proxy.rules()))
    }

    /// `host:port` of the proxy if requests to `url` go through it.
    pub(super) fn on_the_way_to(&self, url: &str) -> Option<String> {
        let matcher = Matcher::builder().all(self.url.as_str()).no(self.rules()).build();
        let intercept = matcher.intercept(&url.parse().ok()?)?;
        let proxy = intercept.uri();
        let usual = if proxy.scheme_str() == Some("https") { 443 } else { 80 };
        Some(format!("{}:{}", proxy.host()?, proxy.port_u16().unwrap_or(usual)))
    }

    /// As the matcher reads them: a domain is taken with all below it, without `*.`; its `*` takes
    /// names only.
    fn rules(&self) -> String {
        let named = self.no_proxy.iter().map(|rule| match rule.strip_prefix('*') {
            Some("") => "*,0.0.0.0/0,::/0",
            Some(domain) => domain,
            None => rule,
        });
        named.chain(NEVER).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use bytes::Bytes;
    use crds::endpoint::Guard;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::store::s3::KeyFiles;
    use crate::store::{S3Settings, S3Store, Store as _};

    const ABSENT: &str = "<Error><Code>NoSuchKey</Code><Message>none</Message></Error>";

    /// A server that notes the first line of each request: tunnels are refused, anything else is
    /// answered as a store without objects would.
    struct Listener {
        port: u16,
        seen: Arc<Mutex<Vec<String>>>,
    }

    impl Listener {
        async fn start() -> Self {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let seen = Arc::new(Mutex::new(Vec::new()));
            let notes = Arc::clone(&seen);
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let line = first_line(&mut stream).await;
                    let answer = if line.starts_with("CONNECT ") {
                        "HTTP/1.1 502 Bad Gateway\r\n\r\n".to_owned()
                    } else {
                        let length = ABSENT.len();
                        format!(
                            "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{ABSENT}"
                        )
                    };
                    notes.lock().unwrap().push(line);
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
            Self { port, seen }
        }

        fn seen(&self) -> Vec<String> {
            self.seen.lock().unwrap().clone()
        }
    }

    async fn first_line(stream: &mut TcpStream) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap().lines().next().unwrap().to_owned()
    }

    fn proxy(port: u16, no_proxy: &[&str]) -> Proxy {
        let no_proxy = no_proxy.iter().map(|&rule| rule.to_owned()).collect();
        Proxy { url: format!("http://127.0.0.1:{port}"), no_proxy }
    }

    fn store(endpoint: &str, proxy: Proxy, folder: &tempfile::TempDir) -> S3Store {
        let key = folder.path().join("key");
        std::fs::write(&key, "none").unwrap();
        S3Store::new(S3Settings {
            bucket: "history".to_owned(),
            prefix: String::new(),
            region: None,
            endpoint: Some(endpoint.to_owned()),
            force_path_style: true,
            ca_file: None,
            keys: Some(KeyFiles {
                access_key_id: key.clone(),
                secret_access_key: key,
                session_token: None,
            }),
            encryption: None,
            endpoints: Guard::default(),
            proxy: Some(proxy),
        })
    }

    #[tokio::test]
    async fn http_goes_to_the_proxy_with_its_whole_url() {
        let (listener, folder) = (Listener::start().await, tempfile::tempdir().unwrap());
        let store = store("http://store.invalid:9000", proxy(listener.port, &[]), &folder);
        assert_eq!(store.get("log/1").await.unwrap(), None::<Bytes>);
        let seen = listener.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert!(seen[0].starts_with("GET http://store.invalid:9000/history/log/1"), "{seen:?}");
    }

    #[tokio::test]
    async fn https_asks_the_proxy_for_a_tunnel_and_a_refusal_names_it() {
        let (listener, folder) = (Listener::start().await, tempfile::tempdir().unwrap());
        let store = store("https://store.invalid:9443", proxy(listener.port, &[]), &folder);
        let error = store.get("log/1").await.unwrap_err();
        assert_eq!(listener.seen(), ["CONNECT store.invalid:9443 HTTP/1.1"]);
        assert_eq!(error.class, StoreClass::Unreachable);
        let named = format!("through proxy 127.0.0.1:{}: ", listener.port);
        assert!(error.to_string().contains(&named), "{error}");
    }

    #[tokio::test]
    async fn a_host_that_needs_no_proxy_is_reached_without_it() {
        let (listener, near) = (Listener::start().await, Listener::start().await);
        let folder = tempfile::tempdir().unwrap();
        for rule in ["127.0.0.1", "127.0.0.0/8", "*"] {
            let endpoint = format!("http://127.0.0.1:{}", near.port);
            let store = store(&endpoint, proxy(listener.port, &[rule]), &folder);
            assert_eq!(store.get("log/1").await.unwrap(), None::<Bytes>, "{rule}");
            assert!(!store.describe().contains("proxy"), "{}", store.describe());
        }
        assert!(near.seen().iter().all(|line| line.starts_with("GET /history/log/1")));
        assert_eq!((near.seen().len(), listener.seen()), (3, Vec::new()));
    }

    #[tokio::test]
    async fn a_proxy_that_is_down_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port();
        for endpoint in ["http://store.invalid", "https://store.invalid"] {
            let error = store(endpoint, proxy(port, &[]), &folder).get("log/1").await.unwrap_err();
            assert_eq!(error.class, StoreClass::Unreachable, "{error}");
            let named = format!("through proxy 127.0.0.1:{port}: ");
            assert!(error.to_string().contains(&named), "{error}");
        }
    }

    #[test]
    fn domains_are_taken_with_all_below_them() {
        for rule in ["shop.svc", ".shop.svc", "*.shop.svc"] {
            let proxy = proxy(3128, &[rule]);
            assert_eq!(proxy.on_the_way_to("http://minio.shop.svc:9000"), None, "{rule}");
            let far = proxy.on_the_way_to("http://minio.workshop.svc:9000");
            assert_eq!(far.as_deref(), Some("127.0.0.1:3128"), "{rule}");
        }
    }

    #[test]
    fn credentials_of_the_node_are_not_asked_for_through_a_proxy() {
        let proxy = proxy(3128, &[]);
        for host in ["169.254.169.254", "169.254.170.2", "169.254.170.23", "[fd00:ec2::254]"] {
            assert_eq!(proxy.on_the_way_to(&format!("http://{host}/latest")), None, "{host}");
        }
        assert!(proxy.on_the_way_to("https://sts.us-east-1.amazonaws.com").is_some());
    }

    #[test]
    fn a_url_without_a_port_has_the_usual_one() {
        let through = |url: &str| {
            let proxy = Proxy { url: url.to_owned(), no_proxy: Vec::new() };
            proxy.on_the_way_to("https://s3.eu-west-1.amazonaws.com")
        };
        assert_eq!(through("http://proxy.example").as_deref(), Some("proxy.example:80"));
        assert_eq!(through("https://proxy.example/").as_deref(), Some("proxy.example:443"));
    }
}
