//! What is shared without Python: a pool as its connections know it, and one checkout as those know it who are inside a
//! call on it.

use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use leakpool::host::{HostRuntime, SharedCheckout};
use leakpool::{
    AcquireOptions, CancelHandle, CheckoutId, ConnectConfig, Connection, ErrorCode, Host, Names, Pool,
    Result, Settings, SiteId,
};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tokio::runtime::Handle;

/// A pool.
pub(crate) struct PoolShared {
    /// Not dropped in a forked child, where threads, sockets and locks are the parent's.
    pub(crate) pool: ManuallyDrop<Pool>,
    pub(crate) name: Arc<str>,
    target: ConnectConfig,
    /// The server's processes whose sessions were configured, by the slot of their checkouts.
    configured: Mutex<HashMap<u64, u32>>,
    /// Last: everything above may need it to end.
    runtime: HostRuntime,
}

impl PoolShared {
    pub(crate) fn new(pool: Pool, target: ConnectConfig, runtime: HostRuntime) -> Arc<PoolShared> {
        let name = Arc::from(pool.name());
        Arc::new(PoolShared {
            pool: ManuallyDrop::new(pool),
            name,
            target,
            configured: Mutex::default(),
            runtime,
        })
    }

    pub(crate) fn runtime(&self) -> &Handle {
        self.runtime.handle()
    }

    /// Where its sessions are, by libpq's names; never the password.
    pub(crate) fn connect_info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let list = |text: &dyn Fn(&leakpool::Endpoint) -> String| {
            self.target.endpoints.iter().map(text).collect::<Vec<_>>().join(",")
        };
        let info = PyDict::new(py);
        info.set_item("user", &self.target.user)?;
        info.set_item("dbname", &self.target.dbname)?;
        info.set_item("host", list(&|endpoint| host(&endpoint.host)))?;
        info.set_item("port", list(&|endpoint| endpoint.port.to_string()))?;
        if let Some(options) = &self.target.options {
            info.set_item("options", options)?;
        }
        Ok(info)
    }

    pub(crate) fn settings(&self) -> Settings {
        let mut settings = Settings::defaults(Names::Python);
        settings.pool = (*self.pool.options()).clone();
        settings.leak = (*self.pool.policy()).clone();
        settings
    }

    /// Puts leak options in force.
    pub(crate) fn reconfigure(&self, wanted: Settings) -> Result<()> {
        self.pool.reconfigure(wanted.leak)
    }

    /// An idle connection at once.
    pub(crate) fn check_out_idle(
        self: &Arc<Self>,
        site: SiteId,
        options: AcquireOptions,
    ) -> Result<Option<Arc<LiveCheckout>>> {
        match self.pool.try_acquire_site(site, options) {
            Ok(connection) => Ok(Some(LiveCheckout::new(connection, self))),
            Err(e) if e.code() == ErrorCode::NoneIdle => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// A connection, when there is one.
    pub(crate) fn check_out(
        self: &Arc<Self>,
        site: SiteId,
        options: AcquireOptions,
    ) -> impl Future<Output = Result<Arc<LiveCheckout>>> + Send + use<> {
        let shared = self.clone();
        let acquire = self.pool.acquire_site(site, options);
        async move { Ok(LiveCheckout::new(acquire.await?, &shared)) }
    }

    pub(crate) fn is_live(&self, id: CheckoutId) -> bool {
        self.pool.is_live(id)
    }

    /// True the first time that it is asked about a session.
    pub(crate) fn is_new_session(&self, held: &LiveCheckout) -> bool {
        let Some(pid) = held.connection().and_then(Connection::backend_pid) else { return true };
        let slot = held.id.slot() as u64;
        self.configured.lock().insert(slot, pid) != Some(pid)
    }
}

impl Drop for PoolShared {
    fn drop(&mut self) {
        if self.pool.check_process().is_ok() {
            // SAFETY: nobody can use it after this.
            unsafe { ManuallyDrop::drop(&mut self.pool) };
        }
    }
}

fn host(host: &Host) -> String {
    match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    }
}

/// One checkout, as the calls on it share it, with what lies open on it.
pub(crate) struct LiveCheckout {
    checkout: SharedCheckout,
    pub(crate) id: CheckoutId,
    pub(crate) pool: Arc<PoolShared>,
    /// A request was given up, and its answer may still be on its way.
    abandoned: AtomicBool,
    /// How many requests are under way.
    pub(crate) requests: AtomicUsize,
    /// What lies open on it. Locked for an instant, with nothing else.
    open: Mutex<Vec<Weak<dyn LetGo>>>,
}

/// A stream or a COPY that lies open: let go of when its checkout is given back, whoever still has the object.
pub(crate) trait LetGo: Send + Sync {
    fn let_go(&self);
}

impl<T: Send> LetGo for Mutex<Option<T>> {
    fn let_go(&self) {
        let open = self.lock().take();
        drop(open);
    }
}

impl LiveCheckout {
    fn new(connection: Connection, pool: &Arc<PoolShared>) -> Arc<LiveCheckout> {
        let id = connection.id();
        Arc::new(LiveCheckout {
            checkout: SharedCheckout::new(connection),
            id,
            pool: pool.clone(),
            abandoned: AtomicBool::new(false),
            requests: AtomicUsize::new(0),
            open: Mutex::default(),
        })
    }

    pub(crate) fn connection(&self) -> Option<&Connection> {
        self.checkout.connection()
    }

    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::SeqCst);
    }

    /// The answer to a request that was given up is still being thrown away: the transaction status is not known.
    pub(crate) fn is_being_cleared(&self) -> bool {
        if !self.abandoned.load(Ordering::SeqCst) {
            return false;
        }
        let settled = self.connection().is_none_or(Connection::is_settled);
        if settled {
            self.abandoned.store(false, Ordering::SeqCst);
        }
        !settled
    }

    /// What was opened now is not to keep the checkout from being given back.
    pub(crate) fn opened<T: Send + 'static>(&self, open: &Arc<Mutex<Option<T>>>) {
        let open: Weak<Mutex<Option<T>>> = Arc::downgrade(open);
        let mut all = self.open.lock();
        all.retain(|other| other.strong_count() > 0);
        all.push(open);
    }

    /// Whoever worked on what is open puts it back, unless the checkout was given back meanwhile.
    pub(crate) fn put_back<T: Send>(&self, open: &Mutex<Option<T>>, value: T) {
        let mut place = open.lock();
        if self.checkout.is_released() {
            drop(place);
            drop(value);
        } else {
            *place = Some(value);
        }
    }

    /// Gives it back: at once, or when the last call on it that is under way has returned.
    pub(crate) fn give_back(self: Arc<LiveCheckout>, broken: bool) -> Result<()> {
        self.checkout.ask_for_release(broken);
        let open = std::mem::take(&mut *self.open.lock());
        for open in open.iter().filter_map(Weak::upgrade) {
            open.let_go();
        }
        Arc::into_inner(self).map_or(Ok(()), |held| held.checkout.end())
    }
}

/// A request that is under way.
pub(crate) struct Request(Arc<LiveCheckout>);

impl Request {
    pub(crate) fn on(held: Arc<LiveCheckout>) -> Request {
        held.requests.fetch_add(1, Ordering::Relaxed);
        Request(held)
    }
}

impl std::ops::Deref for Request {
    type Target = Arc<LiveCheckout>;

    fn deref(&self) -> &Arc<LiveCheckout> {
        &self.0
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How what runs on a connection is given up: first by asking the server, then by turning away.
pub(crate) struct GiveUp {
    held: Weak<LiveCheckout>,
    handle: Option<CancelHandle>,
}

impl GiveUp {
    pub(crate) fn on(held: &Arc<LiveCheckout>) -> GiveUp {
        let handle = held.connection().map(Connection::cancel_handle);
        GiveUp { held: Arc::downgrade(held), handle }
    }

    /// Asks the server to cancel what runs. Nothing left to cancel is no error.
    pub(crate) fn ask(&self) {
        let _ = self.handle.as_ref().map(CancelHandle::cancel);
    }

    /// Nobody waits for the answer any more.
    pub(crate) fn turn_away(&self) {
        if let Some(held) = self.held.upgrade() {
            held.abandon();
        }
    }
}

/// Seconds of Python as a duration; zero for what is negative or no number.
pub(crate) fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(if seconds > 0.0 { Duration::MAX } else { Duration::ZERO })
}
