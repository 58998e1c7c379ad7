//! The exceptions that values raise: those of `leakpool.errors`, in psycopg's words.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

/// Makes an exception of `leakpool.errors`; should that module be missing, a `RuntimeError` with the same text.
fn raise(py: Python<'_>, cell: &'static PyOnceLock<Py<PyType>>, name: &str, text: String) -> PyErr {
    match cell.import(py, "leakpool.errors", name) {
        Ok(class) => PyErr::from_type(class.clone(), (text,)),
        Err(_) => PyRuntimeError::new_err(text),
    }
}

macro_rules! exceptions {
    ($($function:ident = $name:literal),*) => {$(
        /// The exception of this name.
        pub(crate) fn $function(py: Python<'_>, text: impl Into<String>) -> PyErr {
            static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
            raise(py, &CLASS, $name, text.into())
        }
    )*};
}

exceptions! { data_error = "DataError", programming_error = "ProgrammingError", interface_error = "InterfaceError", not_supported = "NotSupportedError" }
