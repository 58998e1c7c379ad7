//! `LeakDetector`: the same detection over another library's pool. Which pools can be watched, and how, is Python's part
//! (`watch.py`); here is what they tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use leakpool::{CheckOut, CheckoutId, LeakDetector, Names, Settings, StackCapture, Touch, TransactionStatus};
use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{PyTraverseError, PyVisit};

use crate::clock::ManualClock;
use crate::errors::OrRaise;
use crate::event_loop::waiting::attached;
use crate::introspection::counts::{Counted, Status, checkout_id};
use crate::introspection::events::{self, Handle, Subscribed};
use crate::introspection::frames::Stacks;
use crate::introspection::snapshot::{CheckoutInfo, Revocation};
use crate::options;
use crate::pool::owner;

/// Finds leaks in a pool that is not ours.
#[pyclass(frozen, subclass, weakref, name = "NativeDetector", module = "leakpool._leakpool")]
pub(crate) struct Detector {
    detector: LeakDetector,
    stacks: Stacks,
    policy: Mutex<Arc<leakpool::LeakPolicy>>,
    subscribed: Mutex<Vec<Arc<Subscribed>>>,
    closed: AtomicBool,
}

fn settings(detector: Option<&LeakDetector>, changes: Option<&Bound<'_, PyDict>>) -> PyResult<Settings> {
    let mut settings = Settings::defaults(Names::Python);
    if let Some(detector) = detector {
        settings.leak = detector.policy();
    }
    let Some(changes) = changes else { return Ok(settings) };
    options::set_of_detector(&mut settings, changes)?;
    Ok(settings)
}

/// libpq's number as the core's.
fn status(number: i32) -> PyResult<TransactionStatus> {
    match number {
        0 => Ok(TransactionStatus::Idle),
        // Active, in a transaction.
        1 | 2 => Ok(TransactionStatus::InTransaction),
        3 => Ok(TransactionStatus::Failed),
        other => Err(PyValueError::new_err(format!(
            "transaction_status ({other}) must be libpq's: 0 idle, 2 in a transaction, 3 in a failed one"
        ))),
    }
}

#[pymethods]
impl Detector {
    #[new]
    #[pyo3(signature = (name, *, clock=None, **options))]
    fn new(
        py: Python<'_>,
        name: &str,
        clock: Option<&Bound<'_, ManualClock>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Detector> {
        let policy = settings(None, options)?.leak;
        let detector = match clock {
            Some(clock) => LeakDetector::with_clock(name, policy.clone(), Arc::new(clock.get().0.clone())),
            None => LeakDetector::new(name, policy.clone()),
        };
        Ok(Detector {
            detector: detector.or_raise(py)?,
            stacks: Stacks::default(),
            policy: Mutex::new(Arc::new(policy)),
            subscribed: Mutex::default(),
            closed: AtomicBool::new(false),
        })
    }

    #[getter]
    fn name(&self) -> &str {
        self.detector.name()
    }

    /// Tells how many connections the watched pool may have; 0 = not known.
    fn set_max_size(&self, max_size: usize) {
        self.detector.set_max_size(max_size);
    }

    /// A connection was checked out, here: the line is that of the running Python code. Its owner is the running task, or the
    /// thread. `reclaim(revocation)` ends the session if it is taken away; it must not hold the connection.
    #[pyo3(signature = (*, label=None, owner=None, expected_duration=0.0, waited=0.0, reclaim=None))]
    fn check_out(
        &self,
        py: Python<'_>,
        label: Option<&str>,
        owner: Option<&str>,
        expected_duration: f64,
        waited: f64,
        reclaim: Option<Py<PyAny>>,
    ) -> PyResult<u64> {
        let policy = self.policy.lock().clone();
        let site = match policy.stack_capture {
            StackCapture::Off => leakpool::SiteId::OFF,
            capture => {
                self.stacks.here(py, capture, policy.stack_depth, |frames| self.detector.host_site(frames))?
            }
        };
        let owner: Arc<str> = match owner {
            Some(owner) => owner.into(),
            None => match owner::running_task(py)? {
                Some(task) => owner::task_name(&task)?,
                None => owner::thread_name(py)?,
            },
        };
        let mut checkout = CheckOut::here()
            .site(site)
            .owner(owner)
            .expected(options::seconds("expected_duration", expected_duration)?)
            .waited(options::seconds("waited", waited)?);
        if let Some(label) = label {
            checkout = checkout.label(label);
        }
        if let Some(reclaim) = reclaim {
            checkout = checkout.on_reclaim(move |revocation| {
                attached(|py| {
                    let told = Py::new(py, Revocation::new(revocation.clone()))
                        .and_then(|revocation| reclaim.call1(py, (revocation,)));
                    if let Err(e) = told {
                        e.write_unraisable(py, Some(reclaim.bind(py)));
                    }
                });
            });
        }
        self.detector.check_out(checkout).or_raise(py).map(CheckoutId::to_u64)
    }

    /// A statement was sent.
    #[pyo3(signature = (checkout, sql=None))]
    fn executing(&self, py: Python<'_>, checkout: u64, sql: Option<&str>) -> PyResult<()> {
        self.detector.touch(CheckoutId::from_u64(checkout), Touch::Executing(sql)).or_raise(py)
    }

    /// Its answer is complete; the transaction status after it, as libpq's number.
    #[pyo3(signature = (checkout, transaction_status=0))]
    fn idle(&self, py: Python<'_>, checkout: u64, transaction_status: i32) -> PyResult<()> {
        let touch = Touch::Idle(status(transaction_status)?);
        self.detector.touch(CheckoutId::from_u64(checkout), touch).or_raise(py)
    }

    /// Nobody knows what it does from now on, until the next of these.
    fn unknown(&self, py: Python<'_>, checkout: u64) -> PyResult<()> {
        self.detector.touch(CheckoutId::from_u64(checkout), Touch::Unknown).or_raise(py)
    }

    /// The holder gave it back.
    fn check_in(&self, py: Python<'_>, checkout: u64) -> PyResult<()> {
        self.detector.check_in(CheckoutId::from_u64(checkout)).or_raise(py)
    }

    /// A finalizer showed that the handle is unreachable: reported as leaked whatever its age, and taken back.
    fn prove(&self, py: Python<'_>, checkout: u64) -> PyResult<CheckoutInfo> {
        self.detector.prove(CheckoutId::from_u64(checkout)).or_raise(py).map(CheckoutInfo::new)
    }

    /// The task or thread that acquired it has ended: a reason for suspicion, no proof.
    fn owner_ended(&self, py: Python<'_>, checkout: u64) -> PyResult<()> {
        self.detector.owner_ended(CheckoutId::from_u64(checkout)).or_raise(py)
    }

    /// Takes a checkout away from its holder, whatever it does.
    fn force_release(&self, py: Python<'_>, checkout: &Bound<'_, PyAny>) -> PyResult<CheckoutInfo> {
        self.detector.force_release(checkout_id(checkout)?).or_raise(py).map(CheckoutInfo::new)
    }

    fn status(&self) -> Status {
        Status::new(self.detector.status())
    }

    fn metrics(&self) -> Counted {
        Counted::new(self.detector.metrics())
    }

    fn checkouts(&self) -> Vec<CheckoutInfo> {
        CheckoutInfo::all(self.detector.checkouts())
    }

    fn leaks(&self) -> Vec<CheckoutInfo> {
        CheckoutInfo::all(self.detector.leaks())
    }

    fn report(&self, py: Python<'_>) -> String {
        py.detach(|| self.detector.report())
    }

    fn openmetrics(&self) -> String {
        self.detector.openmetrics()
    }

    /// Calls `callback(event)` for every event of these kinds (all if there are none), on a thread of the library's.
    #[pyo3(signature = (callback, kinds=None))]
    fn subscribe(&self, callback: &Bound<'_, PyAny>, kinds: Option<Vec<String>>) -> PyResult<Handle> {
        let subscribed = Subscribed::new(callback, &events::kinds(kinds)?, |kinds, tell| {
            self.detector.subscribe(kinds, tell)
        })?;
        self.subscribed.lock().push(subscribed.clone());
        Ok(Handle(subscribed))
    }

    /// Waits until every event of before has been told; false if the time is over first.
    #[pyo3(signature = (timeout=5.0))]
    fn flush_events(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        let limit = options::seconds("timeout", timeout)?;
        Ok(py.detach(|| self.detector.flush(limit)))
    }

    /// Changes leak options; what is held is judged by them at once.
    #[pyo3(signature = (**options))]
    fn reconfigure(&self, py: Python<'_>, options: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let policy = settings(Some(&self.detector), options)?.leak;
        self.detector.reconfigure(policy.clone()).or_raise(py)?;
        *self.policy.lock() = Arc::new(policy);
        Ok(())
    }

    /// For the end of a test: an `AssertionError` with the report if anything is still held.
    fn assert_no_leaks(&self, py: Python<'_>) -> PyResult<()> {
        let out = py.detach(|| self.detector.assert_no_leaks());
        out.map_err(|out| pyo3::exceptions::PyAssertionError::new_err(out.to_string()))
    }

    /// Ends it: what is still held is told, and nothing more is judged. Returns what was held.
    #[pyo3(signature = (timeout=0.0))]
    fn _close(&self, py: Python<'_>, timeout: f64) -> PyResult<Vec<CheckoutInfo>> {
        let limit = options::seconds("timeout", timeout)?;
        if self.closed.swap(true, Ordering::SeqCst) {
            return Ok(Vec::new());
        }
        Ok(CheckoutInfo::all(py.detach(|| self.detector.close(limit))))
    }

    #[getter]
    fn closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.stacks.traverse(&visit)?;
        match self.subscribed.try_lock() {
            Some(subscribed) => subscribed.iter().try_for_each(|one| one.traverse(&visit)),
            None => Ok(()),
        }
    }

    fn __clear__(&self) {
        self.unsubscribe();
    }
}

impl Detector {
    fn unsubscribe(&self) {
        let subscribed = std::mem::take(&mut *self.subscribed.lock());
        for one in subscribed {
            one.end();
        }
    }
}

impl Drop for Detector {
    fn drop(&mut self) {
        self.unsubscribe();
    }
}
