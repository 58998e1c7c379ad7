//! What a pool is asked now and then, and told to change.

use std::time::Duration;

use leakpool::{CheckoutId, Names, Settings};
use napi::bindgen_prelude::*;
use napi_derive::napi;

use crate::error;
use crate::info;
use crate::options::{self, Given};
use crate::pool::JsPool;

#[napi]
impl JsPool {
    /// The pool's name.
    #[napi(getter, catch_unwind)]
    pub fn name(&self) -> String {
        self.0.pool.name().to_owned()
    }

    /// Where it connects to: user, database, host and port, as JSON.
    #[napi(getter, catch_unwind)]
    pub fn target(&self) -> &str {
        &self.0.target
    }

    /// 0: connections, being made included; 1: idle ones; 2: acquires that wait.
    #[napi(catch_unwind)]
    pub fn count(&self, what: u32) -> u32 {
        let status = self.0.pool.status();
        let count = match what {
            0 => status.size + status.connecting,
            1 => status.idle,
            _ => status.waiting,
        };
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// `PoolStatus`, as JSON.
    #[napi(catch_unwind)]
    pub fn status(&self) -> String {
        info::status(&self.0.pool.status()).to_string()
    }

    /// `Metrics`, as JSON.
    #[napi(catch_unwind)]
    pub fn metrics(&self) -> String {
        let mut metrics = info::metrics(&self.0.pool.metrics());
        if let Some(dropped) = metrics["eventsDropped"].as_u64() {
            metrics["eventsDropped"] = (dropped + self.0.event_queue.lost()).into();
        }
        metrics.to_string()
    }

    /// Every checkout that is held, as JSON.
    #[napi(catch_unwind)]
    pub fn checkouts(&self) -> String {
        info::checkouts(&self.0.pool.checkouts(), &|id| self.0.pool.site_of(id)).to_string()
    }

    /// Those that are suspected or proven to have leaked, as JSON.
    #[napi(catch_unwind)]
    pub fn leaks(&self) -> String {
        info::checkouts(&self.0.pool.leaks(), &|id| self.0.pool.site_of(id)).to_string()
    }

    /// Every line that has acquired, as JSON.
    #[napi(catch_unwind)]
    pub fn sites(&self) -> String {
        let sites = self.0.pool.sites();
        sites.iter().map(|site| info::site(site)).collect::<serde_json::Value>().to_string()
    }

    /// Where a checkout was acquired, as JSON; nothing once its connection is checked out anew.
    #[napi(catch_unwind)]
    pub fn site_of(&self, id: String) -> Option<String> {
        let id: CheckoutId = id.parse().ok()?;
        self.0.pool.site_of(id).map(|site| info::site(&site).to_string())
    }

    /// The text for people.
    #[napi(catch_unwind)]
    pub fn report(&self) -> String {
        self.0.pool.report()
    }

    /// The metrics for Prometheus.
    #[napi(catch_unwind)]
    pub fn openmetrics(&self) -> String {
        self.0.pool.openmetrics()
    }

    /// The id of a slot's current or last checkout.
    #[napi(catch_unwind)]
    pub fn checkout_id(&self, slot: u32) -> Option<String> {
        self.0.slots.borrow().get(slot).map(|slot| slot.id.to_string())
    }

    /// The server's process of a slot that is out.
    #[napi(catch_unwind)]
    pub fn process_id(&self, slot: u32) -> Option<u32> {
        self.0.slots.borrow().get(slot)?.checkout.as_ref()?.connection()?.backend_pid()
    }

    /// `I`, `T` or `E` of a slot that is out.
    #[napi(catch_unwind)]
    pub fn transaction_status(&self, slot: u32) -> Option<&'static str> {
        let slots = self.0.slots.borrow();
        let connection = slots.get(slot)?.checkout.as_ref()?.connection()?;
        Some(info::transaction(connection.transaction_status()))
    }

    /// A parameter that the server reports, of a slot that is out.
    #[napi(catch_unwind)]
    pub fn parameter(&self, slot: u32, name: String) -> Option<String> {
        let slots = self.0.slots.borrow();
        let connection = slots.get(slot)?.checkout.as_ref()?.connection()?;
        connection.parameter(&name).map(|value| value.to_string())
    }

    /// Takes a checkout away from its holder. Throws a NativeError. What it was, as JSON.
    #[napi(catch_unwind)]
    pub fn force_release(&self, env: Env, id: String) -> Result<String> {
        let taken = id.parse::<CheckoutId>().and_then(|id| self.0.pool.force_release(id));
        let taken = taken.map_err(|e| error::thrown(env, &e))?;
        Ok(info::checkout(&taken, &|id| self.0.pool.site_of(id)).to_string())
    }

    /// Other leak options. Throws a NativeError, and nothing has changed.
    #[napi(catch_unwind)]
    pub fn reconfigure(&self, env: Env, given: Vec<(String, Given)>) -> Result<()> {
        let change = || {
            let mut settings =
                Settings { leak: (*self.0.pool.policy()).clone(), ..Settings::defaults(Names::Node) };
            options::apply(&mut settings, given, Settings::set_running)?;
            self.0.pool.reconfigure(settings.leak)
        };
        change().map_err(|e| error::thrown(env, &e))
    }

    /// Another `max`.
    #[napi(catch_unwind)]
    pub fn resize(&self, env: Env, max: f64) -> Result<()> {
        let change = || {
            let mut settings = Settings::default();
            options::apply(&mut settings, vec![("max".into(), Either3::B(max))], Settings::set)?;
            self.0.pool.resize(settings.pool.max_size)
        };
        change().map_err(|e| error::thrown(env, &e))
    }

    /// How much of the stack is captured now: frames, 0 = nothing.
    #[napi(catch_unwind)]
    pub fn depth(&self) -> u32 {
        options::depth(&self.0.pool.policy())
    }

    /// Waits until every event of before has been told to this thread's queue, or the limit is over.
    #[napi(catch_unwind)]
    pub fn flush(&self, millis: f64) -> bool {
        let limit = Duration::try_from_secs_f64(millis / 1000.0).unwrap_or(Duration::ZERO);
        self.0.pool.flush_events(limit)
    }
}
