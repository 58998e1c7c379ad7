//! For hosts: what a binding to another language needs besides the pool, and nothing that decides about connections.
//!
//! [`runtime()`] is the runtime of the process, on whose one thread every connection's socket is read. A host then waits
//! for answers in one of two ways:
//! - its threads block: [`wait`], and [`Connection::drive`](crate::Connection::drive) for a query, by which the calling
//!   thread reads and writes the connection's socket itself;
//! - it has an event loop: [`Tasks`] are futures that the loop's own thread polls, woken by one call for any number
//!   of answers.

mod checkout;
mod drive;
mod log;
mod runtime;
mod tasks;
mod wait;

pub use crate::clock::SLICE;
pub use checkout::SharedCheckout;
pub use log::{LOG_LEVELS, LogLine, log, log_time, log_to, panic_text, set_log_level};
pub use runtime::{HostRuntime, runtime};
pub use tasks::{TaskId, Tasks};
pub use wait::wait;
