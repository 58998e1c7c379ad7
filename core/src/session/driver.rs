//! What one connection does: it drives `tokio-postgres`, forwards notifications, and cleans up and gives back what was
//! returned unsettled, so that a release never waits. Who polls it, and when, is the business of `poller.rs`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use tokio_postgres::{AsyncMessage, Connection};
use tracing::Level;

use super::owner::BoxedClient;
use super::reset::{RESET_SESSION, UNLISTEN};
use super::state::SessionState;
use super::wire::Observed;
use crate::config::Reset;
use crate::detect::checkout::State;
use crate::detect::event::DirtyReason;
use crate::detect::facts::{Activity, TransactionStatus};
use crate::detect::stats::count;
use crate::net::socket::Transport;

/// A connection of tokio-postgres over an observed stream. Both type parameters are the same: the stream is
/// encrypted, or not, before tokio-postgres sees it.
pub(crate) type WireConnection = Connection<Observed<Transport>, Observed<Transport>>;

type Cleaning = Pin<Box<dyn Future<Output = (BoxedClient, bool)> + Send>>;

pub(crate) struct Driver {
    connection: WireConnection,
    session: Arc<SessionState>,
    waker: Waker,
    /// The clean-up that runs: the client comes back with whether it succeeded.
    cleaning: Option<Cleaning>,
    /// The generation for which a dirty release was reported.
    reported: u64,
    ended: bool,
}

impl Driver {
    pub(crate) fn new(connection: WireConnection, session: Arc<SessionState>) -> Driver {
        let waker = Waker::from(session.task.clone());
        Driver { connection, session, waker, cleaning: None, reported: 0, ended: false }
    }

    /// Does what can be done without waiting. True when the session has ended.
    pub(crate) fn run(&mut self) -> bool {
        loop {
            if self.ended {
                return true;
            }
            self.session.task.begin_poll();
            if self.drive() {
                self.ended = true;
                self.session.task_ended();
                return true;
            }
            if self.clean() {
                continue;
            }
            let mut traffic = self.session.traffic();
            let unread = traffic.outstanding > 0 && !self.session.read_blocked.load(Ordering::Acquire);
            if unread != traffic.unread {
                traffic.unread = unread;
                self.session.slot.stamps.set_traffic(traffic);
            }
            // If something woke the task since the poll began, it is polled again, and settles then.
            if !self.session.task.end_poll() || !self.settle() {
                return false;
            }
        }
    }

    /// Drives the connection as far as it goes. True when it has ended.
    fn drive(&mut self) -> bool {
        let cx = &mut Context::from_waker(&self.waker);
        loop {
            match self.connection.poll_message(cx) {
                Poll::Ready(Some(Ok(AsyncMessage::Notification(notification)))) => {
                    self.session.notified(&notification);
                }
                Poll::Ready(Some(Ok(AsyncMessage::Notice(notice)))) => {
                    self.session.log(Level::DEBUG, move || {
                        tracing::debug!(target: "leakpool", severity = notice.severity(), "{}", notice.message());
                    });
                }
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(e))) => {
                    if !self.session.closing.load(Ordering::Acquire) {
                        self.session.log(Level::DEBUG, move || {
                            tracing::debug!(target: "leakpool", error = %e, "a session ended");
                        });
                    }
                    return true;
                }
                Poll::Ready(None) => return true,
                Poll::Pending => return false,
            }
        }
    }

    /// The task has nothing to do and the connection was given back: judge it, clean it, or give it back to the pool. True if
    /// there is something new to drive.
    fn settle(&mut self) -> bool {
        let session = self.session.clone();
        let word = session.slot.word();
        if word.state != State::Returning || self.cleaning.is_some() {
            return false;
        }
        let (traffic, seen) = (session.traffic(), session.seen());
        if let Some(found) = dirt(&session) {
            self.report_dirty(word.generation, found);
        }
        if !seen.is_quiet() || session.is_being_cancelled() {
            return false;
        }
        if session.doubtful_cancel.load(Ordering::SeqCst) {
            session.refuse_return(word.generation);
            return false;
        }
        let Some(reset) = session.reset() else {
            // The pool is gone: there is nobody to hand it out to.
            session.refuse_return(word.generation);
            return false;
        };
        let dirty = seen.status() != TransactionStatus::Idle;
        let mut steps: Vec<&'static str> = Vec::new();
        if dirty {
            if reset == Reset::None {
                session.refuse_return(word.generation);
                return false;
            }
            steps.push("ROLLBACK");
        }
        match reset {
            Reset::Session => steps.push(RESET_SESSION),
            Reset::Rollback | Reset::None if traffic.may_hear() => steps.push(UNLISTEN),
            Reset::Rollback | Reset::None => {}
        }
        if steps.is_empty() {
            session.finish_return(word.generation);
            return false;
        }
        let Some(client) = session.client.lock().take() else { return false };
        self.cleaning = Some(Box::pin(async move {
            for step in steps {
                if client.batch_execute(step).await.is_err() {
                    return (client, false);
                }
            }
            (client, true)
        }));
        true
    }

    /// Drives the clean-up. True if the connection has something to drive because of it.
    fn clean(&mut self) -> bool {
        let Some(cleaning) = self.cleaning.as_mut() else { return false };
        let Poll::Ready((client, ok)) = cleaning.as_mut().poll(&mut Context::from_waker(&self.waker)) else {
            return false;
        };
        self.cleaning = None;
        let generation = self.session.slot.word().generation;
        *self.session.client.lock() = Some(client);
        let seen = self.session.seen();
        if !ok || seen.status() != TransactionStatus::Idle {
            self.session.refuse_return(generation);
        } else if seen.is_quiet() && !self.session.is_being_cancelled() {
            self.session.finish_return(generation);
        }
        // What else is in flight meanwhile is waited for, and judged again.
        true
    }

    fn report_dirty(&mut self, generation: u64, found: DirtyReason) {
        if std::mem::replace(&mut self.reported, generation) == generation {
            return;
        }
        let session = &self.session;
        count(&session.detector.stats.dirty_releases);
        session.detector.dirty_release(&session.slot, generation, found);
    }
}

/// What is open on a connection that was given back, and whose task has nothing to do.
fn dirt(session: &SessionState) -> Option<DirtyReason> {
    let traffic = session.traffic();
    match traffic.activity() {
        // An error reaches its caller before the ReadyForQuery that ends the request.
        Activity::Executing if traffic.answered => None,
        // What the drop of a Transaction queues is good manners, not dirt.
        Activity::Executing
            if session.slot.stamps.sql().is_some_and(|(sql, _)| sql.starts_with("ROLLBACK")) =>
        {
            None
        }
        Activity::Executing => Some(DirtyReason::Executing),
        Activity::Stalled => Some(DirtyReason::Stalled),
        Activity::Idle | Activity::Unknown => None,
        Activity::IdleInTransaction => Some(DirtyReason::InTransaction),
        Activity::IdleInFailedTransaction => Some(DirtyReason::InFailedTransaction),
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Aborted, or its runtime is gone.
        self.session.task_ended();
    }
}
