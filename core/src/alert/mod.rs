//! Who is told: events go from a detector through one bounded queue per pool to one dispatcher thread, and from
//! there to the log, to callbacks and to streams. And the detector for somebody else's pool, which needs them.
//!
//! ```text
//! detect ──▶ Outbox (bounded, counted, never blocks) ──▶ leakpool-events ──▶ log line (symbolised here)
//!                                                                        ├──▶ callbacks (panics caught)
//!                                                                        └──▶ Events (bounded, counted)
//! ```

pub(crate) mod dispatch;
mod log;
mod subscribe;
mod text;
mod watch;

pub(crate) use log::place as log_place;
pub(crate) use log::reads as log_reads;
pub use subscribe::{Events, Subscription};
pub use watch::{CheckOut, LeakDetector, StillOut, Touch};
