//! Which worker images a stream may ask for.
//!
//! Who may create a BinlogStream must not gain the right to run any image with any account of the
//! namespace, so `spec.worker.image` is matched against repositories, whole parts at a time.

/// The repository of an image reference: without tag and digest.
pub fn repository(image: &str) -> &str {
    let image = image.split_once('@').map_or(image, |(name, _)| name);
    let tag_from = image.rfind('/').map_or(0, |slash| slash + 1);
    match image[tag_from..].rfind(':') {
        Some(colon) => &image[..tag_from + colon],
        None => image,
    }
}

/// Whether `image` comes from one of the `allowed` repositories. An entry that ends with `/` stands
/// for everything below it.
pub fn is_allowed(image: &str, allowed: &[String]) -> bool {
    let wanted = repository(image);
    allowed.iter().any(|entry| {
        if entry.ends_with('/') {
            wanted.starts_with(entry.as_str()) && !wanted.split('/').any(|part| part == "..")
        } else {
            wanted == repository(entry)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_drops_tag_and_digest_and_keeps_a_port() {
        assert_eq!(repository("a/b:1"), "a/b");
        assert_eq!(repository("host:5000/a/b"), "host:5000/a/b");
        assert_eq!(repository("host:5000/a/b:1@sha256:00"), "host:5000/a/b");
        assert_eq!(repository("worker"), "worker");
    }

    #[test]
    fn only_listed_repositories_are_allowed() {
        let allowed = ["r.example/binlog-worker".to_owned(), "mirror.example/ours/".to_owned()];
        assert!(is_allowed("r.example/binlog-worker:2", &allowed));
        assert!(is_allowed("mirror.example/ours/team/worker@sha256:1", &allowed));
        assert!(!is_allowed("r.example/binlog-worker-evil:2", &allowed));
        assert!(!is_allowed("mirror.example/ours", &allowed));
        assert!(!is_allowed("mirror.example/ours/../theirs", &allowed));
        assert!(!is_allowed("evil.example/r.example/binlog-worker", &allowed));
    }
}
