//! One JavaScript thread: the futures that it polls, what they have finished, and whether the process has to stay alive
//! for them.

pub(crate) mod event_queue;
pub(crate) mod loop_waker;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::{self, Arc};

use leakpool::exchange::Notice;
use leakpool::host::{self, HostRuntime, Tasks};
use napi::bindgen_prelude::*;
use napi::{JsString, JsValue, sys};
use napi_derive::napi;
use tokio_postgres::Notification;

use crate::error;
use crate::event_loop::event_queue::EventQueue;
use crate::event_loop::loop_waker::{LoopWaker, Woken};
use crate::rows::{Batch, Delivered};

/// Something that JavaScript waits for has ended.
pub(crate) struct Finished {
    /// The number that JavaScript gave it.
    pub(crate) ticket: u32,
    /// It has kept the process alive until now.
    pub(crate) held: bool,
    pub(crate) outcome: leakpool::Result<Completion>,
}

pub(crate) enum Completion {
    Answered(Delivered),
    /// A part of an answer: its ticket is not settled yet.
    Part(Delivered),
    /// Something that is only handed to JavaScript when it is there to take it: the number by which it goes.
    Acquired(Box<dyn FnOnce(Env) -> u32>),
    Json(String),
}

/// Whatever lives on a thread of JavaScript and has to end with it.
pub(crate) trait Abandon {
    /// The thread's environment goes away: nobody will release anything, nor ask for anything.
    fn abandon(&self);
}

/// Something that a pool's JavaScript object is told without having asked.
pub(crate) enum ServerMessage {
    /// Of a slot: a notice of the server.
    Notice(u32, Notice),
    /// Of a slot: a notification of a channel that it listens to.
    Notification(u32, Notification),
}

/// What a thread of JavaScript has here. `lib/native.js` makes one.
pub(crate) struct EventLoop {
    /// `None` once the thread's environment goes away.
    tasks: RefCell<Option<Rc<Tasks>>>,
    runtime: HostRuntime,
    waker: Arc<LoopWaker>,
    finished: RefCell<Vec<Finished>>,
    /// With the numbers of their pools.
    server_messages: RefCell<Vec<(u32, ServerMessage)>>,
    owners: RefCell<Vec<Weak<dyn Abandon>>>,
    /// Of pools and detectors, with their numbers.
    event_queues: RefCell<Vec<(u32, sync::Weak<EventQueue>)>>,
    /// The answers that are being handed over.
    batch: Batch,
    /// Its waker has been woken for what is in `finished`, or `woken` is running.
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
            self.waker.wake();
        }
    }

    /// The same for what nobody has asked for.
    pub(crate) fn tell(&self, pool: u32, server_messages: ServerMessage) {
        self.server_messages.borrow_mut().push((pool, server_messages));
        if !self.announced.replace(true) {
            self.waker.wake();
        }
    }

    pub(crate) fn waker(&self) -> &Arc<LoopWaker> {
        &self.waker
    }

    /// Looks after something until the environment goes away.
    pub(crate) fn add_owner(&self, owner: Weak<dyn Abandon>) {
        let mut owners = self.owners.borrow_mut();
        owners.retain(|owner| owner.strong_count() > 0);
        owners.push(owner);
    }

    /// Announces what comes into a queue, under the number of its pool or detector.
    pub(crate) fn add_event_queue(&self, number: u32, event_queue: &Arc<EventQueue>) {
        let mut event_queues = self.event_queues.borrow_mut();
        event_queues.retain(|(_, event_queue)| event_queue.strong_count() > 0);
        event_queues.push((number, Arc::downgrade(event_queue)));
    }

    /// The process has to stay alive for one thing more.
    pub(crate) fn hold(&self, env: Env) {
        let busy = self.busy.get();
        self.busy.set(busy + 1);
        if busy == 0 {
            self.waker.keep_alive(env, true);
        }
    }

    /// One thing less.
    pub(crate) fn let_go(&self, env: Env) {
        let busy = self.busy.get();
        self.busy.set(busy.saturating_sub(1));
        if busy == 1 {
            self.waker.keep_alive(env, false);
        }
    }

    fn close(&self) {
        self.waker.close();
        let tasks = self.tasks.borrow_mut().take();
        drop(tasks);
        let finished = self.finished.take();
        drop(finished);
        let owners = self.owners.take();
        for owner in owners.iter().filter_map(Weak::upgrade) {
            owner.abandon();
        }
    }

    /// Hands everything that has happened to JavaScript, in one call. Of what was asked for: its ticket, an error or
    /// null, the value. Of what was not: a negative number for the pool (-1 = pool 0), what it is, the value.
    fn deliver(&self, env: Env, settle: sys::napi_value) -> Result<()> {
        let event_queues: Vec<u32> = {
            let all = self.event_queues.borrow();
            let full = all.iter().filter(|(_, event_queue)| {
                event_queue.upgrade().is_some_and(|event_queue| !event_queue.is_empty())
            });
            full.map(|(number, _)| *number).collect()
        };
        let server_messages = self.server_messages.take();
        let finished = self.finished.take();
        self.announced.set(false);
        let count = event_queues.len() + server_messages.len() + finished.len();
        if count == 0 {
            return Ok(());
        }
        let mut batch = env.create_array(3 * count as u32)?;
        let mut at = 0;
        let mut put = |ticket: i64, second: Unknown<'_>, third: Unknown<'_>| -> Result<()> {
            batch.set(at, ticket)?;
            batch.set(at + 1, second)?;
            batch.set(at + 2, third)?;
            at += 3;
            Ok(())
        };
        let null = || Null.into_unknown(&env);
        // Events first: whoever learns that a pool has closed has heard everything of it.
        for pool in event_queues {
            put(-1 - i64::from(pool), "events".into_unknown(&env)?, null()?)?;
        }
        for (pool, server_messages) in server_messages {
            let (kind, value) = match server_messages {
                ServerMessage::Notice(slot, notice) => {
                    let mut value = Object::new(&env)?;
                    value.set("slot", slot)?;
                    value.set("fields", error::fields(env, &notice)?)?;
                    ("notice", value)
                }
                ServerMessage::Notification(slot, notification) => {
                    let mut value = Object::new(&env)?;
                    value.set("slot", slot)?;
                    value.set("channel", notification.channel())?;
                    value.set("payload", notification.payload())?;
                    value.set("processId", notification.process_id())?;
                    ("notification", value)
                }
            };
            put(-1 - i64::from(pool), kind.into_unknown(&env)?, value.to_unknown())?;
        }
        for finished in finished {
            if finished.held {
                self.let_go(env);
            }
            let ticket = i64::from(finished.ticket);
            match finished.outcome {
                Ok(outcome) => {
                    // A part leaves its ticket open.
                    let open = matches!(outcome, Completion::Part(_));
                    let value = match outcome {
                        Completion::Answered(delivered) | Completion::Part(delivered) => {
                            self.batch.put(&env, delivered)?.to_unknown()
                        }
                        Completion::Acquired(hand_out) => hand_out(env).into_unknown(&env)?,
                        Completion::Json(text) => text.into_unknown(&env)?,
                    };
                    put(ticket, if open { false.into_unknown(&env)? } else { null()? }, value)?;
                }
                Err(e) => put(ticket, error::to_js(env, &e)?.to_unknown(), null()?)?,
            }
        }
        // SAFETY: a function that this thread's waker was made with.
        let settle: Function<'_, Array<'_>, Unknown<'_>> =
            unsafe { Function::from_napi_value(env.raw(), settle)? };
        let settled = settle.call(batch);
        self.batch.clear();
        settled.map(|_| ())
    }
}

impl Woken for EventLoop {
    fn woken(&self, env: Env, call: sys::napi_value) {
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

impl std::fmt::Debug for JsEventLoop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventLoop").field("busy", &self.0.busy.get()).finish_non_exhaustive()
    }
}

#[napi]
impl JsEventLoop {
    /// `settle` is called with batches of `[ticket, error, value, …]`, and must not throw.
    #[napi(constructor, catch_unwind)]
    pub fn new(env: Env, settle: Function<'_>) -> Result<JsEventLoop> {
        crate::log::install();
        let runtime = host::runtime().map_err(|e| error::thrown(env, &e))?;
        let mut failed = None;
        let made = Rc::new_cyclic(|me| {
            let waker = LoopWaker::new(env, &settle, me.clone());
            let waker = waker.unwrap_or_else(|e| {
                failed = Some(e);
                LoopWaker::silent()
            });
            let waker = Arc::new(waker);
            let ringing = waker.clone();
            EventLoop {
                tasks: RefCell::new(Some(Tasks::new(runtime.clone(), move || ringing.wake()))),
                runtime,
                waker,
                finished: RefCell::default(),
                server_messages: RefCell::default(),
                owners: RefCell::default(),
                event_queues: RefCell::default(),
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
