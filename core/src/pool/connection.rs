//! The handle: a connection in the hands of one caller, from acquire to release.

use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::Wake;

use deadpool_postgres::{ClientWrapper, Transaction, TransactionBuilder};
use tokio::runtime::Handle;

use super::identity;
use super::record::Record;
use super::shared::{Conn, Shared};
use crate::config::{Reset, StatementCache};
use crate::detect::checkout::{Flags, State, Word};
use crate::detect::event::{RemoveReason, Revocation};
use crate::detect::facts::TransactionStatus;
use crate::detect::id::CheckoutId;
use crate::error::{Error, ErrorCode, Result};
use crate::net::error::{FORCE_RELEASED, Phase, server_error};
use crate::session::exchange::Exchange;
use crate::session::fence::{self, force_released, refused, sent_and_force_released};
use crate::session::notifications::Notifications;
use crate::session::owner::{BoxedClient, Owner};
use crate::session::state::SessionState;

/// A connection, checked out to you until it is dropped or released.
///
/// It dereferences to [`deadpool_postgres::ClientWrapper`], and through it to [`tokio_postgres::Client`]: queries,
/// `transaction()`, COPY, pipelining and prepared statements work as they do there. (`GenericClient` of
/// deadpool-postgres is sealed: where one is asked for, pass `&**connection`, which is a `tokio_postgres::Client`.)
///
/// Leave the client where it is: a handle that was dereferenced mutably and comes back with another client inside (by
/// `mem::swap`, say) ends its session.
///
/// If leakpool takes the connection back, every later use is a database error with SQLSTATE
/// [`FORCE_RELEASED`](crate::FORCE_RELEASED) that says when, why and from which line;
/// [`error`](Connection::error) makes it an [`Error`] with [`ErrorCode::ForceReleased`].
///
/// Dropping the handle returns the connection without waiting: what is left open is rolled back by the
/// connection's own task before anybody else gets it.
#[must_use = "a connection is returned when it is dropped"]
pub struct Connection {
    /// `None` only once released.
    client: Option<BoxedClient>,
    /// It was dereferenced mutably: another client may be inside.
    exposed: bool,
    session: Arc<SessionState>,
    record: Arc<Record<Shared>>,
    id: CheckoutId,
    shared: Arc<Shared>,
}

impl Connection {
    #[inline]
    pub(super) fn new(connection: Conn, id: CheckoutId, shared: Arc<Shared>) -> Connection {
        let Conn { client, session, record } = connection;
        Connection { client: Some(client), exposed: false, session, record, id, shared }
    }

    /// The id of this checkout.
    pub fn id(&self) -> CheckoutId {
        self.id
    }

    /// The server's process, as in `pg_stat_activity.pid`.
    pub fn backend_pid(&self) -> Option<u32> {
        self.session.slot.stamps.backend_pid()
    }

    /// Why the connection was taken away from this handle; `None` as long as it was not.
    pub fn revocation(&self) -> Option<Arc<Revocation>> {
        self.session.revocation.get().cloned()
    }

    /// Begins a transaction, as [`ClientWrapper::transaction`] does: `commit` of one that has failed is tokio-postgres's,
    /// and says nothing. ([`Pool::begin`](crate::Pool::begin) gives one that does.)
    ///
    /// # Errors
    /// As the server says.
    pub async fn transaction(&mut self) -> Result<Transaction<'_>, tokio_postgres::Error> {
        self.client_mut().transaction().await
    }

    /// A transaction with settings, as [`ClientWrapper::build_transaction`] makes it.
    pub fn build_transaction(&mut self) -> TransactionBuilder<'_> {
        self.client_mut().build_transaction()
    }

    fn client_mut(&mut self) -> &mut ClientWrapper {
        match &mut self.client {
            Some(client) => client,
            None => unreachable_released(),
        }
    }

    /// True if the client inside is certainly that of this session.
    fn is_intact(&self, client: &ClientWrapper) -> bool {
        let mine = self.session.key();
        !self.exposed || (mine != (0, 0) && identity::key(client) == Some(mine))
    }

    /// For hosts: no statement is under way, and [`transaction_status`](Connection::transaction_status) is not about to
    /// change. False while the answer to a request that was given up is still read and thrown away.
    pub fn is_settled(&self) -> bool {
        self.session.is_settled()
    }

    /// An error of this connection's client as one of ours: a use after a force release becomes
    /// [`ErrorCode::ForceReleased`] with its [`Revocation`], whatever the client made of it.
    pub fn error(&self, error: tokio_postgres::Error) -> Error {
        match self.revocation() {
            Some(revocation) => match error.as_db_error() {
                // The fence says whether the statement was sent.
                Some(e) if e.code().code() == FORCE_RELEASED => refused(&revocation, e.message().to_owned()),
                Some(_) | None => sent_and_force_released(&revocation),
            },
            None => server_error(error, &self.session.peer.to_string(), Phase::InUse),
        }
    }

    /// Asks the server to cancel what this checkout runs. Returns at once; the request goes its own way, and the
    /// connection is not checked out to anybody else before it has arrived. Running nothing, it does nothing. An
    /// [exchange](Connection::exchange) that is asked for next waits until it has arrived; a request of
    /// `tokio-postgres` does not, and may be hit.
    ///
    /// # Errors
    /// `Forked`; `ForceReleased` or `ConnectionLost` if there is nothing left to cancel.
    pub fn cancel(&self) -> Result<()> {
        self.cancel_handle().cancel()
    }

    /// The same for later and elsewhere: it does nothing once this checkout has ended, and does not keep it from
    /// ending (the pool stays alive as long as the handle does).
    pub fn cancel_handle(&self) -> CancelHandle {
        CancelHandle { session: self.session.clone(), id: self.id, shared: self.shared.clone() }
    }

    /// The notifications that arrive on this connection from now on, for the channels that it `LISTEN`s to. Who asks
    /// first also gets those that have arrived since the checkout began, the first 1,024 of them.
    ///
    /// Before the connection is handed out again, it listens to nothing. What a function has listened to that was called by a query,
    /// and that no notification has come from, is not seen: then the next holder may hear of it once.
    pub fn notifications(&self) -> Notifications {
        let notifications = self.session.listeners.add(self.id.generation());
        // The end of the session lets all of them go, and looks at them after it is one.
        if self.session.is_ended() {
            self.session.listeners.let_go();
        }
        notifications
    }

    /// Returns the connection. The same as dropping it, for those who want to say so.
    pub fn release(self) {}

    /// Ends the session instead of returning it to the pool: for a connection that you know to be broken.
    pub fn release_broken(mut self) {
        let _ = self.give_back(true);
    }

    /// For hosts: releases, or ends the session (`broken`), and tells whether the checkout was still the holder's. It
    /// is over either way.
    ///
    /// # Errors
    /// `ForceReleased` if it had been taken away before.
    pub fn release_checked(mut self, broken: bool) -> Result<()> {
        self.give_back(broken)
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The runtime that the connection lives on.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.shared.runtime
    }

    pub(crate) fn session_state(&self) -> &Arc<SessionState> {
        &self.session
    }

    /// For hosts: an error if it was taken away from its holder.
    ///
    /// # Errors
    /// `ForceReleased`.
    pub(crate) fn check_held(&self) -> Result<()> {
        self.session.revocation.get().map_or(Ok(()), |revocation| Err(force_released(revocation)))
    }

    fn give_back(&mut self, broken: bool) -> Result<()> {
        let Some(client) = self.client.take() else { return Ok(()) };
        let session = &self.session;
        if !self.shared.process.is_current() {
            // The session is the parent's, and so are the locks: touch neither.
            mem::forget((client, session.clone(), self.record.clone()));
            return self.shared.process.check(&self.shared.name);
        }
        session.listeners.let_go();
        let detector = &self.shared.detector;
        let now = detector.now();
        if !self.is_intact(&client) {
            return self.give_back_another(client);
        }
        let mut client = Some(client);
        let outcome = if session.is_ended() || client.as_ref().is_some_and(|c| c.is_closed()) {
            detector
                .release(&session.slot, self.id, State::Ended, now)
                .map(|()| self.record.left(session, RemoveReason::Lost))
        } else if broken || self.shared.is_over() {
            detector.release(&session.slot, self.id, State::Ended, now).map(|()| {
                if broken {
                    self.record.left(session, RemoveReason::Broken);
                    session.end_session();
                    drop(client.take());
                } else {
                    self.record.left(session, RemoveReason::PoolClosed);
                    session.end_session();
                    *session.client.lock() = client.take();
                }
            })
        } else if session.settles()
            && session.seen().status() == TransactionStatus::Idle
            && !session.traffic().may_hear()
            && !session.doubtful_cancel.load(Ordering::SeqCst)
            && self.shared.reset != Reset::Session
        {
            detector.release(&session.slot, self.id, State::Free, now).map(|()| {
                let Some(client) = client.take() else { return };
                if session.is_being_cancelled() {
                    return self.wait_for_cancel(client);
                }
                // Free, but in nobody's reach before it is among the idle ones.
                let (session, record) = (session.clone(), self.record.clone());
                self.shared.take_back(Conn { client, session, record }, now);
            })
        } else {
            // The client goes into the session before `returning` is published: the task may act on it at once.
            *session.client.lock() = client.take();
            let outcome = detector.release(&session.slot, self.id, State::Returning, now).map(|()| {
                session.task.wake_by_ref();
                if session.is_ended() {
                    session.end_unsettled_return();
                }
            });
            if outcome.is_err() {
                client = session.client.lock().take();
            }
            outcome
        };
        let outcome = outcome.or_else(|word| self.late_release(word));
        // Only now: dropping it aborts the task and closes the socket, and what had been sent on a session that was
        // taken away is to be cancelled before that.
        drop(client);
        outcome
    }

    /// The client inside is that of another session, or of nobody knows which: this session ends, whoever has its own
    /// client, and so does that of the client.
    #[cold]
    fn give_back_another(&self, client: BoxedClient) -> Result<()> {
        let (session, detector) = (&self.session, &self.shared.detector);
        let outcome = detector.release(&session.slot, self.id, State::Ended, detector.now()).map(|()| {
            self.record.left(session, RemoveReason::Broken);
            session.end_session();
        });
        drop(client);
        outcome.or_else(|word| self.late_release(word))
    }

    /// A cancel was asked for at the very moment of the release, and saw the checkout still held: it may be on its
    /// way. (This side ends the checkout and then looks for cancels; the other one announces its cancel and then
    /// looks at the checkout: one of them sees the other.) The connection's task waits for it.
    #[cold]
    fn wait_for_cancel(&self, client: BoxedClient) {
        let session = &self.session;
        *session.client.lock() = Some(client);
        self.shared.detector.take_release_back(&session.slot, self.id);
        session.task.wake_by_ref();
        if session.is_ended() {
            session.end_unsettled_return();
        }
    }

    /// Something else had ended the holding: a revoke, or the end of the session.
    #[cold]
    fn late_release(&self, found: Word) -> Result<()> {
        if found.generation != self.id.generation() || !found.flags.has(Flags::REVOKED) {
            return Ok(());
        }
        // Whoever revoked it sets the fence right after winning the state; it may have been put to sleep in between.
        for _ in 0..1_000_000 {
            if let Some(revocation) = self.session.revocation.get() {
                self.session.end_session();
                fence::late_release(&self.shared.detector, revocation.clone());
                return Err(force_released(revocation));
            }
            std::thread::yield_now();
        }
        Ok(())
    }
}

impl Deref for Connection {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        match &self.client {
            Some(client) => client,
            // `client` is taken only by `give_back`, which runs when the handle is consumed or dropped.
            None => unreachable_released(),
        }
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut ClientWrapper {
        self.exposed = true;
        self.client_mut()
    }
}

#[cold]
#[allow(clippy::panic)]
fn unreachable_released() -> ! {
    panic!("a released connection cannot be reached")
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = self.give_back(false);
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("pool", &self.shared.name)
            .field("checkout", &self.id)
            .field("backend_pid", &self.backend_pid())
            .finish_non_exhaustive()
    }
}

/// Cancels what one checkout runs, from anywhere. See [`Connection::cancel_handle`].
#[derive(Clone)]
pub struct CancelHandle {
    session: Arc<SessionState>,
    id: CheckoutId,
    shared: Arc<Shared>,
}

impl CancelHandle {
    /// As [`Connection::cancel`].
    ///
    /// # Errors
    /// `Forked`; `ForceReleased`, `ConnectionLost` or `AlreadyReleased` if the checkout has ended.
    pub fn cancel(&self) -> Result<()> {
        self.shared.process.check(&self.shared.name)?;
        let word = self.session.slot.word();
        if word.generation != self.id.generation() || word.state != State::Held {
            return Err(match self.session.revocation.get() {
                Some(revocation) if revocation.checkout == self.id => force_released(revocation),
                Some(_) | None if self.session.is_ended() => Error::new(
                    ErrorCode::ConnectionLost,
                    format!("the session of checkout {} has ended", self.id),
                ),
                Some(_) | None => Error::new(
                    ErrorCode::AlreadyReleased,
                    format!("checkout {} was released before; there is nothing of it to cancel", self.id),
                ),
            });
        }
        // Sent all the same, it would arrive late and hit the next statement.
        if self.session.is_settled() {
            return Ok(());
        }
        if let Some(closer) = self.shared.closer()
            && self.session.ask_for_cancel()
            && !closer.run(self.session.clone().cancel(self.id, closer.lines().clone()))
        {
            self.session.give_up_cancel();
        }
        Ok(())
    }
}

impl fmt::Debug for CancelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CancelHandle").field(&self.id).finish()
    }
}

/// One session with the server, from its beginning to its end, through all its checkouts. It keeps nothing alive.
///
/// ```no_run
/// # async fn f(pool: leakpool::Pool) -> leakpool::Result<()> {
/// let first = pool.acquire().await?;
/// let session = first.session();
/// drop(first);
/// let second = pool.acquire().await?;
/// println!("the same again: {}", session.is_of(&second));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Session(Weak<SessionState>);

impl Connection {
    /// The raw exchange on this connection. See [`exchange`](crate::exchange).
    pub fn exchange(&self) -> Exchange<'_> {
        Exchange::new(&self.session, self.id, self.names_statements())
    }

    /// The current value of a parameter that the server reports: `TimeZone`, `client_encoding`, `server_version`,
    /// `DateStyle`, `IntervalStyle`, `standard_conforming_strings`, … (PostgreSQL manual, "Asynchronous Operations");
    /// `None` for those that it does not report. As of the last answer that was read from the socket.
    pub fn parameter(&self, name: &str) -> Option<Arc<str>> {
        self.session.parameters.lock().get(name).cloned()
    }

    /// The transaction status after the last answer that was read from the socket.
    pub fn transaction_status(&self) -> TransactionStatus {
        self.session.traffic().transaction
    }

    /// True while a cancel that this connection's holder asked for has not reached the server yet. Until then it may
    /// hit the next statement; a host that cancels the rest of a result waits for it before it sends anything else.
    pub fn is_being_cancelled(&self) -> bool {
        self.session_state().is_being_cancelled()
    }

    /// For hosts: the session behind this checkout.
    pub fn session(&self) -> Session {
        Session(Arc::downgrade(self.session_state()))
    }

    /// True if repeated SQL is kept prepared under a name: the option `statement_cache`, unless a pooler stands between.
    pub fn names_statements(&self) -> bool {
        match self.shared().options().statement_cache {
            StatementCache::On => true,
            StatementCache::Off => false,
            StatementCache::Auto => !self.session_state().behind_pooler.load(Ordering::Acquire),
        }
    }

    /// For hosts: the holder called something on this connection that moves no byte of its own: a row written into a
    /// buffer, the next row of a result that is here already. It counts as a use.
    pub fn touch(&self) {
        self.session_state().slot.stamps.used(self.shared().detector.now());
    }

    /// For hosts with finalizers: the handle was shown to be unreachable. The checkout is reported as leaked, whatever
    /// its age, and taken back; if it had been taken back before, nothing is told, since nobody releases it late.
    pub fn abandon(self) {
        let detector = &self.shared().detector;
        let _ = detector.prove(self.id());
        if let Some(revocation) = self.session_state().revocation.get() {
            revocation.abandon();
        }
    }
}

impl Session {
    /// True if this connection is a checkout of this session.
    pub fn is_of(&self, connection: &Connection) -> bool {
        // As long as this reference exists, the address is given to nobody else.
        std::ptr::eq(self.0.as_ptr(), Arc::as_ptr(connection.session_state()))
    }

    /// True once the session has ended, or has left the pool to be ended.
    pub fn has_ended(&self) -> bool {
        self.0.upgrade().is_none_or(|session| {
            session.is_ended() || session.closing.load(Ordering::SeqCst) || session.revocation.get().is_some()
        })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("has_ended", &self.has_ended()).finish()
    }
}
