//! Whether a cancel is still on its way.

use leakpool::Connection;
use pyo3::prelude::*;

use crate::connection::NativeConnection;

#[pymethods]
impl NativeConnection {
    /// True while a cancel that was asked for has not reached the server: until then it may hit the next statement.
    #[getter]
    fn being_cancelled(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.held(py)?.connection().is_some_and(Connection::is_being_cancelled))
    }
}
