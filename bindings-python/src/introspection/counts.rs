//! What a pool shows of itself, and what can be done about it by hand.

use leakpool::{CheckoutId, HistogramSnapshot, Metrics, PoolStatus};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt};

use crate::errors::{OrRaise, named};
use crate::introspection::events::{self, Handle, Subscribed};
use crate::introspection::snapshot::{CheckoutInfo, Site};
use crate::options;
use crate::pool::connection::NativeConnection;
use crate::pool::native_pool::NativePool;

/// How full a pool is, at one moment.
#[pyclass(frozen, name = "PoolStatus", module = "leakpool._leakpool")]
pub(crate) struct Status(PoolStatus);

impl Status {
    pub(crate) fn new(status: PoolStatus) -> Status {
        Status(status)
    }
}

macro_rules! getters {
    ($class:ident, |$this:ident| { $($(#[$doc:meta])* $name:ident: $type:ty = $value:expr;)+ } $(, $($more:tt)*)?) => {
        #[pymethods]
        impl $class {
            $($(#[$doc])* #[getter] fn $name(&self) -> $type { let $this = &self.0; $value })+

            /// Every number by its name.
            fn as_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
                let dict = PyDict::new(py);
                $(dict.set_item(stringify!($name), self.$name())?;)+
                Ok(dict)
            }

            $($($more)*)?
        }
    };
}

getters!(Status, |s| {
    name: String = s.name.to_string();
    max_size: usize = s.max_size;
    size: usize = s.size;
    idle: usize = s.idle;
    in_use: usize = s.in_use;
    returning: usize = s.returning;
    connecting: usize = s.connecting;
    waiting: usize = s.waiting;
    ending: usize = s.ending;
    closed: bool = s.closed;
    utilization: f64 = s.utilization;
    leaked_now: usize = s.leaked_now;
}, fn __str__(&self) -> String {
    self.0.to_string()
}

fn __repr__(&self) -> String {
    format!("<PoolStatus {}>", self.0)
});

/// Durations, in seconds: how many, their sum, and how many up to each bound.
#[pyclass(frozen, module = "leakpool._leakpool")]
pub(crate) struct Histogram(HistogramSnapshot);

#[pymethods]
impl Histogram {
    #[getter]
    fn count(&self) -> u64 {
        self.0.count
    }

    #[getter]
    fn sum(&self) -> f64 {
        self.0.sum.as_secs_f64()
    }

    /// (upper bound, how many fell between it and the one before).
    #[getter]
    fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = leakpool::BUCKET_BOUNDS.iter().copied().chain([f64::INFINITY]);
        bounds.zip(self.0.buckets.iter().copied()).collect()
    }

    fn __repr__(&self) -> String {
        format!("<Histogram {} in {:.6} s>", self.0.count, self.sum())
    }
}

/// The status and everything that was counted since the pool was made.
#[pyclass(frozen, name = "PoolMetrics", module = "leakpool._leakpool")]
pub(crate) struct Counted(Metrics);

impl Counted {
    pub(crate) fn new(metrics: Metrics) -> Counted {
        Counted(metrics)
    }
}

getters!(Counted, |m| {
    status: Status = Status(m.status.clone());
    acquired: u64 = m.books.acquired;
    released: u64 = m.books.released;
    force_released: u64 = m.books.force_released;
    lost: u64 = m.books.lost;
    active: u64 = m.books.active();
    leaks: u64 = m.leaks;
    leaks_recovered: u64 = m.leaks_recovered;
    late_uses: u64 = m.late_uses;
    late_releases: u64 = m.late_releases;
    dirty_releases: u64 = m.dirty_releases;
    timeouts: u64 = m.timeouts;
    created: u64 = m.created;
    create_errors: u64 = m.create_errors;
    removed: u64 = m.removed;
    events_dropped: u64 = m.events_dropped;
    oldest_checkout: Option<f64> = m.oldest_checkout.map(|d| d.as_secs_f64());
    leak_rate: f64 = m.leak_rate;
    min_idle: usize = m.min_idle;
    wait_time: Histogram = Histogram(m.wait_time.clone());
    use_time: Histogram = Histogram(m.use_time.clone());
    create_time: Histogram = Histogram(m.create_time.clone());
    sweep_time: Histogram = Histogram(m.sweep_time.clone());
}, fn __repr__(&self) -> String {
    format!("<PoolMetrics of {}>", self.0.status)
});

/// A checkout by its id, its connection, or what was told of it.
pub(crate) fn checkout_id(given: &Bound<'_, PyAny>) -> PyResult<CheckoutId> {
    if given.is_exact_instance_of::<PyInt>() {
        let id = given.extract::<u64>();
        // No id is that large: unknown, as the core will say.
        return Ok(CheckoutId::from_u64(id.unwrap_or(u64::MAX)));
    }
    if let Ok(info) = given.cast::<CheckoutInfo>() {
        return Ok(info.get().core_id());
    }
    if let Ok(connection) = given.cast::<NativeConnection>() {
        if let Some(id) = connection.get().id() {
            return Ok(id);
        }
        return Err(named(given.py(), "InterfaceError", "this connection comes from no pool"));
    }
    let class = given.get_type().fully_qualified_name()?;
    Err(PyTypeError::new_err(format!(
        "a checkout is named by its id (an int), its connection or a CheckoutInfo, not by {class}"
    )))
}

#[pymethods]
impl NativePool {
    fn status(&self, py: Python<'_>) -> PyResult<Status> {
        Ok(Status(self.shared(py)?.pool.status()))
    }

    fn metrics(&self, py: Python<'_>) -> PyResult<Counted> {
        Ok(Counted(self.shared(py)?.pool.metrics()))
    }

    /// Every checkout that is held, longest held first.
    fn checkouts(&self, py: Python<'_>) -> PyResult<Vec<CheckoutInfo>> {
        Ok(CheckoutInfo::all(self.shared(py)?.pool.checkouts()))
    }

    /// Those of them that are suspected or proven to have leaked.
    fn leaks(&self, py: Python<'_>) -> PyResult<Vec<CheckoutInfo>> {
        Ok(CheckoutInfo::all(self.shared(py)?.pool.leaks()))
    }

    /// Every line that has acquired so far, with its record.
    fn sites(&self, py: Python<'_>) -> PyResult<Vec<Site>> {
        Ok(self.shared(py)?.pool.sites().into_iter().map(Site::new).collect())
    }

    /// The human text: who leaks, grouped by the line that acquired.
    fn report(&self, py: Python<'_>) -> PyResult<String> {
        let pool = &self.shared(py)?.pool;
        Ok(py.detach(|| pool.report()))
    }

    /// The metrics as OpenMetrics text.
    fn openmetrics(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.shared(py)?.pool.openmetrics())
    }

    /// Calls `callback(event)` for every event of these kinds (all if there are none), on a thread of the library's.
    #[pyo3(signature = (callback, kinds=None))]
    fn subscribe(
        &self,
        py: Python<'_>,
        callback: &Bound<'_, PyAny>,
        kinds: Option<Vec<String>>,
    ) -> PyResult<Handle> {
        let pool = &self.shared(py)?.pool;
        let subscribed =
            Subscribed::new(callback, &events::kinds(kinds)?, |kinds, tell| pool.subscribe(kinds, tell))?;
        self.subscribed.lock().push(subscribed.clone());
        Ok(Handle(subscribed))
    }

    /// Waits until every event of before has been told; false if the time is over first.
    #[pyo3(signature = (timeout=5.0))]
    fn flush_events(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        let limit = options::seconds("timeout", timeout)?;
        let pool = &self.shared(py)?.pool;
        Ok(py.detach(|| pool.flush_events(limit)))
    }

    /// Changes leak options while the pool runs; what is held is judged by them at once.
    #[pyo3(signature = (**options))]
    fn reconfigure(&self, py: Python<'_>, options: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        match options {
            Some(options) => self.reconfigured(py, options),
            None => Ok(()),
        }
    }

    /// Takes a checkout away from its holder, whatever it does: its place is free at once.
    fn force_release(&self, py: Python<'_>, checkout: &Bound<'_, PyAny>) -> PyResult<CheckoutInfo> {
        let id = checkout_id(checkout)?;
        self.shared(py)?.pool.force_release(id).or_raise(py).map(CheckoutInfo::new)
    }

    /// What `get_stats` needs beyond the metrics: acquires that found nothing idle, acquires that failed.
    fn _counts(&self) -> (u64, u64) {
        use std::sync::atomic::Ordering::Relaxed;
        (self.queued.load(Relaxed), self.failed.load(Relaxed))
    }

    /// For the end of a test: an `AssertionError` with the report if anything is still held.
    fn assert_no_leaks(&self, py: Python<'_>) -> PyResult<()> {
        let pool = &self.shared(py)?.pool;
        let out = py.detach(|| pool.assert_no_leaks());
        out.map_err(|out| pyo3::exceptions::PyAssertionError::new_err(out.to_string()))
    }
}
