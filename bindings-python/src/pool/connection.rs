//! One checkout in the hands of Python: `NativeConnection`, from which `Connection` and `AsyncConnection` derive. What it
//! is and how it ends; what is asked of the server is in `query.rs`, `stream.rs`, `copy.rs`, `notify.rs`.

use std::collections::VecDeque;
use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::{mem, ptr};

use leakpool::exchange::Notice;
use leakpool::{CheckoutId, Connection, ErrorCode, TransactionStatus};
use parking_lot::Mutex;
use pyo3::exceptions::PyResourceWarning;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple, PyType};
use pyo3::{PyTraverseError, PyVisit};

use crate::errors::{OrRaise, fields_dict, gone, of_code};
use crate::event_loop::waiting::is_over;
use crate::introspection::snapshot::Revocation;
use crate::pool::inbox::Inbox;
use crate::pool::native_pool::NativePool;
use crate::pool::owner;
use crate::pool::shared::{LiveCheckout, Request};

/// How many notices are kept for `take_notices`.
const NOTICES: usize = 1000;

/// One checkout, until it is released.
#[pyclass(frozen, subclass, weakref, module = "leakpool._leakpool")]
pub(crate) struct NativeConnection {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<Arc<LiveCheckout>>,
    pool: Option<Py<NativePool>>,
    task: Option<owner::Task>,
    /// What it was, once it is not any more.
    ended: Option<(CheckoutId, Arc<str>)>,
    revocation: Option<Arc<leakpool::Revocation>>,
    notices: VecDeque<Notice>,
    inbox: Option<Arc<Inbox>>,
}

impl NativeConnection {
    /// A connection of this class.
    pub(crate) fn checked_out<'py>(
        class: &Bound<'py, PyType>,
        held: Arc<LiveCheckout>,
        pool: Py<NativePool>,
        task: Option<owner::Task>,
    ) -> PyResult<Bound<'py, NativeConnection>> {
        let made = if pool.get().plain.load(Ordering::Relaxed) { bare(class)? } else { class.call0()? };
        let connection = made.cast_into::<NativeConnection>().map_err(PyErr::from)?;
        {
            let mut state = connection.get().state.lock();
            state.held = Some(held);
            state.pool = Some(pool);
            state.task = task;
        }
        Ok(connection)
    }

    /// The checkout, for one request.
    pub(crate) fn held(&self, py: Python<'_>) -> PyResult<Arc<LiveCheckout>> {
        // Never locked while Python code may run: it may let go of the GIL, and others wait for both.
        let (revocation, ended) = {
            let state = self.state.lock();
            match &state.held {
                Some(held) => return Ok(held.clone()),
                None => (state.revocation.clone(), state.ended.clone()),
            }
        };
        Err(over(py, revocation, ended))
    }

    pub(crate) fn request(&self, py: Python<'_>) -> PyResult<Request> {
        self.held(py).map(Request::on)
    }

    pub(crate) fn keep_notices(&self, notices: impl IntoIterator<Item = Notice>) {
        let mut notices = notices.into_iter().peekable();
        if notices.peek().is_none() {
            return;
        }
        let mut state = self.state.lock();
        for notice in notices {
            if state.notices.len() == NOTICES {
                state.notices.pop_front();
            }
            state.notices.push_back(notice);
        }
    }

    /// Notifications are collected from now on.
    pub(crate) fn inbox(&self, held: &LiveCheckout) -> Option<Arc<Inbox>> {
        let mut state = self.state.lock();
        if state.inbox.is_none() {
            state.inbox =
                held.connection().map(|connection| Arc::new(Inbox::new(connection.notifications())));
        }
        state.inbox.clone()
    }

    pub(crate) fn status(&self) -> i32 {
        let state = self.state.lock();
        let Some(held) = &state.held else { return 4 };
        let Some(connection) = held.connection() else { return 4 };
        if connection.is_closed() || connection.revocation().is_some() {
            return 4;
        }
        if held.requests.load(Ordering::Relaxed) > 0 || held.is_being_cleared() {
            return 1;
        }
        match connection.transaction_status() {
            TransactionStatus::Idle => 0,
            TransactionStatus::InTransaction => 2,
            TransactionStatus::Failed => 3,
        }
    }

    /// It has to go back to this pool.
    pub(crate) fn is_of(&self, pool: &Bound<'_, NativePool>) -> bool {
        self.state.lock().pool.as_ref().is_some_and(|own| own.is(pool))
    }

    /// The pool that it has to go back to.
    pub(crate) fn pool(&self, py: Python<'_>) -> Option<Py<NativePool>> {
        self.state.lock().pool.as_ref().map(|pool| pool.clone_ref(py))
    }

    /// The checkout that it is, or was.
    pub(crate) fn id(&self) -> Option<CheckoutId> {
        let state = self.state.lock();
        state.held.as_ref().map(|held| held.id).or(state.ended.as_ref().map(|(id, _)| *id))
    }

    /// It was checked out once, and is not any more.
    pub(crate) fn was_of_pool(&self) -> bool {
        self.state.lock().ended.is_some()
    }

    /// Takes out what it holds, for whoever ends it.
    fn take(&self) -> State {
        let mut state = self.state.lock();
        if let Some(held) = &state.held {
            let ended = Some((held.id, held.pool.name.clone()));
            let revocation = held.connection().and_then(Connection::revocation);
            (state.ended, state.revocation) = (ended, revocation);
        }
        let (held, task) = (state.held.take(), state.task.take());
        State { held, task, pool: state.pool.take(), inbox: state.inbox.take(), ..State::default() }
    }

    pub(crate) fn give_back(&self, py: Python<'_>, broken: bool) -> PyResult<()> {
        let State { held, task, pool, inbox, .. } = self.take();
        drop((inbox, pool));
        let Some(held) = held else { return Ok(()) };
        match task {
            Some(task) => task.forget(py)?,
            None => owner::thread_released(held.id),
        }
        held.give_back(broken).or_raise(py)
    }
}

/// An object of a class without a call of its `__init__`.
fn bare<'py>(class: &Bound<'py, PyType>) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    let no_arguments = PyTuple::empty(py);
    // SAFETY: a type and its own slot, with the GIL held; every class that derives from one with `#[new]` has one. It
    // returns a new reference, or NULL with an exception.
    unsafe {
        let slot = ffi::PyType_GetSlot(class.as_type_ptr(), ffi::Py_tp_new);
        if slot.is_null() {
            return class.call0();
        }
        let new: ffi::newfunc = mem::transmute(slot);
        Bound::from_owned_ptr_or_err(py, new(class.as_type_ptr(), no_arguments.as_ptr(), ptr::null_mut()))
    }
}

/// What is told to those who use it after its end.
#[cold]
fn over(
    py: Python<'_>,
    revocation: Option<Arc<leakpool::Revocation>>,
    ended: Option<(CheckoutId, Arc<str>)>,
) -> PyErr {
    match (revocation, ended) {
        (Some(revocation), _) => {
            let e = leakpool::Error::new(ErrorCode::ForceReleased, revocation.to_string())
                .with_sqlstate(leakpool::FORCE_RELEASED)
                .with_source(leakpool::Revocation::clone(&revocation));
            crate::errors::raised(py, &e)
        }
        (None, Some((id, pool))) => {
            let text = format!(
                "the connection is closed: checkout {id} was given back to pool {pool:?}; take another one from the pool"
            );
            of_code(py, ErrorCode::AlreadyReleased, &text)
        }
        (None, None) => {
            of_code(py, ErrorCode::AlreadyReleased, "the connection is closed: it comes from no pool")
        }
    }
}

#[pymethods]
impl NativeConnection {
    #[new]
    fn new() -> NativeConnection {
        NativeConnection { state: Mutex::default() }
    }

    /// Asks the server to cancel what runs. Returns at once; from any thread.
    fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        let held = self.held(py)?;
        held.connection().map_or(Ok(()), Connection::cancel).or_raise(py)
    }

    /// Raises what happened to it, if it cannot be used any more.
    fn check_usable(&self, py: Python<'_>) -> PyResult<()> {
        let held = self.held(py)?;
        let connection = held.connection().ok_or_else(gone).or_raise(py)?;
        if connection.revocation().is_some() || connection.is_closed() {
            // Nothing can be sent: the core says why, and counts the use of what was taken away.
            drop(connection.exchange().simple("").or_raise(py)?);
        }
        Ok(())
    }

    /// libpq's number: 0 idle, 1 active, 2 in a transaction, 3 in a failed one, 4 unknown.
    #[getter]
    fn transaction_status(&self) -> i32 {
        self.status()
    }

    #[getter]
    fn backend_pid(&self) -> u32 {
        let held = self.state.lock().held.clone();
        held.and_then(|held| held.connection().and_then(Connection::backend_pid)).unwrap_or(0)
    }

    #[getter]
    fn released(&self) -> bool {
        let state = self.state.lock();
        let held = state.held.as_ref().and_then(|held| held.connection());
        held.is_none_or(|connection| connection.revocation().is_some())
    }

    #[getter]
    fn broken(&self) -> bool {
        let state = self.state.lock();
        let held = state.held.as_ref().and_then(|held| held.connection());
        held.is_none_or(|connection| connection.is_closed() || connection.revocation().is_some())
    }

    #[getter]
    fn checkout_id(&self) -> Option<u64> {
        self.id().map(CheckoutId::to_u64)
    }

    #[getter]
    fn native_pool(&self, py: Python<'_>) -> Option<Py<NativePool>> {
        self.pool(py)
    }

    /// The name of the pool that it is, or was, of.
    #[getter]
    fn pool_name(&self) -> Option<String> {
        let state = self.state.lock();
        let held = state.held.as_ref().map(|held| held.pool.name.to_string());
        held.or_else(|| state.ended.as_ref().map(|(_, pool)| pool.to_string()))
    }

    #[getter]
    fn revocation(&self) -> Option<Revocation> {
        let state = self.state.lock();
        let held = state.held.as_ref().and_then(|held| held.connection()?.revocation());
        held.or_else(|| state.revocation.clone()).map(|r| Revocation::new(leakpool::Revocation::clone(&r)))
    }

    /// Its holder has called something that moves no byte: it is in use.
    fn _touch(&self) {
        if let Some(connection) = self.state.lock().held.as_ref().and_then(|held| held.connection()) {
            connection.touch();
        }
    }

    #[getter]
    fn prepared(&self) -> bool {
        let held = self.state.lock().held.clone();
        held.is_some_and(|held| held.connection().is_some_and(Connection::names_statements))
    }

    /// What the server reports: `TimeZone`, `server_version`, ...
    fn parameter(&self, py: Python<'_>, name: &str) -> PyResult<Option<String>> {
        let held = self.held(py)?;
        Ok(held.connection().and_then(|connection| connection.parameter(name)).map(|value| value.to_string()))
    }

    /// Where its session is: never the password.
    fn connect_info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.held(py)?.pool.connect_info(py)
    }

    /// Notices of the requests since the last call.
    fn take_notices<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let notices = mem::take(&mut self.state.lock().notices);
        let dicts: PyResult<Vec<Bound<'py, PyDict>>> = notices.iter().map(|n| fields_dict(py, n)).collect();
        PyList::new(py, dicts?)
    }

    /// Gives it back, or ends the session. Never waits.
    #[pyo3(signature = (broken=false))]
    fn release(&self, py: Python<'_>, broken: bool) -> PyResult<()> {
        self.give_back(py, broken)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Some(state) = self.state.try_lock() {
            visit.call(&state.pool)?;
            if let Some(task) = &state.task {
                task.traverse(&visit)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        // The checkout itself stays, to be reported by `drop`.
        let pool = self.state.lock().pool.take();
        drop(pool);
    }
}

impl Drop for NativeConnection {
    /// Nobody can reach it any more: if it was not released, that is a leak, and a proven one.
    fn drop(&mut self) {
        let state = mem::take(self.state.get_mut());
        let Some(held) = state.held else { return };
        let pool = held.pool.clone();
        if is_over() || pool.pool.check_process().is_err() {
            return;
        }
        let Ok(leak) = pool.pool.prove_leaked(held.id) else { return };
        drop(held);
        // Dropped with the GIL held, by the collector or by the last reference.
        Python::attach(|py| {
            if let Some(task) = state.task {
                let _ = task.forget(py);
            }
            let pending = PyErr::take(py);
            let text = format!(
                "a connection of pool {:?} was collected without having been released; it was acquired at {}",
                &*leak.pool,
                leak.site.place()
            );
            let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
            let category = py.get_type::<PyResourceWarning>();
            if let Err(e) = PyErr::warn(py, &category, &text, 1) {
                // Warnings are errors here; there is nobody to raise it at.
                e.write_unraisable(py, None);
            }
            if let Some(pending) = pending {
                pending.restore(py);
            }
        });
    }
}
