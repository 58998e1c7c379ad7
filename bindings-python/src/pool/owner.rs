//! Who acquires: the asyncio task or the thread, by name; and word that it has ended, which adds a reason to a suspicion
//! and proves nothing.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use leakpool::CheckoutId;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;
use pyo3::{PyTraverseError, PyVisit};

use crate::pool::shared::PoolShared;

/// What a thread holds may pile up where others release it; then those that have ended are dropped.
const SWEEP: usize = 64;

/// This thread, as Python knows it.
struct Current {
    thread: Py<PyAny>,
    name: Py<PyAny>,
    text: Arc<str>,
    is_main: bool,
}

/// The checkouts that a thread acquired.
#[derive(Default)]
struct OwnedCheckouts(Vec<(Weak<PoolShared>, CheckoutId)>);

impl Drop for OwnedCheckouts {
    fn drop(&mut self) {
        for (pool, id) in self.0.drain(..) {
            // Most have been released, by whomever.
            let _ = pool.upgrade().map(|pool| pool.pool.owner_ended(id));
        }
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
    static OWNED: RefCell<OwnedCheckouts> = const { RefCell::new(OwnedCheckouts(Vec::new())) };
}

fn name_of(thread: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let py = thread.py();
    // The attribute behind the property: a third of its cost, on the way of every acquire.
    let name = thread.getattr(intern!(py, "_name")).or_else(|_| thread.getattr(intern!(py, "name")))?;
    Ok(name.unbind())
}

fn text_of(name: &Bound<'_, PyAny>) -> Arc<str> {
    name.str().map_or_else(|_| "a nameless owner".into(), |text| Arc::from(&*text.to_string_lossy()))
}

fn find(py: Python<'_>) -> PyResult<Current> {
    let threading = py.import("threading")?;
    let thread = threading.call_method0("current_thread")?;
    let is_main = thread.is(&threading.call_method0("main_thread")?);
    let name = name_of(&thread)?;
    let text = text_of(name.bind(py));
    Ok(Current { thread: thread.unbind(), name, text, is_main })
}

/// The name of the running thread.
pub(crate) fn thread_name(py: Python<'_>) -> PyResult<Arc<str>> {
    CURRENT.with(|current| {
        // Never borrowed while Python code may run.
        if let Some(known) = &*current.borrow() {
            let name = name_of(known.thread.bind(py))?;
            if name.is(&known.name) {
                return Ok(known.text.clone());
            }
        }
        let found = find(py)?;
        let text = found.text.clone();
        let before = current.replace(Some(found));
        drop(before);
        Ok(text)
    })
}

/// This thread has acquired a checkout. The main thread's end is the end of the program: nobody would be told.
pub(crate) fn thread_has(pool: &Arc<PoolShared>, id: CheckoutId) {
    let is_main = CURRENT.with(|current| current.borrow().as_ref().is_none_or(|c| c.is_main));
    if is_main {
        return;
    }
    let _ = OWNED.try_with(|checkouts| {
        let checkouts = &mut checkouts.borrow_mut().0;
        if checkouts.len() >= SWEEP {
            checkouts.retain(|(pool, id)| pool.upgrade().is_some_and(|pool| pool.is_live(*id)));
        }
        checkouts.push((Arc::downgrade(pool), id));
    });
}

/// A checkout was released, perhaps by the thread that acquired it.
pub(crate) fn thread_released(id: CheckoutId) {
    let _ = OWNED.try_with(|checkouts| {
        let checkouts = &mut checkouts.borrow_mut().0;
        if let Some(at) = checkouts.iter().rposition(|(_, known)| *known == id) {
            checkouts.swap_remove(at);
        }
    });
}

/// Told by a task when it is done.
#[pyclass(frozen, module = "leakpool._leakpool")]
pub(crate) struct TaskWatch {
    pool: Weak<PoolShared>,
    id: CheckoutId,
}

#[pymethods]
impl TaskWatch {
    fn __call__(&self, _task: &Bound<'_, PyAny>) {
        // It has ended with all its checkouts released: then there is no such checkout.
        let _ = self.pool.upgrade().map(|pool| pool.pool.owner_ended(self.id));
    }
}

/// A task that watches over one checkout: what has to be undone when it is released.
pub(crate) struct Task {
    /// A weak reference, so that a task that waits for what it leaked is still collected with it.
    task: Py<PyAny>,
    watch: Py<TaskWatch>,
}

impl Task {
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.task)?;
        visit.call(&self.watch)
    }

    pub(crate) fn forget(self, py: Python<'_>) -> PyResult<()> {
        let task = self.task.bind(py).call0()?;
        if !task.is_none() {
            task.call_method1(intern!(py, "remove_done_callback"), (self.watch,))?;
        }
        Ok(())
    }
}

/// The running asyncio task, if there is one.
pub(crate) fn current_task(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    static CURRENT_TASK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let task = CURRENT_TASK.import(py, "asyncio", "current_task")?.call0()?;
    Ok(if task.is_none() { None } else { Some(task) })
}

/// The same where there may be no loop.
pub(crate) fn running_task(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    static RUNNING: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    // `None` instead of an exception: documented for those who implement loops, and in every version.
    let running = RUNNING.import(py, "asyncio", "_get_running_loop")?.call0()?;
    if running.is_none() { Ok(None) } else { current_task(py) }
}

/// Its name.
pub(crate) fn task_name(task: &Bound<'_, PyAny>) -> PyResult<Arc<str>> {
    let name = task.call_method0(intern!(task.py(), "get_name"))?;
    let name = name.cast_into::<PyString>().map_err(|_| PyTypeError::new_err("a task's name is no str"))?;
    Ok(text_of(name.as_any()))
}

/// This task has acquired a checkout.
pub(crate) fn task_has(task: &Bound<'_, PyAny>, pool: &Arc<PoolShared>, id: CheckoutId) -> PyResult<Task> {
    static REF: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = task.py();
    let weak = REF.import(py, "weakref", "ref")?.call1((task,))?.unbind();
    let watch = Py::new(py, TaskWatch { pool: Arc::downgrade(pool), id })?;
    task.call_method1(intern!(py, "add_done_callback"), (watch.clone_ref(py),))?;
    Ok(Task { task: weak, watch })
}
