//! Making one connection: transport, observer, start-up, task.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use deadpool_postgres::ClientWrapper;
use tokio::task::JoinHandle;
use tokio_postgres::tls::TlsConnect;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::record::Record;
use super::shared::{Conn, Shared};
use crate::clock::{Nanos, nanos};
use crate::config::{ConnectConfig, StatementCache};
use crate::error::{Error, ErrorCode, Result};
use crate::net::connect::{self, Connected, Establish, NotMade};
use crate::net::socket::Transport;
use crate::session::driver::{Driver, WireConnection};
use crate::session::owner::Owner;
use crate::session::poller::Poller;
use crate::session::state::{Lease, SessionState};
use crate::session::wire::Observed;

/// Hands the stream through: it is encrypted already, or is not going to be.
struct PassThrough;

impl TlsConnect<Observed<Transport>> for PassThrough {
    type Stream = Observed<Transport>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Observed<Transport>, std::convert::Infallible>>;

    fn connect(self, stream: Observed<Transport>) -> Self::Future {
        std::future::ready(Ok(stream))
    }
}

/// What every attempt of one connect is made from. Each host, each address and each second try is an attempt of its own,
/// with a slot of its own: one that loses is aborted, and is never heard of.
pub(super) struct Making {
    pool: Weak<Shared>,
    target: Arc<ConnectConfig>,
    expires_at: Nanos,
    /// How often the pool had been drained when the attempt began.
    drains: u64,
}

/// A session whose task runs. Dropped before it is [taken](Attempted::take), it is a lost attempt: its task is aborted,
/// and with it go socket and slot, whatever the server still owes it.
pub(super) struct Attempted {
    parts: Option<(Client, JoinHandle<()>)>,
    session: Arc<SessionState>,
    record: Arc<Record<Shared>>,
}

impl Attempted {
    /// The winner: from here on, the session is the pool's.
    fn take(mut self) -> Option<Conn> {
        let (client, task) = self.parts.take()?;
        self.record.admit();
        let client = Box::new(ClientWrapper::new(client, task));
        Some(Conn { client, session: self.session.clone(), record: self.record.clone() })
    }
}

impl Drop for Attempted {
    fn drop(&mut self) {
        if let Some((_, task)) = self.parts.take() {
            task.abort();
        }
    }
}

impl Establish for Making {
    type Session = Attempted;

    async fn establish(
        &self,
        transport: Connected,
        config: &tokio_postgres::Config,
    ) -> Result<Attempted, NotMade> {
        let Connected { stream, socket, peer, channel_binding } = transport;
        let shared = self.shared()?;
        let slot = Lease::claim(&shared.detector).map_err(NotMade::Ours)?;
        let record = shared.record(self.expires_at, self.drains);
        let owner: Arc<dyn Owner<SessionState>> = record.clone();
        let behind_pooler = shared.is_behind_pooler();
        let session = SessionState::new(owner, slot, peer, stream.socket(), socket, behind_pooler);
        drop(shared);
        let observed = Observed::new(stream, session.clone(), channel_binding);
        let (client, connection): (Client, WireConnection) =
            config.connect_raw(observed, PassThrough).await?;
        // Only now: an attempt that fails never has a task, and a close does not wait for it.
        let shared = self.shared()?;
        record.task_began();
        shared.tasks.fetch_add(1, Ordering::SeqCst);
        let driver = Driver::new(connection, session.clone());
        let task = shared.runtime.spawn(Poller::begin(driver, session.clone()));
        let session = Attempted { parts: Some((client, task)), session, record };
        if shared.options().statement_cache != StatementCache::On {
            drop(shared);
            self.look_for_pooler(&session).await?;
        }
        Ok(session)
    }

    async fn query_value(&self, session: &mut Attempted, sql: &str) -> Result<String, tokio_postgres::Error> {
        let Some((client, _)) = &session.parts else { return Ok(String::new()) };
        let answer = client.simple_query(sql).await?;
        let value = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        Ok(value.unwrap_or_default())
    }
}

impl Making {
    /// A pooler gives its clients keys of its own making: the process that answers is not the one that was told.
    async fn look_for_pooler(&self, session: &Attempted) -> Result<(), NotMade> {
        let Some((client, _)) = &session.parts else { return Ok(()) };
        let (told, _) = session.session.key();
        let between = match client.simple_query("SELECT pg_catalog.pg_backend_pid()").await {
            Ok(answer) => !answer.iter().any(|message| {
                matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some(told.to_string().as_str()))
            }),
            // It refuses a question that every server answers: no server, then.
            Err(e) if e.as_db_error().is_some() => true,
            Err(e) => return Err(e.into()),
        };
        if between {
            session.session.behind_pooler.store(true, Ordering::Release);
            if let Ok(shared) = self.shared() {
                shared.found_pooler(&session.session.peer);
            }
        }
        Ok(())
    }

    pub(super) fn of(shared: &Shared) -> Making {
        let now = shared.detector.now();
        let lifetime = nanos(shared.options().max_lifetime);
        let expires_at = match lifetime {
            0 => Nanos::MAX,
            _ => now.saturating_add(lifetime - jitter(lifetime)),
        };
        let drains = shared.drains.load(Ordering::SeqCst);
        Making { pool: shared.me.clone(), target: shared.target.clone(), expires_at, drains }
    }

    /// Makes a connection and its task. Runs on the pool's runtime. Dropped on the way, it leaves nothing behind.
    pub(super) async fn connect(&self) -> Result<Conn> {
        let session = connect::connect(&self.target, self).await?;
        session.take().ok_or_else(|| Error::new(ErrorCode::ConnectionLost, "the new session ended at once"))
    }

    fn shared(&self) -> Result<Arc<Shared>, NotMade> {
        self.pool
            .upgrade()
            .ok_or_else(|| NotMade::Ours(Error::new(ErrorCode::PoolClosed, "the pool is gone")))
    }
}

/// Up to a tenth of the lifetime, so that connections made together do not all end together.
fn jitter(lifetime: Nanos) -> Nanos {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(lifetime) % (lifetime / 10).max(1)
}
