//! Where a stream's archive lies, and whether two of them overlap.

use crds::v1alpha1::BinlogStreamSpec;

/// The root of one archive, borrowed from the stream it belongs to.
#[derive(Debug, Clone, Copy)]
pub enum Root<'a> {
    /// `<prefix>/<namespace>/<stream>` in a bucket.
    Bucket {
        /// URL of the store; none is AWS.
        endpoint: Option<&'a str>,
        /// The bucket.
        bucket: &'a str,
        /// spec.archive.s3.prefix.
        prefix: &'a str,
        /// Namespace of the stream.
        namespace: &'a str,
        /// Name of the stream.
        stream: &'a str,
    },
    /// A claim that the stream brings along.
    GivenClaim {
        /// Namespace of stream and claim.
        namespace: &'a str,
        /// The claim.
        claim: &'a str,
    },
    /// `<stream>-archive`.
    OwnClaim {
        /// Namespace of stream and claim.
        namespace: &'a str,
        /// Name of the stream.
        stream: &'a str,
    },
}

/// Ending of the name of a claim that the operator makes.
const OWN: &str = "-archive";

impl<'a> Root<'a> {
    /// The root of a stream; none when the archive has no arm, which the schema refuses.
    pub fn of(spec: &'a BinlogStreamSpec, namespace: &'a str, stream: &'a str) -> Option<Root<'a>> {
        if let Some(s3) = &spec.archive.s3 {
            return Some(Root::Bucket {
                endpoint: s3.endpoint.as_deref().map(|url| url.trim_end_matches('/')),
                bucket: &s3.bucket,
                prefix: &s3.prefix,
                namespace,
                stream,
            });
        }
        let volume = spec.archive.volume.as_ref()?;
        Some(match volume.claim_name.as_deref() {
            Some(claim) => Root::GivenClaim { namespace, claim },
            None => Root::OwnClaim { namespace, stream },
        })
    }

    /// Whether one root lies in the other, or both are the same.
    pub fn overlaps(&self, other: &Root<'_>) -> bool {
        match (self, other) {
            (
                Root::Bucket { endpoint, bucket, prefix, namespace, stream },
                Root::Bucket {
                    endpoint: other_endpoint,
                    bucket: other_bucket,
                    prefix: other_prefix,
                    namespace: other_namespace,
                    stream: other_stream,
                },
            ) => {
                bucket == other_bucket
                    && same_store(*endpoint, *other_endpoint)
                    && parts(prefix, namespace, stream)
                        .zip(parts(other_prefix, other_namespace, other_stream))
                        .all(|(ours, theirs)| ours == theirs)
            }
            (Root::Bucket { .. }, _) | (_, Root::Bucket { .. }) => false,
            _ => {
                let (namespace, claim, ending) = self.claim();
                let (other_namespace, other_claim, other_ending) = other.claim();
                namespace == other_namespace
                    && claim
                        .bytes()
                        .chain(ending.bytes())
                        .eq(other_claim.bytes().chain(other_ending.bytes()))
            }
        }
    }

    /// As one text: a root overlaps another exactly if the text of one begins with that of the other.
    pub fn path(&self) -> String {
        if let Root::Bucket { endpoint, bucket, prefix, namespace, stream } = self {
            let store = endpoint.unwrap_or_default().to_ascii_lowercase();
            let path: String =
                parts(prefix, namespace, stream).flat_map(|part| [part, "/"]).collect();
            format!("s3 {store} {bucket} /{path}")
        } else {
            let (namespace, claim, ending) = self.claim();
            format!("claim {namespace} {claim}{ending}/")
        }
    }

    /// Namespace and name of the claim, the name in two parts.
    fn claim(&self) -> (&'a str, &'a str, &'static str) {
        match self {
            Root::GivenClaim { namespace, claim } => (namespace, claim, ""),
            Root::OwnClaim { namespace, stream } => (namespace, stream, OWN),
            Root::Bucket { namespace, .. } => (namespace, "", ""),
        }
    }
}

fn same_store(ours: Option<&str>, theirs: Option<&str>) -> bool {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => ours.eq_ignore_ascii_case(theirs),
        (ours, theirs) => ours.is_none() && theirs.is_none(),
    }
}

fn parts<'a>(
    prefix: &'a str,
    namespace: &'a str,
    stream: &'a str,
) -> impl Iterator<Item = &'a str> {
    prefix.split('/').filter(|part| !part.is_empty()).chain([namespace, stream])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket<'a>(prefix: &'a str, namespace: &'a str, stream: &'a str) -> Root<'a> {
        Root::Bucket { endpoint: None, bucket: "history", prefix, namespace, stream }
    }

    /// Judged by the parts and by the text, which must agree.
    fn overlap(one: &Root<'_>, other: &Root<'_>) -> bool {
        let (path, other_path) = (one.path(), other.path());
        let by_text = path.starts_with(&other_path) || other_path.starts_with(&path);
        assert_eq!(by_text, one.overlaps(other), "{path} and {other_path}");
        assert_eq!(by_text, other.overlaps(one), "{other_path} and {path}");
        by_text
    }

    #[test]
    fn streams_beside_each_other_do_not_overlap() {
        assert!(!overlap(&bucket("prod", "shop", "a"), &bucket("prod", "shop", "b")));
        assert!(!overlap(&bucket("prod", "shop", "a"), &bucket("prod/", "shopping", "a")));
        assert!(!overlap(&bucket("", "shop", "orders"), &bucket("shop", "orders2", "x")));
    }

    #[test]
    fn a_root_inside_another_stream_overlaps_whichever_is_asked() {
        let outer = bucket("prod", "shop", "orders");
        let inner = bucket("/prod/shop/orders/", "a", "b");
        assert!(overlap(&outer, &inner));
    }

    #[test]
    fn other_stores_and_buckets_do_not_count() {
        let here = bucket("", "shop", "a");
        let there = Root::Bucket {
            endpoint: Some("https://s3.example"),
            bucket: "history",
            prefix: "",
            namespace: "shop",
            stream: "a",
        };
        assert!(!overlap(&here, &there));
        assert!(overlap(&there, &there));
    }

    #[test]
    fn a_given_claim_overlaps_the_claim_of_that_name_in_its_namespace_only() {
        let own = Root::OwnClaim { namespace: "shop", stream: "orders" };
        let given = Root::GivenClaim { namespace: "shop", claim: "orders-archive" };
        let elsewhere = Root::GivenClaim { namespace: "lab", claim: "orders-archive" };
        assert!(overlap(&own, &given));
        assert!(!overlap(&own, &elsewhere));
        assert!(!overlap(&own, &bucket("", "shop", "orders")));
    }
}
