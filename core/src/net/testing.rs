//! For the tests of connecting: certificates made by the `openssl` command, a throw-away TLS cluster (started by
//! `tests/with-postgres`), and a session that is enough to see what a connection is like. Only loopback.

use std::future::{Ready, ready};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};
use std::{fs, io};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use super::connect::{Connected, Establish, NotMade, Peer};
use super::socket::Transport;

/// A directory that is gone after the test.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> TempDir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("leakpool-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        TempDir(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What all tests of this process share while any of them runs.
fn shared<T>(slot: &Mutex<Weak<T>>, make: impl FnOnce() -> T) -> Arc<T> {
    let mut slot = slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    slot.upgrade().unwrap_or_else(|| {
        let new = Arc::new(make());
        *slot = Arc::downgrade(&new);
        new
    })
}

/// `ca.crt`, `other_ca.crt`, and certificates with keys `NAME.crt`, `NAME.key`: `server` (for `db.leakpool.test`),
/// `client` (for the role `cert_user`), `stranger` (the same from the other authority), `self` (self-signed, by its
/// common name alone), `v1` (version 1) and `expired`.
pub(crate) fn certificates() -> Arc<TempDir> {
    static SLOT: Mutex<Weak<TempDir>> = Mutex::new(Weak::new());
    shared(&SLOT, || {
        let dir = TempDir::new();
        let openssl = |arguments: &str| {
            let arguments = arguments.split_whitespace();
            let done = Command::new("openssl").current_dir(&dir.0).args(arguments).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        };
        let ec = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -sha256";
        for ca in ["ca", "other_ca"] {
            openssl(&format!(
                "req -x509 {ec} -keyout {ca}.key -out {ca}.crt -days 2 -subj /CN={ca}.leakpool.test"
            ));
        }
        fs::write(dir.path("ext"), "subjectAltName=DNS:db.leakpool.test\nbasicConstraints=CA:FALSE\n")
            .unwrap();
        let rsa = "-newkey rsa:2048 -nodes -sha256";
        for (name, ca, key, subject, validity, hash) in [
            ("server", "ca", rsa, "db.leakpool.test", "-days 2 -extfile ext", "-sha384"),
            ("client", "ca", ec, "cert_user", "-days 2 -extfile ext", "-sha256"),
            ("stranger", "other_ca", ec, "cert_user", "-days 2 -extfile ext", "-sha256"),
            ("v1", "ca", rsa, "db.leakpool.test", "-days 2", "-sha256"),
            ("expired", "ca", ec, "db.leakpool.test", "-days -1 -extfile ext", "-sha256"),
        ] {
            openssl(&format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={subject}"));
            openssl(&format!(
                "x509 -req -in {name}.csr -out {name}.crt -CA {ca}.crt -CAkey {ca}.key -CAcreateserial {hash} {validity}"
            ));
        }
        openssl(&format!("req -x509 {ec} -keyout self.key -out self.crt -days 2 -subj /CN=db.leakpool.test"));
        openssl("rsa -in server.key -traditional -out server.pkcs1.key");
        openssl("ec -in client.key -out client.sec1.key");
        openssl("ec -in client.key -aes256 -passout pass:x -out client.encrypted.key");
        dir
    })
}

/// A running cluster with TLS, on 127.0.0.1 and on a unix socket: `tests/with-postgres` starts it, and stops it when its
/// command ends, which waits for the end of its input.
pub(crate) struct Cluster {
    server: Child,
    socket_dir: String,
    pub(crate) port: u16,
    pub(crate) certificates: Arc<TempDir>,
}

/// Who may come in how; `sslmode=prefer` meets a rule against it in the third and fourth line.
const HBA: &str = "
local   all all                       trust
hostssl all cert_user 127.0.0.1/32    cert
hostnossl all plain_user 127.0.0.1/32 scram-sha-256
hostssl all tls_user  127.0.0.1/32    scram-sha-256
host    all scram_user,limited_user 127.0.0.1/32 scram-sha-256
host    all trusted_user 127.0.0.1/32 trust
";

const ROLES: &str = "
CREATE ROLE cert_user LOGIN;
CREATE ROLE plain_user LOGIN PASSWORD 'pw';
CREATE ROLE tls_user LOGIN PASSWORD 'pw';
CREATE ROLE scram_user LOGIN PASSWORD 'pw';
CREATE ROLE limited_user LOGIN PASSWORD 'pw' CONNECTION LIMIT 0;
CREATE ROLE trusted_user LOGIN;
";

/// Where a server of the test's own comes from.
const STARTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/with-postgres");

impl Cluster {
    /// The running one, or a new one; `None`, with a word why, where there are no server binaries.
    pub(crate) fn running() -> Option<Arc<Cluster>> {
        static SLOT: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
        let finder = Path::new(STARTER).with_file_name("").join("../scripts/find-postgres");
        if !Command::new(finder).stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
            let why = "there are no binaries of a PostgreSQL server";
            assert!(std::env::var_os("LEAKPOOL_TEST_ALL").is_none(), "a test may not be skipped here: {why}");
            eprintln!("skipped: {why}");
            return None;
        }
        Some(shared(&SLOT, Cluster::start))
    }

    fn start() -> Cluster {
        let certificates = certificates();
        let mut server = Command::new(STARTER)
            .args(["sh", "-c", r#"echo "$DATABASE_URL $LEAKPOOL_TEST_SOCKET_DIR"; exec cat >/dev/null"#])
            .env_remove("DATABASE_URL")
            .env("LEAKPOOL_SERVER_CERTS", &certificates.0)
            .env("LEAKPOOL_SERVER_HBA", HBA)
            .env("LEAKPOOL_SERVER_SQL", ROLES)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (url, socket_dir) =
            line.trim().split_once(' ').expect("with-postgres says why on its standard error");
        let port = url.rsplit_once(':').and_then(|(_, rest)| rest.split('/').next()?.parse().ok()).unwrap();
        Cluster { server, socket_dir: socket_dir.to_owned(), port, certificates }
    }

    /// The directory of its socket.
    pub(crate) fn socket_dir(&self) -> String {
        self.socket_dir.clone()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        let _ = self.server.wait();
    }
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Makes a plain `tokio-postgres` session.
pub(crate) struct Plain;

pub(crate) struct Session {
    pub(crate) client: tokio_postgres::Client,
    pub(crate) peer: Arc<Peer>,
    pub(crate) encrypted: bool,
    pub(crate) bound: bool,
    task: JoinHandle<Result<(), tokio_postgres::Error>>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Establish for Plain {
    type Session = Session;

    async fn establish(
        &self,
        transport: Connected,
        config: &tokio_postgres::Config,
    ) -> Result<Session, NotMade> {
        let encrypted = matches!(transport.stream, Transport::Tls(_));
        let bound = transport.channel_binding.is_some();
        let peer = transport.peer.clone();
        let tls = Identity(transport.channel_binding);
        let (client, connection) = config.connect_raw(transport.stream, tls).await?;
        Ok(Session { client, peer, encrypted, bound, task: tokio::spawn(connection) })
    }

    async fn query_value(&self, session: &mut Session, sql: &str) -> Result<String, tokio_postgres::Error> {
        session.value(sql).await
    }
}

impl Session {
    pub(crate) async fn value(&self, sql: &str) -> Result<String, tokio_postgres::Error> {
        let rows = self.client.simple_query(sql).await?;
        Ok(rows
            .iter()
            .find_map(|m| match m {
                SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            })
            .unwrap_or_default())
    }
}

/// Hands the stream through: it is what it should be already.
pub(crate) struct Identity(Option<Vec<u8>>);

/// A hand-through for a stream that binds nothing.
pub(crate) fn through() -> Identity {
    Identity(None)
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsConnect<S> for Identity {
    type Stream = Handed<S>;
    type Error = io::Error;
    type Future = Ready<io::Result<Handed<S>>>;

    fn connect(self, stream: S) -> Self::Future {
        ready(Ok(Handed(stream, self.0)))
    }
}

pub(crate) struct Handed<S>(S, Option<Vec<u8>>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Handed<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.1.clone().map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Handed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Handed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
