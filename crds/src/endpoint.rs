//! Addresses that a stream may not lead a worker to.
//!
//! The instance metadata services hand out credentials to whoever asks from the node, the API server trusts what
//! comes from inside, and loopback is the worker's own pod. A worker made to speak to them as "source" or "store"
//! would be a way to them for people who have none. The operator refuses what the specification names, the worker
//! what a name turns out to resolve to: it is asked again for each address, just before it connects. The SDK's own
//! credential chain is not meant: it asks the metadata services on the worker's behalf.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Why a host is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The address of a metadata service.
    Metadata,
    /// An address in a form that resolvers read and people do not: `2852039166`, `0xa9fea9fe`.
    Disguised,
    /// The pod itself.
    Loopback,
    /// The API server.
    ApiServer,
}

impl Refused {
    /// What the host is, and the mend.
    pub fn why(self) -> &'static str {
        match self {
            Self::Metadata => {
                "is a metadata service, which hands out credentials; name the server itself"
            }
            Self::Disguised => {
                "is an address in a disguised form; write it with dots, or as a name"
            }
            Self::Loopback => {
                "is the worker's own pod; name the server as its Service or its address in the network"
            }
            Self::ApiServer => "is the Kubernetes API server; name the database or the store",
        }
    }
}

/// Of AWS and most others, of ECS and EKS, of Alibaba, of Oracle, of Azure, and of AWS by IPv6.
const METADATA: [IpAddr; 8] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x23)),
];
const METADATA_NAMES: [&str; 3] =
    ["metadata.google.internal", "metadata", "instance-data.ec2.internal"];
const API_SERVER_NAME: &str = "kubernetes.default";

/// What is refused at one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    in_cluster: bool,
    api_server: Option<IpAddr>,
    allowed: Vec<Network>,
}

impl Guard {
    /// Inside a pod, whose API server has this address.
    pub fn in_cluster(api_server: Option<IpAddr>, allowed: Vec<Network>) -> Self {
        Self { in_cluster: true, api_server: api_server.map(|it| it.to_canonical()), allowed }
    }

    /// On a machine of one's own: only the metadata services are refused.
    pub fn outside(allowed: Vec<Network>) -> Self {
        Self { allowed, ..Self::default() }
    }

    /// Whether a host, as it is written, is refused. A name may still resolve to an address that is.
    pub fn host(&self, host: &str) -> Option<Refused> {
        let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        if let Ok(address) = host.parse::<IpAddr>() {
            return self.address(address);
        }
        let host = host.to_ascii_lowercase();
        if METADATA_NAMES.contains(&host.as_str()) {
            return Some(Refused::Metadata);
        }
        if self.in_cluster && (host == "localhost" || host.ends_with(".localhost")) {
            return self.unless_allowed(IpAddr::V4(Ipv4Addr::LOCALHOST), Refused::Loopback);
        }
        let below = host.strip_prefix(API_SERVER_NAME);
        if self.in_cluster && below.is_some_and(|rest| rest.is_empty() || rest.starts_with(".svc"))
        {
            return match self.api_server {
                Some(address) => self.unless_allowed(address, Refused::ApiServer),
                None => Some(Refused::ApiServer),
            };
        }
        let last = host.rsplit('.').next().unwrap_or_default();
        let numeric = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
        (numeric || last.starts_with("0x")).then_some(Refused::Disguised)
    }

    /// Whether an address is refused.
    pub fn address(&self, address: IpAddr) -> Option<Refused> {
        let address = address.to_canonical();
        if METADATA.contains(&address) {
            return self.unless_allowed(address, Refused::Metadata);
        }
        if self.in_cluster && (address.is_loopback() || address.is_unspecified()) {
            return self.unless_allowed(address, Refused::Loopback);
        }
        if self.api_server == Some(address) {
            return self.unless_allowed(address, Refused::ApiServer);
        }
        None
    }

    fn unless_allowed(&self, address: IpAddr, refused: Refused) -> Option<Refused> {
        let allowed = self.allowed.iter().any(|network| network.contains(address));
        (!allowed).then_some(refused)
    }
}

/// An address, or a network in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    base: IpAddr,
    bits: u8,
}

/// Text that is no address and no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address or a network like 10.0.0.0/8 or fd00::/8")]
pub struct NotANetwork(String);

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        let drop = |width: u32| width - u32::from(self.bits);
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let apart = base.to_bits() ^ address.to_bits();
                apart.checked_shr(drop(Ipv4Addr::BITS)).unwrap_or(0) == 0
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let apart = base.to_bits() ^ address.to_bits();
                apart.checked_shr(drop(Ipv6Addr::BITS)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    fn width(address: IpAddr) -> u8 {
        if address.is_ipv4() { 32 } else { 128 }
    }
}

impl std::str::FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let parsed = match text.trim().split_once('/') {
            None => text.trim().parse().ok().map(|base| (base, Self::width(base))),
            Some((base, bits)) => base.parse().ok().zip(bits.parse().ok()),
        };
        match parsed {
            Some((base, bits)) if bits <= Self::width(base) => Ok(Self { base, bits }),
            _ => Err(NotANetwork(text.chars().take(80).collect())),
        }
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

impl TryFrom<String> for Network {
    type Error = NotANetwork;

    fn try_from(text: String) -> Result<Self, NotANetwork> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl JsonSchema for Network {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Network".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "description": "An address, or a network in CIDR notation."})
    }
}

/// The host of an `http` or `https` URL, without brackets and port.
pub fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some(literal) = authority.strip_prefix('[') {
        return literal.split(']').next().unwrap_or_default();
    }
    authority.split(':').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(allowed: &[&str]) -> Guard {
        let allowed = allowed.iter().map(|network| network.parse().unwrap()).collect();
        Guard::in_cluster(Some("10.96.0.1".parse().unwrap()), allowed)
    }

    #[test]
    fn metadata_services_are_refused_in_every_spelling() {
        for host in [
            "169.254.169.254",
            "169.254.170.23",
            "169.254.170.2",
            "168.63.129.16",
            "fd00:ec2::254",
            "[fd00:ec2::23]",
            "::ffff:169.254.169.254",
            "metadata.google.internal",
            "Metadata.Google.Internal.",
        ] {
            assert_eq!(pod(&[]).host(host), Some(Refused::Metadata), "{host}");
            assert_eq!(Guard::outside(Vec::new()).host(host), Some(Refused::Metadata), "{host}");
        }
        for host in ["2852039166", "0xa9fea9fe", "169.254.43518", "169.254.169.0xfe"] {
            assert_eq!(pod(&[]).host(host), Some(Refused::Disguised), "{host}");
        }
    }

    #[test]
    fn a_pod_may_not_be_led_to_itself_nor_to_the_api_server() {
        for host in ["127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "[::]", "LocalHost", "a.localhost"]
        {
            assert_eq!(pod(&[]).host(host), Some(Refused::Loopback), "{host}");
            assert_eq!(Guard::outside(Vec::new()).host(host), None, "{host}");
        }
        for host in [
            "10.96.0.1",
            "::ffff:10.96.0.1",
            "kubernetes.default",
            "kubernetes.default.svc",
            "Kubernetes.Default.svc.cluster.local.",
        ] {
            assert_eq!(pod(&[]).host(host), Some(Refused::ApiServer), "{host}");
            assert_eq!(Guard::outside(Vec::new()).host(host), None, "{host}");
        }
    }

    #[test]
    fn what_is_allowed_passes_and_nothing_beside_it() {
        let guard = pod(&["127.0.0.0/8", "10.96.0.1", "fd00:ec2::/64"]);
        for host in
            ["127.0.0.9", "localhost", "10.96.0.1", "kubernetes.default.svc", "fd00:ec2::254"]
        {
            assert_eq!(guard.host(host), None, "{host}");
        }
        assert_eq!(guard.host("::1"), Some(Refused::Loopback));
        assert_eq!(guard.host("169.254.169.254"), Some(Refused::Metadata));
        assert_eq!(pod(&["0.0.0.0/0"]).host("169.254.169.254"), None);
        assert_eq!(pod(&["0.0.0.0/0"]).host("fd00:ec2::254"), Some(Refused::Metadata));
    }

    #[test]
    fn ordinary_hosts_pass() {
        for host in [
            "db",
            "db-0.shop.svc",
            "10.0.0.1",
            "fd00::1",
            "169.254.20.10",
            "db0.example.",
            "kubernetes.default.example.com",
            "xn--0x.example",
        ] {
            assert_eq!(pod(&[]).host(host), None, "{host}");
        }
    }

    #[test]
    fn networks_are_read_and_written_in_cidr_notation() {
        for (text, written) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("::1", "::1/128"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(
                text.parse::<Network>().map(|network| network.to_string()),
                Ok(written.into())
            );
        }
        for bad in ["", "db", "10.0.0.0/33", "10.0.0.0/", "::/129", "10.0.0/8"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn host_is_cut_out_of_a_url() {
        assert_eq!(host_of("https://s3.example:9000/x"), "s3.example");
        assert_eq!(host_of("http://[fd00:ec2::254]:80"), "fd00:ec2::254");
        assert_eq!(host_of("http://169.254.169.254"), "169.254.169.254");
    }
}
