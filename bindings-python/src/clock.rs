//! For tests: a clock that stands still until it is moved.

use pyo3::prelude::*;

use crate::options::seconds;

/// A clock that a test moves, for a pool or a detector that is made with it.
#[pyclass(frozen, module = "leakpool._leakpool")]
pub(crate) struct ManualClock(pub(crate) leakpool::ManualClock);

#[pymethods]
impl ManualClock {
    #[new]
    fn new() -> ManualClock {
        ManualClock(leakpool::ManualClock::new())
    }

    /// Moves it forward, by seconds.
    fn advance(&self, by: f64) -> PyResult<()> {
        self.0.advance(seconds("by", by)?);
        Ok(())
    }
}
