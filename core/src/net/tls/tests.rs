//! TLS against a small server of our own, for what PostgreSQL 15 does not do (direct TLS) and for odd certificates;
//! and every way in which a file can be wrong.

use std::net::IpAddr;

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::net::testing::certificates;

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn target(parameters: &str) -> ConnectConfig {
    let dsn = format!("host=db.leakpool.test user=u {parameters}");
    ConnectConfig::parse_with(&dsn, &[], &|_| None).unwrap()
}

/// Shakes hands with a server that shows the certificate `name`; `alpn` if it speaks that.
async fn shake(name: &str, parameters: &str, alpn: Option<&[u8]>) -> Result<Begun> {
    let dir = certificates();
    let target = target(parameters);
    let chain = super::certificates("sslcert", &dir.path(&format!("{name}.crt"))).unwrap();
    let key = private_key(&dir.path(&format!("{name}.key"))).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shows(Arc::new(rustls::sign::CertifiedKey::new(
            chain,
            rustls::crypto::ring::sign::any_supported_type(&key).unwrap(),
        )))));
    config.alpn_protocols = alpn.iter().map(|a| a.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let direct = target.sslnegotiation == SslNegotiation::Direct;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        if !direct {
            let mut request = [0; 8];
            stream.read_exact(&mut request).await.unwrap();
            assert_eq!(request, [0, 0, 0, 8, 4, 210, 22, 47]);
            stream.write_all(b"S").await.unwrap();
        }
        if let Ok(mut stream) = acceptor.accept(stream).await {
            let _ = stream.read(&mut [0; 1]).await;
        }
    });
    let tcp = PollSocket::connect_tcp(address).await.unwrap();
    let tls = Tls::new(&target)?.expect("TLS is wanted");
    tls.for_host(&target.endpoints[0].host, LOOPBACK, target.sslmode)?.begin(tcp, "db1:5432").await
}

/// Shows a certificate that rustls itself would not load (version 1).
#[derive(Debug)]
struct Shows(Arc<rustls::sign::CertifiedKey>);

impl rustls::server::ResolvesServerCert for Shows {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(self.0.clone())
    }
}

#[track_caller]
fn fails(result: Result<Begun>, sentence: &str) {
    let e = result.err().expect("the handshake should have failed");
    assert_eq!((e.code(), e.message()), (ErrorCode::TlsFailed, sentence));
}

#[track_caller]
fn encrypted(result: Result<Begun>) -> Box<TlsStream<PollSocket>> {
    match result.unwrap() {
        Begun::Encrypted(stream) => stream,
        Begun::Plain(_) => panic!("not encrypted"),
    }
}

#[tokio::test]
async fn direct_tls_wants_the_protocols_name_back() {
    let direct = "sslmode=require sslnegotiation=direct";
    encrypted(shake("server", direct, Some(ALPN)).await);
    fails(
        shake("server", direct, None).await,
        "db1:5432 did not confirm that it speaks PostgreSQL (sslnegotiation=direct needs PostgreSQL 17)",
    );
    fails(
        shake("server", direct, Some(b"http/1.1")).await,
        "TLS with db1:5432 failed: the server is not a PostgreSQL server that takes TLS directly",
    );
    encrypted(shake("server", "sslmode=require", None).await);
}

#[tokio::test]
async fn odd_certificates_are_judged_as_openssl_judges_them() {
    let dir = certificates();
    let own = format!("sslmode=verify-full sslrootcert={}", dir.text("self.crt"));
    let ca = format!("sslmode=verify-full sslrootcert={}", dir.text("ca.crt"));
    // Self-signed, its own root, marked as an authority, and without alternative names.
    encrypted(shake("self", &own, None).await);
    fails(
        shake("self", &format!("{own} host=db2"), None).await,
        "TLS with db1:5432 failed: the server's certificate is for db.leakpool.test, not for db2 (sslmode=verify-full)",
    );
    assert!(shake("self", &ca, None).await.is_err(), "another's root");
    fails(
        shake("expired", &ca, None).await,
        "TLS with db1:5432 failed: the server's certificate has expired",
    );
    let expired = format!("sslmode=verify-ca sslrootcert={}", dir.text("expired.crt"));
    fails(
        shake("expired", &expired, None).await,
        "TLS with db1:5432 failed: the server's certificate has expired",
    );
    // Unverified, its time does not matter either.
    encrypted(shake("expired", "sslmode=require", None).await);
    let full = encrypted(shake("server", &ca, None).await);
    let chain = full.get_ref().1.peer_certificates().unwrap();
    // The test authority signs with SHA-384: 48 bytes.
    assert_eq!(crate::net::certificate::channel_binding(&chain[0]).unwrap().len(), 48);
}

#[tokio::test]
async fn version_1_certificates_encrypt_and_are_named_when_they_are_to_be_verified() {
    let dir = certificates();
    let v1 = encrypted(shake("v1", "sslmode=require", None).await);
    let chain = v1.get_ref().1.peer_certificates().unwrap();
    assert_eq!(crate::net::certificate::channel_binding(&chain[0]).unwrap().len(), 32);
    let e = shake("v1", &format!("sslmode=verify-ca sslrootcert={}", dir.text("ca.crt")), None)
        .await
        .err()
        .unwrap();
    assert!(e.message().contains("X.509 version 1"), "{e}");
}

#[test]
fn files_that_cannot_be_used_are_named_with_their_option() {
    let dir = certificates();
    let (crt, key, missing) = (dir.text("client.crt"), dir.text("client.key"), dir.text("missing"));
    let (encrypted, stranger) = (dir.text("client.encrypted.key"), dir.text("stranger.key"));
    let empty = dir.text("empty");
    std::fs::write(&empty, "").unwrap();
    let not_found = "cannot be read: No such file or directory (os error 2)";
    for (parameters, sentence) in [
        (format!("sslrootcert={missing}"), format!("sslrootcert ({missing}) {not_found}")),
        (format!("sslrootcert={empty}"), format!("sslrootcert ({empty}) holds no certificate in PEM form")),
        (format!("sslrootcert={key}"), format!("sslrootcert ({key}) holds no certificate in PEM form")),
        (format!("sslcert={missing} sslkey={key}"), format!("sslcert ({missing}) {not_found}")),
        (format!("sslcert={crt} sslkey={missing}"), format!("sslkey ({missing}) {not_found}")),
        (format!("sslcert={crt}"), format!("sslcert ({crt}) needs an sslkey")),
        (format!("sslkey={key}"), format!("sslkey ({key}) needs an sslcert")),
        (
            format!("sslcert={crt} sslkey={crt}"),
            format!("sslkey ({crt}) holds no private key in PEM form (PKCS#8, PKCS#1 or SEC1)"),
        ),
        (
            format!("sslcert={crt} sslkey={encrypted}"),
            format!("sslkey ({encrypted}) is encrypted: decrypt it with `openssl pkey`"),
        ),
    ] {
        let e = Tls::new(&target(&parameters)).err().unwrap();
        assert_eq!((e.code(), e.message()), (ErrorCode::InvalidOption, sentence.as_str()));
    }
    let e = Tls::new(&target(&format!("sslcert={crt} sslkey={stranger}"))).err().unwrap();
    assert!(e.message().starts_with(&format!("sslcert ({crt}) cannot be used with its sslkey: ")), "{e}");
    assert!(Tls::new(&target(&format!("sslmode=disable sslrootcert={missing}"))).unwrap().is_none());
}

#[test]
fn files_in_the_home_directory_are_used_as_libpq_uses_them() {
    let dir = certificates();
    let home = crate::net::testing::TempDir::new();
    let in_home = |parameters: &str| {
        let lookup = |name: &str| (name == "HOME").then(|| home.text(""));
        ConnectConfig::parse_with(&format!("host=h user=u {parameters}"), &[], &lookup).unwrap()
    };
    assert!(trusted(&in_home("sslmode=require")).unwrap().is_none());
    assert!(client_certificate(&in_home("")).unwrap().is_none());
    std::fs::create_dir(home.path(".postgresql")).unwrap();
    for (from, to) in
        [("ca.crt", "root.crt"), ("client.crt", "postgresql.crt"), ("client.key", "postgresql.key")]
    {
        std::fs::copy(dir.path(from), home.path(".postgresql").join(to)).unwrap();
    }
    // A root file that is there is used even by `prefer`.
    assert_eq!(trusted(&in_home("sslmode=prefer")).unwrap().unwrap().pinned.len(), 1);
    assert!(client_certificate(&in_home("")).unwrap().is_some());
    assert!(Tls::new(&in_home("sslmode=require")).unwrap().is_some());
}

#[test]
fn a_name_that_no_certificate_can_bear_matters_only_to_verify_full() {
    let dir = certificates();
    let parameters = format!("sslrootcert={}", dir.text("ca.crt"));
    let tls = Tls::new(&target(&parameters)).unwrap().unwrap();
    let odd = Host::Tcp("no_such:name".into());
    assert!(tls.for_host(&odd, LOOPBACK, SslMode::VerifyCa).is_ok());
    assert_eq!(tls.for_host(&odd, LOOPBACK, SslMode::VerifyFull).err().unwrap().code(), ErrorCode::TlsFailed);
    assert!(!format!("{:?}", tls.for_host(&odd, LOOPBACK, SslMode::Require).unwrap()).contains("key"));
}
