//! Whether a cancel is still on its way, or an answer that nobody waits for.

use leakpool::Connection;
use pyo3::prelude::*;

use crate::pool::connection::NativeConnection;

#[pymethods]
impl NativeConnection {
    /// True while a cancel that was asked for has not reached the server: until then it may hit the next statement.
    #[getter]
    fn being_cancelled(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.held(py)?.connection().is_some_and(Connection::is_being_cancelled))
    }

    /// True while what came of a request that was given up is not known yet: its answer is thrown away, its cancel may
    /// hit the next statement.
    #[getter]
    fn being_cleared(&self, py: Python<'_>) -> bool {
        self.held(py).is_ok_and(|held| {
            held.connection().is_some_and(Connection::is_being_cancelled) || held.is_being_cleared()
        })
    }
}
