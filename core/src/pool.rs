//! Many sessions: a connection is deadpool-postgres's, the pool is ours.
//!
//! [`Pool`] (`handle`, `builder`) hands out [`Connection`]s. Each is made (`establish`), checked out (`acquire`, `places`), kept an
//! eye on (`maintenance`, `refill`) and ended (`close`). What one session is, how it is observed, and how it is taken back
//! is the business of `session/`; what is decided about leaks, that of `detect/`.

mod acquire;
mod builder;
mod close;
mod connection;
mod establish;
mod handle;
mod identity;
mod maintenance;
mod name;
mod owner;
mod places;
mod record;
mod refill;
mod shared;
mod timing;
mod transaction;

pub use builder::PoolBuilder;
pub use connection::{CancelHandle, Connection, Session};
pub use handle::{AcquireOptions, Pool};
pub use transaction::OwnedTransaction;
