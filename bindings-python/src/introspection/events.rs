//! Events as Python sees them, and the callbacks that are told.
//!
//! A callback belongs to the pool that it was given to: the collector sees it there, and the dispatcher's closure only
//! shares its cell. Once the pool lets it go, the cell is empty.

use std::sync::Arc;
use std::time::SystemTime;

use leakpool as core;
use leakpool::{EventData, EventKind, Subscription};
use parking_lot::Mutex;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use crate::event_loop::waiting::attached;
use crate::introspection::snapshot::{CheckoutInfo, Exhausted, Revocation, Site};

/// Something that happened.
#[pyclass(frozen, module = "leakpool._leakpool")]
pub(crate) struct Event(core::Event);

#[pymethods]
impl Event {
    /// `leak`, `force_release`, ...
    #[getter]
    fn kind(&self) -> &'static str {
        self.0.kind().name()
    }

    #[getter]
    fn pool(&self) -> &str {
        &self.0.pool
    }

    #[getter]
    fn at(&self) -> SystemTime {
        self.0.at
    }

    /// What a log line about it says.
    #[getter]
    fn text(&self) -> String {
        self.0.text()
    }

    #[getter]
    fn checkout_id(&self) -> Option<u64> {
        self.0.data.checkout().map(core::CheckoutId::to_u64)
    }

    #[getter]
    fn checkout(&self) -> Option<CheckoutInfo> {
        match &self.0.data {
            EventData::Leak { checkout, .. }
            | EventData::LeakRecovered { checkout }
            | EventData::LongRunning { checkout }
            | EventData::ForceRelease { checkout, .. } => Some(CheckoutInfo::new((**checkout).clone())),
            _ => None,
        }
    }

    #[getter]
    fn site(&self) -> Option<Site> {
        self.0.data.site().map(|site| Site::new(site.clone()))
    }

    /// Of `leaks_detected`: all that are flagged.
    #[getter]
    fn leaks(&self) -> Option<Vec<CheckoutInfo>> {
        match &self.0.data {
            EventData::LeaksDetected { leaks } => Some(CheckoutInfo::all(leaks.clone())),
            _ => None,
        }
    }

    /// Why, in one word, as far as the event says why.
    #[getter]
    fn reason(&self) -> Option<&'static str> {
        self.0.data.reason()
    }

    #[getter]
    fn revocation(&self) -> Option<Revocation> {
        match &self.0.data {
            EventData::LateUse { revocation } | EventData::LateRelease { revocation } => {
                Some(Revocation::new((**revocation).clone()))
            }
            _ => None,
        }
    }

    #[getter]
    fn exhausted(&self) -> Option<Exhausted> {
        match &self.0.data {
            EventData::Exhausted(exhausted) => Some(Exhausted::new((**exhausted).clone())),
            _ => None,
        }
    }

    /// Of `release`: how long it was held, in seconds.
    #[getter]
    fn held(&self) -> Option<f64> {
        match &self.0.data {
            EventData::Release { held, .. } => Some(held.as_secs_f64()),
            _ => None,
        }
    }

    /// Of `acquire`: how long it had waited, in seconds.
    #[getter]
    fn waited(&self) -> Option<f64> {
        match &self.0.data {
            EventData::Acquire { waited, .. } => Some(waited.as_secs_f64()),
            _ => None,
        }
    }

    /// Of `connect`: how long it took, in seconds.
    #[getter]
    fn took(&self) -> Option<f64> {
        match &self.0.data {
            EventData::Connect { took, .. } => Some(took.as_secs_f64()),
            _ => None,
        }
    }

    #[getter]
    fn backend_pid(&self) -> Option<u32> {
        match &self.0.data {
            EventData::Connect { backend_pid, .. } | EventData::Remove { backend_pid, .. } => *backend_pid,
            _ => None,
        }
    }

    /// Of `error`: its code and sentence.
    #[getter]
    fn error(&self) -> Option<(&'static str, &str)> {
        match &self.0.data {
            EventData::Error { code, message } => Some((code.name(), message)),
            _ => None,
        }
    }

    /// Of `dirty_release`: the last SQL.
    #[getter]
    fn last_sql(&self) -> Option<&str> {
        match &self.0.data {
            EventData::DirtyRelease { last_sql, .. } => last_sql.as_ref().map(|sql| &*sql.text),
            _ => None,
        }
    }

    /// Of `utilization`: connections in use, and the most that there may be.
    #[getter]
    fn utilization(&self) -> Option<(usize, usize)> {
        match &self.0.data {
            EventData::Utilization { in_use, max_size } => Some((*in_use, *max_size)),
            _ => None,
        }
    }

    fn __str__(&self) -> String {
        self.0.text()
    }

    fn __repr__(&self) -> String {
        format!("<Event {} of pool {:?}>", self.kind(), &*self.0.pool)
    }
}

/// The kinds with these names; all of them if there are none.
pub(crate) fn kinds(names: Option<Vec<String>>) -> PyResult<Vec<EventKind>> {
    let Some(names) = names else { return Ok(EventKind::ALL.to_vec()) };
    let known = |name: &String| {
        EventKind::ALL.iter().copied().find(|kind| kind.name() == name).ok_or_else(|| {
            let all: Vec<_> = EventKind::ALL.iter().map(|kind| kind.name()).collect();
            PyValueError::new_err(format!("there is no event {name:?}; there are {}", all.join(", ")))
        })
    };
    names.iter().map(known).collect()
}

type Cell = Arc<Mutex<Option<Py<PyAny>>>>;

/// One callback of a pool or detector.
pub(crate) struct Subscribed {
    cell: Cell,
    subscription: Mutex<Option<Subscription>>,
}

impl Subscribed {
    /// `subscribe` is the pool's or the detector's.
    pub(crate) fn new(
        callback: &Bound<'_, PyAny>,
        kinds: &[EventKind],
        subscribe: impl FnOnce(&[EventKind], Box<dyn Fn(&core::Event) + Send + Sync>) -> Subscription,
    ) -> PyResult<Arc<Subscribed>> {
        if !callback.is_callable() {
            let class = callback.get_type().qualname()?;
            return Err(PyTypeError::new_err(format!("callback must be callable, not {class}")));
        }
        let cell: Cell = Arc::new(Mutex::new(Some(callback.clone().unbind())));
        let shared = cell.clone();
        let tell = move |event: &core::Event| {
            attached(|py| {
                let callback = shared.lock().as_ref().map(|callback| callback.clone_ref(py));
                let Some(callback) = callback else { return };
                let told = Py::new(py, Event(event.clone())).and_then(|event| callback.call1(py, (event,)));
                if let Err(e) = told {
                    // As for every callback that has no caller.
                    e.write_unraisable(py, Some(callback.bind(py)));
                }
            });
        };
        let subscription = subscribe(kinds, Box::new(tell));
        Ok(Arc::new(Subscribed { cell, subscription: Mutex::new(Some(subscription)) }))
    }

    /// Ends it without waiting for a call that is under way: in a collector nobody may wait.
    pub(crate) fn end(&self) {
        let callback = self.cell.lock().take();
        let subscription = self.subscription.lock().take();
        drop(callback);
        if let Some(subscription) = subscription {
            match leakpool::host::runtime() {
                // Its drop is a barrier: the dispatcher may be waiting for the GIL that is held here.
                Ok(runtime) => drop(runtime.handle().spawn_blocking(move || drop(subscription))),
                Err(_) => std::mem::forget(subscription),
            }
        }
    }

    /// Ends it, and waits for a call that is under way in another thread.
    fn end_and_wait(&self, py: Python<'_>) {
        let subscription = self.subscription.lock().take();
        py.detach(|| drop(subscription));
        let callback = self.cell.lock().take();
        drop(callback);
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.cell.try_lock() {
            Some(callback) => visit.call(&*callback),
            None => Ok(()),
        }
    }
}

/// A callback's subscription: it lasts until it is cancelled, or its pool is gone.
#[pyclass(frozen, name = "Subscription", module = "leakpool._leakpool")]
pub(crate) struct Handle(pub(crate) Arc<Subscribed>);

#[pymethods]
impl Handle {
    /// From here on the callback is not called, and runs on no other thread.
    fn cancel(&self, py: Python<'_>) {
        self.0.end_and_wait(py);
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_args))]
    fn __exit__(&self, py: Python<'_>, _args: &Bound<'_, PyAny>) {
        self.cancel(py);
    }
}
