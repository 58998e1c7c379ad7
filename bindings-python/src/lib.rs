//! `leakpool._leakpool`: the native half of the Python package. Decides nothing about connections: the core does. Only
//! declares; who lives where stands in each file's first comment.

use pyo3::prelude::*;

mod aio;
mod cancelling;
mod checkout;
mod clock;
mod connection;
mod copy;
mod errors;
mod events;
mod frames;
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
mod watching;

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
    use crate::events::{Event, Handle};
    #[pymodule_export]
    use crate::pool::NativePool;
    #[pymodule_export]
    use crate::result::{Column, NativeResult};
    #[pymodule_export]
    use crate::snapshot::{CheckoutInfo, Exhausted, Frame, Revocation, Site};
    #[pymodule_export]
    use crate::stream::NativeStream;
    #[pymodule_export]
    use crate::watching::{Counted, Histogram, Status};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::values::register(module)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
