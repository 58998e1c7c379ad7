//! `leakpool._leakpool`: the native half of the Python package. Decides nothing about connections: the core does. Only
//! declares; who lives where stands in each file's first comment.

use pyo3::prelude::*;

mod clock;
mod detector;
mod errors;
mod event_loop;
mod introspection;
mod options;
mod pool;
mod request;
mod values;

/// The native half of `leakpool`.
#[pymodule]
mod _leakpool {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::clock::ManualClock;
    #[pymodule_export]
    use crate::detector::Detector;
    #[pymodule_export]
    use crate::event_loop::aio::Operation;
    #[pymodule_export]
    use crate::introspection::counts::{Counted, Histogram, Status};
    #[pymodule_export]
    use crate::introspection::events::{Event, Handle};
    #[pymodule_export]
    use crate::introspection::snapshot::{CheckoutInfo, Exhausted, Frame, Revocation, Site};
    #[pymodule_export]
    use crate::pool::checkout::{AsyncCheckout, Checkout};
    #[pymodule_export]
    use crate::pool::connection::NativeConnection;
    #[pymodule_export]
    use crate::pool::native_pool::NativePool;
    #[pymodule_export]
    use crate::request::copy::{NativeCopyIn, NativeCopyOut};
    #[pymodule_export]
    use crate::request::result::{Column, NativeResult};
    #[pymodule_export]
    use crate::request::stream::NativeStream;

    /// The interpreter is about to end: last words, and then no thread of ours comes back to it.
    #[pyfunction]
    fn at_exit(py: Python<'_>) {
        crate::introspection::logging::end(py);
        crate::event_loop::waiting::end_of_interpreter(py);
    }

    /// Waits until the log lines of before have reached the logger; false if the time is over first.
    #[pyfunction]
    #[pyo3(signature = (timeout=5.0))]
    fn flush_log(py: Python<'_>, timeout: f64) -> PyResult<bool> {
        Ok(crate::introspection::logging::flush(py, crate::options::seconds("timeout", timeout)?))
    }

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::values::register(module)?;
        crate::introspection::logging::begin();
        let at_exit = wrap_pyfunction!(at_exit, module)?;
        module.py().import("atexit")?.call_method1("register", (at_exit,))?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
