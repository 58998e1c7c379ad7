//! libleakpool: the C interface of leakpool. One file for each noun of the header; nothing is decided here.
//!
//! Each exported function checks its pointers, calls one operation of the core inside the panic boundary
//! (`boundary.rs`), and turns what comes back into a status, an error object and out-parameters. The comments of
//! what is exported are the header's (`include/leakpool.h`, made by `make header`), and speak to C programmers.
//!
//! # Safety
//! Of every export: each pointer is NULL, or valid for what the header says that it is used for, and for as long.

#![allow(non_camel_case_types)]
// What is asked of C is the same for all exports: it stands above, and in the header's conventions.
#![allow(clippy::missing_safety_doc)]

mod acquire;
mod boundary;
mod cancel;
mod checkout_table;
mod checkouts;
mod clock;
mod details;
mod detector;
mod enums;
mod error;
mod event;
mod id;
mod log;
mod metrics;
mod options;
mod pool;
mod query;
mod reclaim;
mod report;
mod result;
mod signals;
mod site;
mod statement;
mod status;
mod subscription;
#[cfg(feature = "test-panic")]
mod test_panic;
mod transaction;
mod user_data;
mod version;

pub use acquire::*;
pub use cancel::*;
pub use checkouts::*;
pub use clock::*;
pub use details::{leakpool_exhaustion, leakpool_revocation};
pub use detector::*;
pub use enums::*;
pub use error::*;
pub use event::*;
pub use log::*;
pub use metrics::*;
pub use options::*;
pub use pool::*;
pub use query::*;
pub use reclaim::leakpool_reclaim_fn;
pub use report::*;
pub use result::*;
pub use statement::*;
pub use status::*;
pub use subscription::*;
#[cfg(feature = "test-panic")]
pub use test_panic::*;
pub use transaction::*;
pub use version::*;
