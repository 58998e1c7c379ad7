//! A pool as JavaScript has it: acquire, release, submit, close. What is only looked at is in `pool/introspection.rs`.

mod fast_path;
mod params;
mod query;
mod session_slots;
mod state;

use std::cell::RefCell;
use std::rc::Rc;

use leakpool::{AcquireOptions, ChangingPassword, CheckoutId, Error, ErrorCode, Pool, Secret};
use napi::bindgen_prelude::*;
use napi_derive::napi;

use self::query::Asked;
use self::state::{PoolState, site};
use crate::clock::JsManualClock;
use crate::error;
use crate::event_loop::event_queue::{self, EventQueue};
use crate::event_loop::{Abandon, Completion, JsEventLoop, ServerMessage};
use crate::info;
use crate::options::{self, Given};

/// One pool. See `native.d.ts`.
#[napi(js_name = "NativePool")]
pub struct JsPool(pub(crate) Rc<PoolState>);

// Below the struct: `napi` takes the name of a class from what it has read before.
mod introspection;

impl std::fmt::Debug for JsPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.pool.fmt(f)
    }
}

fn released() -> Error {
    Error::new(ErrorCode::AlreadyReleased, "the connection was released before")
}

/// What an acquire of JavaScript says about itself. Negative numbers: nothing said.
fn acquire_options(label: Option<String>, expected: f64, timeout: f64) -> leakpool::Result<AcquireOptions> {
    let mut options = AcquireOptions::new();
    if let Some(label) = label {
        options = options.label(label);
    }
    if expected >= 0.0 {
        options = options.expected_duration(leakpool::duration_from_millis("expectedDurationMs", expected)?);
    }
    if timeout >= 0.0 {
        options = options.timeout(leakpool::duration_from_millis("timeoutMs", timeout)?);
    }
    Ok(options)
}

#[napi]
impl JsPool {
    /// Makes a pool. `options` are pairs of Node's names and values.
    #[napi(constructor, catch_unwind)]
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        env: Env,
        home: &JsEventLoop,
        number: u32,
        dsn: String,
        fields: Vec<(String, String)>,
        defaults: Vec<(String, String)>,
        options: Vec<(String, Given)>,
        clock: Option<ClassInstance<'_, JsManualClock>>,
    ) -> Result<JsPool> {
        let home = home.0.clone();
        let password = ChangingPassword::default();
        let make = || {
            let settings = options::settings(options)?;
            let mut target = options::target(&dsn, &fields, &defaults)?;
            target.changing_password = Some(password.clone());
            let described = info::target(&target);
            let mut builder = Pool::builder()
                .connect_config(target)
                .policy(settings.leak)
                .options(settings.pool)
                .runtime(home.runtime().handle().clone());
            if let Some(clock) = clock {
                builder = builder.clock(clock.0.clone());
            }
            Ok((builder.build()?, described))
        };
        let made: leakpool::Result<_> = make();
        let (pool, target) = made.map_err(|e| error::thrown(env, &e))?;
        let event_queue = EventQueue::new(home.waker().clone());
        let queue = event_queue.clone();
        let subscription =
            RefCell::new(Some(pool.subscribe(event_queue::REPORTED, move |event| queue.put(event))));
        let state = Rc::new(PoolState {
            pool,
            target: target.to_string(),
            number,
            home,
            slots: RefCell::default(),
            acquires: RefCell::default(),
            event_queue,
            password,
            subscription,
        });
        let owner: std::rc::Weak<dyn Abandon> = Rc::downgrade(&(state.clone() as Rc<dyn Abandon>));
        state.home.add_owner(owner);
        state.home.add_event_queue(number, &state.event_queue);
        Ok(JsPool(state))
    }

    /// `{ tryAcquire, release }`.
    #[napi(catch_unwind)]
    pub fn fast_path<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        fast_path::functions(env, &self.0)
    }

    /// A connection, later: the ticket is settled with its slot's number.
    #[napi(catch_unwind)]
    pub fn acquire(
        &self,
        env: Env,
        ticket: u32,
        later: bool,
        label: Option<String>,
        expected: f64,
        timeout: f64,
    ) -> Result<()> {
        let options = acquire_options(label, expected, timeout).map_err(|e| error::thrown(env, &e))?;
        let state = self.0.clone();
        let future = state.pool.acquire_site(site(later), options);
        state.home.hold(env);
        let home = state.home.clone();
        let task = home.spawn(async move {
            let outcome = future.await;
            state.acquires.borrow_mut().remove(&ticket);
            let pool = state.clone();
            state.finish(
                ticket,
                true,
                outcome.map(|connection| {
                    Completion::Acquired(Box::new(move |env| pool.check_out(env, connection)))
                }),
            );
        });
        if let Some(task) = task {
            self.0.acquires.borrow_mut().insert(ticket, task);
        }
        Ok(())
    }

    /// Nobody waits for this acquire any more. False if it has ended, and is about to be settled.
    #[napi(catch_unwind)]
    pub fn cancel_acquire(&self, ticket: u32) -> bool {
        let task = self.0.acquires.borrow_mut().remove(&ticket);
        let Some(task) = task else { return false };
        self.0.home.cancel(task);
        let e = Error::new(ErrorCode::AcquireTimeout, "the acquire was cancelled");
        self.0.finish(ticket, true, Err(e));
        true
    }

    /// The slot's object was collected while it was out.
    #[napi(catch_unwind)]
    pub fn abandon(&self, env: Env, slot: u32) {
        self.0.let_go(env, slot);
        let checkout = match self.0.slots.borrow_mut().get_mut(slot) {
            Some(slot) => slot.checkout.take(),
            None => None,
        };
        if let Some(checkout) = checkout {
            checkout.abandon();
        }
    }

    /// JavaScript has no object for this slot any more; its number may come again for another one.
    #[napi(catch_unwind)]
    pub fn forget(&self, env: Env, slot: u32) {
        self.0.let_go(env, slot);
        let gone = self.0.slots.borrow_mut().forget(slot);
        drop(gone);
    }

    /// Tells where a slot's checkout was acquired: `[function, file, line, function, …]`, innermost first.
    #[napi(catch_unwind)]
    pub fn locate(&self, slot: u32, frames: Vec<Either<String, u32>>) {
        let Some(id) = self.id(slot) else { return };
        crate::frames::with(&frames, |frames| {
            // It may have ended, and its slot may be another's: then nobody asks for its line.
            let _ = self.0.pool.locate(id, frames);
        });
    }

    pub(crate) fn id(&self, slot: u32) -> Option<CheckoutId> {
        let slots = self.0.slots.borrow();
        slots.get(slot).filter(|slot| slot.checkout.is_some()).map(|slot| slot.id)
    }

    /// Runs a query: the ticket is settled with its results. Without `params` by the simple protocol. One at a time.
    #[napi(catch_unwind)]
    pub fn submit(
        &self,
        env: Env,
        slot: u32,
        ticket: u32,
        text: String,
        params: Option<Array<'_>>,
        cached: bool,
    ) -> Result<()> {
        let asked = Asked { text, params: params.as_ref().map(params::read).transpose()?, cached };
        let state = self.0.clone();
        let checkout = state.checkout(slot);
        let Some(checkout) = checkout else {
            state.finish(ticket, false, Err(released()));
            return Ok(());
        };
        // Its slot may be taken back, and hold nothing any more, before the answer is there.
        state.home.hold(env);
        let home = state.home.clone();
        let task = home.spawn(async move {
            let number = state.number;
            let noticed = |notice| state.home.tell(number, ServerMessage::Notice(slot, notice));
            let part = |delivered| state.finish(ticket, false, Ok(Completion::Part(delivered)));
            let outcome = match checkout.connection() {
                Some(connection) => query::run(connection, asked, noticed, part).await,
                None => Err(released()),
            };
            // Before JavaScript hears of it: it may release.
            drop(checkout);
            if let Some(slot) = state.slots.borrow_mut().get_mut(slot) {
                slot.running = None;
            }
            state.finish(ticket, true, outcome.map(Completion::Answered));
        });
        if let (Some(task), Some(slot)) = (task, self.0.slots.borrow_mut().get_mut(slot)) {
            slot.running = Some((task, ticket));
        }
        Ok(())
    }

    /// Asks the server to cancel what a slot runs.
    #[napi(catch_unwind)]
    pub fn cancel(&self, slot: u32) {
        let checkout = self.0.checkout(slot);
        if let Some(connection) = checkout.as_ref().and_then(|checkout| checkout.connection()) {
            let _ = connection.cancel();
        }
    }

    /// After the one query of `pool.query`: throws if it has left a transaction open.
    #[napi(catch_unwind)]
    pub fn ends_here(&self, env: Env, slot: u32) -> Result<()> {
        let checkout = self.0.checkout(slot);
        match checkout.as_ref().and_then(|checkout| checkout.connection()) {
            Some(connection) => connection.ends_here().map_err(|e| error::thrown(env, &e)),
            None => Ok(()),
        }
    }

    /// From now on the slot's notifications are told, until it is released.
    #[napi(catch_unwind)]
    pub fn listen(&self, slot: u32) {
        let state = self.0.clone();
        let mut slots = state.slots.borrow_mut();
        let Some(entry) = slots.get_mut(slot) else { return };
        if entry.listener.is_some() {
            return;
        }
        let connection = entry.checkout.as_ref().and_then(|checkout| checkout.connection());
        let Some(mut notifications) = connection.map(|connection| connection.notifications()) else {
            return;
        };
        let (home, number) = (state.home.clone(), state.number);
        let telling = Rc::downgrade(&home);
        entry.listener = home.spawn(async move {
            while let Some(notification) = notifications.recv().await {
                let Some(home) = telling.upgrade() else { return };
                home.tell(number, ServerMessage::Notification(slot, notification));
            }
        });
    }

    /// The password of the connections that are made from now on.
    #[napi(catch_unwind)]
    pub fn set_password(&self, password: String) {
        self.0.password.set(Secret::new(password));
    }

    /// Events since the last call, as JSON.
    #[napi(catch_unwind)]
    pub fn events(&self, env: Env) -> String {
        self.0.take_events(env)
    }

    /// SessionSlots whose session has ended and that nobody was told of.
    #[napi(catch_unwind)]
    pub fn ended(&self, env: Env) -> Vec<u32> {
        self.0.ended(env)
    }

    /// Closes the pool; the ticket is settled with those who still held, as JSON. `limit` in milliseconds, negative =
    /// the option's.
    #[napi(catch_unwind)]
    pub fn close(&self, env: Env, ticket: u32, limit: f64) -> Result<()> {
        let limit = match limit < 0.0 {
            true => self.0.pool.options().close_timeout,
            false => leakpool::duration_from_millis("closeTimeoutMillis", limit)
                .map_err(|e| error::thrown(env, &e))?,
        };
        let state = self.0.clone();
        state.home.hold(env);
        let home = state.home.clone();
        home.spawn(async move {
            let outcome = state.pool.close_within(limit).await;
            let told = |id| state.pool.site_of(id);
            let outcome = outcome.map(|held| Completion::Json(info::checkouts(&held, &told).to_string()));
            state.finish(ticket, true, outcome);
        });
        Ok(())
    }
}
