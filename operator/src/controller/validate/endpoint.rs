//! Hosts that a stream may not name.
//!
//! The instance metadata services hand out credentials to whoever asks from the node. A worker
//! made to speak to them as "source" or "endpoint" would be a way to them for people who have none.
//! The SDK's own credential chain is not meant: it asks them on the worker's behalf.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why a host is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The address of a metadata service.
    Metadata,
    /// An address in a form that resolvers read and people do not: `2852039166`, `0xa9fea9fe`.
    Disguised,
}

const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x23)),
];
const METADATA_NAMES: [&str; 3] =
    ["metadata.google.internal", "metadata", "instance-data.ec2.internal"];

/// Whether a host is one that is refused.
pub fn refused(host: &str) -> Option<Refused> {
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    if let Ok(address) = host.parse::<IpAddr>() {
        return METADATA.contains(&address.to_canonical()).then_some(Refused::Metadata);
    }
    if METADATA_NAMES.iter().any(|name| host.eq_ignore_ascii_case(name)) {
        return Some(Refused::Metadata);
    }
    let last = host.rsplit('.').next().unwrap_or_default();
    let numeric = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    let hexadecimal = last.len() > 2 && last[..2].eq_ignore_ascii_case("0x");
    (numeric || hexadecimal).then_some(Refused::Disguised)
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

    #[test]
    fn metadata_services_are_refused_in_every_spelling() {
        for host in [
            "169.254.169.254",
            "169.254.170.23",
            "169.254.170.2",
            "fd00:ec2::254",
            "[fd00:ec2::23]",
            "::ffff:169.254.169.254",
            "metadata.google.internal",
            "Metadata.Google.Internal.",
        ] {
            assert_eq!(refused(host), Some(Refused::Metadata), "{host}");
        }
        for host in ["2852039166", "0xa9fea9fe", "169.254.43518", "169.254.169.0xfe"] {
            assert_eq!(refused(host), Some(Refused::Disguised), "{host}");
        }
    }

    #[test]
    fn ordinary_hosts_pass() {
        for host in ["db", "db-0.shop.svc", "10.0.0.1", "fd00::1", "169.254.20.10", "db0.example."]
        {
            assert_eq!(refused(host), None, "{host}");
        }
    }

    #[test]
    fn host_is_cut_out_of_a_url() {
        assert_eq!(host_of("https://s3.example:9000/x"), "s3.example");
        assert_eq!(host_of("http://[fd00:ec2::254]:80"), "fd00:ec2::254");
        assert_eq!(host_of("http://169.254.169.254"), "169.254.169.254");
    }
}
