//! Who is told: events go from a detector through one bounded queue per pool to one dispatcher thread, and from
//! there to the log, to callbacks and to streams.
//!
//! ```text
//! detect ──▶ Outbox (bounded, counted, never blocks) ──▶ leakpool-events ──▶ log line (symbolised here)
//!                                                                        ├──▶ callbacks (panics caught)
//!                                                                        └──▶ Events (bounded, counted)
//! ```

pub(crate) mod dispatch;
mod log;
pub(crate) mod subscribe;
mod text;
mod unreleased;

pub(crate) use log::place as log_place;
pub use subscribe::{Events, Subscription};
pub use unreleased::UnreleasedCheckouts;
