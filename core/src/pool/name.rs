//! The names of this process's pools: each belongs to one pool at a time, so that logs and metrics can tell them
//! apart.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use once_cell::sync::Lazy;
use parking_lot::Mutex;

use crate::error::{Error, Result};

static NAMES: Lazy<Mutex<HashSet<Arc<str>>>> = Lazy::new(Mutex::default);
static NEXT: AtomicU64 = AtomicU64::new(1);

/// The right to a name; given back when dropped.
#[derive(Debug)]
pub(crate) struct NameClaim(Arc<str>);

impl NameClaim {
    /// Claims `name`, or the next free one of `pool-1`, `pool-2`, ….
    pub(crate) fn claim(name: Option<&str>) -> Result<NameClaim> {
        let mut names = NAMES.lock();
        let Some(name) = name else {
            loop {
                let name: Arc<str> = format!("pool-{}", NEXT.fetch_add(1, Ordering::Relaxed)).into();
                if names.insert(name.clone()) {
                    return Ok(NameClaim(name));
                }
            }
        };
        let name: Arc<str> = name.into();
        if !names.insert(name.clone()) {
            return Err(Error::option(
                "name",
                format_args!("{name:?}"),
                "is the name of another pool of this process",
            ));
        }
        Ok(NameClaim(name))
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.0
    }
}

impl Drop for NameClaim {
    fn drop(&mut self) {
        NAMES.lock().remove(&self.0);
    }
}
