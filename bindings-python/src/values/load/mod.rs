//! Loaders: objects from what the server sends.

use leakpool::exchange::{Column, RawRow};
use pyo3::PyTraverseError;
use pyo3::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};

use super::context::AdaptContext;
use super::errors::data_error;

/// How one column is loaded.
enum Loader {
    Text,
}

impl Loader {
    fn load<'py>(&self, py: Python<'py>, value: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Loader::Text => match std::str::from_utf8(value) {
                Ok(text) => Ok(PyString::new(py, text).into_any()),
                Err(e) => Err(data_error(py, e.to_string())),
            },
        }
    }
}

/// How the columns of one result are loaded. Made when the result arrives, used for its rows whenever they are asked
/// for.
pub(crate) struct Loaders {
    columns: Box<[Loader]>,
}

impl Loaders {
    /// For these columns, in the session as it is now.
    pub(crate) fn new(_py: Python<'_>, columns: &[Column], _context: &AdaptContext<'_>) -> PyResult<Loaders> {
        Ok(Loaders { columns: columns.iter().map(|_| Loader::Text).collect() })
    }

    /// One row.
    pub(crate) fn row<'py>(&self, py: Python<'py>, row: &RawRow) -> PyResult<Bound<'py, PyTuple>> {
        let mut values = Vec::with_capacity(self.columns.len());
        for (loader, value) in self.columns.iter().zip(row) {
            values.push(match value {
                Some(value) => loader.load(py, value)?,
                None => py.None().into_bound(py),
            });
        }
        PyTuple::new(py, values)
    }

    /// A list of rows, as tuples.
    pub(crate) fn rows<'py>(&self, py: Python<'py>, rows: &[RawRow]) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for row in rows {
            list.append(self.row(py, row)?)?;
        }
        Ok(list)
    }

    /// Tells the garbage collector what is held.
    pub(crate) fn traverse(&self, _visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        Ok(())
    }
}
