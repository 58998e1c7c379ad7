//! The control block of one connection: what its task, its holder, the sweeper and the closer share.
//!
//! Who may end what is decided by the slot's state word alone (detect/checkout.rs); whoever wins there takes the
//! deadpool object out of `parked`, and with it the place in the pool. Lock protocol: each lock here is a leaf and
//! is held for a few instructions; nothing is dropped, woken or called while one is held.

use std::collections::VecDeque;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock, Weak};
use std::task::Wake;

use deadpool::managed::Object;
use deadpool_postgres::ClientWrapper;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_postgres::Notification;

use super::cancelling::Cancels;
use super::connect::Peer;
use super::exchange::cache::Statements;
use super::exchange::transport::{Chunk, Request};
use super::in_flight::{Seen, Task};
use super::manager::Manager;
use super::notifications::Listeners;
use super::parameters::Parameters;
use super::revoke::Ending;
use super::shared::Shared;
use super::stream::{Link, Socket};
use super::wheel::{WeakWheel, Wheel};
use crate::alert::log_reads;
use crate::clock::Nanos;
use crate::detect::checkout::{Activity, Slot, State, Traffic};
use crate::detect::event::{RemoveReason, Revocation};
use crate::detect::{Detector, Reclaim};
use crate::error::Result;

/// A client in its box, so that a deadpool object is small to move.
pub(crate) type BoxedClient = Box<ClientWrapper>;

/// What lies in the slot while the connection is lent or on its way back.
#[derive(Default)]
pub(crate) struct Parked {
    /// The place in the pool: there from the acquire until the holding has ended and the return has settled.
    pub(crate) object: Option<Object<Manager>>,
    /// The client, from the release until the return has settled.
    pub(crate) client: Option<BoxedClient>,
}

/// How a checkout stands to its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Held,
    /// Given back, and not settled yet: what is still waited for is sent and answered.
    Returning,
    /// The session is another's, or the pool's.
    Returned,
    /// The session is about to end. The fence, which says why, may not stand yet: what waits goes on waiting for it.
    Ended,
}

/// A slot of the registry in the hands of one connection; given back when nobody stamps it any more.
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

pub(crate) struct Control {
    pub(crate) slot: Arc<Lease>,
    pub(crate) detector: Arc<Detector>,
    pub(crate) shared: Weak<Shared>,
    pub(crate) task: Arc<Task>,
    /// The socket, as long as the session has it.
    pub(super) link: Weak<Link>,
    wheel: OnceLock<WeakWheel>,
    pub(crate) parked: Mutex<Parked>,
    /// Set once, when the session is taken away from its holder: the fence.
    pub(crate) revocation: OnceLock<Arc<Revocation>>,
    /// The session is to end as soon as nothing is in flight on it.
    pub(crate) closing: AtomicBool,
    /// The session is ended from outside: its task sends nothing more, and lets go of its socket. (With a revocation,
    /// the fence says the same, and why.)
    cut: AtomicBool,
    /// The task has let go of the session.
    gone: Notify,
    /// A pooler stands between: nothing that is named would be there for the next batch.
    pub(crate) behind_pooler: AtomicBool,
    /// A cancel was sent and may arrive at any time: the session is not lent again.
    pub(crate) doubtful_cancel: AtomicBool,
    /// The request whose turn it is, or that waits for it, has an asker who waits for its answer.
    pub(crate) awaited: AtomicBool,
    /// The task has ended: there is no session any more.
    pub(crate) ended: AtomicBool,
    /// It is the pool's: the attempt to connect that made it has won. Before, nobody hears of it.
    admitted: AtomicBool,
    /// Counted among the tasks that a close waits for.
    counted: AtomicBool,
    /// True while the observer waits for the server; false while the client does not read what is there.
    pub(crate) read_blocked: AtomicBool,
    /// Process id and secret of the backend, for a cancel.
    key: AtomicU64,
    pub(crate) peer: Arc<Peer>,
    /// A duplicate of the socket's descriptor, so that it can be shut down without a runtime. It keeps the session
    /// alive, so the end of the task, a revoke and a close each take it out.
    socket: Mutex<Option<OwnedFd>>,
    pub(crate) requests: Mutex<VecDeque<Request>>,
    /// What exchanges keep prepared. The one lock that is no leaf: `requests` is taken under it (exchange/cache.rs).
    pub(crate) statements: Mutex<Statements>,
    /// The parameters that the server reports (ParameterStatus), as last seen on the wire.
    pub(crate) parameters: Mutex<Parameters>,
    pub(crate) listeners: Arc<Listeners>,
    /// How often the server has bound a statement: one that failed, with none bound since it was sent, has not run.
    pub(crate) bound: AtomicU64,
    /// From when on it is not lent again; `u64::MAX` = never.
    pub(crate) expires_at: Nanos,
    /// How often the pool had been drained when it was made: drained again, it is not lent any more.
    pub(crate) drains: u64,
    pub(crate) idle_since: AtomicU64,
    /// Checkouts that `max_uses` still allows; `u64::MAX` = no limit.
    pub(crate) uses_left: AtomicU64,
    pub(super) cancels: Cancels,
    pub(crate) late_use_told: AtomicBool,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("slot", &self.slot.index()).field("word", &self.slot.word()).finish()
    }
}

impl Control {
    /// A notification has arrived.
    pub(crate) fn tell(&self, notification: &Notification) {
        let word = self.slot.word();
        let holder = (word.state == State::Held).then_some(word.generation);
        self.listeners.tell(notification, holder);
    }

    pub(crate) fn new(
        shared: &Arc<Shared>,
        slot: Arc<Lease>,
        peer: Arc<Peer>,
        open: &Socket,
        duplicate: OwnedFd,
        expires_at: Nanos,
    ) -> Arc<Control> {
        let detector = shared.detector.clone();
        let now = detector.now();
        let max_uses = shared.options().max_uses;
        let control = Arc::new(Control {
            slot,
            detector,
            shared: Arc::downgrade(shared),
            task: Task::new(open.turn().clone()),
            link: Arc::downgrade(open.link()),
            wheel: OnceLock::new(),
            parked: Mutex::default(),
            revocation: OnceLock::new(),
            closing: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            gone: Notify::new(),
            behind_pooler: AtomicBool::new(shared.is_behind_pooler()),
            doubtful_cancel: AtomicBool::new(false),
            awaited: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            admitted: AtomicBool::new(false),
            counted: AtomicBool::new(false),
            read_blocked: AtomicBool::new(false),
            key: AtomicU64::new(0),
            peer,
            socket: Mutex::new(Some(duplicate)),
            requests: Mutex::default(),
            statements: Mutex::default(),
            parameters: Mutex::default(),
            listeners: Arc::default(),
            bound: AtomicU64::new(0),
            expires_at,
            drains: shared.drains.load(Ordering::SeqCst),
            idle_since: AtomicU64::new(now),
            uses_left: AtomicU64::new(if max_uses == 0 { u64::MAX } else { max_uses }),
            cancels: Cancels::default(),
            late_use_told: AtomicBool::new(false),
        });
        let weak: Weak<Control> = Arc::downgrade(&control);
        control.slot.set_owner(weak);
        control
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

    /// A log line, by way of the pool's dispatcher: whoever drives holds a lock.
    pub(super) fn log(&self, level: tracing::Level, line: impl FnOnce() + Send + 'static) {
        if log_reads(level)
            && let Some(shared) = self.shared.upgrade()
        {
            shared.outbox.log(level, line);
        }
    }

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
            && let Some(wheel) = self.wheel()
        {
            wheel.help(self);
        }
        self.is_settled()
    }

    pub(crate) fn is_being_cancelled(&self) -> bool {
        self.cancels.is_any()
    }

    pub(crate) fn is_ended(&self) -> bool {
        // Whoever lends stores the slot's word and then looks here; the task's end stores this and then looks at the word.
        // One of them sees the other only if neither look moves in front of its store.
        self.ended.load(Ordering::SeqCst)
    }

    pub(super) fn set_wheel(&self, wheel: WeakWheel) {
        let _ = self.wheel.set(wheel);
    }

    /// Where the connection is driven, until its task has ended.
    pub(super) fn wheel(&self) -> Option<Arc<Wheel>> {
        self.wheel.get()?.upgrade()
    }

    /// An idle connection that a caller drove last is not watched by the runtime: look whether it is still there.
    pub(super) fn look(&self) {
        if !self.task.turn().watched.load(Ordering::Acquire)
            && let Some(wheel) = self.wheel()
        {
            wheel.look(self);
        }
    }

    pub(super) fn has_requests(&self) -> bool {
        !self.requests.lock().is_empty()
    }

    /// Queues a raw request and wakes the task.
    pub(crate) fn request(&self, request: Request) {
        self.queue(request);
        self.requested();
    }

    /// Only queues it: [`requested`](Control::requested) follows.
    pub(crate) fn queue(&self, request: Request) {
        self.requests.lock().push_back(request);
    }

    /// Something was queued. A task that has ended meanwhile does not look at it any more.
    pub(crate) fn requested(&self) {
        // Noted before anybody looks: whoever drives at this moment drives once more.
        self.task.note();
        if !self.task.turn().by_caller.load(Ordering::SeqCst) {
            match self.wheel() {
                Some(wheel) => wheel.help(self),
                None => self.task.rouse(),
            }
        }
        if self.is_ended() {
            self.drop_requests();
        }
    }

    /// Whoever asked learns that there will be no answer.
    pub(crate) fn drop_requests(&self) {
        let requests = std::mem::take(&mut *self.requests.lock());
        for mut request in requests {
            // There is room: nothing has been answered yet.
            let _ = request.replies.start_send(Chunk::REFUSAL);
        }
    }

    /// What the wire may do for a request of this checkout.
    pub(crate) fn standing(&self, generation: u64) -> Standing {
        let word = self.slot.word();
        if word.generation != generation {
            return Standing::Returned;
        }
        match word.state {
            State::Held => Standing::Held,
            State::Returning => Standing::Returning,
            State::Free => Standing::Returned,
            State::Ended => Standing::Ended,
        }
    }

    /// Frees the place in the pool for good: the session is not lent again. Whoever won the end of the holding or
    /// of the return calls this, once.
    pub(crate) fn leave_pool(&self) {
        if self.leave_pool_keeping_place()
            && let Some(shared) = self.shared.upgrade()
        {
            shared.put_permit();
        }
    }

    /// The same, but the place stays with the caller.
    pub(crate) fn leave_pool_keeping_place(&self) -> bool {
        let object = self.parked.lock().object.take();
        object.map(Object::take).is_some()
    }

    /// The return has settled: the connection goes back into the pool.
    pub(crate) fn finish_return(&self, generation: u64) {
        let (object, client) = {
            let mut parked = self.parked.lock();
            if self.slot.end_returning(generation, State::Free).is_err() {
                return;
            }
            (parked.object.take(), parked.client.take())
        };
        let now = self.detector.now();
        let (Some(object), Some(shared)) = (self.reunite(object, client, now), self.shared.upgrade()) else {
            return;
        };
        shared.take_back(object, now);
    }

    /// Puts client and object together again, for the next acquire.
    pub(crate) fn reunite(
        &self,
        object: Option<Object<Manager>>,
        client: Option<BoxedClient>,
        now: Nanos,
    ) -> Option<Object<Manager>> {
        let (mut object, client) = (object?, client?);
        object.client = Some(client);
        self.idle_since.store(now, Ordering::Relaxed);
        Some(object)
    }

    /// The return cannot be made clean: the session ends. False if the return had ended before.
    pub(crate) fn refuse_return(&self, generation: u64) -> bool {
        let refused = self.slot.end_returning(generation, State::Ended).is_ok();
        if refused {
            self.leave_pool();
            self.end_session();
            self.removed(RemoveReason::Reset);
        }
        refused
    }

    pub(crate) fn removed(&self, reason: RemoveReason) {
        if let Some(shared) = self.shared.upgrade() {
            shared.removed(reason, self.slot.stamps.backend_pid());
        }
    }

    /// Ends the session from outside its task: cancels what may run, then shuts the socket down. The task meets a
    /// closed socket, or its fence.
    pub(crate) fn end_session(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.cut.store(true, Ordering::SeqCst);
        let socket = self.socket.lock().take();
        let (Some(socket), Some(shared)) = (socket, self.shared.upgrade()) else {
            self.task.wake_by_ref();
            return;
        };
        // The fence stands. A poll that began before may still send; the closer waits for its end before it looks at
        // what is in flight. The fence's store and that look must not change places (`begin_poll` is the other side).
        fence(Ordering::SeqCst);
        let (pid, secret) = self.key();
        shared.close_session(Ending {
            socket,
            peer: self.peer.clone(),
            pid,
            secret,
            task: self.task.clone(),
        });
        self.task.wake_by_ref();
    }

    /// True once nothing more may be sent, with or without a revocation.
    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    /// Ends an idle session in good manners: its task says goodbye to the server. The closer ends the session if that
    /// takes too long.
    pub(crate) fn say_goodbye(self: &Arc<Self>) {
        self.closing.store(true, Ordering::SeqCst);
        self.task.wake_by_ref();
        if let Some(closer) = self.shared.upgrade().and_then(|shared| shared.closer()) {
            closer.limit_goodbye(self.clone());
        }
    }

    /// Waits until the task has let go of the session.
    pub(super) async fn until_gone(&self) {
        let gone = self.gone.notified();
        let mut gone = std::pin::pin!(gone);
        gone.as_mut().enable();
        if self.counted.load(Ordering::SeqCst) && !self.is_ended() {
            gone.await;
        }
    }

    /// The task is over. Called once, from its end or its drop.
    pub(crate) fn task_ended(&self) {
        if self.ended.swap(true, Ordering::SeqCst) {
            return;
        }
        drop(self.socket.lock().take());
        self.listeners.let_go();
        self.drop_requests();
        if !self.admitted.load(Ordering::SeqCst) {
            return self.session_ended();
        }
        if self.detector.lost(&self.slot) {
            self.leave_pool();
            self.removed(RemoveReason::Lost);
        } else {
            self.end_unsettled_return();
        }
        if self.slot.word().state == State::Free
            && !self.closing.load(Ordering::SeqCst)
            && let Some(shared) = self.shared.upgrade()
        {
            shared.idle_died(format!(
                "an idle connection to {} ended: the server closed it, or the network did",
                self.peer
            ));
        }
        self.session_ended();
    }

    /// The session is the pool's from here on.
    pub(crate) fn admit(&self) {
        self.admitted.store(true, Ordering::SeqCst);
    }

    /// There is a task now that drives the session.
    pub(crate) fn task_began(&self, shared: &Shared) {
        self.counted.store(true, Ordering::SeqCst);
        shared.task_began();
    }

    /// The task has let go of its session, once: a close waits for that. (The tombstone lives on for as long as a
    /// late holder keeps its handle, which may be for ever.)
    pub(crate) fn session_ended(&self) {
        let counted = self.counted.swap(false, Ordering::SeqCst);
        self.gone.notify_waiters();
        if counted && let Some(shared) = self.shared.upgrade() {
            shared.task_ended();
        }
    }

    /// The task has ended and can settle nothing any more.
    pub(crate) fn end_unsettled_return(&self) {
        let word = self.slot.word();
        if word.state == State::Returning && self.slot.end_returning(word.generation, State::Ended).is_ok() {
            self.leave_pool();
            self.removed(RemoveReason::Lost);
        }
    }
}

impl Reclaim for Control {
    fn is_awaited(&self) -> bool {
        // Whether it still is, the task finds out when it is polled: by the next look.
        self.task.wake_by_ref();
        self.awaited.load(Ordering::SeqCst) && self.traffic().activity() == Activity::Executing
    }

    fn revoke(&self, revocation: Arc<Revocation>) {
        // The fence first: from here on the task sends nothing and answers with errors. It is woken by
        // `end_session`, which has to see before that whether it was idle.
        let _ = self.revocation.set(revocation);
        self.leave_pool();
        self.end_session();
        self.removed(RemoveReason::Revoked);
        // What is left of the task answers its holder for as long as that keeps the handle: a close must not wait.
        self.session_ended();
    }

    fn give_up_return(&self, generation: u64) {
        if self.refuse_return(generation) {
            // Dropping the client aborts the task, which may be stuck with it.
            let client = self.parked.lock().client.take();
            drop(client);
        }
    }
}
