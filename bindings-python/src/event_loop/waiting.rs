//! Waiting on a thread of Python's: without the GIL, with a look at signals every 100 ms, and never beyond the
//! interpreter's end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tokio::runtime::Handle;

/// The interpreter is about to end: no thread of ours may ask for the GIL any more.
static OVER: AtomicBool = AtomicBool::new(false);

/// LiveCheckout for reading by threads of ours while they are in the interpreter.
static INSIDE: RwLock<()> = RwLock::new(());
/// How long the interpreter's end waits for those that are.
const LEAVE: Duration = Duration::from_secs(2);

/// From here on [`attached`] answers `None`, and nobody is inside any more. Called by `atexit`, while the interpreter is
/// whole: later, a thread that asks for the GIL is ended by force.
pub(crate) fn end_of_interpreter(py: Python<'_>) {
    OVER.store(true, Ordering::SeqCst);
    py.detach(|| drop(INSIDE.try_write_for(LEAVE)));
}

/// True once the interpreter is about to end.
pub(crate) fn is_over() -> bool {
    OVER.load(Ordering::SeqCst)
}

/// Runs something with the GIL on a thread of ours; `None` if the interpreter is about to end.
pub(crate) fn attached<T>(what: impl FnOnce(Python<'_>) -> T) -> Option<T> {
    // Recursively: the collector may run a finalizer of ours inside.
    let _inside = INSIDE.try_read_recursive()?;
    if is_over() { None } else { Python::try_attach(what) }
}

/// How long an answer is waited for after what runs was cancelled.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a wait ended.
pub(crate) enum Waited<T> {
    /// There is an answer.
    Done(T),
    /// A signal handler has raised; the answer has come all the same, and is thrown away.
    Raised(PyErr),
    /// A signal handler has raised, and there is no answer yet.
    GivenUp(PyErr),
}

/// Waits in `wait`, which calls what it is given every 100 ms and stops when that says true: when a signal handler has
/// raised. With `cancel`, that is called first, and the wait goes on for a while; raised again, it ends.
pub(crate) fn interruptible<T: Send>(
    py: Python<'_>,
    cancel: Option<&(dyn Fn() + Sync)>,
    wait: impl FnOnce(&mut dyn FnMut() -> bool) -> Option<T> + Send,
) -> Waited<T> {
    let mut raised: Option<(PyErr, Instant)> = None;
    let output = py.detach(|| {
        wait(&mut || match (Python::try_attach(|py| py.check_signals()), &raised) {
            (None, _) => true,
            (Some(Ok(())), Some((_, at))) => at.elapsed() > PATIENCE,
            (Some(Ok(())), None) => false,
            (Some(Err(_)), Some(_)) => true,
            (Some(Err(e)), None) => {
                raised = Some((e, Instant::now()));
                match cancel {
                    Some(cancel) => {
                        cancel();
                        false
                    }
                    None => true,
                }
            }
        })
    });
    match (output, raised) {
        (Some(output), None) => Waited::Done(output),
        (Some(_), Some((e, _))) => Waited::Raised(e),
        (None, Some((e, _))) => Waited::GivenUp(e),
        (None, None) => Waited::GivenUp(PyRuntimeError::new_err("the interpreter is shutting down")),
    }
}

/// Waits for a future that is about no connection in particular.
pub(crate) fn block_on<F>(py: Python<'_>, runtime: &Handle, future: F) -> PyResult<F::Output>
where
    F: Future + Send,
    F::Output: Send,
{
    match interruptible(py, None, |give_up| leakpool::host::wait(runtime, future, give_up)) {
        Waited::Done(output) => Ok(output),
        Waited::Raised(e) | Waited::GivenUp(e) => Err(e),
    }
}
