//! What one session is: what its task, its holder, the sweeper and the closer share of it. What its pool keeps about it
//! (its age, its uses, its place) is the pool's.
//!
//! Who may end what is decided by the slot's state word alone (`detect/checkout.rs`); whoever wins there tells the owner,
//! once. Lock protocol: each lock here is a leaf (but `statements`, see `exchange/statement_cache.rs`) and is held for a
//! few instructions; nothing is dropped, woken or called while one is held.

use std::collections::VecDeque;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock, Weak};
use std::task::Wake;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_postgres::Notification;

use super::cancels::Cancels;
use super::closer::{Ending, cancel};
use super::exchange::statement_cache::Statements;
use super::exchange::transport::{Chunk, Request};
use super::in_flight::{Seen, Task};
use super::notifications::Listeners;
use super::owner::{BoxedClient, Owner, Poll};
use super::parameters::Parameters;
use crate::detect::checkout::{Slot, State};
use crate::detect::event::{EventSink, RemoveReason, Revocation};
use crate::detect::facts::{Activity, Traffic};
use crate::detect::id::CheckoutId;
use crate::detect::{Detector, Reclaim};
use crate::error::Result;
use crate::net::connect::{CancelFailed, Peer};
use crate::net::socket::{PollSocket, RawSocket};
use crate::process::Process;

/// How a checkout stands to its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HolderState {
    Active,
    /// Given back, and not settled yet: what is still waited for is sent and answered.
    Returning,
    /// The session is another's, or the pool's.
    Returned,
    /// The session is about to end. The fence, which says why, may not stand yet: what waits goes on waiting for it.
    Ended,
}

/// A slot of the registry in the hands of one session; given back when nobody stamps it any more.
pub(crate) struct Lease {
    slot: Arc<Slot>,
    detector: Arc<Detector>,
}

impl Lease {
    pub(crate) fn claim(detector: &Arc<Detector>) -> Result<Arc<Lease>> {
        Ok(Arc::new(Lease { slot: detector.claim()?, detector: detector.clone() }))
    }
}

impl Deref for Lease {
    type Target = Slot;

    fn deref(&self) -> &Slot {
        &self.slot
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.detector.retire(&self.slot);
    }
}

pub(crate) struct SessionState {
    pub(crate) slot: Arc<Lease>,
    pub(crate) detector: Arc<Detector>,
    owner: Arc<dyn Owner<SessionState>>,
    pub(crate) process: Process,
    pub(crate) task: Arc<Task>,
    /// The socket, as long as the session has it.
    pub(crate) socket: Weak<RawSocket>,
    poller: OnceLock<Weak<dyn Poll<SessionState>>>,
    /// The client, from the release until the return has settled; and that of a session that takes its leave.
    pub(crate) client: Mutex<Option<BoxedClient>>,
    /// Set once, when the session is taken away from its holder: the fence.
    pub(crate) revocation: OnceLock<Arc<Revocation>>,
    /// The session is to end as soon as nothing is in flight on it.
    pub(crate) closing: AtomicBool,
    /// The session is ended from outside: its task sends nothing more, and lets go of its socket. (With a revocation,
    /// the fence says the same, and why.)
    cut: AtomicBool,
    /// The task has let go of the session.
    has_let_go: AtomicBool,
    let_go: Notify,
    /// A pooler stands between: nothing that is named would be there for the next batch.
    pub(crate) behind_pooler: AtomicBool,
    /// A cancel was sent and may arrive at any time: the session is not handed out again.
    pub(crate) doubtful_cancel: AtomicBool,
    /// The request whose turn it is, or that waits for it, has an asker who waits for its answer.
    pub(crate) awaited: AtomicBool,
    /// The task has ended: there is no session any more.
    ended: AtomicBool,
    /// True while the observer waits for the server; false while the client does not read what is there.
    pub(crate) read_blocked: AtomicBool,
    /// Process id and secret of the backend, for a cancel.
    key: AtomicU64,
    pub(crate) peer: Arc<Peer>,
    /// A duplicate of the socket's descriptor, so that it can be shut down without a runtime. It keeps the session
    /// alive, so the end of the task, a revoke and a close each take it out.
    duplicate: Mutex<Option<OwnedFd>>,
    pub(crate) requests: Mutex<VecDeque<Request>>,
    /// What exchanges keep prepared. The one lock that is no leaf: `requests` is taken under it.
    pub(crate) statements: Arc<Mutex<Statements>>,
    /// The parameters that the server reports (ParameterStatus), as last seen on the wire.
    pub(crate) parameters: Mutex<Parameters>,
    pub(crate) listeners: Arc<Listeners>,
    /// How often the server has bound a statement: one that failed, with none bound since it was sent, has not run.
    pub(crate) bound: AtomicU64,
    cancels: Cancels,
    pub(crate) late_use_reported: AtomicBool,
}

impl std::fmt::Debug for SessionState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionState")
            .field("slot", &self.slot.index())
            .field("word", &self.slot.word())
            .finish_non_exhaustive()
    }
}

impl SessionState {
    /// `duplicate`: a second descriptor of the socket. `behind_pooler`: one is known to stand between.
    pub(crate) fn new(
        owner: Arc<dyn Owner<SessionState>>,
        slot: Arc<Lease>,
        peer: Arc<Peer>,
        socket: &PollSocket,
        duplicate: OwnedFd,
        behind_pooler: bool,
    ) -> Arc<SessionState> {
        let session = Arc::new(SessionState {
            detector: slot.detector.clone(),
            slot,
            owner,
            process: Process::current(),
            task: Task::new(socket.io_mode().clone()),
            socket: Arc::downgrade(socket.raw()),
            poller: OnceLock::new(),
            client: Mutex::default(),
            revocation: OnceLock::new(),
            closing: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            has_let_go: AtomicBool::new(false),
            let_go: Notify::new(),
            behind_pooler: AtomicBool::new(behind_pooler),
            doubtful_cancel: AtomicBool::new(false),
            awaited: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            read_blocked: AtomicBool::new(false),
            key: AtomicU64::new(0),
            peer,
            duplicate: Mutex::new(Some(duplicate)),
            requests: Mutex::default(),
            statements: Arc::default(),
            parameters: Mutex::default(),
            listeners: Arc::default(),
            bound: AtomicU64::new(0),
            cancels: Cancels::default(),
            late_use_reported: AtomicBool::new(false),
        });
        let weak: Weak<SessionState> = Arc::downgrade(&session);
        session.slot.set_owner(weak);
        session
    }

    pub(crate) fn set_key(&self, pid: u32, secret: u32) {
        self.key.store(u64::from(pid) << 32 | u64::from(secret), Ordering::Release);
        self.slot.stamps.set_backend_pid(pid);
    }

    /// Process id and secret of the backend.
    pub(crate) fn key(&self) -> (i32, i32) {
        let raw = self.key.load(Ordering::Acquire);
        ((raw >> 32) as i32, raw as i32)
    }

    pub(crate) fn traffic(&self) -> Traffic {
        self.slot.stamps.traffic()
    }

    /// A notification has arrived.
    pub(crate) fn notified(&self, notification: &Notification) {
        let word = self.slot.word();
        let holder = (word.state == State::Held).then_some(word.generation);
        self.listeners.deliver(notification, holder);
    }

    /// A log line, on a thread that may wait: the poller holds a lock.
    pub(crate) fn log(&self, level: tracing::Level, line: impl FnOnce() + Send + 'static) {
        if self.detector.sink.reads(level) {
            self.detector.sink.log(level, Box::new(line));
        }
    }

    // ---- what is in flight -------------------------------------------------------------------------------

    /// What is in flight now (`in_flight.rs`).
    pub(crate) fn seen(&self) -> Seen {
        self.task.seen()
    }

    /// True if nothing is in flight, a cancel included: only now does the transaction status mean anything.
    pub(crate) fn is_settled(&self) -> bool {
        self.seen().is_settled() && !self.is_being_cancelled()
    }

    /// The same for a release: what was just queued (a Close of a statement that has gone out of use, say) is sent
    /// first, on this thread, if nobody else is about to.
    pub(crate) fn settles(&self) -> bool {
        if self.task.is_woken()
            && let Some(poller) = self.poller()
        {
            poller.poll_inline(self);
        }
        self.is_settled()
    }

    pub(crate) fn is_being_cancelled(&self) -> bool {
        self.cancels.is_any()
    }

    pub(crate) fn is_ended(&self) -> bool {
        // Whoever hands out stores the slot's word and then looks here; the task's end stores this and then looks at the word.
        // One of them sees the other only if neither look moves in front of its store.
        self.ended.load(Ordering::SeqCst)
    }

    // ---- who polls ---------------------------------------------------------------------------------------

    pub(crate) fn set_poller(&self, poller: Weak<dyn Poll<SessionState>>) {
        let _ = self.poller.set(poller);
    }

    /// Who polls the connection, until its task has ended.
    pub(crate) fn poller(&self) -> Option<Arc<dyn Poll<SessionState>>> {
        self.poller.get()?.upgrade()
    }

    /// An idle connection that a caller polled last is not watched by the runtime: look whether it is still there.
    pub(crate) fn probe(&self) {
        if !self.task.io_mode().watched.load(Ordering::Acquire)
            && let Some(poller) = self.poller()
        {
            poller.probe(self);
        }
    }

    // ---- raw requests ------------------------------------------------------------------------------------

    pub(crate) fn has_requests(&self) -> bool {
        !self.requests.lock().is_empty()
    }

    /// Queues a raw request and wakes the task.
    pub(crate) fn request(&self, request: Request) {
        self.queue(request);
        self.requested();
    }

    /// Only queues it: [`requested`](SessionState::requested) follows.
    pub(crate) fn queue(&self, request: Request) {
        self.requests.lock().push_back(request);
    }

    /// Something was queued. A task that has ended meanwhile does not look at it any more.
    pub(crate) fn requested(&self) {
        // Marked before anybody looks: the poller at this moment polls once more.
        self.task.mark_woken();
        if !self.task.io_mode().by_caller.load(Ordering::SeqCst) {
            match self.poller() {
                Some(poller) => poller.poll_inline(self),
                None => self.task.wake_task(),
            }
        }
        if self.is_ended() {
            self.drop_requests();
        }
    }

    /// The caller learns that there will be no answer.
    pub(crate) fn drop_requests(&self) {
        let requests = std::mem::take(&mut *self.requests.lock());
        for mut request in requests {
            // There is room: nothing has been answered yet.
            let _ = request.replies.start_send(Chunk::REFUSAL);
        }
    }

    /// What the wire may do for a request of this checkout.
    pub(crate) fn holder_state(&self, generation: u64) -> HolderState {
        let word = self.slot.word();
        if word.generation != generation {
            return HolderState::Returned;
        }
        match word.state {
            State::Held => HolderState::Active,
            State::Returning => HolderState::Returning,
            State::Free => HolderState::Returned,
            State::Ended => HolderState::Ended,
        }
    }

    // ---- cancels -----------------------------------------------------------------------------------------

    /// One more cancel is asked for. True if the caller has to see to it that [`cancel`](SessionState::cancel) runs; if
    /// that cannot be had, [`give_up_cancel`](SessionState::give_up_cancel) takes the word back.
    pub(crate) fn ask_for_cancel(&self) -> bool {
        self.cancels.ask()
    }

    pub(crate) fn give_up_cancel(&self) {
        self.cancels.give_up();
    }

    /// Cancels what a checkout runs, as often as that was asked for, and leaves the session alone.
    pub(crate) async fn cancel(self: Arc<Self>, checkout: CheckoutId, lines: Arc<dyn EventSink>) {
        let mut first = true;
        loop {
            let word = self.slot.word();
            // Given back meanwhile with the statement still running: it is waited for, and no less to be cancelled.
            let checked_out = matches!(word.state, State::Held | State::Returning);
            let working = matches!(self.traffic().activity(), Activity::Executing | Activity::Stalled);
            if word.generation == checkout.generation() && checked_out && (first || working) {
                let (pid, secret) = self.key();
                if let Err(CancelFailed { sent: true, .. }) = cancel(&self.peer, pid, secret, &*lines).await {
                    // It may arrive at any time, and would hit whoever has the session then.
                    self.doubtful_cancel.store(true, Ordering::SeqCst);
                }
            }
            first = false;
            if !self.cancels.arrived() {
                break;
            }
        }
        // A return may have waited for this.
        self.task.wake_by_ref();
    }

    // ---- returns -----------------------------------------------------------------------------------------

    /// What a return runs; `None` if there is nobody to give the session back to.
    pub(crate) fn reset(&self) -> Option<crate::config::Reset> {
        self.owner.reset()
    }

    /// The return has settled: the session goes back to its owner.
    pub(crate) fn finish_return(self: &Arc<Self>, generation: u64) {
        let client = {
            let mut client = self.client.lock();
            if self.slot.end_returning(generation, State::Free).is_err() {
                return;
            }
            client.take()
        };
        match client {
            Some(client) => self.owner.clone().returned(self, client),
            // There is nothing to hand out.
            None => {
                self.owner.left(self, RemoveReason::Reset);
                self.end_session();
            }
        }
    }

    /// The return cannot be made clean: the session ends. False if the return had ended before.
    pub(crate) fn refuse_return(&self, generation: u64) -> bool {
        let refused = self.slot.end_returning(generation, State::Ended).is_ok();
        if refused {
            self.owner.left(self, RemoveReason::Reset);
            self.end_session();
        }
        refused
    }

    /// The task has ended and can settle nothing any more.
    pub(crate) fn end_unsettled_return(&self) {
        let word = self.slot.word();
        if word.state == State::Returning && self.slot.end_returning(word.generation, State::Ended).is_ok() {
            self.owner.left(self, RemoveReason::Lost);
        }
    }

    // ---- its end -----------------------------------------------------------------------------------------

    /// Ends the session from outside its task: cancels what may run, then shuts the socket down. The task meets a
    /// closed socket, or its fence.
    pub(crate) fn end_session(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.cut.store(true, Ordering::SeqCst);
        let socket = self.duplicate.lock().take();
        let Some(socket) = socket else {
            self.task.wake_by_ref();
            return;
        };
        // The fence stands. A poll that began before may still send; the closer waits for its end before it looks at
        // what is in flight. The fence's store and that look must not change places (`begin_poll` is the other side).
        fence(Ordering::SeqCst);
        let (pid, secret) = self.key();
        self.owner.end(Ending { socket, peer: self.peer.clone(), pid, secret, task: self.task.clone() });
        self.task.wake_by_ref();
    }

    /// True once nothing more may be sent, with or without a revocation.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    /// Ends an idle session in good manners: its task says Terminate to the server. Whoever asks for that sees to it
    /// that [`end_session`](SessionState::end_session) follows if it takes too long.
    pub(crate) fn terminate(&self, client: BoxedClient) {
        // Dropped instead, the client would abort the task.
        *self.client.lock() = Some(client);
        self.closing.store(true, Ordering::SeqCst);
        self.task.wake_by_ref();
    }

    /// Waits until the task has let go of the session.
    pub(crate) async fn until_gone(&self) {
        let gone = self.let_go.notified();
        let mut gone = std::pin::pin!(gone);
        gone.as_mut().enable();
        if !self.has_let_go.load(Ordering::SeqCst) && !self.is_ended() {
            gone.await;
        }
    }

    /// The task is over. Called from its end and from its drop.
    pub(crate) fn task_ended(&self) {
        if self.ended.swap(true, Ordering::SeqCst) {
            return;
        }
        drop(self.duplicate.lock().take());
        self.listeners.let_go();
        self.drop_requests();
        self.owner.ended(self);
        self.let_go();
    }

    /// The task has let go of its session: a close waits for that.
    pub(crate) fn let_go(&self) {
        let first = !self.has_let_go.swap(true, Ordering::SeqCst);
        self.let_go.notify_waiters();
        if first {
            self.owner.let_go();
        }
    }
}

impl Reclaim for SessionState {
    fn is_awaited(&self) -> bool {
        // Whether it still is, the task finds out when it is polled: by the next look.
        self.task.wake_by_ref();
        self.awaited.load(Ordering::SeqCst) && self.traffic().activity() == Activity::Executing
    }

    fn revoke(&self, revocation: Arc<Revocation>) {
        // The fence first: from here on the task sends nothing and answers with errors. It is woken by
        // `end_session`, which has to see before that whether it was idle.
        let _ = self.revocation.set(revocation);
        self.owner.left(self, RemoveReason::Revoked);
        self.end_session();
        // What is left of the task answers its holder for as long as that keeps the handle: a close must not wait.
        self.let_go();
    }

    fn give_up_return(&self, generation: u64) {
        if self.refuse_return(generation) {
            // Dropping the client aborts the task, which may be stuck with it.
            let client = self.client.lock().take();
            drop(client);
        }
    }
}
