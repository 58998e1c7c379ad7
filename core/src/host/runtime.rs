//! The runtime on which the connections of all pools of a host live: one for the process, kept while anybody needs it.

use std::future::Future;
use std::mem;
use std::sync::Arc;

use tokio::runtime::{Builder, EnterGuard, Handle, Runtime};

use crate::error::{Error, ErrorCode, Result};
use crate::process::{OfProcess, Process, Singleton};

/// Reading messages and passing them on is little work: one thread does it for all, and who reads an answer passes
/// it on.
const WORKERS: usize = 1;

#[derive(Debug)]
struct Running {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    handle: Handle,
    process: Process,
}

impl OfProcess for Running {
    fn process(&self) -> Process {
        self.process
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        if self.process.is_current() {
            // Its last user may be one of its own tasks: nobody waits.
            runtime.shutdown_background();
        } else {
            // Its threads are the parent's.
            mem::forget(runtime);
        }
    }
}

static CURRENT: Singleton<Running> = Singleton::new();

/// Keeps the runtime of this process running. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HostRuntime(Arc<Running>);

impl HostRuntime {
    /// For [`PoolBuilder::runtime`](crate::PoolBuilder::runtime).
    pub fn handle(&self) -> &Handle {
        &self.0.handle
    }

    /// Runs a future on the calling thread, which must not belong to a runtime.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.handle.block_on(future)
    }

    pub(super) fn enter(&self) -> EnterGuard<'_> {
        self.0.handle.enter()
    }
}

/// The runtime of this process, made by the first call. A forked child gets one of its own; the parent's is of no use
/// to it.
///
/// # Errors
/// `LimitReached` if its thread cannot be started; `Forked` if the process was forked while another thread was just
/// starting it.
pub fn runtime() -> Result<HostRuntime> {
    CURRENT.get_or_make(start).map(HostRuntime)
}

fn start() -> Result<Running> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("leakpool-io")
        .enable_all()
        .build()
        .map_err(|e| Error::new(ErrorCode::LimitReached, format!("the runtime cannot be started: {e}")))?;
    let handle = runtime.handle().clone();
    Ok(Running { runtime: Some(runtime), handle, process: Process::current() })
}
