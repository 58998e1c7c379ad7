//! Where and how to connect: [`ConnectConfig`] and its types. How one comes out of a connection string, a host's own
//! fields and the `PG*` environment stands in `build.rs`. Files of certificates are named here and read at connect.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use super::enum_names::choices;

/// Where servers put their sockets: Debian's and Red Hat's place, and PostgreSQL's own.
pub(super) const SOCKET_DIRS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// A password. It shows itself to nobody but the server.
///
/// ```
/// let secret = leakpool::Secret::new("hunter2");
/// assert_eq!(format!("{secret:?}"), "Secret(***)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub(super) String);

impl Secret {
    /// Wraps a password.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The password itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// A password that changes while a pool lives: a token that expires. All clones are the same one; each new connection
/// takes what was set last.
///
/// ```
/// use leakpool::{ChangingPassword, Secret};
/// let password = ChangingPassword::default();
/// let mut config: leakpool::ConnectConfig = "host=db1 user=app".parse().unwrap();
/// config.changing_password = Some(password.clone());
/// password.set(Secret::new("token of this hour"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct ChangingPassword(Arc<RwLock<Option<Secret>>>);

impl ChangingPassword {
    /// For the connections that are made from now on.
    pub fn set(&self, password: Secret) {
        *self.0.write() = Some(password);
    }

    fn get(&self) -> Option<Secret> {
        self.0.read().clone()
    }
}

impl PartialEq for ChangingPassword {
    fn eq(&self, other: &ChangingPassword) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ChangingPassword {}

/// How much TLS is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SslMode {
    /// None.
    Disable,
    /// TLS if the server has it, else without. The default, as in libpq.
    #[default]
    Prefer,
    /// TLS, whoever the server is (but its certificate is checked if `sslrootcert` is there).
    Require,
    /// TLS, and the certificate must come from a trusted authority.
    VerifyCa,
    /// TLS, a trusted authority, and the certificate must be for this host.
    VerifyFull,
}

/// How TLS is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SslNegotiation {
    /// By asking the server first.
    #[default]
    Postgres,
    /// At once (PostgreSQL 17 and newer).
    Direct,
}

/// Whether SCRAM is bound to the TLS session, which shows that nobody stands between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// If both sides can.
    #[default]
    Prefer,
    /// Or no connection.
    Require,
}

/// Which kind of server is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TargetSessionAttrs {
    /// Any.
    #[default]
    Any,
    /// One whose sessions may write.
    ReadWrite,
    /// One whose sessions may not write.
    ReadOnly,
    /// One that is not in hot standby.
    Primary,
    /// One in hot standby.
    Standby,
    /// One in hot standby if there is any, else any.
    PreferStandby,
}

/// In which order hosts and their addresses are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LoadBalanceHosts {
    /// As given.
    #[default]
    Disable,
    /// Shuffled for each connection.
    Random,
}

choices! {
    SslMode {
        Disable = "disable", Prefer = "prefer", Require = "require", VerifyCa = "verify-ca",
        VerifyFull = "verify-full",
    }
    SslNegotiation { Postgres = "postgres", Direct = "direct" }
    ChannelBinding { Disable = "disable", Prefer = "prefer", Require = "require" }
    TargetSessionAttrs {
        Any = "any", ReadWrite = "read-write", ReadOnly = "read-only", Primary = "primary", Standby = "standby",
        PreferStandby = "prefer-standby",
    }
    LoadBalanceHosts { Disable = "disable", Random = "random" }
}

/// Whom to trust for a server's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootCertificates {
    /// The operating system's authorities.
    System,
    /// The certificates in this PEM file.
    File(PathBuf),
}

/// TCP keepalive. What is `None` is left to the operating system.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Keepalive {
    /// Default true.
    pub enabled: bool,
    /// Silence before the first probe; whole seconds.
    pub idle: Option<Duration>,
    /// Time between probes; whole seconds.
    pub interval: Option<Duration>,
    /// Probes without an answer until the connection is given up.
    pub count: Option<u32>,
}

/// A server's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name or a numeric address.
    Tcp(String),
    /// The directory of the server's unix socket. Never uses TLS.
    Unix(PathBuf),
}

/// One server to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name, which a certificate is checked against.
    pub host: Host,
    /// Its address, so that the name needs no look-up.
    pub hostaddr: Option<IpAddr>,
    /// Its port, 1 to 65,535.
    pub port: u16,
    /// From the password file.
    pub(super) password: Option<Secret>,
}

impl Endpoint {
    /// A server to try.
    pub fn new(host: Host, port: u16) -> Endpoint {
        Endpoint { host, hostaddr: None, port, password: None }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Tcp(name) if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            Host::Tcp(name) => write!(f, "{name}:{}", self.port),
            Host::Unix(dir) => write!(f, "{}:{}", dir.display(), self.port),
        }
    }
}

/// Everything about where and how to connect.
///
/// ```
/// use leakpool::{ConnectConfig, SslMode};
/// let c: ConnectConfig = "postgres://app:s3cret@db1,db2:5433/shop?sslmode=verify-full".parse().unwrap();
/// assert_eq!(c.endpoints[1].to_string(), "db2:5433");
/// assert_eq!(c.sslmode, SslMode::VerifyFull);
/// assert!(!format!("{c:?}").contains("s3cret"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectConfig {
    /// The servers, in the order of trying. Never empty if parsed.
    pub endpoints: Vec<Endpoint>,
    /// The user. Default: the operating system's.
    pub user: String,
    /// The password, before any from the password file.
    pub password: Option<Secret>,
    /// A password that replaces every other one as soon as it is set. Default none.
    pub changing_password: Option<ChangingPassword>,
    /// The database. Default: the user's name.
    pub dbname: String,
    /// What `pg_stat_activity` shows. The pool fills in its name if nobody gave one.
    pub application_name: Option<String>,
    /// Command-line options for the server's session (`-c statement_timeout=5s`).
    pub options: Option<String>,
    /// The limit for each address: name look-up, connecting, TLS, authentication. Zero = none.
    /// Default `None`: no limit for a single server; 10 s each where there are others to try.
    pub connect_timeout: Option<Duration>,
    /// TCP keepalive. Default: on, with the operating system's times.
    pub keepalive: Keepalive,
    /// How long sent data may stay unacknowledged (Linux); zero = the operating system's default. Default zero.
    pub tcp_user_timeout: Duration,
    /// How much TLS. Default [`SslMode::Prefer`].
    pub sslmode: SslMode,
    /// How TLS is begun. Default [`SslNegotiation::Postgres`].
    pub sslnegotiation: SslNegotiation,
    /// Whom to trust. Default: `~/.postgresql/root.crt` if it exists, else the system's for `verify-*`.
    pub sslrootcert: Option<RootCertificates>,
    /// The client's certificate, a PEM file. Default: `~/.postgresql/postgresql.crt` if it exists.
    pub sslcert: Option<PathBuf>,
    /// Its key, a PEM file (PKCS#8, PKCS#1 or SEC1). Default: `~/.postgresql/postgresql.key`.
    pub sslkey: Option<PathBuf>,
    /// Whether the host's name is sent in the clear when TLS begins (SNI). Default true.
    pub sslsni: bool,
    /// Whether SCRAM is bound to the TLS session. Default [`ChannelBinding::Prefer`].
    pub channel_binding: ChannelBinding,
    /// Which kind of server is wanted. Default [`TargetSessionAttrs::Any`].
    pub target_session_attrs: TargetSessionAttrs,
    /// In which order servers are tried. Default [`LoadBalanceHosts::Disable`].
    pub load_balance_hosts: LoadBalanceHosts,
    /// The user's home directory, for the certificates' default places.
    pub(crate) home: Option<PathBuf>,
    /// Why the password file was not used, for the error when a password turns out to be missing.
    pub(crate) passfile_note: Option<String>,
}

impl ConnectConfig {
    /// What is sent to one server. The stream is encrypted by then if it is going to be, so that for
    /// `tokio-postgres` it is a TLS session that needs no negotiation.
    pub(crate) fn session(&self, endpoint: &Endpoint) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config
            .user(&self.user)
            .dbname(&self.dbname)
            .ssl_mode(tokio_postgres::config::SslMode::Require)
            .ssl_negotiation(tokio_postgres::config::SslNegotiation::Direct)
            .channel_binding(match self.channel_binding {
                ChannelBinding::Disable => tokio_postgres::config::ChannelBinding::Disable,
                ChannelBinding::Prefer => tokio_postgres::config::ChannelBinding::Prefer,
                ChannelBinding::Require => tokio_postgres::config::ChannelBinding::Require,
            });
        let changing = self.changing_password.as_ref().and_then(ChangingPassword::get);
        if let Some(password) = changing.as_ref().or(self.password.as_ref()).or(endpoint.password.as_ref()) {
            config.password(password.expose());
        }
        if let Some(options) = &self.options {
            config.options(options);
        }
        if let Some(name) = &self.application_name {
            config.application_name(name);
        }
        config
    }
}
