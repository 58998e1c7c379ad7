//! What all clones of a pool, its connections and its tasks share: places, idle connections, time. What is done with
//! them is in `acquire.rs`, `maintenance.rs` and `close.rs`.
//!
//! **Places.** Whoever has a [`Place`] may take an idle connection or make one (`places.rs`). It is free again when the
//! checkout has come back settled, was revoked, or has lost its session: each exactly once, because only the winner of
//! the slot's state says so.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::places::{Places, Take};
use super::record::{self, Record};
use super::refill::Refill;
use super::timing::Timing;
use crate::alert::dispatch::Outbox;
use crate::clock::{Nanos, nanos};
use crate::config::{ConnectConfig, PoolOptions, Reset};
use crate::detect::Detector;
use crate::detect::event::{EventData, RemoveReason};
use crate::detect::stats::count;
use crate::error::{Error, ErrorCode, Result};
use crate::net::connect::Peer;
use crate::process::Process;
use crate::session::closer::Closer;

/// One connection of this pool.
pub(super) type Conn = record::Conn<Shared>;

/// How long an idle session may take to say Terminate. It is two system calls, unless its server or network stands still.
const TERMINATE_LIMIT: Duration = Duration::from_secs(1);

pub(crate) struct Shared {
    /// Itself, for what maintenance starts.
    pub(super) me: Weak<Shared>,
    pub(crate) name: Arc<str>,
    pub(crate) options: RwLock<Arc<PoolOptions>>,
    pub(crate) target: Arc<ConnectConfig>,
    pub(crate) detector: Arc<Detector>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) runtime: Handle,
    pub(crate) process: Process,
    pub(super) places: Places<Conn>,
    /// What a return does; does not change while the pool lives.
    pub(crate) reset: Reset,
    pub(super) timing: Timing,
    /// Sessions that have left the pool and may still exist on the server.
    pub(crate) ending: Arc<AtomicUsize>,
    pub(crate) connecting: AtomicUsize,
    /// Connection tasks that have a session.
    pub(crate) tasks: AtomicUsize,
    /// Nobody new is let in.
    pub(super) closed: AtomicBool,
    /// Nobody is served any more, who had come before either.
    pub(super) over: AtomicBool,
    /// Acquires that wait or connect. They had come before a close that finds them here.
    pub(super) acquiring: AtomicUsize,
    /// The last failure to connect, and when.
    pub(super) last_error: Mutex<Option<(Arc<Error>, Nanos)>>,
    /// Notified when a connection has come back while an acquire waits for one that settles.
    pub(super) returned: Notify,
    pub(super) return_waiters: AtomicUsize,
    /// How often the pool was drained.
    pub(super) drains: AtomicU64,
    /// A pooler was found to stand between: from then on nothing is named.
    behind_pooler: AtomicBool,
    pub(super) warming: AtomicBool,
    /// Held for a look at the time.
    pub(super) refill: Mutex<Refill>,
    pub(crate) _name_claim: super::name::NameClaim,
}

/// A place in the pool, with its connection if it has one. Dropped, the place is free, and the connection idle.
pub(super) struct Place<'a> {
    pool: &'a Arc<Shared>,
    /// False once the place belongs to a checkout.
    taken: bool,
    connection: Option<Conn>,
    /// The connection was made for this very caller: it is handed out once, whatever age or a drain say of it.
    made: bool,
}

impl<'a> Place<'a> {
    /// A place and an idle connection for it, if there are.
    #[inline]
    pub(super) fn take(pool: &'a Arc<Shared>) -> Option<Place<'a>> {
        match pool.places.take() {
            Take::Connection(connection) => {
                Some(Place { pool, taken: true, connection: Some(connection), made: false })
            }
            Take::Place => Some(Place::of(pool)),
            Take::Nothing => None,
        }
    }

    /// For whoever was given one.
    pub(super) fn of(pool: &'a Arc<Shared>) -> Place<'a> {
        Place { pool, taken: true, connection: None, made: false }
    }

    /// The connection in it, or an idle one. Those that may not be checked out any more leave.
    #[inline]
    pub(super) fn idle_connection(&mut self, now: Nanos) -> Option<Conn> {
        loop {
            let connection = self.connection.take().or_else(|| self.pool.places.pop())?;
            if std::mem::take(&mut self.made) && !connection.session.is_ended() {
                return Some(connection);
            }
            connection.session.probe();
            match self.pool.unusable_reason(&connection, now) {
                None => return Some(connection),
                Some(reason) => {
                    self.pool.places.gone();
                    self.pool.discard(connection, reason);
                }
            }
        }
    }

    /// It is a checkout's from here on, whose end frees it.
    #[inline]
    pub(super) fn keep(mut self) {
        self.taken = false;
    }

    /// The same place for a task, which does not keep the pool.
    pub(super) fn into_weak(mut self) -> WeakPlace {
        self.taken = false;
        WeakPlace { pool: Arc::downgrade(self.pool), taken: true, connection: self.connection.take() }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.taken {
            self.pool.give_up_place(self.connection.take());
        }
    }
}

/// A place as a task has it that makes a connection for it; it goes with the pool.
pub(super) struct WeakPlace {
    pool: Weak<Shared>,
    taken: bool,
    connection: Option<Conn>,
}

impl WeakPlace {
    /// A connection was made for it.
    pub(super) fn fill(&mut self, connection: Conn) {
        self.connection = Some(connection);
    }

    pub(super) fn into_strong(mut self, pool: &Arc<Shared>) -> Place<'_> {
        self.taken = false;
        Place { pool, taken: true, connection: self.connection.take(), made: true }
    }
}

impl Drop for WeakPlace {
    fn drop(&mut self) {
        if self.taken
            && let Some(pool) = self.pool.upgrade()
        {
            pool.give_up_place(self.connection.take());
        }
    }
}

impl Shared {
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        name_claim: super::name::NameClaim,
        options: PoolOptions,
        target: ConnectConfig,
        detector: Arc<Detector>,
        outbox: Arc<Outbox>,
        runtime: Handle,
        closer: Arc<Closer>,
    ) -> Arc<Shared> {
        let max_size = options.max_size;
        detector.capacity.store(max_size, Ordering::Relaxed);
        detector.reset_timeout.store(nanos(options.reset_timeout), Ordering::Relaxed);
        let timing = Timing::new(detector.clone(), closer, runtime.clone());
        let shared = Arc::new_cyclic(|me: &Weak<Shared>| Shared {
            me: me.clone(),
            name: detector.name().clone(),
            target: Arc::new(target),
            runtime,
            process: Process::current(),
            places: Places::new(max_size, detector.waiting.clone()),
            reset: options.reset,
            options: RwLock::new(Arc::new(options)),
            timing,
            ending: Arc::default(),
            connecting: AtomicUsize::new(0),
            tasks: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            over: AtomicBool::new(false),
            acquiring: AtomicUsize::new(0),
            last_error: Mutex::new(None),
            returned: Notify::new(),
            return_waiters: AtomicUsize::new(0),
            drains: AtomicU64::new(0),
            behind_pooler: AtomicBool::new(false),
            warming: AtomicBool::new(false),
            refill: Mutex::default(),
            detector,
            outbox,
            _name_claim: name_claim,
        });
        let weak: Weak<Shared> = Arc::downgrade(&shared);
        shared.detector.set_upkeep(weak);
        shared
    }

    pub(crate) fn options(&self) -> Arc<PoolOptions> {
        self.options.read().clone()
    }

    pub(crate) fn is_behind_pooler(&self) -> bool {
        self.behind_pooler.load(Ordering::Acquire)
    }

    /// A pooler stands between us and the server at `peer`.
    pub(super) fn found_pooler(&self, peer: &Peer) {
        if !self.behind_pooler.swap(true, Ordering::AcqRel) {
            tracing::info!(
                target: "leakpool", pool = &*self.name, peer = %peer,
                "a connection pooler stands between this pool and its server (their process ids differ), so nothing is \
                 prepared under a name; statement_cache = true does it all the same, which is right only where each \
                 client keeps its own server session",
            );
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Closed, and with nobody left who had come before and is still to be served.
    pub(crate) fn is_over(&self) -> bool {
        self.is_closed() && (self.over.load(Ordering::SeqCst) || self.acquiring.load(Ordering::SeqCst) == 0)
    }

    #[inline]
    pub(super) fn usable(&self) -> Result<()> {
        self.process.check(&self.name)?;
        if self.is_closed() { Err(closed(&self.name)) } else { Ok(()) }
    }

    // ---- places ------------------------------------------------------------------------------------------

    /// A place is free again; `connection_gone` if it had a connection, which has left the pool.
    pub(crate) fn free_place(&self, connection_gone: bool) {
        self.places.free(connection_gone);
        if self.is_closed() {
            self.timing.changed.notify_waiters();
        }
    }

    /// Whoever had it goes without: a connection in it becomes an idle one.
    fn give_up_place(&self, connection: Option<Conn>) {
        match connection {
            Some(connection) => {
                self.take_back(connection, self.detector.now());
                self.timing.changed.notify_waiters();
            }
            None => self.free_place(false),
        }
    }

    /// A connection has come back and is clean: to be handed out again, unless there is a reason against it.
    pub(crate) fn take_back(&self, connection: Conn, now: Nanos) {
        match self.unusable_reason(&connection, now) {
            None => {
                connection.record.idle_since.store(now, Ordering::Relaxed);
                if let Some(surplus) = self.places.put(connection) {
                    self.discard(surplus, RemoveReason::Resized);
                }
            }
            Some(reason) => {
                self.places.free(true);
                self.discard(connection, reason);
            }
        }
        if self.return_waiters.load(Ordering::SeqCst) > 0 {
            self.returned.notify_waiters();
        }
        if self.is_closed() {
            self.timing.changed.notify_waiters();
        }
    }

    /// For a session that begins now.
    pub(super) fn record(&self, expires_at: Nanos, drains: u64) -> Arc<Record<Shared>> {
        Record::new(self.me.clone(), expires_at, drains, self.options().max_uses, self.detector.now())
    }

    /// Why a connection is not handed out again.
    fn unusable_reason(&self, connection: &Conn, now: Nanos) -> Option<RemoveReason> {
        connection.record.unusable_reason(&connection.session, self.drains.load(Ordering::Relaxed), now)
    }

    /// A connection that was idle, and is out of the books, leaves.
    pub(crate) fn discard(&self, connection: Conn, reason: RemoveReason) {
        let Conn { client, session, .. } = connection;
        let pid = session.slot.stamps.backend_pid();
        session.terminate(client);
        if let Some(closer) = self.timing.closer() {
            closer.run(async move {
                if tokio::time::timeout(TERMINATE_LIMIT, session.until_gone()).await.is_err() {
                    session.end_session();
                }
            });
        }
        self.removed(reason, pid);
    }

    pub(crate) fn removed(&self, reason: RemoveReason, backend_pid: Option<u32>) {
        count(&self.detector.stats.removed);
        self.detector.emit(EventData::Remove { reason, backend_pid });
    }

    pub(crate) fn idle_connection_lost(&self, message: String) {
        // Made again and again, and ended each time: reported once.
        if self.options().min_idle == 0 || self.refill.lock().tells(self.detector.now()) {
            self.detector.emit(EventData::Error { code: ErrorCode::ConnectionLost, message });
        }
        self.detector.wake();
    }

    pub(crate) fn closer(&self) -> Option<Arc<Closer>> {
        self.timing.closer()
    }

    // ---- time --------------------------------------------------------------------------------------------

    /// Waits until a connection has come back, at most for `limit`.
    pub(super) async fn wait_for_return(&self, limit: Duration) {
        let returned = self.returned.notified();
        let _counted = Counted::begin(&self.return_waiters);
        let limit = self.timing.sleep(limit);
        // It may have come back before we were counted.
        if self.places.counts().idle == 0 {
            tokio::select! {
                () = returned => {}
                () = limit => {}
            }
        }
    }
}

/// One more, until it is dropped.
pub(super) struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    pub(super) fn begin(count: &'a AtomicUsize) -> Counted<'a> {
        count.fetch_add(1, Ordering::SeqCst);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(super) fn closed(pool: &str) -> Error {
    Error::new(ErrorCode::PoolClosed, format!("pool {pool:?} is closed"))
}

impl Drop for Shared {
    fn drop(&mut self) {
        if !self.process.is_current() {
            return;
        }
        // Attempts to connect do not keep the pool, and end with it.
        self.timing.changed.notify_waiters();
        self.detector.stop();
        // What is still on its way back has nowhere to go, and no sweeper that limits it.
        self.detector.give_up_returns();
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.name)
            .field("books", &self.detector.stats.books())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
