//! What is shown: status and metrics, the diagnosis of a shortage, the spoken report, OpenMetrics text.
//!
//! Pure functions of snapshots: nothing here holds a lock of the detector, keeps state, or tells anybody.

pub mod diagnosis;
pub mod openmetrics;
pub mod report;
pub mod status;
#[cfg(test)]
pub(crate) mod testing;

pub use report::leak_text;
pub use status::{Metrics, PoolStatus};
