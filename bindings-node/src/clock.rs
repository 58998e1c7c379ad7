//! A clock that tests move by hand, so that none of them sleeps.

use std::time::Duration;

use napi::bindgen_prelude::*;
use napi_derive::napi;

/// See `leakpool::ManualClock`.
#[napi(js_name = "ManualClock")]
#[derive(Debug)]
pub struct JsManualClock(pub(crate) leakpool::ManualClock);

#[napi]
impl JsManualClock {
    /// A clock that stands still.
    #[napi(constructor, catch_unwind)]
    #[allow(clippy::new_without_default)]
    pub fn new() -> JsManualClock {
        JsManualClock(leakpool::ManualClock::new())
    }

    /// Moves it forward by milliseconds.
    #[napi(catch_unwind)]
    pub fn advance(&self, millis: f64) -> Result<()> {
        match Duration::try_from_secs_f64(millis / 1000.0) {
            Ok(by) => {
                self.0.advance(by);
                Ok(())
            }
            Err(e) => {
                Err(Error::new(Status::InvalidArg, format!("millis ({millis}) must be 0 or more: {e}")))
            }
        }
    }
}
