//! A PostgreSQL connection pool that finds connection leaks, names the line of code that leaks and takes the
//! connection back safely.

pub mod clock;
pub mod config;
pub mod detect;
pub mod error;
pub mod pool;

pub use clock::{Clock, ManualClock, Nanos, SystemClock};
pub use config::{ForceReleaseWhen, LeakPolicy, PoolOptions, Reset, SqlText, StackCapture};
pub use error::{Error, ErrorCode, Result};
