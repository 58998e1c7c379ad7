//! The places where the application acquires, each on a line of its own: what reports have to name.

use std::future::Future;
use std::pin::Pin;

use leakpool::{AcquireOptions, Connection, Pool, Result};

/// An acquire that was called and is to be awaited.
pub type Acquiring = Pin<Box<dyn Future<Output = Result<Connection>> + Send>>;

/// This file, as sites show it.
pub const FILE: &str = file!();

/// Acquires in the place with this name. The number is the line.
pub fn acquire(place: &str, pool: &Pool, options: AcquireOptions) -> Option<(u32, Acquiring)> {
    Some(match place {
        "elsewhere" => elsewhere(pool, options),
        "get_user_data" => get_user_data(pool, options),
        "process_order" => process_order(pool, options),
        "complex_operation" => complex_operation(pool, options),
        _ => return None,
    })
}

#[inline(never)]
fn elsewhere(pool: &Pool, options: AcquireOptions) -> (u32, Acquiring) {
    (line!(), Box::pin(pool.acquire_with(options)))
}

#[inline(never)]
fn get_user_data(pool: &Pool, options: AcquireOptions) -> (u32, Acquiring) {
    (line!(), Box::pin(pool.acquire_with(options)))
}

#[inline(never)]
fn process_order(pool: &Pool, options: AcquireOptions) -> (u32, Acquiring) {
    (line!(), Box::pin(pool.acquire_with(options)))
}

#[inline(never)]
fn complex_operation(pool: &Pool, options: AcquireOptions) -> (u32, Acquiring) {
    (line!(), Box::pin(pool.acquire_with(options)))
}
