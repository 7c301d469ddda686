//! Server certificates of X.509 version 1: what `openssl x509 -req` makes without an extension file,
//! as the servers' own manuals long showed it. rustls takes none, so chain and key are handled
//! here: a leaf signed directly by a CA of the bundle, over TLS 1.3
//! (`a_version_1_certificate_is_taken_by_all_but_verify_full`).

use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, Error};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate, X509Version};

/// The certificate taken apart, if it is of version 1.
pub(super) fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    let (_, parsed) = X509Certificate::from_der(certificate.as_ref()).ok()?;
    (parsed.version() == X509Version::V1).then_some(parsed)
}

/// Its public key, for the proof that the server holds the private one.
pub(super) fn public_key(certificate: &X509Certificate<'_>) -> SubjectPublicKeyInfoDer<'static> {
    SubjectPublicKeyInfoDer::from(certificate.public_key().raw.to_vec())
}

/// Whether one of the trusted certificates, being a CA, signed it, and its dates hold.
pub(super) fn signed_by(
    trusted: &[CertificateDer<'_>],
    certificate: &X509Certificate<'_>,
    now: UnixTime,
) -> Result<(), Error> {
    within_dates(certificate, now)?;
    let signed = trusted.iter().any(|candidate| {
        let Ok((_, authority)) = X509Certificate::from_der(candidate.as_ref()) else {
            return false;
        };
        may_sign(&authority)
            && authority.subject().as_raw() == certificate.issuer().as_raw()
            && certificate.verify_signature(Some(authority.public_key())).is_ok()
    });
    if signed { Ok(()) } else { Err(CertificateError::UnknownIssuer.into()) }
}

/// A version 1 root says nothing of itself; a version 3 one must say that it is a CA.
fn may_sign(authority: &X509Certificate<'_>) -> bool {
    authority.version() == X509Version::V1
        || authority
            .basic_constraints()
            .is_ok_and(|found| found.is_some_and(|basic| basic.value.ca))
}

/// The dates of a certificate whose chain is not rustls' to check.
pub(super) fn within_dates(certificate: &X509Certificate<'_>, now: UnixTime) -> Result<(), Error> {
    let bad = || Error::InvalidCertificate(CertificateError::BadEncoding);
    let now = i64::try_from(now.as_secs()).map_err(|_| bad())?;
    let now = ASN1Time::from_timestamp(now).map_err(|_| bad())?;
    if certificate.validity().not_after < now {
        Err(CertificateError::Expired.into())
    } else if now < certificate.validity().not_before {
        Err(CertificateError::NotValidYet.into())
    } else {
        Ok(())
    }
}
