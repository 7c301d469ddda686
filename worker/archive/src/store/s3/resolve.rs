//! Name resolution that gives no address where a store may not be: hyper asks it for every name it connects to, the
//! proxy's too.

use std::net::IpAddr;

use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use crds::endpoint::{Guard, Refused};

use crate::store::{StoreClass, StoreError};

/// Resolves as the system does, and refuses a name that leads where it must not.
#[derive(Clone, Debug)]
pub(super) struct Guarded(pub(super) Guard);

/// A name that resolves to an address that is refused.
#[derive(Debug, thiserror::Error)]
#[error("{name:?} resolves to {address}, which {}", refused.why())]
pub(super) struct NotAllowed {
    name: String,
    address: IpAddr,
    refused: Refused,
}

impl ResolveDns for Guarded {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            let found = tokio::net::lookup_host((name, 0)).await.map_err(ResolveDnsError::new)?;
            let addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
            for &address in &addresses {
                if let Some(refused) = self.0.address(address) {
                    let name = name.to_owned();
                    return Err(ResolveDnsError::new(NotAllowed { name, address, refused }));
                }
            }
            Ok(addresses)
        })
    }
}

/// An address that stands in a URL is asked of no resolver.
pub(super) fn check_url(guard: &Guard, url: &str, action: &str) -> Result<(), StoreError> {
    let host = crds::endpoint::host_of(url);
    match guard.host(host) {
        None => Ok(()),
        Some(refused) => Err(StoreError::new(
            StoreClass::NotAllowed,
            action,
            format!("{host:?} {}", refused.why()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_leads_to_the_pod_itself_gets_no_address() {
        let outside = Guarded(Guard::outside(Vec::new()));
        assert!(!outside.resolve_dns("localhost").await.unwrap().is_empty());
        let inside = Guarded(Guard::in_cluster(None, Vec::new()));
        let error = inside.resolve_dns("localhost").await.unwrap_err();
        let cause = std::error::Error::source(&error).unwrap();
        assert!(cause.downcast_ref::<NotAllowed>().is_some(), "{cause}");
    }
}
