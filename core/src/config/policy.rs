//! What the detector judges by, with the defaults.

use std::time::Duration;

use super::enums::{ForceReleaseWhen, SqlText, StackCapture};
use super::names::Names;

/// What the detector judges by. Every field can be changed while the pool runs (`reconfigure`).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LeakPolicy {
    /// Unused for that long = suspected. Default 30 s; zero turns detection off.
    pub leak_threshold: Duration,
    /// The longest time between two looks at utilization. Default 5 s.
    pub check_interval: Duration,
    /// `leaks_detected` fires when that many are flagged at once. Default 3; zero = never.
    pub max_leaks_before_alert: u32,
    /// Held that long, being used now and then no longer excuses. `None` = 10 x `leak_threshold`; zero = never.
    pub max_held: Option<Duration>,
    /// Unused for that long = taken back. Default 300 s; zero = never.
    pub force_release_after: Duration,
    /// Take back a checkout whose statement has run for `force_release_after`, too. Default false.
    pub force_release_busy: bool,
    /// When force release may act. Default [`ForceReleaseWhen::Due`].
    pub force_release_when: ForceReleaseWhen,
    /// The event `utilization` fires at this share of `max_size` in use. Default 0.8; zero = never.
    pub utilization_warning: f64,
    /// What an acquire records of its caller. Default [`StackCapture::Full`].
    pub stack_capture: StackCapture,
    /// The most frames that are recorded, 1 to 128. Default 32.
    pub stack_depth: usize,
    /// How SQL is shown. Default [`SqlText::Full`].
    pub sql_text: SqlText,
    /// Whose names stand in what is said about it.
    pub(crate) names: Names,
}

impl Default for LeakPolicy {
    fn default() -> Self {
        LeakPolicy {
            leak_threshold: Duration::from_secs(30),
            check_interval: Duration::from_secs(5),
            max_leaks_before_alert: 3,
            max_held: None,
            force_release_after: Duration::from_secs(300),
            force_release_busy: false,
            force_release_when: ForceReleaseWhen::Due,
            utilization_warning: 0.8,
            stack_capture: StackCapture::Full,
            stack_depth: 32,
            sql_text: SqlText::Full,
            names: Names::Core,
        }
    }
}

impl LeakPolicy {
    /// `max_held` with its default worked out; zero = never.
    pub fn effective_max_held(&self) -> Duration {
        self.max_held.unwrap_or_else(|| self.leak_threshold.saturating_mul(10))
    }
}
