//! What tests of this package need and nobody else: every event as the core tells it, the sweeper's rounds, the table of
//! options. `lib/testing.js` exports it, which no program of a user has a reason to load.

use leakpool::{CheckoutId, EventKind, Events, Names, OPTIONS, OptionKind, Pool, Settings};
use napi::bindgen_prelude::*;
use napi_derive::napi;
use serde_json::{Value, json};

use crate::error;
use crate::info;
use crate::pool::JsPool;

/// Listens to everything that is told about a pool, also to what JavaScript tells its listeners by itself.
#[napi(js_name = "TestSpy")]
#[derive(Debug)]
pub struct Spy {
    pool: Pool,
    events: Events,
}

#[napi]
impl Spy {
    /// From now on.
    #[napi(constructor, catch_unwind)]
    pub fn new(pool: &JsPool) -> Spy {
        let pool = pool.0.pool.clone();
        let events = pool.events(EventKind::ALL);
        Spy { pool, events }
    }

    /// The events since the last call, as JSON.
    #[napi(catch_unwind)]
    pub fn take(&self) -> String {
        let events = std::iter::from_fn(|| self.events.try_recv());
        let told = |id| self.pool.site_of(id);
        events.map(|event| info::event(&event, &told)).collect::<Value>().to_string()
    }

    /// How many rounds the sweeper has come to the end of.
    #[napi(catch_unwind)]
    pub fn rounds(&self) -> f64 {
        self.pool.metrics().sweep_time.count as f64
    }

    /// Says that a checkout's handle is unreachable, whether it is or not.
    #[napi(catch_unwind)]
    pub fn prove(&self, env: Env, id: String) -> Result<()> {
        let proven = id.parse::<CheckoutId>().and_then(|id| self.pool.prove_leaked(id));
        proven.map(|_| ()).map_err(|e| error::thrown(env, &e))
    }
}

/// Every option of leakpool: its names, what it takes, its default here, whether it can be changed later, what it does.
#[napi(catch_unwind)]
pub fn option_table() -> String {
    let defaults = Settings::defaults(Names::Node);
    let row = |spec: &leakpool::OptionSpec| {
        let kind = match spec.kind {
            OptionKind::Duration if spec.node.ends_with("Seconds") => "seconds".to_owned(),
            OptionKind::Duration => "milliseconds".to_owned(),
            OptionKind::Integer => "integer".to_owned(),
            OptionKind::Share => "share".to_owned(),
            OptionKind::Flag => "boolean".to_owned(),
            OptionKind::Text => "string".to_owned(),
            OptionKind::Choice(names) => names.join(", "),
        };
        json!({
            "core": spec.name, "name": spec.node, "kind": kind, "live": spec.live, "doc": spec.doc,
            "default": defaults.get(Names::Node, spec.node).unwrap_or_default(),
        })
    };
    OPTIONS.iter().map(row).collect::<Value>().to_string()
}

/// True if this is no optimized build: nothing is to be measured with it.
#[napi(catch_unwind)]
pub const fn is_debug_build() -> bool {
    cfg!(debug_assertions)
}
