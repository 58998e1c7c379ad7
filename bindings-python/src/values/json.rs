//! The functions that read and write JSON: `json`'s, or those that the program sets.

use parking_lot::Mutex;
use pyo3::prelude::*;

use super::classes::Classes;

/// Those that were set. Locked for an instant, and never while Python runs.
static LOADS: Mutex<Option<Py<PyAny>>> = Mutex::new(None);
static DUMPS: Mutex<Option<Py<PyAny>>> = Mutex::new(None);

fn get(
    py: Python<'_>,
    set: &Mutex<Option<Py<PyAny>>>,
    or: fn(&Classes) -> &Py<PyAny>,
) -> PyResult<Py<PyAny>> {
    if let Some(function) = set.lock().as_ref() {
        return Ok(function.clone_ref(py));
    }
    Ok(or(Classes::get(py)?).clone_ref(py))
}

/// The one that reads.
pub(crate) fn loads(py: Python<'_>) -> PyResult<Py<PyAny>> {
    get(py, &LOADS, |classes| &classes.json_loads)
}

/// The one that writes.
pub(crate) fn dumps(py: Python<'_>) -> PyResult<Py<PyAny>> {
    get(py, &DUMPS, |classes| &classes.json_dumps)
}

fn set(set: &Mutex<Option<Py<PyAny>>>, function: Option<Py<PyAny>>) {
    // What was set before is dropped after the lock is free: that may run Python.
    let before = std::mem::replace(&mut *set.lock(), function);
    drop(before);
}

/// Sets the function that reads JSON, for all connections; `None` = `json.loads`.
#[pyfunction]
pub(crate) fn set_json_loads(function: Option<Py<PyAny>>) {
    set(&LOADS, function);
}

/// Sets the function that writes JSON, for all connections; `None` = `json.dumps`.
#[pyfunction]
pub(crate) fn set_json_dumps(function: Option<Py<PyAny>>) {
    set(&DUMPS, function);
}
