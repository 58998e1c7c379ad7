//! Taking a session back: cancel, grace, close; on a thread of our own.
//!
//! One thread for all pools of the process, with a small event loop of its own on it, so that neither a blocked
//! runtime of the application nor a host that swallows packets delays anybody (laws 6 and 7). It never touches the
//! application's runtime.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use socket2::Domain;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use tracing::Level;

use super::in_flight::{Task, Work};
use crate::detect::event::EventSink;
use crate::error::{Error, ErrorCode, Result};
use crate::net::connect::{CancelFailed, Peer};
use crate::net::socket::{PollSocket, RawSocket};
use crate::process::{OfProcess, Process, Singleton};

/// The longest that a cancel request may take to be delivered.
const CANCEL_LIMIT: Duration = Duration::from_secs(5);
/// How long a server is given to end a session that was cut off, before the socket is closed for good.
const GRACE: Duration = Duration::from_secs(5);
/// The time between two cancel requests while a session goes on running what had been sent before.
const CANCEL_AGAIN: Duration = Duration::from_millis(50);
/// How long a session whose connection was reset goes on being counted, after each request to cancel, for nothing tells
/// when the server has ended it.
const RESET_GRACE: Duration = Duration::from_millis(100);
/// The longest wait for a poll of the driver that was under way when the fence went up. It waits for nothing itself.
const POLL_LIMIT: Duration = Duration::from_millis(50);

/// A session to be ended. Its holder is fenced already.
#[derive(Debug)]
pub(crate) struct Ending {
    /// The last descriptor of the socket that is ours to close.
    pub(crate) socket: OwnedFd,
    pub(crate) peer: Arc<Peer>,
    pub(crate) pid: i32,
    pub(crate) secret: i32,
    /// What is in flight: nothing is sent any more that is not in it.
    pub(crate) task: Arc<Task>,
}

/// Work for the closer's thread.
type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Counts a session as ending for as long as it may exist on the server.
struct EndingGuard(Arc<AtomicUsize>);

impl EndingGuard {
    fn new(count: &Arc<AtomicUsize>) -> EndingGuard {
        count.fetch_add(1, Ordering::SeqCst);
        EndingGuard(count.clone())
    }
}

impl Drop for EndingGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A share in the process's closer thread. The thread ends when the last share is gone and its work is done.
#[derive(Debug)]
pub(crate) struct Closer {
    jobs: mpsc::UnboundedSender<Job>,
    lines: Arc<dyn EventSink>,
    timers: Handle,
    process: Process,
}

static CURRENT: Singleton<Closer> = Singleton::new();

impl OfProcess for Closer {
    fn process(&self) -> Process {
        self.process
    }
}

impl Closer {
    /// The process's closer; its thread is started if there is none, and `lines` made for what it has to log.
    pub(crate) fn shared(lines: impl FnOnce() -> Result<Arc<dyn EventSink>>) -> Result<Arc<Closer>> {
        CURRENT.get_or_make(|| {
            let (jobs, todo) = mpsc::unbounded_channel();
            let lines = lines()?;
            let failed = |e: io::Error| {
                Error::new(ErrorCode::LimitReached, "the closer thread cannot be started").with_source(e)
            };
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
            let timers = runtime.handle().clone();
            thread::Builder::new()
                .name("leakpool-closer".into())
                .spawn(move || runtime.block_on(run(todo)))
                .map_err(failed)?;
            Ok(Closer { jobs, lines, timers, process: Process::current() })
        })
    }

    /// Where timers run that nobody else's work delays. The thread lives for as long as this share does.
    pub(crate) fn timers(&self) -> &Handle {
        &self.timers
    }

    /// Ends a session; `ending` counts it until the server has let go of it.
    pub(crate) fn end(&self, session: Ending, ending: &Arc<AtomicUsize>) {
        let (guard, lines) = (EndingGuard::new(ending), self.lines.clone());
        self.run(async move {
            end(session, &*lines).await;
            drop(guard);
        });
    }

    /// Does something that may wait for a server or a network. False after a fork: then there is no thread, and the
    /// socket is the parent's, which must not be shut down here.
    pub(crate) fn run(&self, job: impl Future<Output = ()> + Send + 'static) -> bool {
        self.process.is_current() && self.jobs.send(Box::pin(job)).is_ok()
    }

    /// Where the closer's log lines go.
    pub(crate) fn lines(&self) -> &Arc<dyn EventSink> {
        &self.lines
    }
}

/// Works until the last share is gone, and then until what was begun is done.
async fn run(mut todo: mpsc::UnboundedReceiver<Job>) {
    let mut running = tokio::task::JoinSet::new();
    while let Some(job) = todo.recv().await {
        running.spawn(job);
        while running.try_join_next().is_some() {}
    }
    while running.join_next().await.is_some() {}
}

/// Sends one cancel request.
pub(crate) async fn cancel(
    peer: &Arc<Peer>,
    pid: i32,
    secret: i32,
    lines: &dyn EventSink,
) -> Result<(), CancelFailed> {
    let result = peer.cancel(pid, secret, CANCEL_LIMIT).await;
    if let Err(CancelFailed { error, .. }) = &result {
        let (peer, error) = (peer.clone(), error.to_string());
        warn(lines, move || {
            tracing::warn!(target: "leakpool", peer = %peer, error, "a cancel request could not be delivered");
        });
    }
    result
}

fn warn(lines: &dyn EventSink, line: impl FnOnce() + Send + 'static) {
    if lines.reads(Level::WARN) {
        lines.log(Level::WARN, Box::new(line));
    }
}

/// What is in flight, once nothing more is sent.
async fn work_of(task: &Task) -> Work {
    let limit = Instant::now() + POLL_LIMIT;
    while task.is_polled() && Instant::now() < limit {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    match task.seen().work() {
        // Still under way after all that time, it may be about to send something.
        Work::None if task.is_polled() => Work::One,
        work => work,
    }
}

/// Makes sure that the server cannot answer any more: it then runs nothing of what it has received behind the statement
/// that is at work. False if that is not to be had here.
fn cut_off(socket: &OwnedFd) -> bool {
    let socket = socket2::SockRef::from(socket);
    if socket.domain().is_ok_and(|domain| domain == Domain::UNIX) {
        return socket.shutdown(std::net::Shutdown::Both).is_ok();
    }
    #[cfg(target_os = "linux")]
    {
        // Linux resets a connection that is dissolved like this (connect(2)), whoever else has the descriptor.
        rustix::net::connect_unspec(&*socket).is_ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        // Reset when the last descriptor is closed: this one, unless the task still has its own.
        socket.set_linger(Some(Duration::ZERO)).is_ok()
    }
}

async fn end(session: Ending, lines: &dyn EventSink) {
    let Ending { socket, peer, pid, secret, task } = session;
    let work = work_of(&task).await;
    if work == Work::Many && cut_off(&socket) {
        // Not the other way round: what was sent behind the statement that is cancelled would run at once.
        drop(socket);
        for _ in 0..2 {
            let _ = cancel(&peer, pid, secret, lines).await;
            tokio::time::sleep(RESET_GRACE).await;
        }
        return;
    }
    let busy = work != Work::None;
    let mut stream = match stream(socket) {
        Ok(stream) => stream,
        Err(e) => {
            warn(lines, move || {
                tracing::warn!(target: "leakpool", error = %e, "the socket of a session that was taken back is unusable");
            });
            return;
        }
    };
    if busy {
        // Before the close: a closed socket alone lets a running statement, or a COMMIT already sent, go through.
        let _ = cancel(&peer, pid, secret, lines).await;
    }
    // The server sees the end of its input, ends the session and closes; what it still sends is thrown away, so
    // that it is not stuck in sending.
    if stream.shutdown().await.is_err() {
        return;
    }
    let deadline = Instant::now() + GRACE;
    let mut rest = [0; 4096];
    loop {
        let until = if busy { deadline.min(Instant::now() + CANCEL_AGAIN) } else { deadline };
        match timeout_at(until, stream.read(&mut rest)).await {
            Ok(Ok(0) | Err(_)) => return,
            Ok(Ok(_)) if Instant::now() < deadline => {}
            Ok(Ok(_)) => return,
            Err(_) if busy && until < deadline => {
                // The request came before the statement had begun, or the statement has caught it.
                let _ = cancel(&peer, pid, secret, lines).await;
            }
            Err(_) => return,
        }
    }
}

/// The duplicate as a stream of this thread's event loop.
fn stream(socket: OwnedFd) -> io::Result<PollSocket> {
    let socket = socket2::Socket::from(socket);
    socket.set_nonblocking(true)?;
    let unix = socket.domain()? == Domain::UNIX;
    let socket = OwnedFd::from(socket);
    Ok(PollSocket::new(if unix { RawSocket::Unix(socket.into()) } else { RawSocket::Tcp(socket.into()) }))
}
