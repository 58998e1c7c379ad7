//! Notifications of a connection.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use leakpool::{Error, ErrorCode, Result};
use pyo3::prelude::*;
use tokio_postgres::Notification as Raw;

use crate::errors::{OrRaise, gone};
use crate::event_loop::aio::{Operation, finish};
use crate::pool::connection::NativeConnection;
use crate::pool::inbox::Inbox;
use crate::pool::shared::{LiveCheckout, duration};
use crate::request::query::drive_alone;

/// Channel, payload and the sender's process.
type Notification = (String, String, i32);

fn told(notification: &Raw) -> Notification {
    (notification.channel().to_owned(), notification.payload().to_owned(), notification.process_id())
}

async fn receive(inbox: &Inbox, timeout: Option<Duration>, most: usize) -> Result<Vec<Notification>> {
    let mut taken = inbox.take();
    let Some(notifications) = taken.notifications() else {
        return Err(Error::new(
            ErrorCode::InvalidArgument,
            "another caller waits for the notifications of this connection right now",
        ));
    };
    let mut received = Vec::new();
    // What is there already, without waiting.
    while received.len() < most {
        match notifications.recv().now_or_never() {
            Some(Some(notification)) => received.push(told(&notification)),
            Some(None) | None => break,
        }
    }
    if !received.is_empty() || most == 0 || timeout == Some(Duration::ZERO) {
        return Ok(received);
    }
    let first = match timeout {
        None => notifications.recv().await,
        Some(limit) => match tokio::time::timeout(limit, notifications.recv()).await {
            Ok(first) => first,
            Err(_) => return Ok(received),
        },
    };
    let Some(first) = first else {
        return Err(Error::new(
            ErrorCode::ConnectionLost,
            "the session has ended: no more notifications will come",
        ));
    };
    received.push(told(&first));
    while received.len() < most {
        match notifications.recv().now_or_never() {
            Some(Some(notification)) => received.push(told(&notification)),
            Some(None) | None => break,
        }
    }
    Ok(received)
}

/// How long, and how many; `None` = for ever, and all that are there.
fn limits(timeout: Option<f64>, stop_after: Option<usize>) -> (Option<Duration>, usize) {
    (timeout.map(duration), stop_after.unwrap_or(usize::MAX))
}

impl NativeConnection {
    fn open_inbox(&self, py: Python<'_>, held: &LiveCheckout) -> PyResult<Arc<Inbox>> {
        self.inbox(held).ok_or_else(gone).or_raise(py)
    }
}

#[pymethods]
impl NativeConnection {
    #[pyo3(signature = (timeout=None, stop_after=None))]
    fn notifications(
        &self,
        py: Python<'_>,
        timeout: Option<f64>,
        stop_after: Option<usize>,
    ) -> PyResult<Vec<Notification>> {
        // No request: whoever listens keeps nobody from asking, and the transaction's status is what it is.
        let request = self.held(py)?;
        let inbox = self.open_inbox(py, &request)?;
        let (timeout, most) = limits(timeout, stop_after);
        // A time-out needs the runtime's clock, wherever it is polled.
        let runtime = request.pool.runtime().clone();
        let mut receiving = Box::pin(receive(&inbox, timeout, most));
        let work = poll_fn(move |cx| {
            let _entered = runtime.enter();
            receiving.as_mut().poll(cx)
        });
        drive_alone(py, &request, work)?.or_raise(py)
    }

    #[pyo3(signature = (timeout=None, stop_after=None))]
    fn notifications_async(
        slf: &Bound<'_, Self>,
        py: Python<'_>,
        timeout: Option<f64>,
        stop_after: Option<usize>,
    ) -> PyResult<Operation> {
        let held = slf.get().held(py)?;
        let inbox = slf.get().open_inbox(py, &held)?;
        let (timeout, most) = limits(timeout, stop_after);
        let work = async move {
            let _held = held;
            let received = receive(&inbox, timeout, most).await;
            finish(received, |py, received| Ok(received.into_pyobject(py)?.into_any().unbind()))
        };
        // Nothing runs on the server: there is nothing to cancel.
        Ok(Operation::new(Some(slf.clone().into_any().unbind()), work))
    }
}
