//! `leakpool._leakpool`: the native half of the Python package. Decides nothing about connections: the core does. Only
//! declares; who lives where stands in each file's first comment.

use pyo3::prelude::*;

mod values;

/// The native half of `leakpool`.
#[pymodule]
mod _leakpool {
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::values::register(module)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
