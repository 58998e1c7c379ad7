//! TLS to a server: the rustls configuration that a [`ConnectConfig`] asks for, how TLS is begun, and the data that
//! binds SCRAM to it. Whom to trust stands in `certificate.rs`. No socket is opened here.
//!
//! The configuration is made for each connection, so that renewed certificates are used as soon as they are there.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate::{Trusted, Verifier};
use super::socket::PollSocket;
use crate::config::{ConnectConfig, Host, RootCertificates, SslMode, SslNegotiation};
use crate::error::{Error, ErrorCode, Result};

/// The protocol's registered name; with it, no server of another protocol can be made to answer in the server's place.
const ALPN: &[u8] = b"postgresql";

/// Everything that TLS needs, for all servers of one target.
#[derive(Clone)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    direct: bool,
    /// False for `prefer`: a server without TLS is taken as it is.
    required: bool,
}

/// The same, for one server.
#[derive(Clone)]
pub(crate) struct HostTls {
    tls: Tls,
    name: ServerName<'static>,
}

/// What became of the attempt to begin TLS.
pub(crate) enum Begun {
    Encrypted(Box<TlsStream<PollSocket>>),
    /// The server has no TLS, and `prefer` takes it without; the stream is as it was.
    Plain(PollSocket),
}

impl fmt::Debug for HostTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The configuration holds the client's key.
        f.debug_struct("HostTls")
            .field("name", &self.name)
            .field("direct", &self.tls.direct)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// The configuration; `None` if no TLS is wanted. Reads the files that it names.
    ///
    /// # Errors
    /// `InvalidOption` for a file that cannot be used: names the option, the path and the reason.
    pub(crate) fn new(target: &ConnectConfig) -> Result<Option<Tls>> {
        let required = match target.sslmode {
            SslMode::Disable => return Ok(None),
            SslMode::Prefer => false,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => true,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let verifier = match trusted(target)? {
            None => Verifier::trusting_everybody(algorithms),
            Some(trusted) => Verifier::new(algorithms, trusted, target.sslmode == SslMode::VerifyFull),
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| failed("TLS cannot be set up", e))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match client_certificate(target)? {
            None => builder.with_no_client_auth(),
            Some((path, chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|e| {
                Error::option("sslcert", path.display(), format!("cannot be used with its sslkey: {e}"))
            })?,
        };
        config.enable_sni = target.sslsni;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // PostgreSQL offers no resumption: remembering sessions would only cost memory.
        config.resumption = rustls::client::Resumption::disabled();
        let direct = target.sslnegotiation == SslNegotiation::Direct;
        Ok(Some(Tls { config: Arc::new(config), direct, required }))
    }

    /// For this server; `address` stands in where there is no name that a certificate could bear.
    ///
    /// # Errors
    /// `TlsFailed` if the name cannot stand in a certificate and has to.
    pub(crate) fn for_host(&self, host: &Host, address: std::net::IpAddr, mode: SslMode) -> Result<HostTls> {
        let name = match host {
            Host::Tcp(name) => ServerName::try_from(name.trim_end_matches('.').to_owned()),
            Host::Unix(_) => Ok(ServerName::from(address)),
        };
        let name = match (name, mode) {
            (Ok(name), _) => name,
            (Err(e), SslMode::VerifyFull) => return Err(failed(format!("{host:?} is no host name"), e)),
            (Err(_), SslMode::Disable | SslMode::Prefer | SslMode::Require | SslMode::VerifyCa) => {
                ServerName::from(address)
            }
        };
        Ok(HostTls { tls: self.clone(), name })
    }
}

impl HostTls {
    /// True if the server may go on without TLS.
    pub(crate) fn optional(&self) -> bool {
        !self.tls.required
    }

    /// The same, but the server may not go on without: for a second connection to a server that has TLS.
    pub(crate) fn required(mut self) -> HostTls {
        self.tls.required = true;
        self
    }

    /// Asks the server for TLS, unless it is begun directly, and shakes hands.
    ///
    /// # Errors
    /// `TlsFailed`, with a sentence that names `at`; `Unreachable` if the server goes away instead.
    pub(crate) async fn begin(&self, mut tcp: PollSocket, at: &str) -> Result<Begun> {
        if !self.tls.direct {
            let answer = ask(&mut tcp).await.map_err(|e| {
                Error::new(ErrorCode::Unreachable, format!("{at} went away when asked for TLS: {e}"))
                    .with_source(e)
            })?;
            match answer {
                b'S' => {}
                b'N' if !self.tls.required => return Ok(Begun::Plain(tcp)),
                b'N' => {
                    return Err(Error::new(
                        ErrorCode::TlsFailed,
                        format!("{at} has no TLS, and sslmode demands it"),
                    ));
                }
                // What it says is not authenticated, so it is not shown.
                b'E' => {
                    return Err(Error::new(
                        ErrorCode::TlsFailed,
                        format!("{at} answered with an error when asked for TLS"),
                    ));
                }
                _ => {
                    return Err(Error::new(
                        ErrorCode::TlsFailed,
                        format!(
                            "{at} does not speak PostgreSQL's protocol: it did not understand the request for TLS"
                        ),
                    ));
                }
            }
        }
        let stream = TlsConnector::from(self.tls.config.clone())
            .connect(self.name.clone(), tcp)
            .await
            .map_err(|e| failed(format!("TLS with {at} failed: {}", explain(&e)), e))?;
        // Without the question, only this shows that the other side is a PostgreSQL server.
        if self.tls.direct && stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(Error::new(
                ErrorCode::TlsFailed,
                format!(
                    "{at} did not confirm that it speaks PostgreSQL (sslnegotiation=direct needs PostgreSQL 17)"
                ),
            ));
        }
        Ok(Begun::Encrypted(Box::new(stream)))
    }
}

async fn ask(tcp: &mut PollSocket) -> io::Result<u8> {
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    tcp.write_all(&request).await?;
    // One byte and no more: whatever follows must be read by TLS, or an attacker's plain text would pass for it.
    tcp.read_u8().await
}

fn failed(sentence: impl Into<String>, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorCode::TlsFailed, sentence).with_source(source)
}

/// What went wrong in a handshake, for people.
pub(crate) fn explain(e: &io::Error) -> String {
    use rustls::{AlertDescription, CertificateError, Error as Tls};
    let Some(tls) = e.get_ref().and_then(|inner| inner.downcast_ref::<Tls>()) else {
        return match e.kind() {
            io::ErrorKind::UnexpectedEof => "the server closed the connection".into(),
            _ => e.to_string(),
        };
    };
    match tls {
        Tls::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the server's certificate was not issued by an authority that sslrootcert trusts".into()
        }
        Tls::InvalidCertificate(CertificateError::NotValidForNameContext { expected, presented }) => format!(
            "the server's certificate is for {}, not for {} (sslmode=verify-full)",
            match presented.is_empty() {
                true => "no name".into(),
                // rustls names the kind too: `DnsName("db1")`.
                false => presented
                    .iter()
                    .map(|n| n.trim_start_matches("DnsName(\"").trim_end_matches("\")"))
                    .collect::<Vec<_>>()
                    .join(", "),
            },
            expected.to_str()
        ),
        Tls::InvalidCertificate(CertificateError::NotValidForName) => {
            "the server's certificate is for another name (sslmode=verify-full)".into()
        }
        Tls::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "the server's certificate has expired".into()
        }
        Tls::AlertReceived(AlertDescription::CertificateRequired) => {
            "the server wants a client certificate (sslcert, sslkey)".into()
        }
        Tls::AlertReceived(AlertDescription::UnknownCA) => {
            "the server does not trust the authority of the client certificate (sslcert)".into()
        }
        Tls::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            "the server is not a PostgreSQL server that takes TLS directly".into()
        }
        other => other.to_string(),
    }
}

/// The certificates to trust; `None` = everybody. As in libpq, a root file that is there is used in every mode.
fn trusted(target: &ConnectConfig) -> Result<Option<Trusted>> {
    let default = target.home.as_deref().map(|home| home.join(".postgresql/root.crt")).filter(|p| p.exists());
    match (&target.sslrootcert, default, target.sslmode) {
        (Some(RootCertificates::System), ..) => system().map(Some),
        (Some(RootCertificates::File(path)), ..) => file(path).map(Some),
        (None, Some(path), _) => file(&path).map(Some),
        (None, None, SslMode::VerifyCa | SslMode::VerifyFull) => system().map(Some),
        (None, None, SslMode::Disable | SslMode::Prefer | SslMode::Require) => Ok(None),
    }
}

fn file(path: &Path) -> Result<Trusted> {
    let pinned = certificates("sslrootcert", path)?;
    let mut roots = RootCertStore::empty();
    for certificate in &pinned {
        roots.add(certificate.clone()).map_err(|e| {
            Error::option(
                "sslrootcert",
                path.display(),
                format!("holds a certificate that cannot be used: {e}"),
            )
        })?;
    }
    Ok(Trusted { roots: Arc::new(roots), pinned })
}

/// The operating system's authorities, read once: some hundred files.
fn system() -> Result<Trusted> {
    static SYSTEM: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = SYSTEM.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    if roots.is_empty() {
        return Err(Error::option(
            "sslrootcert",
            "system",
            "finds no certificates of the operating system: install them, or name a file",
        ));
    }
    Ok(Trusted { roots: roots.clone(), pinned: Vec::new() })
}

type ClientCertificate = (PathBuf, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn client_certificate(target: &ConnectConfig) -> Result<Option<ClientCertificate>> {
    let home = |name: &str| target.home.as_deref().map(|home| home.join(".postgresql").join(name));
    let default = || home("postgresql.crt").filter(|p| p.exists());
    let Some(certificate) = target.sslcert.clone().or_else(default) else {
        return match &target.sslkey {
            Some(key) => Err(Error::option("sslkey", key.display(), "needs an sslcert")),
            None => Ok(None),
        };
    };
    let Some(key) = target.sslkey.clone().or_else(|| home("postgresql.key")) else {
        return Err(Error::option("sslcert", certificate.display(), "needs an sslkey"));
    };
    let chain = certificates("sslcert", &certificate)?;
    let key = private_key(&key)?;
    Ok(Some((certificate, chain, key)))
}

fn certificates(option: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let bytes = read(option, path)?;
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if found.is_empty() => {
            Err(Error::option(option, path.display(), "holds no certificate in PEM form"))
        }
        Ok(found) => Ok(found),
        Err(e) => Err(Error::option(option, path.display(), format!("is not PEM: {e}"))),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    let bytes = read("sslkey", path)?;
    // The reasons of the PEM reader may quote a line of the key: they are not passed on.
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|e| {
        let encrypted = bytes.windows(9).any(|w| w == b"ENCRYPTED");
        let rule = match e {
            _ if encrypted => "is encrypted: decrypt it with `openssl pkey`",
            pem::Error::NoItemsFound => "holds no private key in PEM form (PKCS#8, PKCS#1 or SEC1)",
            _ => "is not PEM",
        };
        Error::option("sslkey", path.display(), rule)
    })
}

fn read(option: &str, path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path)
        .map_err(|e| Error::option(option, path.display(), format!("cannot be read: {e}")).with_source(e))
}

#[cfg(test)]
mod tests;
