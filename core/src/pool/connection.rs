//! The handle: a connection in the hands of one caller, from acquire to release.

use std::fmt;
use std::future::Future;
use std::mem;
use std::ops::{ControlFlow, Deref, DerefMut};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Wake;

use deadpool_postgres::{ClientWrapper, Transaction, TransactionBuilder};

use super::control::{BoxedClient, Control};
use super::failure::{FORCE_RELEASED, Phase, server_error};
use super::identity;
use super::notifications::Notifications;
use super::shared::Shared;
use super::tombstone;
use crate::config::Reset;
use crate::detect::checkout::{CheckoutId, Flags, State, TransactionStatus, Word};
use crate::detect::event::{RemoveReason, Revocation};
use crate::error::{Error, ErrorCode, Result};

/// A connection, lent to you until it is dropped or released.
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
    control: Arc<Control>,
    id: CheckoutId,
    shared: Arc<Shared>,
}

impl Connection {
    pub(super) fn new(
        client: BoxedClient,
        control: Arc<Control>,
        id: CheckoutId,
        shared: Arc<Shared>,
    ) -> Connection {
        Connection { client: Some(client), exposed: false, control, id, shared }
    }

    /// The id of this checkout.
    pub fn id(&self) -> CheckoutId {
        self.id
    }

    /// The server's process, as in `pg_stat_activity.pid`.
    pub fn backend_pid(&self) -> Option<u32> {
        self.control.slot.stamps.backend_pid()
    }

    /// Why the connection was taken away from this handle; `None` as long as it was not.
    pub fn revocation(&self) -> Option<Arc<Revocation>> {
        self.control.revocation.get().cloned()
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
        let mine = self.control.key();
        !self.exposed || (mine != (0, 0) && identity::key(client) == Some(mine))
    }

    /// For hosts: no statement is under way, and [`transaction_status`](Connection::transaction_status) is not about to
    /// change. False while the answer to a request that was given up is still read and thrown away.
    pub fn is_settled(&self) -> bool {
        self.control.is_settled()
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
            None => server_error(error, &self.control.peer.to_string(), Phase::InUse),
        }
    }

    /// Asks the server to cancel what this checkout runs. Returns at once; the request goes its own way, and the
    /// connection is not lent to anybody else before it has arrived. Running nothing, it does nothing. An
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
        CancelHandle { control: self.control.clone(), id: self.id, shared: self.shared.clone() }
    }

    /// The notifications that arrive on this connection from now on, for the channels that it `LISTEN`s to. Who asks
    /// first also gets those that have arrived since the checkout began, the first 1,024 of them.
    ///
    /// Before the connection is lent again, it listens to nothing. What a function has listened to that was called by a query,
    /// and that no notification has come from, is not seen: then the next holder may hear of it once.
    pub fn notifications(&self) -> Notifications {
        let notifications = self.control.listeners.add(self.id.generation());
        // The end of the session lets all of them go, and looks at them after it is one.
        if self.control.is_ended() {
            self.control.listeners.let_go();
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

    /// For hosts whose threads block: waits for a future that asks something of this connection, reading and writing
    /// its socket on the calling thread. Every [`SLICE`](crate::host::SLICE), `give_up` is asked; once it says true, the
    /// future is dropped, and there is no output.
    pub fn drive<F: Future>(&self, future: F, mut give_up: impl FnMut() -> bool) -> Option<F::Output> {
        let mut future = pin!(future);
        if self.shared.process.is_current()
            && let Some(wheel) = self.control.wheel()
            && let ControlFlow::Break(output) = wheel.drive(&self.control, future.as_mut(), &mut give_up)
        {
            return output;
        }
        crate::host::wait(&self.shared.runtime, future, give_up)
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn control(&self) -> &Arc<Control> {
        &self.control
    }

    fn give_back(&mut self, broken: bool) -> Result<()> {
        let Some(client) = self.client.take() else { return Ok(()) };
        let control = self.control.clone();
        if !self.shared.process.is_current() {
            // The session is the parent's, and so are the locks: touch neither.
            mem::forget((client, control));
            return self.shared.process.check(&self.shared.name);
        }
        self.control.listeners.let_go();
        let detector = &self.shared.detector;
        let now = detector.now();
        if !self.is_intact(&client) {
            return self.give_back_another(client);
        }
        let mut client = Some(client);
        let outcome = if control.is_ended() || client.as_ref().is_some_and(|c| c.is_closed()) {
            detector.release(&control.slot, self.id, State::Ended, now).map(|()| {
                control.leave_pool();
                control.removed(RemoveReason::Lost);
            })
        } else if broken || self.shared.is_over() {
            detector.release(&control.slot, self.id, State::Ended, now).map(|()| {
                control.leave_pool();
                control.end_session();
                if broken {
                    drop(client.take());
                    control.removed(RemoveReason::Broken);
                } else {
                    control.parked.lock().client = client.take();
                    control.removed(RemoveReason::PoolClosed);
                }
            })
        } else if control.settles()
            && control.seen().status() == TransactionStatus::Idle
            && !control.traffic().may_hear()
            && !control.doubtful_cancel.load(Ordering::SeqCst)
            && self.shared.reset != Reset::Session
        {
            detector.release(&control.slot, self.id, State::Free, now).map(|()| {
                if control.is_being_cancelled() {
                    self.wait_for_cancel(client.take());
                    return;
                }
                // Free, but in nobody's reach before the object is back in deadpool.
                let object = control.parked.lock().object.take();
                if let Some(object) = control.reunite(object, client.take(), now) {
                    self.shared.take_back(object, now);
                }
            })
        } else {
            // The client goes into the slot before `returning` is published: the task may act on it at once.
            control.parked.lock().client = client.take();
            let outcome = detector.release(&control.slot, self.id, State::Returning, now).map(|()| {
                control.task.wake_by_ref();
                if control.is_ended() {
                    control.end_unsettled_return();
                }
            });
            if outcome.is_err() {
                client = control.parked.lock().client.take();
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
        let (control, detector) = (&self.control, &self.shared.detector);
        let outcome = detector.release(&control.slot, self.id, State::Ended, detector.now()).map(|()| {
            control.leave_pool();
            control.end_session();
            control.removed(RemoveReason::Broken);
        });
        drop(client);
        outcome.or_else(|word| self.late_release(word))
    }

    /// A cancel was asked for at the very moment of the release, and saw the checkout still held: it may be on its
    /// way. (This side ends the checkout and then looks for cancels; the other one announces its cancel and then
    /// looks at the checkout: one of them sees the other.) The connection's task waits for it.
    #[cold]
    fn wait_for_cancel(&self, client: Option<BoxedClient>) {
        let control = &self.control;
        control.parked.lock().client = client;
        self.shared.detector.take_release_back(&control.slot, self.id);
        control.task.wake_by_ref();
        if control.is_ended() {
            control.end_unsettled_return();
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
            if let Some(revocation) = self.control.revocation.get() {
                self.control.end_session();
                tombstone::late_release(&self.shared.detector, revocation.clone());
                return Err(force_released(revocation));
            }
            std::thread::yield_now();
        }
        Ok(())
    }
}

/// For what was not a statement: a release, a cancel.
pub(super) fn force_released(revocation: &Revocation) -> Error {
    refused(revocation, revocation.to_string())
}

/// For a statement that had been sent when the connection was taken away.
pub(super) fn sent_and_force_released(revocation: &Revocation) -> Error {
    refused(revocation, tombstone::told(revocation, tombstone::Sent::Maybe))
}

/// For a statement that was not sent.
pub(super) fn not_sent_and_force_released(revocation: &Revocation) -> Error {
    refused(revocation, tombstone::told(revocation, tombstone::Sent::No))
}

fn refused(revocation: &Revocation, text: String) -> Error {
    Error::new(ErrorCode::ForceReleased, text).with_sqlstate(FORCE_RELEASED).with_source(revocation.clone())
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
    control: Arc<Control>,
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
        let word = self.control.slot.word();
        if word.generation != self.id.generation() || word.state != State::Held {
            return Err(match self.control.revocation.get() {
                Some(revocation) if revocation.checkout == self.id => force_released(revocation),
                Some(_) | None if self.control.is_ended() => Error::new(
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
        if self.control.is_settled() {
            return Ok(());
        }
        if let Some(closer) = self.shared.closer() {
            closer.cancel(self.control.clone(), self.id);
        }
        Ok(())
    }
}

impl fmt::Debug for CancelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CancelHandle").field(&self.id).finish()
    }
}
