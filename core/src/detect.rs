//! The leak detector: registry, sweeper and policy, for a pool of ours or of another library.
//!
//! It knows no pool, no tokio and does no I/O. What comes of it leaves as events (to an
//! [`EventSink`](event::EventSink)) and as snapshots.

pub(crate) mod checkout;
mod detector;
pub(crate) mod event;
mod event_summary;
pub(crate) mod facts;
mod frame;
pub(crate) mod id;
#[cfg(all(test, leakpool_loom))]
mod loom_tests;
mod reclaim;
pub(crate) mod registry;
pub mod site;
pub(crate) mod site_table;
pub(crate) mod sql;
mod stamps;
pub(crate) mod stats;
mod sweep;
pub(crate) mod sweeper;
mod sync;
pub(crate) mod unwind;
pub(crate) mod verdict;

pub(crate) use detector::{CheckOutParams, Detector, Upkeep};
pub(crate) use reclaim::Reclaim;
