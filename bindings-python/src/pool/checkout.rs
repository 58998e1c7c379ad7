//! `with pool.connection()`: acquired when the block begins, committed or rolled back and released when it ends.
//!
//! The usual way, an idle connection that comes back clean, is here from end to end; what has to ask the server, or calls
//! callbacks, goes through the methods of the Python classes.

use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use crate::event_loop::aio::Operation;
use crate::pool::acquire::Acquire;
use crate::pool::connection::NativeConnection;
use crate::pool::native_pool::{AcquireRequest, NativePool};

/// What the end of a block finds.
enum Found {
    /// Nothing is open, or nothing can be done about it: it has been released.
    Released,
    /// A transaction is open, or callbacks want to see it.
    ToFinish(Py<NativeConnection>),
}

/// What both kinds of blocks are.
struct Block {
    pool: Py<NativePool>,
    wanted: AcquireRequest,
    connection: Mutex<Option<Py<NativeConnection>>>,
}

impl Block {
    fn new(pool: Py<NativePool>, wanted: AcquireRequest) -> Block {
        Block { pool, wanted, connection: Mutex::new(None) }
    }

    /// A block is entered once at a time.
    fn enter(&self) -> PyResult<()> {
        match &*self.connection.lock() {
            None => Ok(()),
            Some(_) => Err(PyRuntimeError::new_err("this connection() block is being used already")),
        }
    }

    fn end(&self, py: Python<'_>, failed: bool) -> PyResult<Found> {
        let taken = self.connection.lock().take();
        let Some(connection) = taken else { return Ok(Found::Released) };
        let native = connection.get();
        let on_return = self.pool.get().on_return.load(Ordering::Relaxed);
        match native.status() {
            0 | 4 if !on_return => match native.give_back(py, false) {
                // The block's own error is what counts.
                Err(_) if failed => Ok(Found::Released),
                outcome => outcome.map(|()| Found::Released),
            },
            _ => Ok(Found::ToFinish(connection)),
        }
    }

    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.pool)?;
        match self.connection.try_lock() {
            Some(connection) => visit.call(&*connection),
            None => Ok(()),
        }
    }

    fn clear(&self) {
        let connection = self.connection.lock().take();
        drop(connection);
    }
}

/// `with pool.connection()`.
#[pyclass(frozen, weakref, module = "leakpool._leakpool")]
pub(crate) struct Checkout(Block);

#[pymethods]
impl Checkout {
    fn __enter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, NativeConnection>> {
        self.0.enter()?;
        let connection = NativePool::acquire(self.0.pool.bind(py), &self.0.wanted)?;
        *self.0.connection.lock() = Some(connection.clone().unbind());
        Ok(connection)
    }

    #[pyo3(signature = (exc_type, exc, traceback, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        exc_type: &Bound<'_, PyAny>,
        exc: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _ = traceback;
        match self.0.end(py, !exc_type.is_none())? {
            Found::Released => Ok(()),
            Found::ToFinish(connection) => {
                self.0.pool.bind(py).call_method1(intern!(py, "_finish"), (connection, exc)).map(drop)
            }
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.0.traverse(&visit)
    }

    fn __clear__(&self) {
        self.0.clear();
    }
}

/// `async with pool.connection()`; or awaited, for the connection alone.
#[pyclass(frozen, weakref, module = "leakpool._leakpool")]
pub(crate) struct AsyncCheckout(Block);

impl AsyncCheckout {
    pub(crate) fn entered(&self, connection: Py<NativeConnection>) {
        *self.0.connection.lock() = Some(connection);
    }
}

#[pymethods]
impl AsyncCheckout {
    fn __aenter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let (py, block) = (slf.py(), &slf.get().0);
        block.enter()?;
        let pool = block.pool.bind(py);
        if pool.get().on_check_out.load(Ordering::Relaxed) {
            return pool.call_method1(intern!(py, "_enter"), (slf,));
        }
        let acquire = NativePool::acquire_async(pool, &block.wanted)?;
        let operation = Operation::beginning(Acquire { block: Some(slf.clone().unbind()), ..acquire });
        Ok(Bound::new(py, operation)?.into_any())
    }

    #[pyo3(signature = (exc_type, exc, traceback, /))]
    fn __aexit__<'py>(
        &self,
        py: Python<'py>,
        exc_type: &Bound<'py, PyAny>,
        exc: &Bound<'py, PyAny>,
        traceback: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _ = traceback;
        match self.0.end(py, !exc_type.is_none())? {
            Found::Released => Ok(Bound::new(py, Operation::ready(py.None()))?.into_any()),
            Found::ToFinish(connection) => {
                self.0.pool.bind(py).call_method1(intern!(py, "_finish"), (connection, exc))
            }
        }
    }

    /// For `_enter`, which the callbacks are called by: what was acquired.
    fn _entered(&self, connection: Py<NativeConnection>) {
        self.entered(connection);
    }

    /// One try of `_enter`: a connection, to be awaited.
    fn _acquire(&self, py: Python<'_>, timeout: f64) -> PyResult<Operation> {
        let timeout = crate::options::timeout(Some(timeout))?;
        let wanted = AcquireRequest { timeout, ..self.0.wanted.clone() };
        NativePool::acquire_async(self.0.pool.bind(py), &wanted).map(Operation::beginning)
    }

    /// The time-out that was asked for.
    #[getter]
    fn _timeout(&self) -> Option<f64> {
        self.0.wanted.timeout.map(|timeout| match timeout.is_zero() {
            true => f64::INFINITY,
            false => timeout.as_secs_f64(),
        })
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.0.traverse(&visit)
    }

    fn __clear__(&self) {
        self.0.clear();
    }
}

#[pymethods]
impl NativePool {
    /// A connection for the length of a `with` block.
    #[pyo3(signature = (timeout=None, *, label=None, expected_duration=None))]
    fn _connection(
        slf: Py<Self>,
        timeout: Option<f64>,
        label: Option<&str>,
        expected_duration: Option<f64>,
    ) -> PyResult<Checkout> {
        Ok(Checkout(Block::new(slf, AcquireRequest::new(timeout, label, expected_duration)?)))
    }

    /// A connection for the length of an `async with` block.
    #[pyo3(signature = (timeout=None, *, label=None, expected_duration=None))]
    fn _connection_async(
        slf: Py<Self>,
        timeout: Option<f64>,
        label: Option<&str>,
        expected_duration: Option<f64>,
    ) -> PyResult<AsyncCheckout> {
        Ok(AsyncCheckout(Block::new(slf, AcquireRequest::new(timeout, label, expected_duration)?)))
    }
}
