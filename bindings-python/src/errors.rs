//! The core's errors as Python exceptions. Which class it is stands in `leakpool/errors.py`, in one table by the core's
//! own codes.

use leakpool::exchange::{Fields, ServerError};
use leakpool::{Error, ErrorCode, Exhausted, Revocation};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};

use crate::introspection::snapshot;

/// The core's result as Python's.
pub(crate) trait OrRaise<T> {
    /// The same with a Python exception.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for leakpool::Result<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|e| raised(py, &e))
    }
}

/// The fields of an error or a notice as a dict by their letters.
pub(crate) fn fields_dict<'py>(py: Python<'py>, fields: &Fields) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let mut buffer = [0; 4];
    for (letter, text) in fields.iter() {
        dict.set_item(&*char::from(letter).encode_utf8(&mut buffer), text)?;
    }
    Ok(dict)
}

/// The exception for an error of the core. If it cannot be made, what went wrong with that.
#[cold]
pub(crate) fn raised(py: Python<'_>, error: &Error) -> PyErr {
    make(py, error).unwrap_or_else(|e| e)
}

fn make(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    static OF_SERVER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if let Some(server) = error.detail::<ServerError>() {
        let of_server = OF_SERVER.import(py, "leakpool.errors", "of_server")?;
        // The session may have ended with it: then that is what it is called.
        let args = (fields_dict(py, server)?, py.None(), error.code().name());
        return Ok(PyErr::from_value(of_server.call1(args)?));
    }
    let (revocation, exhausted) = (error.detail::<Revocation>(), error.detail::<Exhausted>());
    let message = match exhausted {
        // psycopg_pool's words first: there are those who look for them.
        Some(exhausted) if error.code() == ErrorCode::AcquireTimeout => {
            let seconds = exhausted.waited.as_secs_f64();
            format!("couldn't get a connection after {seconds:.2} sec: {}", error.message())
        }
        Some(_) | None => error.message().to_owned(),
    };
    let revocation = revocation.map(|r| Py::new(py, snapshot::Revocation::new(r.clone()))).transpose()?;
    let exhausted = exhausted.map(|e| Py::new(py, snapshot::Exhausted::new(e.clone()))).transpose()?;
    let kwargs = PyDict::new(py);
    kwargs.set_item("sqlstate", error.sqlstate())?;
    kwargs.set_item("revocation", revocation)?;
    kwargs.set_item("diagnosis", exhausted)?;
    of_core(py, error.code().name(), &message, Some(&kwargs))
}

fn of_core(py: Python<'_>, code: &str, message: &str, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<PyErr> {
    static OF_CORE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let of_core = OF_CORE.import(py, "leakpool.errors", "of_core")?;
    let args = (PyString::new(py, code), PyString::new(py, message));
    Ok(PyErr::from_value(of_core.call(args, kwargs)?))
}

/// The exception for one of the core's codes, with a sentence of the binding's own.
#[cold]
pub(crate) fn of_code(py: Python<'_>, code: ErrorCode, message: &str) -> PyErr {
    of_core(py, code.name(), message, None).unwrap_or_else(|e| e)
}

/// An exception of `leakpool.errors` by its name.
#[cold]
pub(crate) fn named(py: Python<'_>, class: &str, message: &str) -> PyErr {
    let made = || py.import("leakpool.errors")?.getattr(class)?.call1((message,));
    made().map_or_else(|e| e, PyErr::from_value)
}

/// For a call on a checkout that another thread has released.
pub(crate) fn gone() -> Error {
    Error::new(ErrorCode::AlreadyReleased, "the connection was released in another thread")
}
