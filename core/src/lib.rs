//! A PostgreSQL connection pool that finds connection leaks, names the line of code that leaks and takes the
//! connection back safely.

mod alert;
pub mod clock;
pub mod config;
mod detect;
pub mod error;
pub mod monitor;
pub mod pool;

pub use alert::{CheckOut, Events, HostFrame, LeakDetector, StillOut, Subscription, Touch};
pub use clock::{Clock, ManualClock, Nanos, SystemClock};
pub use config::{ForceReleaseWhen, LeakPolicy, PoolOptions, Reset, SqlText, StackCapture};
pub use detect::checkout::{Activity, CheckoutId, TransactionStatus};
pub use detect::event::*;
pub use detect::site::Site;
pub use detect::sql::fingerprint;
pub use detect::stats::{BUCKET_BOUNDS, Books, HistogramSnapshot};
pub use detect::verdict::{RevokeReason, Suspicion, Verdict};
pub use error::{Error, ErrorCode, Result};
pub use monitor::{Metrics, PoolStatus, leak_text};
