//! Who may read `/metrics` where authentication is asked for: whom the API server knows by a bearer token and lets GET
//! the path `/metrics`. Its word holds for a minute, so that a scrape each second does not become two requests to it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::http::{HeaderMap, StatusCode, header};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use tracing::warn;

use crate::api_error::words;

/// How long an answer of the API server holds.
const HOLDS: Duration = Duration::from_secs(60);
/// Limit of one request to it.
const REQUEST: Duration = Duration::from_secs(5);
/// Tokens remembered; past it all are asked about again.
const MOST: usize = 256;

/// Digest of a token: the token itself is not kept.
type Token = [u8; 32];

/// Asks the API server, and remembers for a while.
pub struct Readers {
    client: Client,
    known: Mutex<HashMap<Token, (Instant, StatusCode)>>,
}

impl Readers {
    /// Asks with the operator's own rights.
    pub fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// 200, or why not: 401 without a good token, 403 without the right, 503 when the API server gives no answer.
    pub(super) async fn admit(&self, headers: &HeaderMap) -> StatusCode {
        let Some(token) = bearer(headers) else { return StatusCode::UNAUTHORIZED };
        let digest: Token = Sha256::digest(token.as_bytes()).into();
        if let Some(status) = self.remembered(&digest) {
            return status;
        }
        match tokio::time::timeout(REQUEST, self.ask(token)).await {
            Ok(Ok(status)) => {
                self.remember(digest, status);
                status
            }
            Ok(Err(error)) => {
                warn!(error = words(&error), "ask the API server who reads the metrics");
                StatusCode::SERVICE_UNAVAILABLE
            }
            Err(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    async fn ask(&self, token: &str) -> Result<StatusCode, kube::Error> {
        let review = TokenReview {
            spec: TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() },
            ..TokenReview::default()
        };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await?;
        let status = answer.status.unwrap_or_default();
        let (Some(true), Some(user)) = (status.authenticated, status.user) else {
            return Ok(StatusCode::UNAUTHORIZED);
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = reviews.create(&PostParams::default(), &may_read(user)).await?;
        let allowed = answer.status.is_some_and(|status| status.allowed);
        Ok(if allowed { StatusCode::OK } else { StatusCode::FORBIDDEN })
    }

    fn remembered(&self, token: &Token) -> Option<StatusCode> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(token).filter(|(since, _)| since.elapsed() < HOLDS).map(|(_, status)| *status)
    }

    fn remember(&self, token: Token, status: StatusCode) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(token, (Instant::now(), status));
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn may_read(user: UserInfo) -> SubjectAccessReview {
    let UserInfo { username, groups, uid, extra } = user;
    let attributes =
        NonResourceAttributes { path: Some("/metrics".to_owned()), verb: Some("get".to_owned()) };
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: username,
            groups,
            uid,
            extra,
            non_resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_from_a_bearer_header_alone() {
        let read = |value: &str| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(read("Bearer abc"), Some("abc".to_owned()));
        assert_eq!(read("bearer  abc "), Some("abc".to_owned()));
        for none in ["abc", "Basic abc", "Bearer ", "Bearer"] {
            assert_eq!(read(none), None, "{none:?}");
        }
        assert_eq!(bearer(&HeaderMap::new()), None);
    }
}
