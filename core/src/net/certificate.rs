//! Whom to trust: the check of a server's certificate for `require`, `verify-ca` and `verify-full`, and the hash of
//! it that SCRAM is bound to. As libpq does with OpenSSL, and unlike rustls by itself: a self-signed certificate may
//! be its own root, and a certificate without alternative names is known by its common name.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};

/// Certificates that are trusted.
#[derive(Clone)]
pub(crate) struct Trusted {
    pub(crate) roots: Arc<RootCertStore>,
    /// The certificates themselves: a self-signed one may be the server's own.
    pub(crate) pinned: Vec<CertificateDer<'static>>,
}

/// The check that a `sslmode` asks for.
#[derive(Debug)]
pub(crate) struct Verifier {
    algorithms: WebPkiSupportedAlgorithms,
    /// `None` = whoever it is. The handshake's signature is checked all the same: channel binding rests on it.
    roots: Option<Arc<RootCertStore>>,
    pinned: Vec<CertificateDer<'static>>,
    check_name: bool,
}

impl Verifier {
    pub(crate) fn trusting_everybody(algorithms: WebPkiSupportedAlgorithms) -> Verifier {
        Verifier { algorithms, roots: None, pinned: Vec::new(), check_name: false }
    }

    pub(crate) fn new(algorithms: WebPkiSupportedAlgorithms, trusted: Trusted, check_name: bool) -> Verifier {
        Verifier { algorithms, roots: Some(trusted.roots), pinned: trusted.pinned, check_name }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(roots) = &self.roots else { return Ok(ServerCertVerified::assertion()) };
        // The very certificate that the user trusts: what is trusted needs no issuer, but must be in its time.
        if self.pinned.iter().any(|p| p == end_entity) {
            check_time(end_entity, now)?;
        } else {
            let parsed = ParsedCertificate::try_from(end_entity).map_err(|e| old_version(end_entity, e))?;
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)?;
        }
        if self.check_name {
            check_name(end_entity, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if ParsedCertificate::try_from(cert).is_ok() {
            return verify_tls13_signature(message, cert, dss, &self.algorithms);
        }
        // A version-1 certificate, as PostgreSQL's manual used to make them: its key signs as well as any.
        let key = parse(cert)
            .and_then(|c| c.tbs_certificate.subject_public_key_info.to_der().ok())
            .ok_or(CertificateError::BadEncoding)?;
        let key = SubjectPublicKeyInfoDer::from(key);
        verify_tls13_signature_with_raw_key(message, &key, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn parse(certificate: &[u8]) -> Option<Certificate> {
    Certificate::from_der(certificate).ok()
}

fn check_time(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let parsed = parse(certificate).ok_or(CertificateError::BadEncoding)?;
    let validity = parsed.tbs_certificate.validity;
    let now = now.as_secs();
    if now < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

fn check_name(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
    let by_alternative_name =
        ParsedCertificate::try_from(certificate).and_then(|c| verify_server_name(&c, name));
    let Err(e) = by_alternative_name else { return Ok(()) };
    match common_name(certificate) {
        Some(common) if matches(&common, &name.to_str()) => Ok(()),
        Some(common) => Err(CertificateError::NotValidForNameContext {
            expected: name.to_owned(),
            presented: vec![common],
        }
        .into()),
        None => Err(e),
    }
}

/// The common name of a certificate that has no alternative names.
fn common_name(certificate: &[u8]) -> Option<String> {
    const ALTERNATIVE_NAMES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
    const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
    let tbs = parse(certificate)?.tbs_certificate;
    if tbs.extensions.iter().flatten().any(|e| e.extn_id == ALTERNATIVE_NAMES) {
        return None;
    }
    let mut attributes = tbs.subject.0.iter().flat_map(|rdn| rdn.0.iter());
    let value = attributes.rfind(|a| a.oid == COMMON_NAME)?.value.value();
    // A NUL inside has been used to make one name look like another.
    std::str::from_utf8(value).ok().filter(|v| !v.contains('\0')).map(str::to_owned)
}

/// `*.example.org` stands for one label, as in libpq.
fn matches(pattern: &str, host: &str) -> bool {
    if pattern.eq_ignore_ascii_case(host) {
        return true;
    }
    match (pattern.strip_prefix("*."), host.split_once('.')) {
        (Some(rest), Some((first, tail))) => {
            !first.is_empty() && rest.contains('.') && rest.eq_ignore_ascii_case(tail)
        }
        (None, _) | (_, None) => false,
    }
}

/// webpki says only that it cannot parse such a certificate; the user needs to know why.
fn old_version(certificate: &CertificateDer<'_>, e: Error) -> Error {
    match parse(certificate).map(|c| c.tbs_certificate.version) {
        Some(x509_cert::Version::V1 | x509_cert::Version::V2) => {
            let reason =
                "the server's certificate is of X.509 version 1 or 2: issue it again with extensions";
            CertificateError::Other(OtherError(Arc::new(std::io::Error::other(reason)))).into()
        }
        Some(x509_cert::Version::V3) | None => e,
    }
}

/// The hash of the server's certificate that binds SCRAM to this TLS session (`tls-server-end-point`, RFC 5929):
/// by the hash of its signature, SHA-256 for MD5 and SHA-1. `None` where the RFC defines none (Ed25519).
pub(crate) fn channel_binding(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let algorithm = parse(certificate)?.signature_algorithm;
    let hash = match algorithm.oid.to_string().as_str() {
        // RSASSA-PSS carries its hash in its parameters.
        "1.2.840.113549.1.1.10" => pss_hash(&algorithm.parameters?.to_der().ok()?)?,
        // RSA or ECDSA with MD5, SHA-1 or SHA-256.
        "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" => Hash::Sha256,
        "1.2.840.113549.1.1.11" | "1.2.840.10045.4.3.2" => Hash::Sha256,
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Hash::Sha384,
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Hash::Sha512,
        _ => return None,
    };
    Some(match hash {
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    })
}

#[derive(Clone, Copy)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// The first hash that is named in the parameters of RSASSA-PSS; none = its default, SHA-1.
fn pss_hash(parameters: &[u8]) -> Option<Hash> {
    // The encoded identifiers 2.16.840.1.101.3.4.2.{1,2,3}: all parameters use the same one in practice.
    const PREFIX: &[u8] = &[0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];
    match parameters.windows(PREFIX.len() + 1).find(|w| w.starts_with(PREFIX)).and_then(|w| w.last()) {
        Some(1) | None => Some(Hash::Sha256),
        Some(2) => Some(Hash::Sha384),
        Some(3) => Some(Hash::Sha512),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_names_match_as_in_libpq() {
        for (pattern, host, expected) in [
            ("db.example.org", "DB.example.org", true),
            ("*.example.org", "db.example.org", true),
            ("*.example.org", "a.b.example.org", false),
            ("*.example.org", "example.org", false),
            ("*.org", "example.org", false),
            ("*", "db", false),
            ("db", "db.example.org", false),
            ("127.0.0.1", "127.0.0.1", true),
        ] {
            assert_eq!(matches(pattern, host), expected, "{pattern} {host}");
        }
    }

    #[test]
    fn what_is_no_certificate_binds_nothing() {
        assert_eq!(channel_binding(&CertificateDer::from(vec![0x30, 0x00])), None);
    }
}
