//! An acquire on a loop: an idle connection at once, or one that is waited for.

use leakpool::SiteId;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use crate::errors::OrRaise;
use crate::event_loop::aio::{Begin, Begun, Finish, finish};
use crate::pool::checkout::AsyncCheckout;
use crate::pool::native_pool::{AcquireRequest, NativePool};
use crate::pool::owner;

/// An acquire that was not awaited yet.
pub(crate) struct Acquire {
    pub(crate) pool: Py<NativePool>,
    /// The block that it is for.
    pub(crate) block: Option<Py<AsyncCheckout>>,
    pub(crate) site: SiteId,
    pub(crate) wanted: AcquireRequest,
}

fn entered(
    py: Python<'_>,
    pool: &Py<NativePool>,
    block: Option<&Py<AsyncCheckout>>,
    held: std::sync::Arc<crate::pool::shared::LiveCheckout>,
    task: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    let connection = pool.get().checked_out(pool.bind(py), held, task)?;
    if let Some(block) = block {
        block.get().entered(connection.clone().unbind());
    }
    Ok(connection.into_any().unbind())
}

impl Begin for Acquire {
    fn begin(self: Box<Self>, py: Python<'_>) -> PyResult<Begun> {
        let Acquire { pool, block, site, wanted } = *self;
        let native = pool.get();
        let shared = native.shared(py)?;
        let task = owner::current_task(py)?;
        let name = task.as_ref().map(owner::task_name).transpose()?;
        let options = NativePool::wanted(&wanted, name);
        if let Some(held) = native.counted(shared.check_out_idle(site, options.clone())).or_raise(py)? {
            return entered(py, &pool, block.as_ref(), held, task.as_ref()).map(Begun::Ready);
        }
        native.queue();
        let (check_out, task) = (shared.check_out(site, options), task.map(Bound::unbind));
        Ok(Begun::Waits(Box::pin(async move {
            let checked_out = check_out.await;
            let done: Finish = finish(Ok(()), move |py, ()| {
                let held = pool.get().counted(checked_out).or_raise(py)?;
                entered(py, &pool, block.as_ref(), held, task.as_ref().map(|task| task.bind(py)))
            });
            done
        })))
    }

    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.pool)?;
        visit.call(&self.block)
    }
}
