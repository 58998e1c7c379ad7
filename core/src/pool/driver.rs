//! What one connection does: it drives `tokio-postgres`, forwards notifications, and cleans up and gives back what was
//! returned unsettled, so that a release never waits. Who polls it, and when, is the business of `wheel.rs`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use tokio_postgres::{AsyncMessage, Connection};
use tracing::Level;

use super::control::{BoxedClient, Control};
use super::reset::{RESET_SESSION, UNLISTEN};
use super::stream::Stream;
use super::wire::Observed;
use crate::config::Reset;
use crate::detect::checkout::{Activity, State, TransactionStatus};
use crate::detect::event::DirtyReason;
use crate::detect::stats::count;

/// A connection of tokio-postgres over an observed stream. Both type parameters are the same: the stream is
/// encrypted, or not, before tokio-postgres sees it.
pub(crate) type WireConnection = Connection<Observed<Stream>, Observed<Stream>>;

type Cleaning = Pin<Box<dyn Future<Output = (BoxedClient, bool)> + Send>>;

pub(crate) struct Driver {
    connection: WireConnection,
    control: Arc<Control>,
    waker: Waker,
    /// The clean-up that runs: the client comes back with whether it succeeded.
    cleaning: Option<Cleaning>,
    /// The generation for which a dirty release was told.
    told: u64,
    ended: bool,
}

impl Driver {
    pub(crate) fn new(connection: WireConnection, control: Arc<Control>) -> Driver {
        let waker = Waker::from(control.task.clone());
        Driver { connection, control, waker, cleaning: None, told: 0, ended: false }
    }

    /// Does what can be done without waiting. True when the session has ended.
    pub(super) fn run(&mut self) -> bool {
        loop {
            if self.ended {
                return true;
            }
            self.control.task.begin_poll();
            if self.drive() {
                self.ended = true;
                self.control.task_ended();
                return true;
            }
            if self.clean() {
                continue;
            }
            let mut traffic = self.control.traffic();
            let unread = traffic.outstanding > 0 && !self.control.read_blocked.load(Ordering::Acquire);
            if unread != traffic.unread {
                traffic.unread = unread;
                self.control.slot.stamps.set_traffic(traffic);
            }
            // If something woke the task since the poll began, it is polled again, and settles then.
            if !self.control.task.end_poll() || !self.settle() {
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
                    self.control.tell(&notification);
                }
                Poll::Ready(Some(Ok(AsyncMessage::Notice(notice)))) => {
                    self.control.log(Level::DEBUG, move || {
                        tracing::debug!(target: "leakpool", severity = notice.severity(), "{}", notice.message());
                    });
                }
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(e))) => {
                    if !self.control.closing.load(Ordering::Acquire) {
                        self.control.log(Level::DEBUG, move || {
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
        let control = self.control.clone();
        let word = control.slot.word();
        if word.state != State::Returning || self.cleaning.is_some() {
            return false;
        }
        let (traffic, seen) = (control.traffic(), control.seen());
        if let Some(found) = dirt(&control) {
            self.tell_dirty(word.generation, found);
        }
        if !seen.is_quiet() || control.is_being_cancelled() {
            return false;
        }
        if control.doubtful_cancel.load(Ordering::SeqCst) {
            control.refuse_return(word.generation);
            return false;
        }
        let Some(reset) = control.shared.upgrade().map(|s| s.reset) else {
            // The pool is gone: there is nobody to lend it to.
            control.refuse_return(word.generation);
            return false;
        };
        let dirty = seen.status() != TransactionStatus::Idle;
        let mut steps: Vec<&'static str> = Vec::new();
        if dirty {
            if reset == Reset::None {
                control.refuse_return(word.generation);
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
            control.finish_return(word.generation);
            return false;
        }
        let Some(client) = control.parked.lock().client.take() else { return false };
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
        let generation = self.control.slot.word().generation;
        self.control.parked.lock().client = Some(client);
        let seen = self.control.seen();
        if !ok || seen.status() != TransactionStatus::Idle {
            self.control.refuse_return(generation);
        } else if seen.is_quiet() && !self.control.is_being_cancelled() {
            self.control.finish_return(generation);
        }
        // What else is in flight meanwhile is waited for, and judged again.
        true
    }

    fn tell_dirty(&mut self, generation: u64, found: DirtyReason) {
        if std::mem::replace(&mut self.told, generation) == generation {
            return;
        }
        let control = &self.control;
        count(&control.detector.stats.dirty_releases);
        control.detector.dirty_release(&control.slot, generation, found);
    }
}

/// What is open on a connection that was given back, and whose task has nothing to do.
fn dirt(control: &Control) -> Option<DirtyReason> {
    let traffic = control.traffic();
    match traffic.activity() {
        // An error reaches its caller before the ReadyForQuery that ends the request.
        Activity::Executing if traffic.answered => None,
        // What the drop of a Transaction queues is good manners, not dirt.
        Activity::Executing
            if control.slot.stamps.sql().is_some_and(|(sql, _)| sql.starts_with("ROLLBACK")) =>
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
        self.control.task_ended();
    }
}
