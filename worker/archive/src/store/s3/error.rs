//! What a store's answers mean, and what mends them.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::resolve::NotAllowed;
use crate::store::{StoreClass, StoreError};

/// Longest text taken over from a store.
const MAX_TEXT: usize = 300;
/// What mends a key that is refused.
const KEY: &str = "; correct the access key or renew it";

/// An answer that is no success.
#[derive(Debug)]
pub(super) enum Answer {
    /// 412: the key exists.
    Exists,
    /// 404 with NoSuchKey.
    NoSuchKey,
    /// 404 without saying what does not exist.
    NotFound(String),
    /// Anything else.
    Failed(StoreError),
}

impl Answer {
    /// As an error, where a success was expected.
    pub(super) fn into_error(self, action: &str) -> StoreError {
        let unexpected = |text: &str| StoreError::new(StoreClass::Unexpected, action, text);
        match self {
            Self::Failed(error) => error,
            Self::Exists => unexpected("412 although no condition was sent"),
            Self::NoSuchKey => unexpected("there is no such key"),
            Self::NotFound(text) => unexpected(&text),
        }
    }
}

/// Reads a failed request.
pub(super) fn classify<E>(action: &str, error: &SdkError<E, HttpResponse>) -> Answer
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let SdkError::ServiceError(service) = error {
        let status = service.raw().status().as_u16();
        let code = service.err().code().unwrap_or_default();
        let message = service.err().message().unwrap_or_default();
        return answer(action, status, code, message);
    }
    if let SdkError::ResponseError(response) = error {
        let status = response.raw().status().as_u16();
        return answer(action, status, "", "the reply is not understood");
    }
    let text = chain(error);
    let (class, mend) = match error {
        SdkError::TimeoutError(_) => (StoreClass::Transient, ""),
        _ if is_caused_by::<CredentialsError>(error) => (
            StoreClass::Credentials,
            "; set archive.s3.credentialsSecretRef or give the service account a role",
        ),
        _ if is_tls(&text) => (
            StoreClass::Tls,
            "; put the authority that signed the endpoint's certificate into archive.s3.caRef",
        ),
        _ if is_caused_by::<NotAllowed>(error) => (StoreClass::NotAllowed, ""),
        _ => (StoreClass::Unreachable, ""),
    };
    Answer::Failed(StoreError::new(class, action, format!("{text}{mend}")))
}

/// What an HTTP answer means.
fn answer(action: &str, status: u16, code: &str, message: &str) -> Answer {
    let shown = shown(status, code, message);
    let failed = |class, mend: &str| {
        Answer::Failed(StoreError::new(class, action, format!("{shown}{mend}")))
    };
    let text = message.to_ascii_lowercase();
    let about_key = code.starts_with("KMS.") || text.contains("kms") || text.contains("kms:");
    match (status, code) {
        (412, _) => Answer::Exists,
        (_, "NoSuchBucket" | "InvalidBucketName") => {
            failed(StoreClass::NoSuchBucket, "; create the bucket or correct archive.s3.bucket")
        }
        (404, "NoSuchKey") => Answer::NoSuchKey,
        // versitygw's word for a key that it does not know.
        (_, "XAdminUserNotFound") => failed(StoreClass::Credentials, KEY),
        (404, _) => Answer::NotFound(shown),
        (_, "RequestTimeTooSkewed") => {
            failed(StoreClass::ClockSkewed, "; correct the clock of the worker's node")
        }
        (400 | 403, _) if about_key && status != 404 => failed(
            StoreClass::EncryptionKey,
            "; enable the key and allow kms:GenerateDataKey and kms:Decrypt",
        ),
        (
            400 | 401 | 403,
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "InvalidToken"
            | "TokenRefreshRequired",
        ) => failed(StoreClass::Credentials, KEY),
        (301 | 307, _)
        | (400, "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
            failed(StoreClass::WrongRegion, "; set archive.s3.region to the bucket's region")
        }
        (401 | 403, _) => failed(
            StoreClass::Denied,
            "; allow s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject and \
             s3:DeleteObject under the prefix",
        ),
        (407, _) => failed(
            StoreClass::Unreachable,
            "; the proxy wants a password, which the worker has none of: let it pass by its address",
        ),
        (429, _) | (503, "SlowDown" | "RequestLimitExceeded") => failed(StoreClass::Throttled, ""),
        (409 | 500..=500 | 502..=599, _) | (400, "RequestTimeout") => {
            failed(StoreClass::Transient, "")
        }
        (501, _) | (400, "NotImplemented") => {
            failed(StoreClass::Unsupported, "; the store does not know this request")
        }
        _ => failed(StoreClass::Unexpected, ""),
    }
}

fn shown(status: u16, code: &str, message: &str) -> String {
    let message: String = message.trim_end_matches('.').chars().take(MAX_TEXT).collect();
    [status.to_string(), code.to_owned(), message]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// An error and its causes, each said once.
fn chain(error: &dyn Error) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let part = error.to_string();
        if !part.is_empty() && !text.contains(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
        next = error.source();
    }
    text.chars().take(MAX_TEXT).collect()
}

fn is_caused_by<C: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<C>().is_some() {
            return true;
        }
        next = error.source();
    }
    false
}

fn is_tls(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["certificate", "handshake", "corrupt message", "tls"].iter().any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(status: u16, code: &str, message: &str) -> StoreClass {
        match answer("get x", status, code, message) {
            Answer::Failed(error) => error.class,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_refusal_is_never_absence() {
        assert!(matches!(answer("get x", 404, "NoSuchKey", ""), Answer::NoSuchKey));
        assert!(matches!(answer("get x", 404, "", ""), Answer::NotFound(_)));
        assert_eq!(class(404, "NoSuchBucket", ""), StoreClass::NoSuchBucket);
        assert_eq!(class(404, "XAdminUserNotFound", ""), StoreClass::Credentials);
        assert_eq!(class(403, "AccessDenied", ""), StoreClass::Denied);
        assert_eq!(class(403, "", ""), StoreClass::Denied);
        assert_eq!(class(301, "PermanentRedirect", ""), StoreClass::WrongRegion);
        assert_eq!(class(500, "InternalError", ""), StoreClass::Transient);
        assert_eq!(class(400, "Surprise", ""), StoreClass::Unexpected);
    }

    #[test]
    fn every_refusal_names_its_mend() {
        let told = |status, code: &str, message: &str| match answer("put x", status, code, message)
        {
            Answer::Failed(error) => (error.class, error.to_string()),
            other => panic!("{other:?}"),
        };
        let (kind, text) = told(403, "SignatureDoesNotMatch", "");
        assert!(kind == StoreClass::Credentials && text.contains("access key"), "{text}");
        let (kind, text) = told(400, "KMS.DisabledException", "key is disabled");
        assert!(kind == StoreClass::EncryptionKey && text.contains("enable the key"), "{text}");
        let (kind, text) = told(403, "RequestTimeTooSkewed", "");
        assert!(kind == StoreClass::ClockSkewed && text.contains("clock"), "{text}");
    }

    #[test]
    fn conflicts_and_slow_downs_come_again_with_the_same_bytes() {
        assert!(matches!(answer("create x", 412, "PreconditionFailed", ""), Answer::Exists));
        for (status, code) in [(409, "ConditionalRequestConflict"), (503, "SlowDown"), (502, "")] {
            match answer("create x", status, code, "") {
                Answer::Failed(error) => assert!(error.ambiguous() && error.is_transient()),
                other => panic!("{other:?}"),
            }
        }
    }
}
