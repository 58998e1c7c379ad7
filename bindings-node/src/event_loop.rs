//! One JavaScript thread: the futures that it polls, what they have finished, and whether the process has to stay alive
//! for them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use leakpool::host::{self, HostRuntime, Tasks};
use napi::bindgen_prelude::*;
use napi::{JsString, sys};
use napi_derive::napi;

use crate::bell::{Bell, Rung};
use crate::error;
use crate::pool::Lent;
use crate::rows::{Batch, Delivered};

/// Something that JavaScript waits for has ended.
pub(crate) struct Finished {
    /// The number that JavaScript gave it.
    pub(crate) ticket: u32,
    /// It has kept the process alive until now.
    pub(crate) held: bool,
    pub(crate) outcome: leakpool::Result<Outcome>,
}

pub(crate) enum Outcome {
    Answered(Delivered),
    Acquired(Lent),
    Nothing,
}

/// What a thread of JavaScript has here. `lib/native.js` makes one.
pub(crate) struct EventLoop {
    /// `None` once the thread's environment goes away.
    tasks: RefCell<Option<Rc<Tasks>>>,
    runtime: HostRuntime,
    bell: Arc<Bell>,
    finished: RefCell<Vec<Finished>>,
    /// The answers that are being handed over.
    batch: Batch,
    /// Its bell has been rung for what is in `finished`, or `rung` is running.
    announced: Cell<bool>,
    /// Clients that are out, acquires and closes that are pending.
    busy: Cell<u32>,
}

impl EventLoop {
    pub(crate) fn runtime(&self) -> &HostRuntime {
        &self.runtime
    }

    /// Runs a future on this thread, as far as it gets without waiting now, and the rest later.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + 'static) -> Option<host::TaskId> {
        let tasks = self.tasks.borrow().clone();
        tasks.and_then(|tasks| tasks.spawn(future))
    }

    pub(crate) fn cancel(&self, task: host::TaskId) {
        let tasks = self.tasks.borrow().clone();
        if let Some(tasks) = tasks {
            tasks.cancel(task);
        }
    }

    /// Tells JavaScript, in the next batch.
    pub(crate) fn finish(&self, finished: Finished) {
        self.finished.borrow_mut().push(finished);
        if !self.announced.replace(true) {
            self.bell.ring();
        }
    }

    /// The process has to stay alive for one thing more.
    pub(crate) fn hold(&self, env: Env) {
        let busy = self.busy.get();
        self.busy.set(busy + 1);
        if busy == 0 {
            self.bell.keep_alive(env, true);
        }
    }

    /// One thing less.
    pub(crate) fn let_go(&self, env: Env) {
        let busy = self.busy.get();
        self.busy.set(busy.saturating_sub(1));
        if busy == 1 {
            self.bell.keep_alive(env, false);
        }
    }

    fn close(&self) {
        self.bell.close();
        let tasks = self.tasks.borrow_mut().take();
        drop(tasks);
        self.finished.borrow_mut().clear();
    }

    /// Hands everything that has finished to JavaScript, in one call: `[ticket, error, value, ticket, …]`.
    fn deliver(&self, env: Env, settle: sys::napi_value) -> Result<()> {
        let finished = std::mem::take(&mut *self.finished.borrow_mut());
        self.announced.set(false);
        if finished.is_empty() {
            return Ok(());
        }
        let mut batch = env.create_array(finished.len() as u32 * 3)?;
        for (n, finished) in finished.into_iter().enumerate() {
            let at = n as u32 * 3;
            batch.set(at, finished.ticket)?;
            if finished.held {
                self.let_go(env);
            }
            match finished.outcome {
                Ok(outcome) => {
                    batch.set(at + 1, Null)?;
                    match outcome {
                        Outcome::Answered(delivered) => {
                            batch.set(at + 2, self.batch.put(&env, delivered)?)?
                        }
                        Outcome::Acquired(lent) => batch.set(at + 2, lent.hand_out(env))?,
                        Outcome::Nothing => batch.set(at + 2, Null)?,
                    }
                }
                Err(e) => batch.set(at + 1, error::to_js(env, &e)?)?,
            }
        }
        // SAFETY: a function that this thread's bell was made with.
        let settle: Function<'_, Array<'_>, Unknown<'_>> =
            unsafe { Function::from_napi_value(env.raw(), settle)? };
        let settled = settle.call(batch);
        self.batch.clear();
        settled.map(|_| ())
    }
}

impl Rung for EventLoop {
    fn rung(&self, env: Env, call: sys::napi_value) {
        // What finishes while the tasks run goes with this batch.
        self.announced.set(true);
        let tasks = self.tasks.borrow().clone();
        if let Some(tasks) = tasks {
            tasks.run();
        }
        if let Err(e) = self.deliver(env, call) {
            // `settle` lets nothing out; so Node could not make a value: it runs out of memory, or it terminates.
            tracing::debug!(target: "leakpool", "answers could not be handed over: {e}");
        }
    }
}

/// The loop of this thread. JavaScript makes one, with the function that takes what has finished.
#[napi(js_name = "EventLoop")]
pub struct JsEventLoop(pub(crate) Rc<EventLoop>);

#[napi]
impl JsEventLoop {
    /// `settle` is called with batches of `[ticket, error, value, …]`, and must not throw.
    #[napi(constructor, catch_unwind)]
    pub fn new(env: Env, settle: Function<'_>) -> Result<JsEventLoop> {
        let runtime = host::runtime().map_err(|e| error::thrown(env, &e))?;
        let mut failed = None;
        let made = Rc::new_cyclic(|me| {
            let bell = Bell::new(env, &settle, me.clone());
            let bell = bell.unwrap_or_else(|e| {
                failed = Some(e);
                Bell::silent()
            });
            let bell = Arc::new(bell);
            let ringing = bell.clone();
            EventLoop {
                tasks: RefCell::new(Some(Tasks::new(runtime.clone(), move || ringing.ring()))),
                runtime,
                bell,
                finished: RefCell::default(),
                batch: Batch::default(),
                announced: Cell::new(false),
                busy: Cell::new(0),
            }
        });
        if let Some(e) = failed {
            return Err(e);
        }
        env.add_env_cleanup_hook(made.clone(), |made| made.close())?;
        Ok(JsEventLoop(made))
    }

    /// The columns of a result of an answer in the batch that is being handed over.
    #[napi(catch_unwind)]
    pub fn columns<'env>(&self, env: &'env Env, answer: u32, result: u32) -> Result<Array<'env>> {
        self.0.batch.columns(env, answer, result)
    }

    /// Packs the next rows of a result of that batch, and returns their texts.
    #[napi(catch_unwind)]
    pub fn pack<'env>(
        &self,
        env: &'env Env,
        answer: u32,
        result: u32,
        kinds: &[u8],
        mut ints: Int32ArraySlice<'_>,
        mut doubles: Float64ArraySlice<'_>,
    ) -> Result<JsString<'env>> {
        // SAFETY: three arrays with memory of their own (`lib/decode.js` makes them and shows them to nobody), and no
        // JavaScript runs before they are filled.
        let (ints, doubles) = unsafe { (ints.as_mut(), doubles.as_mut()) };
        self.0.batch.pack(env, (answer, result), kinds, ints, doubles)
    }
}
