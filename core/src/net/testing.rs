//! For the tests of connecting: certificates made by the `openssl` command, a throw-away TLS cluster made by the local
//! server binaries, and a session that is enough to see what a connection is like. Only loopback.

use std::future::{Ready, ready};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
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

/// A running cluster with TLS, on 127.0.0.1 and on a unix socket in its own directory.
pub(crate) struct Cluster {
    server: Child,
    dir: TempDir,
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

impl Cluster {
    /// The running one, or a new one; `None`, with a word why, where there are no server binaries.
    pub(crate) fn running() -> Option<Arc<Cluster>> {
        static SLOT: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
        let Some(bin) = binaries() else {
            let why = "no initdb in /usr/lib/postgresql/*/bin or PATH";
            assert!(std::env::var_os("LEAKPOOL_TEST_ALL").is_none(), "a test may not be skipped here: {why}");
            eprintln!("skipped: {why}");
            return None;
        };
        Some(shared(&SLOT, || Cluster::start(&bin)))
    }

    fn start(bin: &Path) -> Cluster {
        let certificates = certificates();
        let dir = TempDir::new();
        let owner = owner();
        if let Some((uid, gid)) = owner {
            chown(&dir.0, Some(uid), Some(gid)).unwrap();
        }
        let home = dir.0.clone();
        let command = |program: &str| {
            let mut command = Command::new(bin.join(program));
            command.current_dir(&home).stdin(Stdio::null());
            if let Some((uid, gid)) = owner {
                command.uid(uid).gid(gid);
            }
            command
        };
        let data = dir.path("data");
        let done = command("initdb")
            .args(["-A", "trust", "-U", "postgres", "-N", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        for (from, to) in [("server.crt", "server.crt"), ("server.key", "server.key"), ("ca.crt", "ca.crt")] {
            let to = data.join(to);
            fs::copy(certificates.path(from), &to).unwrap();
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).unwrap();
            if let Some((uid, gid)) = owner {
                chown(&to, Some(uid), Some(gid)).unwrap();
            }
        }
        fs::write(data.join("pg_hba.conf"), HBA).unwrap();
        let port = free_port();
        let log = fs::File::create(dir.path("log")).unwrap();
        let server = command("postgres")
            .args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k"])
            .arg(&dir.0)
            .args(["-c", "ssl=on", "-c", "ssl_ca_file=ca.crt", "-c", "fsync=off", "-D"])
            .arg(&data)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let cluster = Cluster { server, dir, port, certificates };
        let roles = || {
            let mut psql = command("psql");
            psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "postgres", "-c", ROLES]);
            psql.arg("-h").arg(&cluster.dir.0).args(["-p", &port.to_string()]).output().unwrap()
        };
        let ready = (0..300).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            roles().status.success()
        });
        assert!(ready, "{}", fs::read_to_string(cluster.dir.path("log")).unwrap_or_default());
        cluster
    }

    /// The directory of its socket.
    pub(crate) fn socket_dir(&self) -> String {
        self.dir.0.to_str().unwrap().to_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // SIGINT = fast shutdown; a killed postmaster would leave its children behind.
        let stopped = Command::new("kill").args(["-INT", &self.server.id().to_string()]).status();
        if !stopped.is_ok_and(|s| s.success()) {
            let _ = self.server.kill();
        }
        let _ = self.server.wait();
    }
}

fn binaries() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|dirs| dirs.filter_map(|d| Some(d.ok()?.path().join("bin"))).collect())
        .unwrap_or_default();
    found.sort();
    found.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    found.into_iter().find(|dir| dir.join("initdb").exists() && dir.join("postgres").exists())
}

/// The server refuses to run as root: then as the user `postgres`, or as nobody.
fn owner() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| {
        let done = Command::new("id").args(arguments).output().ok().filter(|d| d.status.success())?;
        String::from_utf8(done.stdout).ok()?.trim().parse::<u32>().ok()
    };
    if id(&["-u"]) != Some(0) {
        return None;
    }
    ["postgres", "nobody"].into_iter().find_map(|user| Some((id(&["-u", user])?, id(&["-g", user])?)))
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
