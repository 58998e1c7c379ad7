//! One pool of one thread of JavaScript: its sessions by their numbers, what runs on them, and what has happened.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use leakpool::host::{SharedCheckout, TaskId};
use leakpool::{
    AcquireOptions, ChangingPassword, Connection, Error, ErrorCode, EventData, Pool, SiteId, Subscription,
};
use napi::bindgen_prelude::*;

use super::session_slots::SessionSlots;
use crate::event_loop::event_queue::EventQueue;
use crate::event_loop::{Abandon, Completion, EventLoop, Finished};
use crate::info;

/// One pool of one thread of JavaScript.
pub(crate) struct PoolState {
    pub(crate) pool: Pool,
    /// Where it connects to, as JSON.
    pub(crate) target: String,
    /// What JavaScript calls it when it is told something.
    pub(crate) number: u32,
    pub(super) home: Rc<EventLoop>,
    pub(crate) slots: RefCell<SessionSlots>,
    /// Acquires that wait, by their tickets.
    pub(super) acquires: RefCell<HashMap<u32, TaskId>>,
    pub(crate) event_queue: Arc<EventQueue>,
    pub(super) password: ChangingPassword,
    /// `None` once the thread's environment goes away.
    pub(super) subscription: RefCell<Option<Subscription>>,
}

impl PoolState {
    pub(super) fn check_out(&self, env: Env, connection: Connection) -> u32 {
        self.home.hold(env);
        self.slots.borrow_mut().put(connection)
    }

    /// It keeps the process alive no longer.
    pub(super) fn let_go(&self, env: Env, slot: u32) {
        let held = match self.slots.borrow_mut().get_mut(slot) {
            Some(slot) => std::mem::take(&mut slot.holds),
            None => false,
        };
        if held {
            self.home.let_go(env);
        }
    }

    pub(super) fn finish(&self, ticket: u32, held: bool, outcome: leakpool::Result<Completion>) {
        self.home.finish(Finished { ticket, held, outcome });
    }

    /// What a slot has checked out now, for a call on it.
    pub(super) fn checkout(&self, slot: u32) -> Option<Arc<SharedCheckout>> {
        self.slots.borrow().get(slot)?.checkout.clone()
    }

    /// An idle connection: its slot's number, or -1. `later`: its line is told by `locate`.
    pub(crate) fn try_acquire(&self, env: Env, later: bool) -> i32 {
        match self.pool.try_acquire_site(site(later), AcquireOptions::new()) {
            Ok(connection) => self.check_out(env, connection) as i32,
            Err(_) => -1,
        }
    }

    /// Gives a connection back, or ends its session. 0: it was the holder's until now; 1: it had been taken back
    /// before; 2: there was nothing to release.
    pub(crate) fn release(&self, env: Env, slot: u32, broken: bool) -> i32 {
        let (checkout, running, held) = match self.slots.borrow_mut().get_mut(slot) {
            Some(slot) => {
                if let Some(listener) = slot.listener.take() {
                    self.home.cancel(listener);
                }
                (slot.checkout.take(), slot.running.take(), std::mem::take(&mut slot.holds))
            }
            None => return 2,
        };
        if held {
            self.home.let_go(env);
        }
        let Some(checkout) = checkout else { return 2 };
        // JavaScript waits for what runs before it releases, unless it wants the session to end.
        if let Some((task, ticket)) = running {
            self.home.cancel(task);
            let e = Error::new(ErrorCode::ConnectionLost, "Connection terminated");
            self.finish(ticket, true, Err(e));
        }
        i32::from(checkout.release(broken).is_err())
    }

    /// Events since the last look, as a JSON list, for JavaScript to tell on.
    pub(super) fn take_events(&self, env: Env) -> String {
        let mut list = Vec::new();
        for event in self.event_queue.take() {
            let told = |id| self.pool.site_of(id);
            let mut value = info::event(&event, &told);
            if let Some(id) = event.data.checkout() {
                let slot = self.slots.borrow().of(id);
                value["slot"] = slot.map_or(serde_json::Value::Null, Into::into);
                if let (EventData::ForceRelease { .. }, Some(slot)) = (&event.data, slot) {
                    self.let_go(env, slot);
                }
            }
            // An idle session that dies is an error first, and is removed then.
            if let EventData::Remove { .. } | EventData::Error { code: ErrorCode::ConnectionLost, .. } =
                &event.data
            {
                value["slots"] = self.ended(env).into();
            }
            list.push(value);
        }
        serde_json::Value::from(list).to_string()
    }

    /// SessionSlots whose session has ended since the last look.
    pub(super) fn ended(&self, env: Env) -> Vec<u32> {
        let ended = self.slots.borrow_mut().ended();
        for slot in &ended {
            self.let_go(env, *slot);
        }
        ended
    }
}

impl Abandon for PoolState {
    fn abandon(&self) {
        drop(self.subscription.borrow_mut().take());
        let slots = self.slots.borrow_mut().drain();
        drop(slots);
        let (pool, runtime) = (self.pool.clone(), self.home.runtime().clone());
        let handle = runtime.handle().clone();
        handle.spawn(async move {
            let _ = pool.close_within(Duration::ZERO).await;
            drop(runtime);
        });
    }
}

/// Where an acquire of JavaScript comes from: its line is told later, if it is to be told at all.
pub(super) fn site(later: bool) -> SiteId {
    if later { SiteId::LATER } else { SiteId::OFF }
}
