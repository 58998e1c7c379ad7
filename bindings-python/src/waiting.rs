//! Waiting on a thread of Python's: without the GIL, with a look at signals every 100 ms, and never beyond the
//! interpreter's end.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tokio::runtime::Handle;

/// The interpreter is about to end: no thread of ours may ask for the GIL any more.
static OVER: AtomicBool = AtomicBool::new(false);

/// From here on [`attached`] answers `None`. Called by `atexit`, while the interpreter is whole.
pub(crate) fn end_of_interpreter() {
    OVER.store(true, Ordering::SeqCst);
}

/// True once the interpreter is about to end.
pub(crate) fn is_over() -> bool {
    OVER.load(Ordering::SeqCst)
}

/// Runs something with the GIL on a thread of ours; `None` if the interpreter is about to end.
pub(crate) fn attached<T>(what: impl FnOnce(Python<'_>) -> T) -> Option<T> {
    if is_over() { None } else { Python::try_attach(what) }
}

/// Whether somebody who waits should stop: a signal handler has raised, or the interpreter ends.
fn look(raised: &mut Option<PyErr>) -> bool {
    match Python::try_attach(|py| py.check_signals()) {
        Some(Ok(())) => false,
        Some(Err(e)) => {
            *raised = Some(e);
            true
        }
        None => true,
    }
}

/// Waits in `wait`, which calls what it is given every 100 ms and stops when that says true.
pub(crate) fn interruptible<T: Send>(
    py: Python<'_>,
    wait: impl FnOnce(&mut dyn FnMut() -> bool) -> Option<T> + Send,
) -> PyResult<T> {
    let mut raised = None;
    let output = py.detach(|| wait(&mut || look(&mut raised)));
    output.ok_or_else(|| {
        raised.unwrap_or_else(|| PyRuntimeError::new_err("the interpreter is shutting down"))
    })
}

/// Waits for a future that is about no connection in particular.
pub(crate) fn block_on<F>(py: Python<'_>, runtime: &Handle, future: F) -> PyResult<F::Output>
where
    F: Future + Send,
    F::Output: Send,
{
    interruptible(py, |give_up| leakpool::host::wait(runtime, future, give_up))
}
