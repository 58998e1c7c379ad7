//! asyncio: what an `_async` method returns, and how its answer reaches the loop.
//!
//! Each loop has its own [`Tasks`]: futures that its thread polls. Whoever completes one, on the I/O thread, writes to an
//! eventfd without the GIL; one call of the loop's reader then polls all that were completed. A loop without
//! `add_reader` (the proactor's) is told by `call_soon_threadsafe`.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use leakpool::host::{TaskId, Tasks};
use parking_lot::Mutex;
use pyo3::exceptions::{PyNotImplementedError, PyRuntimeError, PyStopIteration};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use pyo3::{PyTraverseError, PyVisit};

use crate::errors::OrRaise;
use crate::event_loop::waiting::attached;
use crate::event_loop::wakeup::LoopWaker;
use crate::pool::shared::GiveUp;

/// What is made of an answer on the loop's thread.
pub(crate) type Finish = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;
/// What is awaited, without anything of Python's in it.
pub(crate) type Work = Pin<Box<dyn Future<Output = Finish> + Send>>;

/// One loop of this thread.
struct Entry {
    id: u64,
    /// Only to be compared.
    address: usize,
    event_loop: Py<PyAny>,
    tasks: Rc<Tasks>,
    waker: Arc<LoopWaker>,
}

thread_local! {
    /// The last one used is first.
    static LOOPS: RefCell<Vec<Rc<Entry>>> = const { RefCell::new(Vec::new()) };
    static NEXT: Cell<u64> = const { Cell::new(1) };
}

/// What a loop calls when something was completed.
#[pyclass(frozen, module = "leakpool._leakpool")]
struct Wakeup(u64);

#[pymethods]
impl Wakeup {
    fn __call__(&self) {
        let entry = LOOPS.with(|loops| loops.borrow().iter().find(|entry| entry.id == self.0).cloned());
        if let Some(entry) = entry {
            entry.waker.heard();
            entry.tasks.run();
        }
    }
}

impl Entry {
    fn is_of(&self, event_loop: &Bound<'_, PyAny>) -> bool {
        let py = event_loop.py();
        self.address == event_loop.as_ptr() as usize
            && self.event_loop.bind(py).call0().is_ok_and(|alive| alive.is(event_loop))
    }

    /// The loop is there and was not closed.
    fn is_open(&self, py: Python<'_>) -> bool {
        let open = |alive: &Bound<'_, PyAny>| {
            Ok::<_, PyErr>(!alive.is_none() && !alive.call_method0(intern!(py, "is_closed"))?.is_truthy()?)
        };
        self.event_loop.bind(py).call0().and_then(|alive| open(&alive)).unwrap_or(false)
    }

    fn make(event_loop: &Bound<'_, PyAny>) -> PyResult<Entry> {
        static REF: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let py = event_loop.py();
        let id = NEXT.replace(NEXT.get() + 1);
        let wakeup = Py::new(py, Wakeup(id))?;
        let weak = REF.import(py, "weakref", "ref")?.call1((event_loop,))?.unbind();
        let waker = LoopWaker::new()?;
        let added = match waker.descriptor() {
            Some(fd) => event_loop.call_method1("add_reader", (fd, wakeup.clone_ref(py))).map(drop),
            None => Err(PyNotImplementedError::new_err(())),
        };
        match added {
            Ok(()) => {}
            Err(e) if e.is_instance_of::<PyNotImplementedError>(py) => {
                let (weak, wakeup) = (weak.clone_ref(py), wakeup);
                waker.instead(move || {
                    attached(|py| {
                        let told = weak.bind(py).call0().and_then(|event_loop| {
                            event_loop.call_method1("call_soon_threadsafe", (wakeup.clone_ref(py),))
                        });
                        // A loop that was closed meanwhile: nobody waits any more.
                        drop(told);
                    });
                });
            }
            Err(e) => return Err(e),
        }
        let runtime = leakpool::host::runtime().or_raise(py)?;
        let wake = waker.clone();
        let tasks = Tasks::new(runtime, move || wake.wake());
        Ok(Entry { id, address: event_loop.as_ptr() as usize, event_loop: weak, tasks, waker })
    }
}

/// The running loop and its tasks.
fn here(py: Python<'_>) -> PyResult<(Bound<'_, PyAny>, Rc<Entry>)> {
    static RUNNING: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let event_loop = RUNNING.import(py, "asyncio", "get_running_loop")?.call0()?;
    let known = LOOPS.with(|loops| loops.borrow().first().cloned());
    if let Some(entry) = known.filter(|entry| entry.is_of(&event_loop)) {
        return Ok((event_loop, entry));
    }
    let all = LOOPS.with(|loops| loops.borrow().clone());
    let entry = match all.iter().find(|entry| entry.is_of(&event_loop)) {
        Some(entry) => entry.clone(),
        None => Rc::new(Entry::make(&event_loop)?),
    };
    let mut now = vec![entry.clone()];
    now.extend(all.into_iter().filter(|other| other.id != entry.id && other.is_open(py)));
    let before = LOOPS.with(|loops| loops.replace(now));
    drop(before);
    Ok((event_loop, entry))
}

/// Where an answer waits to be fetched.
#[derive(Default)]
struct Answer {
    finish: Mutex<Option<Finish>>,
    /// The future that the task waits for.
    future: Mutex<Option<Py<PyAny>>>,
}

impl Answer {
    /// On the loop's thread, from within its reader.
    fn arrived(&self, finish: Finish) {
        *self.finish.lock() = Some(finish);
        self.wake();
    }

    fn wake(&self) {
        let Some(future) = self.future.lock().take() else { return };
        attached(|py| {
            let future = future.bind(py);
            let told = future.call_method0(intern!(py, "done")).and_then(|done| match done.is_truthy()? {
                // Cancelled in the same round of the loop.
                true => Ok(()),
                false => future.call_method1(intern!(py, "set_result"), (py.None(),)).map(drop),
            });
            if let Err(e) = told {
                e.write_unraisable(py, Some(future));
            }
        });
    }
}

/// Something that begins when it is awaited, and may have its answer at once.
pub(crate) trait Begin: Send {
    fn begin(self: Box<Self>, py: Python<'_>) -> PyResult<Begun>;

    /// What of Python's it refers to.
    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError>;
}

/// What the first step of it gives.
pub(crate) enum Begun {
    Ready(Py<PyAny>),
    Waits(Work),
}

enum State {
    /// Not awaited yet.
    New(Work),
    /// Not awaited yet, and may have its answer at once.
    Begin(Box<dyn Begin>),
    /// The answer was there at once.
    Ready(Py<PyAny>),
    Waiting {
        entry: u64,
        task: TaskId,
        answer: Arc<Answer>,
        cancelled: Option<Cancelled>,
    },
    Over,
}

/// The task was cancelled; what runs on the server was too, and its answer is still waited for, so that the connection
/// is as it seems when the task goes on.
struct Cancelled {
    raise: PyErr,
    /// The end of that patience: a handle of the loop's.
    timer: Py<PyAny>,
}

/// How long, in seconds.
const PATIENCE: f64 = 5.0;

/// What the loop calls at the end of it.
#[pyclass(frozen, module = "leakpool._leakpool")]
struct Impatience(Arc<Answer>);

#[pymethods]
impl Impatience {
    fn __call__(&self) {
        self.0.wake();
    }
}

/// What an `_async` method returns: awaitable once.
#[pyclass(frozen, generic, module = "leakpool._leakpool")]
pub(crate) struct Operation {
    state: Mutex<State>,
    /// Whose operation it is: not to be collected while it is awaited.
    owner: Mutex<Option<Py<PyAny>>>,
    /// What is done if it is given up.
    give_up: Mutex<Option<GiveUp>>,
}

impl Operation {
    fn with(state: State, owner: Option<Py<PyAny>>) -> Operation {
        Operation { state: Mutex::new(state), owner: Mutex::new(owner), give_up: Mutex::new(None) }
    }

    pub(crate) fn new<F>(owner: Option<Py<PyAny>>, work: F) -> Operation
    where
        F: Future<Output = Finish> + Send + 'static,
    {
        Operation::with(State::New(Box::pin(work)), owner)
    }

    pub(crate) fn beginning(begin: impl Begin + 'static) -> Operation {
        Operation::with(State::Begin(Box::new(begin)), None)
    }

    pub(crate) fn ready(value: Py<PyAny>) -> Operation {
        Operation::with(State::Ready(value), None)
    }

    /// With something to be done if it is given up while it waits.
    pub(crate) fn or(self, give_up: GiveUp) -> Operation {
        *self.give_up.lock() = Some(give_up);
        self
    }

    fn set(&self, state: State) {
        let before = std::mem::replace(&mut *self.state.lock(), state);
        drop(before);
    }

    fn done(&self, py: Python<'_>, finish: Finish) -> PyErr {
        let give_up = self.give_up.lock().take();
        drop(give_up);
        let owner = self.owner.lock().take();
        let answer = finish(py).map_or_else(|e| e, |value| PyStopIteration::new_err((value,)));
        drop(owner);
        answer
    }

    fn begin(&self, py: Python<'_>, work: Work) -> PyResult<Py<PyAny>> {
        let (event_loop, entry) = here(py)?;
        let answer = Arc::new(Answer::default());
        let told = answer.clone();
        let task = entry.tasks.spawn(async move { told.arrived(work.await) });
        let Some(task) = task else {
            let finish = answer.finish.lock().take();
            return Err(match finish {
                Some(finish) => self.done(py, finish),
                None => PyRuntimeError::new_err("an answer has gone astray"),
            });
        };
        self.set(State::Waiting { entry: entry.id, task, answer: answer.clone(), cancelled: None });
        wait_for(&event_loop, &answer)
    }

    /// The task is cancelled: what runs on the server is too. A future for its answer; `None` if there is nothing to wait
    /// for, or it was waited for before.
    fn cancel(&self, py: Python<'_>, raise: &PyErr) -> PyResult<Option<Py<PyAny>>> {
        let answer = match &*self.state.lock() {
            State::Waiting { answer, cancelled: None, .. } if answer.finish.lock().is_none() => {
                answer.clone()
            }
            _ => return Ok(None),
        };
        match &*self.give_up.lock() {
            Some(give_up) => give_up.ask(),
            None => return Ok(None),
        }
        let (event_loop, _) = here(py)?;
        let impatience = Py::new(py, Impatience(answer.clone()))?;
        let timer = event_loop.call_method1(intern!(py, "call_later"), (PATIENCE, impatience))?.unbind();
        let future = wait_for(&event_loop, &answer)?;
        if let State::Waiting { cancelled, .. } = &mut *self.state.lock() {
            *cancelled = Some(Cancelled { raise: raise.clone_ref(py), timer });
        }
        Ok(Some(future))
    }

    /// Gives up: what runs is cancelled, an answer that has come is thrown away.
    fn abandon(&self) {
        let before = std::mem::replace(&mut *self.state.lock(), State::Over);
        if let State::Waiting { entry, task, answer, cancelled } = before {
            let give_up = self.give_up.lock().take();
            let came = answer.finish.lock().take();
            if came.is_none()
                && let Some(give_up) = give_up
            {
                if cancelled.is_none() {
                    give_up.ask();
                }
                give_up.turn_away();
            }
            if let Some(Cancelled { timer, .. }) = cancelled {
                attached(|py| drop(timer.call_method0(py, intern!(py, "cancel"))));
            }
            let future = answer.future.lock().take();
            // On another thread (a collector's) it stays until it is over; then nobody fetches its answer.
            let here = LOOPS
                .try_with(|loops| Some(loops.try_borrow().ok()?.iter().find(|e| e.id == entry).cloned()))
                .ok()
                .flatten()
                .flatten();
            if let Some(entry) = here {
                entry.tasks.cancel(task);
            }
            drop((came, future));
        }
    }
}

/// A future for an answer, as a task wants it from what it runs.
fn wait_for(event_loop: &Bound<'_, PyAny>, answer: &Answer) -> PyResult<Py<PyAny>> {
    let py = event_loop.py();
    let future = event_loop.call_method0(intern!(py, "create_future"))?;
    let before = answer.future.lock().replace(future.clone().unbind());
    drop(before);
    future.setattr(intern!(py, "_asyncio_future_blocking"), true)?;
    Ok(future.unbind())
}

/// True for what `Task.cancel()` throws.
fn is_cancellation(py: Python<'_>, raised: &PyErr) -> bool {
    static CANCELLED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let class = CANCELLED.import(py, "asyncio", "CancelledError");
    class.is_ok_and(|class| raised.matches(py, class).unwrap_or(false))
}

#[pymethods]
impl Operation {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let state = std::mem::replace(&mut *self.state.lock(), State::Over);
        match state {
            State::Ready(value) => Err(PyStopIteration::new_err((value,))),
            State::New(work) => self.begin(py, work),
            State::Begin(begin) => match begin.begin(py)? {
                Begun::Ready(value) => Err(PyStopIteration::new_err((value,))),
                Begun::Waits(work) => self.begin(py, work),
            },
            State::Waiting { entry, task, answer, cancelled: Some(cancelled) } => {
                let raise = cancelled.raise.clone_ref(py);
                // With its answer, or without one after all that time.
                self.set(State::Waiting { entry, task, answer, cancelled: Some(cancelled) });
                self.abandon();
                Err(raise)
            }
            State::Waiting { entry, task, answer, cancelled: None } => {
                let finish = answer.finish.lock().take();
                if let Some(finish) = finish {
                    return Err(self.done(py, finish));
                }
                // Woken by something else.
                let (event_loop, _) = here(py)?;
                self.set(State::Waiting { entry, task, answer: answer.clone(), cancelled: None });
                wait_for(&event_loop, &answer)
            }
            State::Over => Err(PyRuntimeError::new_err("this was awaited before: call the method again")),
        }
    }

    #[pyo3(signature = (value, /))]
    fn send(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let _ = value;
        self.__next__(py)
    }

    #[pyo3(signature = (r#type, value=None, traceback=None, /))]
    fn throw(
        &self,
        py: Python<'_>,
        r#type: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let made = || -> PyResult<PyErr> {
            let value = match (r#type.cast::<PyType>(), value) {
                (Ok(class), None) => class.call0()?,
                (Ok(class), Some(value)) if value.is_none() => class.call0()?,
                (Ok(class), Some(value)) if !value.is_instance(class)? => class.call1((value,))?,
                (Ok(_), Some(value)) => value.clone(),
                (Err(_), _) => r#type.clone(),
            };
            if let Some(traceback) = traceback.filter(|t| !t.is_none()) {
                value.setattr(intern!(py, "__traceback__"), traceback)?;
            }
            Ok(PyErr::from_value(value))
        };
        let raised = made().unwrap_or_else(|e| e);
        if is_cancellation(py, &raised)
            && let Ok(Some(future)) = self.cancel(py, &raised)
        {
            return Ok(future);
        }
        self.abandon();
        Err(raised)
    }

    fn close(&self) {
        self.abandon();
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Some(owner) = self.owner.try_lock() {
            visit.call(&*owner)?;
        }
        if let Some(state) = self.state.try_lock() {
            match &*state {
                State::Ready(value) => visit.call(value)?,
                State::Begin(begin) => begin.traverse(&visit)?,
                State::Waiting { answer, cancelled, .. } => {
                    if let Some(cancelled) = cancelled {
                        visit.call(&cancelled.timer)?;
                    }
                    if let Some(future) = answer.future.try_lock() {
                        visit.call(&*future)?;
                    }
                }
                State::New(_) | State::Over => {}
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        self.abandon();
        let (owner, state) =
            (self.owner.lock().take(), std::mem::replace(&mut *self.state.lock(), State::Over));
        drop((owner, state));
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// An answer as it is, for [`Operation::new`].
pub(crate) fn finish<T>(
    answer: leakpool::Result<T>,
    make: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
) -> Finish
where
    T: Send + 'static,
{
    Box::new(move |py| make(py, answer.or_raise(py)?))
}
