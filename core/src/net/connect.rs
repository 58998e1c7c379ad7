//! Opens sessions: which server, which address, which order, how long; sockets and their options; the plain second
//! try of `sslmode=prefer`; and the request that cancels a statement. What is spoken once the stream is there is the
//! business of whoever implements [`Establish`]. What errors mean is in `error.rs`.

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::certificate;
use super::error::{Phase, Tried, server_error};
use super::socket::{PollSocket, RawSocket, Transport};
use super::tls::{Begun, HostTls, Tls};
use crate::config::duration::human;
use crate::config::{ChannelBinding, ConnectConfig, Endpoint, Host, LoadBalanceHosts, TargetSessionAttrs};
use crate::error::{Error, ErrorCode, Result};

/// The limit for each address where there are others to try and `connect_timeout` says nothing: without one, a
/// server that swallows packets would keep all connections from the next server for two minutes.
const LIMIT_WITH_OTHERS: Duration = Duration::from_secs(10);

/// An open stream, and what goes with it.
pub(crate) struct Connected {
    pub(crate) stream: Transport,
    /// A duplicate of the socket's descriptor (CLOEXEC). The session lives as long as this does.
    pub(crate) socket: OwnedFd,
    pub(crate) peer: Arc<Peer>,
    /// What binds SCRAM to this TLS session.
    pub(crate) channel_binding: Option<Vec<u8>>,
}

/// Why no session was made out of a stream.
#[derive(Debug)]
pub(crate) enum NotMade {
    /// The server says so, or the stream.
    Server(tokio_postgres::Error),
    /// Nothing was tried.
    Ours(Error),
}

impl From<tokio_postgres::Error> for NotMade {
    fn from(error: tokio_postgres::Error) -> NotMade {
        NotMade::Server(error)
    }
}

/// Makes a session out of an open stream. Each call is one attempt; a session that is dropped is one that has lost.
pub(crate) trait Establish: Send + Sync {
    type Session: Send;

    /// Starts up and authenticates. The stream is encrypted already if it is going to be: `config` asks for direct
    /// TLS, for which a `TlsConnect` that hands its stream through is to be given.
    fn establish(
        &self,
        transport: Connected,
        config: &tokio_postgres::Config,
    ) -> impl Future<Output = Result<Self::Session, NotMade>> + Send;

    /// The one value of the one row of this query, as text.
    fn query_value(
        &self,
        session: &mut Self::Session,
        sql: &str,
    ) -> impl Future<Output = Result<String, tokio_postgres::Error>> + Send;
}

/// The place of a server.
#[derive(Debug, Clone)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// The other end of a session: all that a second connection to the same server needs.
#[derive(Debug)]
pub(crate) struct Peer {
    place: Place,
    /// As the user named it.
    label: String,
    /// If the session uses TLS.
    tls: Option<HostTls>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

impl Peer {
    /// Asks the server to cancel what the session `pid` runs, on a new connection: with TLS if the session has it.
    /// Returns when the server has taken the request (it gives no answer, and may find nothing to cancel). Needs a
    /// tokio runtime with I/O and time.
    pub(crate) async fn cancel(
        &self,
        pid: i32,
        secret: i32,
        limit: Duration,
    ) -> std::result::Result<(), CancelFailed> {
        let mut sent = false;
        let result = match timeout(limit, self.send_cancel(pid, secret, &mut sent)).await {
            Ok(result) => result,
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("{self} did not take the cancel request within {}", human(limit)),
            )),
        };
        result.map_err(|error| CancelFailed { error, sent })
    }

    async fn send_cancel(&self, pid: i32, secret: i32, sent: &mut bool) -> io::Result<()> {
        let mut stream = match &self.place {
            Place::Unix(path) => Transport::Plain(PollSocket::connect_unix(path).await?),
            Place::Tcp(address) => {
                let tcp = PollSocket::connect_tcp(*address).await?;
                SockRef::from(&**tcp.raw()).set_tcp_nodelay(true)?;
                match &self.tls {
                    None => Transport::Plain(tcp),
                    // Never without: the secret would cross the network in the clear.
                    Some(tls) => match tls.clone().required().begin(tcp, &self.label).await {
                        Ok(Begun::Encrypted(stream)) => Transport::Tls(stream),
                        Ok(Begun::Plain(_)) => {
                            return Err(io::Error::other("the server has no TLS any more"));
                        }
                        Err(e) => return Err(io::Error::other(e)),
                    },
                }
            }
        };
        let mut request = BytesMut::new();
        frontend::cancel_request(pid, secret, &mut request);
        *sent = true;
        stream.write_all(&request).await?;
        stream.flush().await?;
        // The server closes when it has sent the signal, without a word of Terminate in TLS. A reset says nothing: it may
        // come from something on the way.
        let mut nothing = [0; 64];
        loop {
            match stream.read(&mut nothing).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }
}

/// A request to cancel that was not confirmed.
#[derive(Debug)]
pub(crate) struct CancelFailed {
    pub(crate) error: io::Error,
    /// It was sent, or a part of it: it may still arrive.
    pub(crate) sent: bool,
}

/// What a server must be for this pass through the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Any,
    /// `transaction_read_only` is this.
    ReadOnly(bool),
    /// In recovery or not.
    Standby(bool),
}

/// Opens one session: tries every server and every address of it in turn until one is of the wanted kind.
///
/// As in libpq, a server that refuses user or database ends the search; one that cannot be reached, fails at TLS, is
/// full or of the wrong kind does not. Needs a tokio runtime with I/O and time.
///
/// # Errors
/// `Unreachable`, `TlsFailed`, `AuthenticationFailed`, `DatabaseMissing`, `ServerConnectionLimit`,
/// `WrongSessionKind`, or the server's own error: of the server that let us come furthest. The sentence names every
/// server tried, with its own reason. `InvalidOption` for a file of certificates.
pub(crate) async fn connect<E: Establish>(target: &ConnectConfig, establish: &E) -> Result<E::Session> {
    if target.endpoints.is_empty() {
        return Err(Error::new(ErrorCode::InvalidDsn, "there is no host to connect to"));
    }
    let attempt = Attempt { target, establish, tls: Tls::new(target)? };
    let mut tried = Tried::default();
    for wanted in passes(target.target_session_attrs) {
        // What this pass could not find is no reason any more if the next one takes it.
        tried.forget_wrong_kinds();
        for endpoint in ordered(&target.endpoints, target.load_balance_hosts) {
            let addresses = match attempt.addresses(endpoint).await {
                Ok(addresses) => addresses,
                Err(e) => {
                    tried.add(e);
                    continue;
                }
            };
            let others = target.endpoints.len() > 1 || addresses.len() > 1;
            for place in addresses {
                match attempt.limited(endpoint, &place, *wanted, others).await {
                    Ok(session) => return Ok(session),
                    Err(e) => {
                        let last = is_final(&e);
                        tried.add(e);
                        if last {
                            return Err(tried.into_error());
                        }
                    }
                }
            }
        }
    }
    Err(tried.into_error())
}

/// Another server would say the same, or should not be asked to.
fn is_final(e: &Error) -> bool {
    [ErrorCode::AuthenticationFailed, ErrorCode::DatabaseMissing, ErrorCode::InvalidOption]
        .contains(&e.code())
}

fn passes(attrs: TargetSessionAttrs) -> &'static [Wanted] {
    match attrs {
        TargetSessionAttrs::Any => &[Wanted::Any],
        TargetSessionAttrs::ReadWrite => &[Wanted::ReadOnly(false)],
        TargetSessionAttrs::ReadOnly => &[Wanted::ReadOnly(true)],
        TargetSessionAttrs::Primary => &[Wanted::Standby(false)],
        TargetSessionAttrs::Standby => &[Wanted::Standby(true)],
        TargetSessionAttrs::PreferStandby => &[Wanted::Standby(true), Wanted::Any],
    }
}

fn ordered<'a, T>(items: &'a [T], order: LoadBalanceHosts) -> Vec<&'a T> {
    let mut items: Vec<&'a T> = items.iter().collect();
    match order {
        LoadBalanceHosts::Disable => {}
        LoadBalanceHosts::Random => {
            // The standard library's hash keys are random for each state: enough to spread load.
            for i in (1..items.len()).rev() {
                let random = RandomState::new().build_hasher().finish();
                items.swap(i, usize::try_from(random % (i as u64 + 1)).unwrap_or(0));
            }
        }
    }
    items
}

struct Attempt<'a, E> {
    target: &'a ConnectConfig,
    establish: &'a E,
    tls: Option<Tls>,
}

impl<E: Establish> Attempt<'_, E> {
    /// The addresses of a server, in the order of trying.
    async fn addresses(&self, endpoint: &Endpoint) -> Result<Vec<Place>> {
        let name = match (&endpoint.host, endpoint.hostaddr) {
            (_, Some(address)) => return Ok(vec![Place::Tcp(SocketAddr::new(address, endpoint.port))]),
            (Host::Unix(dir), None) => {
                return Ok(vec![Place::Unix(dir.join(format!(".s.PGSQL.{}", endpoint.port)))]);
            }
            (Host::Tcp(name), None) => name,
        };
        if let Ok(address) = name.parse::<IpAddr>() {
            return Ok(vec![Place::Tcp(SocketAddr::new(address, endpoint.port))]);
        }
        let unreachable = |why: String| {
            Error::new(ErrorCode::Unreachable, format!("{endpoint}: the name cannot be resolved: {why}"))
        };
        let look_up = tokio::net::lookup_host((name.as_str(), endpoint.port));
        let found = match self.limit(self.target.endpoints.len() > 1) {
            None => look_up.await,
            Some(limit) => match timeout(limit, look_up).await {
                Ok(found) => found,
                Err(_) => return Err(unreachable(format!("no answer within {}", human(limit)))),
            },
        };
        let found: Vec<_> =
            found.map_err(|e| unreachable(e.to_string()).with_source(e))?.map(Place::Tcp).collect();
        if found.is_empty() {
            return Err(unreachable("it has no address".into()));
        }
        Ok(ordered(&found, self.target.load_balance_hosts).into_iter().cloned().collect())
    }

    fn limit(&self, others: bool) -> Option<Duration> {
        match self.target.connect_timeout {
            Some(limit) => (!limit.is_zero()).then_some(limit),
            None => others.then_some(LIMIT_WITH_OTHERS),
        }
    }

    /// One address, within the limit.
    async fn limited(
        &self,
        endpoint: &Endpoint,
        place: &Place,
        wanted: Wanted,
        others: bool,
    ) -> Result<E::Session> {
        let at = named(endpoint, place);
        match self.limit(others) {
            None => self.one(endpoint, place, wanted, &at).await,
            Some(limit) => {
                timeout(limit, self.one(endpoint, place, wanted, &at)).await.unwrap_or_else(|_| {
                    let sentence = format!("{at} did not answer within {} (connect_timeout)", human(limit));
                    Err(Error::new(ErrorCode::Unreachable, sentence))
                })
            }
        }
    }

    /// One address: with TLS as wanted and, as libpq's `prefer` does, a second time without it where the server
    /// fails at TLS or has a rule only against it. A wrong password is not tried again in the clear.
    async fn one(&self, endpoint: &Endpoint, place: &Place, wanted: Wanted, at: &str) -> Result<E::Session> {
        let tls = match (&self.tls, place) {
            (Some(tls), Place::Tcp(address)) => {
                Some(tls.for_host(&endpoint.host, address.ip(), self.target.sslmode)?)
            }
            (None, _) | (_, Place::Unix(_)) => None,
        };
        let Some(tls) = tls else { return self.session(endpoint, place, None, wanted, at).await };
        let optional = tls.optional() && self.target.channel_binding != ChannelBinding::Require;
        match self.session(endpoint, place, Some(tls), wanted, at).await {
            Err(e) if optional && (e.code() == ErrorCode::TlsFailed || e.sqlstate() == Some("28000")) => {
                self.session(endpoint, place, None, wanted, at).await.map_err(|plain| {
                    let sentence =
                        format!("{}; without TLS (sslmode=prefer): {}", e.message(), plain.message());
                    e.reword(sentence)
                })
            }
            done => done,
        }
    }

    async fn session(
        &self,
        endpoint: &Endpoint,
        place: &Place,
        tls: Option<HostTls>,
        wanted: Wanted,
        at: &str,
    ) -> Result<E::Session> {
        let transport = self.transport(endpoint, place, tls, at).await?;
        if self.target.channel_binding == ChannelBinding::Require && transport.channel_binding.is_none() {
            let why = match transport.stream {
                Transport::Tls(_) => "the server's certificate has none (its signature names no hash)",
                Transport::Plain(_) => "the session is not over TLS",
            };
            let sentence = format!("{at}: channel_binding=require cannot be kept: {why}");
            return Err(Error::new(ErrorCode::TlsFailed, sentence));
        }
        let explain = |e: tokio_postgres::Error| {
            let e = server_error(e, at, Phase::Connecting);
            match &self.target.passfile_note {
                Some(note) if e.code() == ErrorCode::AuthenticationFailed => {
                    let sentence = format!("{}; {note}", e.message());
                    e.reword(sentence)
                }
                Some(_) | None => e,
            }
        };
        let config = self.target.session(endpoint);
        let made = self.establish.establish(transport, &config).await;
        let mut session = made.map_err(|e| match e {
            NotMade::Server(e) => explain(e),
            NotMade::Ours(e) => e,
        })?;
        let (sql, expected) = match wanted {
            Wanted::Any => return Ok(session),
            Wanted::ReadOnly(yes) => ("SHOW transaction_read_only", if yes { "on" } else { "off" }),
            Wanted::Standby(yes) => ("SELECT pg_catalog.pg_is_in_recovery()", if yes { "t" } else { "f" }),
        };
        let answer = self.establish.query_value(&mut session, sql).await.map_err(explain)?;
        if answer == expected {
            return Ok(session);
        }
        let attrs = self.target.target_session_attrs;
        let sentence = format!("{at} is not what target_session_attrs={attrs} wants ({sql} is {answer})");
        Err(Error::new(ErrorCode::WrongSessionKind, sentence))
    }

    async fn transport(
        &self,
        endpoint: &Endpoint,
        place: &Place,
        tls: Option<HostTls>,
        at: &str,
    ) -> Result<Connected> {
        let unreachable = |e: io::Error| {
            Error::new(ErrorCode::Unreachable, format!("{at} cannot be reached: {e}")).with_source(e)
        };
        let (stream, socket, tls) = match place {
            Place::Unix(path) => {
                let unix = PollSocket::connect_unix(path).await.map_err(unreachable)?;
                // On every system that we know, std's duplicate is CLOEXEC from the start.
                let socket = unix.raw().as_fd().try_clone_to_owned().map_err(unreachable)?;
                (Transport::Plain(unix), socket, None)
            }
            Place::Tcp(address) => {
                let tcp = PollSocket::connect_tcp(*address).await.map_err(unreachable)?;
                set_options(tcp.raw(), self.target).map_err(unreachable)?;
                let socket = tcp.raw().as_fd().try_clone_to_owned().map_err(unreachable)?;
                match tls {
                    None => (Transport::Plain(tcp), socket, None),
                    Some(tls) => match tls.begin(tcp, at).await? {
                        Begun::Encrypted(stream) => (Transport::Tls(stream), socket, Some(tls)),
                        Begun::Plain(tcp) => (Transport::Plain(tcp), socket, None),
                    },
                }
            }
        };
        let channel_binding = match &stream {
            Transport::Tls(stream) => {
                let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
                chain.first().and_then(certificate::channel_binding)
            }
            Transport::Plain(_) => None,
        };
        let peer = Arc::new(Peer { place: place.clone(), label: endpoint.to_string(), tls });
        Ok(Connected { stream, socket, peer, channel_binding })
    }
}

/// A server as the user named it, with its address if that is something else.
fn named(endpoint: &Endpoint, place: &Place) -> String {
    match (&endpoint.host, place) {
        (Host::Tcp(name), Place::Tcp(address)) if name.parse() != Ok(address.ip()) => {
            format!("{endpoint} ({})", address.ip())
        }
        (Host::Tcp(_) | Host::Unix(_), Place::Tcp(_) | Place::Unix(_)) => endpoint.to_string(),
    }
}

fn set_options(tcp: &RawSocket, target: &ConnectConfig) -> io::Result<()> {
    let socket = SockRef::from(tcp);
    socket.set_tcp_nodelay(true)?;
    let wanted = &target.keepalive;
    if wanted.enabled {
        let mut keepalive = TcpKeepalive::new();
        if let Some(idle) = wanted.idle {
            keepalive = keepalive.with_time(idle);
        }
        if let Some(interval) = wanted.interval {
            keepalive = keepalive.with_interval(interval);
        }
        if let Some(count) = wanted.count {
            keepalive = keepalive.with_retries(count);
        }
        socket.set_tcp_keepalive(&keepalive)?;
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if !target.tcp_user_timeout.is_zero() {
        socket.set_tcp_user_timeout(Some(target.tcp_user_timeout))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
