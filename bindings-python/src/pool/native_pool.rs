//! The pool as Python has it: made and closed, handing out and taking back. `Pool` and `AsyncPool` derive from `NativePool`;
//! what it shows is in `watching.rs`, its context managers in `checkout.rs`.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use leakpool::{AcquireOptions, Names, OPTIONS, Pool, Settings, SiteId, StackCapture};
use parking_lot::Mutex;
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};
use pyo3::{PyTraverseError, PyVisit};

use crate::clock::ManualClock;
use crate::errors::{OrRaise, named};
use crate::event_loop::aio::{Operation, finish};
use crate::event_loop::waiting::block_on;
use crate::introspection::events::Subscribed;
use crate::introspection::frames::Stacks;
use crate::introspection::snapshot::CheckoutInfo;
use crate::options;
use crate::pool::acquire::Acquire;
use crate::pool::connection::NativeConnection;
use crate::pool::owner;
use crate::pool::shared::{LiveCheckout, PoolShared};

/// What a pool is to be, until it is opened.
struct Setup {
    target: leakpool::ConnectConfig,
    settings: Settings,
    clock: Option<leakpool::ManualClock>,
}

/// What one acquire may say about itself.
#[derive(Clone, Default)]
pub(crate) struct AcquireRequest {
    pub(crate) timeout: Option<Duration>,
    pub(crate) label: Option<Arc<str>>,
    pub(crate) expected: Duration,
}

impl AcquireRequest {
    pub(crate) fn new(
        timeout: Option<f64>,
        label: Option<&str>,
        expected_duration: Option<f64>,
    ) -> PyResult<AcquireRequest> {
        Ok(AcquireRequest {
            timeout: options::timeout(timeout)?,
            label: label.map(Arc::from),
            expected: options::seconds("expected_duration", expected_duration.unwrap_or(0.0))?,
        })
    }
}

/// A pool of connections.
#[pyclass(frozen, subclass, weakref, module = "leakpool._leakpool")]
pub(crate) struct NativePool {
    setup: Mutex<Option<Setup>>,
    shared: OnceLock<Arc<PoolShared>>,
    closed: AtomicBool,
    class: OnceLock<Py<PyType>>,
    /// Its `__init__` need not be called.
    pub(crate) plain: AtomicBool,
    stacks: Stacks,
    capture: AtomicU8,
    depth: AtomicUsize,
    /// There are callbacks for connections that are checked out, or come back: the slow way.
    pub(crate) on_check_out: AtomicBool,
    pub(crate) on_return: AtomicBool,
    pub(crate) subscribed: Mutex<Vec<Arc<Subscribed>>>,
    /// Acquires that found nothing idle, and acquires that failed.
    pub(crate) queued: AtomicU64,
    pub(crate) failed: AtomicU64,
}

fn code(capture: StackCapture) -> u8 {
    match capture {
        StackCapture::Full => 0,
        StackCapture::Site => 1,
        StackCapture::Off => 2,
    }
}

impl NativePool {
    pub(crate) fn shared(&self, py: Python<'_>) -> PyResult<&Arc<PoolShared>> {
        if let Some(shared) = self.shared.get() {
            return Ok(shared);
        }
        Err(self.not_open(py))
    }

    #[cold]
    fn not_open(&self, py: Python<'_>) -> PyErr {
        let text = match (self.closed.load(Ordering::SeqCst), self.setup.lock().is_some()) {
            (true, _) => "the pool is already closed",
            (false, true) => "the pool is not open yet",
            (false, false) => return PyRuntimeError::new_err("__init__() of the pool was not called"),
        };
        named(py, "PoolClosed", text)
    }

    /// Follows a policy.
    fn follow(&self, shared: &PoolShared) {
        let policy = shared.pool.policy();
        self.capture.store(code(policy.stack_capture), Ordering::Relaxed);
        self.depth.store(policy.stack_depth, Ordering::Relaxed);
    }

    pub(crate) fn reconfigured(&self, py: Python<'_>, changes: &Bound<'_, PyDict>) -> PyResult<()> {
        let shared = self.shared(py)?;
        let mut settings = shared.settings();
        options::set_running(&mut settings, changes)?;
        shared.reconfigure(settings).or_raise(py)?;
        self.follow(shared);
        Ok(())
    }

    /// Where the running Python code is.
    fn site(&self, py: Python<'_>, shared: &PoolShared) -> PyResult<SiteId> {
        let capture = match self.capture.load(Ordering::Relaxed) {
            0 => StackCapture::Full,
            1 => StackCapture::Site,
            _ => return Ok(SiteId::OFF),
        };
        // In a forked child nothing is captured; the acquire says what is wrong.
        let depth = self.depth.load(Ordering::Relaxed);
        self.stacks.here(py, capture, depth, |frames| shared.pool.host_site(frames))
    }

    pub(crate) fn wanted(wanted: &AcquireRequest, owner: Option<Arc<str>>) -> AcquireOptions {
        let mut options = AcquireOptions::new().expected_duration(wanted.expected);
        options.timeout = wanted.timeout;
        options.label = wanted.label.clone();
        options.owner = owner;
        options
    }

    /// Nothing is idle: counts that.
    #[cold]
    pub(crate) fn queue(&self) {
        self.queued.fetch_add(1, Ordering::Relaxed);
    }

    fn class<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyType>> {
        match self.class.get() {
            Some(class) => Ok(class.bind(py)),
            None => Err(PyRuntimeError::new_err("__init__() of the pool was not called")),
        }
    }

    /// A connection for the calling thread, which waits for it.
    fn acquire_once<'py>(
        slf: &Bound<'py, NativePool>,
        wanted: &AcquireRequest,
    ) -> PyResult<Bound<'py, NativeConnection>> {
        let (py, pool) = (slf.py(), slf.get());
        let shared = pool.shared(py)?;
        let site = pool.site(py, shared)?;
        let options = NativePool::wanted(wanted, Some(owner::thread_name(py)?));
        let held = match shared.check_out_idle(site, options.clone()) {
            Ok(Some(held)) => held,
            Ok(None) => {
                pool.queue();
                let checked_out = block_on(py, shared.runtime(), shared.check_out(site, options))?;
                pool.counted(checked_out).or_raise(py)?
            }
            Err(e) => return pool.counted(Err(e)).or_raise(py),
        };
        owner::thread_has(shared, held.id);
        NativeConnection::checked_out(pool.class(py)?, held, slf.clone().unbind(), None)
    }

    pub(crate) fn counted<T>(&self, outcome: leakpool::Result<T>) -> leakpool::Result<T> {
        if outcome.is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    /// The same with the callbacks `configure` and `check`: a connection that does not pass is closed, and another one
    /// is tried until the time-out.
    pub(crate) fn acquire<'py>(
        slf: &Bound<'py, NativePool>,
        wanted: &AcquireRequest,
    ) -> PyResult<Bound<'py, NativeConnection>> {
        if !slf.get().on_check_out.load(Ordering::Relaxed) {
            return NativePool::acquire_once(slf, wanted);
        }
        let py = slf.py();
        let limit = match wanted.timeout {
            Some(limit) => limit,
            None => slf.get().shared(py)?.pool.options().acquire_timeout,
        };
        let begun = Instant::now();
        let mut wanted = wanted.clone();
        loop {
            let connection = NativePool::acquire_once(slf, &wanted)?;
            let passed = slf.call_method1(intern!(py, "_prepare"), (&connection,));
            match passed.and_then(|passed| passed.is_truthy()) {
                Ok(true) => return Ok(connection),
                Ok(false) => connection.get().give_back(py, true)?,
                Err(e) => {
                    connection.get().give_back(py, true)?;
                    return Err(e);
                }
            }
            wanted.timeout = Some(match limit {
                Duration::ZERO => Duration::ZERO,
                limit => limit.saturating_sub(begun.elapsed()).max(Duration::from_nanos(1)),
            });
        }
    }

    /// A connection for the running task: acquired when it is awaited, named by the line that asks now.
    pub(crate) fn acquire_async(slf: &Bound<'_, NativePool>, wanted: &AcquireRequest) -> PyResult<Acquire> {
        let (py, pool) = (slf.py(), slf.get());
        let shared = pool.shared(py)?;
        Ok(Acquire {
            pool: slf.clone().unbind(),
            block: None,
            site: pool.site(py, shared)?,
            wanted: wanted.clone(),
        })
    }

    pub(crate) fn checked_out<'py>(
        &self,
        slf: &Bound<'py, NativePool>,
        held: Arc<LiveCheckout>,
        task: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, NativeConnection>> {
        let py = slf.py();
        let watch = match task {
            Some(task) => Some(owner::task_has(task, &held.pool, held.id)?),
            None => None,
        };
        NativeConnection::checked_out(self.class(py)?, held, slf.clone().unbind(), watch)
    }
}

#[pymethods]
impl NativePool {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> NativePool {
        NativePool {
            setup: Mutex::default(),
            shared: OnceLock::new(),
            closed: AtomicBool::new(false),
            class: OnceLock::new(),
            plain: AtomicBool::new(false),
            stacks: Stacks::default(),
            capture: AtomicU8::new(0),
            depth: AtomicUsize::new(32),
            on_check_out: AtomicBool::new(false),
            on_return: AtomicBool::new(false),
            subscribed: Mutex::default(),
            queued: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// What it is to be: where to connect, the options by the core's table, the class of its connections.
    #[pyo3(signature = (conninfo, parameters, options, connection_class, *, plain=false, on_check_out=false, on_return=false, clock=None))]
    #[allow(clippy::too_many_arguments)]
    fn _set_up(
        &self,
        py: Python<'_>,
        conninfo: &str,
        parameters: &Bound<'_, PyDict>,
        options: &Bound<'_, PyDict>,
        connection_class: &Bound<'_, PyType>,
        plain: bool,
        on_check_out: bool,
        on_return: bool,
        clock: Option<&Bound<'_, ManualClock>>,
    ) -> PyResult<()> {
        if !connection_class.is_subclass_of::<NativeConnection>()? {
            return Err(PyTypeError::new_err(format!(
                "connection_class must be a subclass of leakpool's Connection or AsyncConnection, not {}",
                connection_class.qualname()?
            )));
        }
        let mut settings = Settings::defaults(Names::Python);
        options::set_all(&mut settings, options)?;
        settings.validate().or_raise(py)?;
        let target = options::target(py, conninfo, parameters)?;
        if self.class.set(connection_class.clone().unbind()).is_err() {
            return Err(PyRuntimeError::new_err("__init__() of the pool was called before"));
        }
        let clock = clock.map(|clock| clock.get().0.clone());
        *self.setup.lock() = Some(Setup { target, settings, clock });
        self.plain.store(plain, Ordering::Relaxed);
        self.on_check_out.store(on_check_out, Ordering::Relaxed);
        self.on_return.store(on_return, Ordering::Relaxed);
        Ok(())
    }

    /// Opens it, if it is not open.
    fn _open(&self, py: Python<'_>) -> PyResult<()> {
        if self.closed.load(Ordering::SeqCst) {
            let text = "the pool has already been opened/closed and cannot be reused";
            return Err(named(py, "PoolClosed", text));
        }
        let setup = self.setup.lock().take();
        let Some(Setup { target, settings, clock }) = setup else {
            return self.shared(py).map(drop);
        };
        let runtime = leakpool::host::runtime().or_raise(py)?;
        let mut builder = Pool::builder()
            .connect_config(target.clone())
            .options(settings.pool)
            .policy(settings.leak)
            .runtime(runtime.handle().clone());
        if let Some(clock) = clock {
            builder = builder.clock(clock);
        }
        let pool = builder.build().or_raise(py)?;
        let shared = PoolShared::new(pool, target, runtime);
        self.follow(&shared);
        let _ = self.shared.set(shared);
        Ok(())
    }

    #[getter]
    fn _opened(&self) -> bool {
        self.shared.get().is_some()
    }

    /// True if it is not open.
    #[getter]
    fn closed(&self) -> bool {
        self.shared.get().is_none_or(|shared| shared.pool.is_closed())
    }

    #[getter]
    fn name(&self) -> Option<String> {
        let opened = self.shared.get().map(|shared| shared.name.to_string());
        opened.or_else(|| self.setup.lock().as_ref().and_then(|setup| setup.settings.pool.name.clone()))
    }

    /// The options in force, by their names in Python, as texts.
    fn options(&self, py: Python<'_>) -> PyResult<Vec<(&'static str, String)>> {
        let settings = match self.shared.get() {
            Some(shared) => shared.settings(),
            None => match &*self.setup.lock() {
                Some(setup) => setup.settings.clone(),
                None => Settings::defaults(Names::Python),
            },
        };
        let shown =
            |spec: &leakpool::OptionSpec| Ok((spec.python, settings.get(Names::Python, spec.python)?));
        OPTIONS.iter().map(shown).collect::<leakpool::Result<Vec<_>>>().or_raise(py)
    }

    /// (min_size, max_size).
    fn _sizes(&self) -> (usize, usize) {
        let of = |options: &leakpool::PoolOptions| (options.min_idle, options.max_size);
        match (self.shared.get(), &*self.setup.lock()) {
            (Some(shared), _) => of(&shared.pool.options()),
            (None, Some(setup)) => of(&setup.settings.pool),
            (None, None) => (0, 0),
        }
    }

    /// In seconds; 0 = for ever.
    fn _acquire_timeout(&self, py: Python<'_>) -> PyResult<f64> {
        Ok(self.shared(py)?.pool.options().acquire_timeout.as_secs_f64())
    }

    /// Takes back nothing from here on, ends what is idle, waits for holders that look honest.
    #[pyo3(signature = (timeout=None))]
    fn _close(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Vec<CheckoutInfo>> {
        let limit = timeout.map(|timeout| options::seconds("timeout", timeout)).transpose()?;
        let Some(shared) = self.closing() else { return Ok(Vec::new()) };
        let limit = limit.unwrap_or_else(|| shared.pool.options().close_timeout);
        let closed = block_on(py, shared.runtime(), shared.pool.close_within(limit))?;
        already_closed(closed).or_raise(py).map(CheckoutInfo::all)
    }

    #[pyo3(signature = (timeout=None))]
    fn _close_async(&self, timeout: Option<f64>) -> PyResult<Operation> {
        let limit = timeout.map(|timeout| options::seconds("timeout", timeout)).transpose()?;
        let shared = self.closing().cloned();
        Ok(Operation::new(None, async move {
            let closed = match shared {
                Some(shared) => {
                    let limit = limit.unwrap_or_else(|| shared.pool.options().close_timeout);
                    already_closed(shared.pool.close_within(limit).await)
                }
                None => Ok(Vec::new()),
            };
            finish(closed, |py, held| Ok(CheckoutInfo::all(held).into_pyobject(py)?.into_any().unbind()))
        }))
    }

    /// Waits until there are that many connections; false if the time is over first.
    fn _wait(&self, py: Python<'_>, size: usize, timeout: f64) -> PyResult<bool> {
        let limit = options::seconds("timeout", timeout)?;
        let shared = self.shared(py)?;
        block_on(py, shared.runtime(), shared.pool.wait_until_open(size, limit))
    }

    fn _wait_async(&self, py: Python<'_>, size: usize, timeout: f64) -> PyResult<Operation> {
        let limit = options::seconds("timeout", timeout)?;
        let shared = self.shared(py)?.clone();
        Ok(Operation::new(None, async move {
            let filled = shared.pool.wait_until_open(size, limit).await;
            finish(Ok(filled), |py, filled| Ok(filled.into_pyobject(py)?.to_owned().into_any().unbind()))
        }))
    }

    fn _resize(&self, py: Python<'_>, min_size: usize, max_size: usize) -> PyResult<()> {
        self.shared(py)?.pool.resize_between(min_size, max_size).or_raise(py)
    }

    /// Closes what is idle now, and what is checked out when it comes back.
    fn _drain(&self, py: Python<'_>) -> PyResult<()> {
        self.shared(py)?.pool.drain().or_raise(py)
    }

    /// A connection for the calling thread.
    #[pyo3(signature = (timeout=None, *, label=None, expected_duration=None))]
    fn _getconn<'py>(
        slf: &Bound<'py, Self>,
        timeout: Option<f64>,
        label: Option<&str>,
        expected_duration: Option<f64>,
    ) -> PyResult<Bound<'py, NativeConnection>> {
        NativePool::acquire(slf, &AcquireRequest::new(timeout, label, expected_duration)?)
    }

    /// A connection for the running task, to be awaited; without the callbacks.
    #[pyo3(signature = (timeout=None, *, label=None, expected_duration=None))]
    fn _getconn_async(
        slf: &Bound<'_, Self>,
        timeout: Option<f64>,
        label: Option<&str>,
        expected_duration: Option<f64>,
    ) -> PyResult<Operation> {
        let acquire =
            NativePool::acquire_async(slf, &AcquireRequest::new(timeout, label, expected_duration)?)?;
        Ok(Operation::beginning(acquire))
    }

    /// A connection that is idle now, for the pool's own use; `None` if there is none.
    fn _idle<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, NativeConnection>>> {
        let (py, pool) = (slf.py(), slf.get());
        let shared = pool.shared(py)?;
        let site = pool.site(py, shared)?;
        let wanted = AcquireRequest { label: Some("check()".into()), ..AcquireRequest::default() };
        match shared.check_out_idle(site, NativePool::wanted(&wanted, None)).or_raise(py)? {
            Some(held) => {
                NativeConnection::checked_out(pool.class(py)?, held, slf.clone().unbind(), None).map(Some)
            }
            None => Ok(None),
        }
    }

    /// True the first time that it is asked about this session.
    fn _is_new(&self, py: Python<'_>, connection: &Bound<'_, NativeConnection>) -> PyResult<bool> {
        let held = connection.get().held(py)?;
        Ok(held.pool.is_new_session(&held))
    }

    /// Gives back what `_getconn` gave. With something to be done about it, `_give_back` does it.
    fn _putconn(slf: &Bound<'_, Self>, conn: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let own = conn.cast::<NativeConnection>().ok().filter(|conn| conn.get().is_of(slf));
        match own {
            Some(own) if !slf.get().on_return.load(Ordering::Relaxed) => own.get().give_back(py, false),
            Some(_) => slf.call_method1(intern!(py, "_give_back"), (conn,)).map(drop),
            None => NativePool::_check_own(slf, conn),
        }
    }

    /// Refuses what is not one of its own connections that is checked out.
    fn _check_own(slf: &Bound<'_, Self>, connection: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let Ok(own) = connection.cast::<NativeConnection>() else {
            let class = connection.get_type().fully_qualified_name()?;
            return Err(PyTypeError::new_err(format!(
                "putconn() takes a connection of this pool, not {class}"
            )));
        };
        let name = || slf.get().name().unwrap_or_default();
        let text = match own.get().pool(py) {
            Some(pool) if pool.is(slf) => return Ok(()),
            Some(pool) => {
                let other = pool.get().name().unwrap_or_default();
                format!("it comes from pool {other:?}")
            }
            None if own.get().was_of_pool() => "it was given back before".to_owned(),
            None => "it doesn't come from any pool".to_owned(),
        };
        let connection = connection.repr()?;
        let text =
            format!("can't return connection to pool {:?}, {text}: {}", name(), connection.to_string_lossy());
        Err(PyValueError::new_err(text))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Some(class) = self.class.get() {
            visit.call(class)?;
        }
        self.stacks.traverse(&visit)?;
        if let Some(subscribed) = self.subscribed.try_lock() {
            for one in &*subscribed {
                one.traverse(&visit)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        self.unsubscribe();
    }
}

impl NativePool {
    /// The pool, if it is there to be closed.
    fn closing(&self) -> Option<&Arc<PoolShared>> {
        self.closed.store(true, Ordering::SeqCst);
        let never_opened = self.setup.lock().take();
        drop(never_opened);
        self.shared.get().filter(|shared| !shared.pool.is_closed())
    }

    /// Lets every callback go.
    fn unsubscribe(&self) {
        let subscribed = mem::take(&mut *self.subscribed.lock());
        for one in subscribed {
            one.end();
        }
    }
}

impl Drop for NativePool {
    fn drop(&mut self) {
        self.unsubscribe();
    }
}

/// Closed by another caller at the same time: then that is that.
fn already_closed(
    closed: leakpool::Result<Vec<leakpool::CheckoutInfo>>,
) -> leakpool::Result<Vec<leakpool::CheckoutInfo>> {
    match closed {
        Err(e) if e.code() == leakpool::ErrorCode::PoolClosed => Ok(Vec::new()),
        closed => closed,
    }
}
