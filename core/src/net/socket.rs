//! The bytes between us and a server, whatever they travel over.
//!
//! A [`PollSocket`] is watched by a runtime once somebody has to wait for it there, and only then: a thread that reads and
//! writes for itself (`poller.rs`) would otherwise wake the runtime with every answer.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::runtime::Handle;
use tokio_rustls::client::TlsStream;

/// A connected stream.
pub(crate) enum Transport {
    Plain(PollSocket),
    Tls(Box<TlsStream<PollSocket>>),
}

impl Transport {
    /// The socket underneath.
    pub(crate) fn socket(&self) -> &PollSocket {
        match self {
            Transport::Plain(socket) => socket,
            Transport::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// Who waits for a socket, and for what. Outlives it.
#[derive(Debug, Default)]
pub(crate) struct IoMode {
    /// A thread of the host reads and writes, and waits for the socket itself.
    pub(crate) by_caller: AtomicBool,
    /// There may be something for that thread to read.
    pub(crate) may_read: AtomicBool,
    /// Its last write did not go through.
    pub(crate) wants_write: AtomicBool,
    /// The runtime tells when there is something to read.
    pub(crate) watched: AtomicBool,
}

/// An open socket. It is closed when the last of those that share it has gone.
pub(crate) enum RawSocket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl RawSocket {
    fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            RawSocket::Tcp(s) => (&mut &*s).read(buf),
            RawSocket::Unix(s) => (&mut &*s).read(buf),
        }
    }

    fn write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, bufs) {
            (RawSocket::Tcp(s), [one]) => (&mut &*s).write(one),
            (RawSocket::Tcp(s), bufs) => (&mut &*s).write_vectored(bufs),
            (RawSocket::Unix(s), [one]) => (&mut &*s).write(one),
            (RawSocket::Unix(s), bufs) => (&mut &*s).write_vectored(bufs),
        }
    }

    fn shutdown(&self) -> io::Result<()> {
        match self {
            RawSocket::Tcp(s) => s.shutdown(Shutdown::Write),
            RawSocket::Unix(s) => s.shutdown(Shutdown::Write),
        }
    }
}

impl AsFd for RawSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            RawSocket::Tcp(s) => s.as_fd(),
            RawSocket::Unix(s) => s.as_fd(),
        }
    }
}

/// What the runtime watches.
struct Watched(Arc<RawSocket>);

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A socket without blocking.
pub(crate) struct PollSocket {
    raw: Arc<RawSocket>,
    io_mode: Arc<IoMode>,
    watched: Option<AsyncFd<Watched>>,
    runtime: Handle,
}

impl fmt::Debug for PollSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollSocket")
            .field("fd", &self.raw.as_fd())
            .field("io_mode", &self.io_mode)
            .finish_non_exhaustive()
    }
}

impl PollSocket {
    /// A connected socket without blocking, on the current runtime.
    pub(crate) fn new(raw: RawSocket) -> PollSocket {
        PollSocket { raw: Arc::new(raw), io_mode: Arc::default(), watched: None, runtime: Handle::current() }
    }

    pub(crate) async fn connect_tcp(address: std::net::SocketAddr) -> io::Result<PollSocket> {
        let tcp = tokio::net::TcpStream::connect(address).await?.into_std()?;
        Ok(PollSocket::new(RawSocket::Tcp(tcp)))
    }

    pub(crate) async fn connect_unix(path: &std::path::Path) -> io::Result<PollSocket> {
        let unix = tokio::net::UnixStream::connect(path).await?.into_std()?;
        Ok(PollSocket::new(RawSocket::Unix(unix)))
    }

    pub(crate) fn raw(&self) -> &Arc<RawSocket> {
        &self.raw
    }

    pub(crate) fn io_mode(&self) -> &Arc<IoMode> {
        &self.io_mode
    }

    /// True if a caller waits for the socket itself; the runtime then leaves it alone.
    fn is_callers(&mut self) -> bool {
        let callers = self.io_mode.by_caller.load(Ordering::Acquire);
        if callers && self.watched.take().is_some() {
            self.io_mode.watched.store(false, Ordering::Release);
        }
        callers
    }

    fn watch(&mut self) -> io::Result<&AsyncFd<Watched>> {
        match self.watched {
            Some(ref watched) => Ok(watched),
            None => {
                let _entered = self.runtime.enter();
                let both = Interest::READABLE | Interest::WRITABLE;
                // SAFETY: what is registered owns its descriptor, gives the same one as long as it lives, and is
                // taken off before it goes.
                let watched = unsafe { AsyncFd::register_with_interest(Watched(self.raw.clone()), both) }?;
                self.io_mode.watched.store(true, Ordering::Release);
                Ok(self.watched.insert(watched))
            }
        }
    }

    fn poll_write_some(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.is_callers() {
            let written = retried(|| self.raw.write(bufs));
            self.io_mode.wants_write.store(would_block(&written), Ordering::Relaxed);
            return if would_block(&written) { Poll::Pending } else { Poll::Ready(written) };
        }
        loop {
            let mut guard = ready!(self.watch()?.poll_write_ready(cx))?;
            if let Ok(done) = guard.try_io(|watched| retried(|| watched.get_ref().0.write(bufs))) {
                return Poll::Ready(done);
            }
        }
    }
}

/// A signal is no reason to give up.
fn retried(mut io: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match io() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn would_block(done: &io::Result<usize>) -> bool {
    done.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
}

impl AsyncRead for PollSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_callers() {
            if !this.io_mode.may_read.load(Ordering::Relaxed) {
                return Poll::Pending;
            }
            let room = buf.remaining();
            let read = retried(|| this.raw.read(buf.initialize_unfilled()));
            if would_block(&read) {
                this.io_mode.may_read.store(false, Ordering::Relaxed);
                return Poll::Pending;
            }
            let n = read?;
            buf.advance(n);
            // Nothing is left, as far as it is known: the thread waits before it asks again.
            this.io_mode.may_read.store(n == room || n == 0, Ordering::Relaxed);
            return Poll::Ready(Ok(()));
        }
        loop {
            let mut guard = ready!(this.watch()?.poll_read_ready(cx))?;
            let room = buf.remaining();
            let io =
                |watched: &AsyncFd<Watched>| retried(|| watched.get_ref().0.read(buf.initialize_unfilled()));
            let Ok(read) = guard.try_io(io) else { continue };
            let n = read?;
            buf.advance(n);
            if (1..room).contains(&n) {
                emptied(&mut guard);
            }
            return Poll::Ready(Ok(()));
        }
    }
}

/// Fewer bytes came than there was room for. epoll tells of what comes next, so that nobody has to ask whether
/// there is more now (as tokio's own sockets do it).
fn emptied(guard: &mut AsyncFdReadyGuard<'_, Watched>) {
    if cfg!(any(target_os = "linux", target_os = "android")) {
        guard.clear_ready();
    }
}

impl AsyncWrite for PollSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_some(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_some(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.raw.shutdown())
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Transport::Tls(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Transport::Tls(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Plain(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Transport::Tls(s) => Pin::new(s).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Transport::Plain(s) => s.is_write_vectored(),
            Transport::Tls(s) => s.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(s) => Pin::new(s).poll_flush(cx),
            Transport::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Transport::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}
