//! The leak detector over another library's pool, as `lib/detector.js` uses it: a pool of `pg`, say.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use leakpool::{
    CheckOut, CheckoutId, LeakDetector, Names, Settings, Subscription, SystemClock, Touch, TransactionStatus,
};
use napi::bindgen_prelude::{BigInt, ClassInstance, Either, Env, Result};
use napi_derive::napi;

use crate::clock::JsManualClock;
use crate::error;
use crate::event_loop::JsEventLoop;
use crate::event_loop::event_queue::{self, EventQueue};
use crate::info;
use crate::options::{self, Given};

/// See `native.d.ts`.
#[napi(js_name = "NativeDetector")]
#[derive(Debug)]
pub struct JsDetector {
    detector: LeakDetector,
    event_queue: Arc<EventQueue>,
    /// `None` once it has stopped.
    subscription: RefCell<Option<Subscription>>,
}

fn id_of(id: &BigInt) -> CheckoutId {
    CheckoutId::from_u64(id.get_u64().1)
}

#[napi]
impl JsDetector {
    /// Watches. `max`: how many connections the pool may have, 0 = not known.
    #[napi(constructor, catch_unwind)]
    pub fn new(
        env: Env,
        home: &JsEventLoop,
        number: u32,
        name: String,
        max: u32,
        options: Vec<(String, Given)>,
        clock: Option<ClassInstance<'_, JsManualClock>>,
    ) -> Result<JsDetector> {
        let make = || {
            let mut settings = Settings::defaults(Names::Node);
            options::apply(&mut settings, options, Settings::set_of_detector)?;
            let policy = settings.leak;
            match clock {
                Some(clock) => LeakDetector::with_clock(name, policy, Arc::new(clock.0.clone())),
                None => LeakDetector::with_clock(name, policy, Arc::new(SystemClock::new())),
            }
        };
        let detector = make().map_err(|e| error::thrown(env, &e))?;
        detector.set_max_size(max as usize);
        let event_queue = EventQueue::new(home.0.waker().clone());
        let queue = event_queue.clone();
        let subscription =
            RefCell::new(Some(detector.subscribe(event_queue::REPORTED, move |event| queue.put(event))));
        home.0.add_event_queue(number, &event_queue);
        Ok(JsDetector { detector, event_queue, subscription })
    }

    /// A connection was checked out. `later`: `locate` tells its line.
    #[napi(catch_unwind)]
    pub fn check_out(&self, env: Env, later: bool, label: Option<String>, expected: f64) -> Result<BigInt> {
        let begin = || {
            let checkout = if later { CheckOut::site_later() } else { CheckOut::with_frames(&[]) };
            let mut checkout = match later {
                true => checkout,
                // Without a stack: no line of this addon, which would be the only one that it could find.
                false => checkout.site(leakpool::SiteId::OFF),
            };
            if let Some(label) = label {
                checkout = checkout.label(label);
            }
            if expected >= 0.0 {
                checkout = checkout.expected(leakpool::duration_from_millis("expectedDurationMs", expected)?);
            }
            self.detector.check_out(checkout)
        };
        let id = begin().map_err(|e| error::thrown(env, &e))?;
        Ok(BigInt::from(id.to_u64()))
    }

    /// A statement was sent. Throws a NativeError (`force_released`) if the connection had been taken back.
    #[napi(catch_unwind)]
    pub fn executing(&self, env: Env, id: BigInt, sql: Option<String>) -> Result<()> {
        let touched = self.detector.touch(id_of(&id), Touch::Executing(sql.as_deref()));
        touched.map_err(|e| error::thrown(env, &e))
    }

    /// The answer is complete. `status` is the letter of ReadyForQuery.
    #[napi(catch_unwind)]
    pub fn idle(&self, id: BigInt, status: String) {
        let status = match status.as_str() {
            "T" => TransactionStatus::InTransaction,
            "E" => TransactionStatus::Failed,
            _ => TransactionStatus::Idle,
        };
        // It may have been taken back meanwhile: that is told when the holder does something.
        let _ = self.detector.touch(id_of(&id), Touch::Idle(status));
    }

    /// The holder gave it back. False if it had been taken back before.
    #[napi(catch_unwind)]
    pub fn check_in(&self, id: BigInt) -> bool {
        self.detector.check_in(id_of(&id)).is_ok()
    }

    /// `[function, file, line, function, …]`, innermost first.
    #[napi(catch_unwind)]
    pub fn locate(&self, id: BigInt, frames: Vec<Either<String, u32>>) {
        crate::frames::with(&frames, |frames| {
            let _ = self.detector.locate(id_of(&id), frames);
        });
    }

    /// How events and reports show an id.
    #[napi(catch_unwind)]
    pub fn id_text(&self, id: BigInt) -> String {
        id_of(&id).to_string()
    }

    /// Takes a checkout away from its holder. Throws a NativeError. What it was, as JSON.
    #[napi(catch_unwind)]
    pub fn force_release(&self, env: Env, id: String) -> Result<String> {
        let taken = id.parse::<CheckoutId>().and_then(|id| self.detector.force_release(id));
        let taken = taken.map_err(|e| error::thrown(env, &e))?;
        Ok(info::checkout(&taken, &|id| self.detector.site_of(id)).to_string())
    }

    /// Events since the last call, as JSON.
    #[napi(catch_unwind)]
    pub fn events(&self) -> String {
        let told = |id| self.detector.site_of(id);
        let events = self.event_queue.take();
        events.iter().map(|event| info::event(event, &told)).collect::<serde_json::Value>().to_string()
    }

    /// `PoolStatus`, as JSON.
    #[napi(catch_unwind)]
    pub fn status(&self) -> String {
        info::status(&self.detector.status()).to_string()
    }

    /// `Metrics`, as JSON.
    #[napi(catch_unwind)]
    pub fn metrics(&self) -> String {
        info::metrics(&self.detector.metrics()).to_string()
    }

    /// Every checkout that is held, as JSON.
    #[napi(catch_unwind)]
    pub fn checkouts(&self) -> String {
        info::checkouts(&self.detector.checkouts(), &|id| self.detector.site_of(id)).to_string()
    }

    /// Those that are suspected to have leaked, as JSON.
    #[napi(catch_unwind)]
    pub fn leaks(&self) -> String {
        info::checkouts(&self.detector.leaks(), &|id| self.detector.site_of(id)).to_string()
    }

    /// The text for people.
    #[napi(catch_unwind)]
    pub fn report(&self) -> String {
        self.detector.report()
    }

    /// The metrics for Prometheus.
    #[napi(catch_unwind)]
    pub fn openmetrics(&self) -> String {
        self.detector.openmetrics()
    }

    /// Other leak options. Throws a NativeError, and nothing has changed.
    #[napi(catch_unwind)]
    pub fn reconfigure(&self, env: Env, given: Vec<(String, Given)>) -> Result<()> {
        let change = || {
            let mut settings = Settings { leak: self.detector.policy(), ..Settings::defaults(Names::Node) };
            options::apply(&mut settings, given, Settings::set_of_detector)?;
            self.detector.reconfigure(settings.leak)
        };
        change().map_err(|e| error::thrown(env, &e))
    }

    /// How many frames of a stack are wanted; 0 = none.
    #[napi(catch_unwind)]
    pub fn depth(&self) -> u32 {
        options::depth(&self.detector.policy())
    }

    /// Waits until every event of before has arrived here, or the limit is over.
    #[napi(catch_unwind)]
    pub fn flush(&self, millis: f64) -> bool {
        let limit = Duration::try_from_secs_f64(millis / 1000.0).unwrap_or(Duration::ZERO);
        self.detector.flush(limit)
    }

    /// Nothing is judged, or told, any more. Who is still out, as JSON.
    #[napi(catch_unwind)]
    pub fn stop(&self) -> String {
        let held = self.detector.close(Duration::from_secs(1));
        drop(self.subscription.borrow_mut().take());
        info::checkouts(&held, &|id| self.detector.site_of(id)).to_string()
    }
}
