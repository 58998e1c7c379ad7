//! `leakpool._leakpool`: the native half of the Python package. Decides nothing about connections: the core does. Only
//! declares; who lives where stands in each file's first comment.

use pyo3::prelude::*;

mod acquire;
mod aio;
mod cancelling;
mod checkout;
mod clock;
mod collect;
mod connection;
mod copy;
mod detector;
mod errors;
mod events;
mod frames;
mod introspection;
mod logging;
mod notify;
mod options;
mod owner;
mod pool;
mod query;
mod result;
mod shared;
mod snapshot;
mod stream;
mod values;
mod waiting;
mod wakeup;

/// The native half of `leakpool`.
#[pymodule]
mod _leakpool {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::aio::Operation;
    #[pymodule_export]
    use crate::checkout::{AsyncCheckout, Checkout};
    #[pymodule_export]
    use crate::clock::ManualClock;
    #[pymodule_export]
    use crate::connection::NativeConnection;
    #[pymodule_export]
    use crate::copy::{NativeCopyIn, NativeCopyOut};
    #[pymodule_export]
    use crate::detector::Detector;
    #[pymodule_export]
    use crate::events::{Event, Handle};
    #[pymodule_export]
    use crate::introspection::{Counted, Histogram, Status};
    #[pymodule_export]
    use crate::pool::NativePool;
    #[pymodule_export]
    use crate::result::{Column, NativeResult};
    #[pymodule_export]
    use crate::snapshot::{CheckoutInfo, Exhausted, Frame, Revocation, Site};
    #[pymodule_export]
    use crate::stream::NativeStream;

    /// The interpreter is about to end: last words, and then no thread of ours comes back to it.
    #[pyfunction]
    fn at_exit(py: Python<'_>) {
        crate::logging::end(py);
        crate::waiting::end_of_interpreter(py);
    }

    /// Waits until the log lines of before have reached the logger; false if the time is over first.
    #[pyfunction]
    #[pyo3(signature = (timeout=5.0))]
    fn flush_log(py: Python<'_>, timeout: f64) -> PyResult<bool> {
        Ok(crate::logging::flush(py, crate::options::seconds("timeout", timeout)?))
    }

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::values::register(module)?;
        crate::logging::begin();
        let at_exit = wrap_pyfunction!(at_exit, module)?;
        module.py().import("atexit")?.call_method1("register", (at_exit,))?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
