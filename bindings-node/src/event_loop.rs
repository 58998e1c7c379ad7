//! One JavaScript thread: the futures that it polls, what they have finished, and whether the process has to stay alive
//! for them.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use leakpool::exchange::Notice;
use leakpool::host::{self, HostRuntime, Tasks};
use napi::bindgen_prelude::*;
use napi::{JsString, JsValue, sys};
use napi_derive::napi;
use tokio_postgres::Notification;

use crate::bell::{Bell, Rung};
use crate::error;
use crate::pool::{Lent, PoolState};
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
    /// A part of an answer: its ticket is not settled yet.
    Part(Delivered),
    Acquired(Lent),
    Json(String),
}

/// Something that a pool's JavaScript object is told without having asked.
pub(crate) enum News {
    /// Of a member: a notice of the server.
    Notice(u32, Notice),
    /// Of a member: a notification of a channel that it listens to.
    Notification(u32, Notification),
}

/// What a thread of JavaScript has here. `lib/native.js` makes one.
pub(crate) struct EventLoop {
    /// `None` once the thread's environment goes away.
    tasks: RefCell<Option<Rc<Tasks>>>,
    runtime: HostRuntime,
    bell: Arc<Bell>,
    finished: RefCell<Vec<Finished>>,
    /// With the numbers of their pools.
    news: RefCell<Vec<(u32, News)>>,
    pools: RefCell<Vec<Weak<PoolState>>>,
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

    /// The same for what nobody has asked for.
    pub(crate) fn tell(&self, pool: u32, news: News) {
        self.news.borrow_mut().push((pool, news));
        if !self.announced.replace(true) {
            self.bell.ring();
        }
    }

    pub(crate) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// Looks after a pool's mail, and after the pool itself when the environment goes away.
    pub(crate) fn add_pool(&self, pool: &Rc<PoolState>) {
        let mut pools = self.pools.borrow_mut();
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Rc::downgrade(pool));
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
        let finished = self.finished.take();
        drop(finished);
        let pools = self.pools.take();
        for pool in pools.iter().filter_map(Weak::upgrade) {
            pool.abandon();
        }
    }

    /// Hands everything that has happened to JavaScript, in one call. Of what was asked for: its ticket, an error or
    /// null, the value. Of what was not: a negative number for the pool (-1 = pool 0), what it is, the value.
    fn deliver(&self, env: Env, settle: sys::napi_value) -> Result<()> {
        let pools: Vec<u32> = {
            let pools = self.pools.borrow();
            let with_mail = pools.iter().filter_map(Weak::upgrade).filter(|pool| !pool.mail.is_empty());
            with_mail.map(|pool| pool.number).collect()
        };
        let news = self.news.take();
        let finished = self.finished.take();
        self.announced.set(false);
        let count = pools.len() + news.len() + finished.len();
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
        for pool in pools {
            put(-1 - i64::from(pool), "events".into_unknown(&env)?, null()?)?;
        }
        for (pool, news) in news {
            let (kind, value) = match news {
                News::Notice(member, notice) => {
                    let mut value = Object::new(&env)?;
                    value.set("member", member)?;
                    value.set("fields", error::fields(env, &notice)?)?;
                    ("notice", value)
                }
                News::Notification(member, notification) => {
                    let mut value = Object::new(&env)?;
                    value.set("member", member)?;
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
                    let open = matches!(outcome, Outcome::Part(_));
                    let value = match outcome {
                        Outcome::Answered(delivered) | Outcome::Part(delivered) => {
                            self.batch.put(&env, delivered)?.to_unknown()
                        }
                        Outcome::Acquired(lent) => lent.hand_out(env).into_unknown(&env)?,
                        Outcome::Json(text) => text.into_unknown(&env)?,
                    };
                    put(ticket, if open { false.into_unknown(&env)? } else { null()? }, value)?;
                }
                Err(e) => put(ticket, error::to_js(env, &e)?.to_unknown(), null()?)?,
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
        crate::log::install();
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
                news: RefCell::default(),
                pools: RefCell::default(),
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
