//! The stream under `tokio-postgres`, under observation: who writes to the server, and to whom its answers go.
//!
//! [`Observed`] wraps the decrypted stream. What passes is told to the observer (`observer.rs`); raw exchanges
//! (`exchange.rs`) are carried between tokio-postgres's own requests; behind a pooler these are rewritten on their way
//! (`rewrite.rs`); and after a revoke it becomes the fence (`fence.rs`), which sends nothing any more. It runs
//! inside the connection's task alone; what it tells others goes through atomics.
//!
//! Wire and client take turns: an exchange starts only while nothing of tokio-postgres is outstanding, and
//! tokio-postgres's next request waits until the exchange has ended, so that a COPY of one never meets a request of the
//! other.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

use super::exchange::transport::{Active, Chunk, copy_abort};
use super::fence::Fence;
use super::observer::Observer;
use super::rewrite::Rewriter;
use super::state::{HolderState, SessionState};
use crate::net::framing::{Malformed, back, backend_message};

/// A stream under observation.
pub(crate) struct Observed<S> {
    inner: Option<S>,
    observer: Observer,
    channel_binding: Option<Vec<u8>>,
    active: Option<Active>,
    /// tokio-postgres wanted to write while an exchange was active.
    client_waits: bool,
    /// What was read while an exchange was active and is not routed yet.
    buffered: BytesMut,
    /// How much the next read of an answer may bring, at least.
    room: usize,
    /// What is routed to tokio-postgres and not fetched yet.
    to_client: BytesMut,
    /// Behind a pooler: what tokio-postgres names is unnamed on its way.
    rewriter: Option<Rewriter>,
    fence: Option<Fence>,
    termination: Termination,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Termination {
    NotYet,
    Sending { sent: usize },
    Sent,
}

const SHORT_READ: usize = 8 * 1024;
const LONG_READ: usize = 32 * 1024;

/// Terminate (PostgreSQL manual, "Message Formats").
const TERMINATE: [u8; 5] = [b'X', 0, 0, 0, 4];

impl<S: AsyncRead + AsyncWrite + Unpin> Observed<S> {
    pub(crate) fn new(inner: S, state: Arc<SessionState>, channel_binding: Option<Vec<u8>>) -> Observed<S> {
        Observed {
            inner: Some(inner),
            observer: Observer::new(state),
            channel_binding,
            active: None,
            client_waits: false,
            buffered: BytesMut::new(),
            room: SHORT_READ,
            to_client: BytesMut::new(),
            rewriter: None,
            fence: None,
            termination: Termination::NotYet,
        }
    }

    /// Becomes the fence as soon as the fence stands.
    fn fence(&mut self) -> Option<&mut Fence> {
        if self.fence.is_none() {
            let session = &self.observer.session.state;
            let Some(revocation) = session.revocation.get().cloned() else {
                if session.is_cut() && self.inner.is_some() {
                    self.let_go();
                    self.observer.session.state.let_go();
                }
                return None;
            };
            if self.let_go() {
                // What is outstanding is the exchange's, which learns it by the end of its answer.
                self.observer.session.leave_exchange();
            }
            let mut fence = Fence::new(revocation, &self.observer);
            if let Some(rewriter) = self.rewriter.take() {
                // Taken from tokio-postgres, and not written yet.
                fence.asked(&mut self.observer, &rewriter.unwritten());
            }
            self.fence = Some(fence);
            self.observer.session.state.let_go();
        }
        self.observer.session.state.drop_requests();
        self.fence.as_mut()
    }

    /// Lets go of the socket without a word; the closer holds the duplicate and ends the session. What is in flight
    /// stays published: the closer goes by it. True if an exchange had its turn.
    fn let_go(&mut self) -> bool {
        self.inner = None;
        self.buffered.clear();
        self.active.take().is_some()
    }

    /// tokio-postgres begins to write, or has flushed everything.
    fn set_unflushed(&mut self, unflushed: bool) {
        if std::mem::replace(&mut self.observer.session.unflushed, unflushed) != unflushed {
            let now = self.observer.session.now();
            self.observer.publish(now);
        }
    }

    fn set_exchange(&mut self, exchange: bool) {
        if std::mem::replace(&mut self.observer.session.exchange, exchange) != exchange {
            let now = self.observer.session.now();
            self.observer.publish(now);
        }
    }

    /// Sends what raw exchanges have to send, while it is their turn.
    fn pump(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        loop {
            if self.inner.is_none() {
                return Ok(());
            }
            if self.active.is_none() {
                let session = &self.observer.session.state;
                let next =
                    session.requests.lock().front().map(|request| session.holder_state(request.generation));
                // What waits for its turn is in flight.
                self.set_exchange(next.is_some());
                let session = &self.observer.session.state;
                if matches!(next, None | Some(HolderState::Ended))
                    || !self.observer.between_requests()
                    || !self.to_client.is_empty()
                    // What is asked for next is not what the cancel was meant for.
                    || session.is_being_cancelled()
                {
                    return Ok(());
                }
                let request = session.requests.lock().pop_front();
                // The caller may have gone before anything was sent; or has given the connection back and waits.
                let asked = matches!(next, Some(HolderState::Active | HolderState::Returning));
                self.active =
                    request.filter(|request| asked && !request.replies.is_closed()).map(Active::new);
                self.observer.session.in_front = self.active.as_ref().map_or(0, |active| active.in_front);
                continue;
            }
            let Some(inner) = self.inner.as_mut() else { return Ok(()) };
            let Some(active) = self.active.as_mut() else { return Ok(()) };
            let session = &self.observer.session.state;
            let awaited = match session.holder_state(active.generation) {
                HolderState::Active | HolderState::Ended => true,
                // The rest of a copy would come from somebody whose checkout is over.
                HolderState::Returning => active.is_awaited() && !active.has_more(),
                HolderState::Returned => false,
            };
            session.awaited.store(awaited, Ordering::SeqCst);
            if !awaited {
                active.abandon();
            }
            while active.pending.has_remaining() {
                match Pin::new(&mut *inner).poll_write(cx, &active.pending) {
                    Poll::Ready(n) => {
                        let sent = active.pending.split_to(n?);
                        self.observer.sent(&sent);
                    }
                    Poll::Pending => return Ok(()),
                }
            }
            match active.poll_more(cx) {
                Poll::Ready(Some(bytes)) => {
                    active.pending = bytes;
                    continue;
                }
                // Nothing more comes: an open copy is ended, a voided Sync made up for.
                Poll::Ready(None) if self.observer.session.copy_in || self.observer.session.needs_sync => {
                    active.pending =
                        copy_abort(self.observer.session.copy_in, self.observer.session.needs_sync);
                    continue;
                }
                Poll::Ready(None) | Poll::Pending => {}
            }
            if let Poll::Ready(flushed) = Pin::new(&mut *inner).poll_flush(cx) {
                flushed?;
            }
            if !self.observer.between_requests() {
                return Ok(());
            }
            self.active = None;
            self.observer.session.state.awaited.store(false, Ordering::SeqCst);
            if std::mem::take(&mut self.client_waits) {
                cx.waker().wake_by_ref();
            }
        }
    }

    /// Reads while an exchange is active: whole messages, each to its owner. `Ready` if there is something for
    /// tokio-postgres or the exchange is over, so that the caller looks again.
    fn read_exchange(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let Some(active) = self.active.as_mut() else { return Poll::Ready(Ok(())) };
            // Bounded: nothing more is read than the other side has taken.
            if active.poll_ready(cx).is_pending() {
                self.observer.session.state.read_blocked.store(false, Ordering::Release);
                return Poll::Pending;
            }
            let mut chunk = BytesMut::new();
            let mut done = false;
            while let Some(len) = whole_message(&self.buffered) {
                let message = self.buffered.split_to(len);
                self.observer.received(&message);
                if self.observer.broken {
                    // The caller meets it as well, and is told what it was.
                    chunk.unsplit(message);
                    break;
                }
                match message[0] {
                    back::NOTIFICATION_RESPONSE => self.to_client.extend_from_slice(&message),
                    back::PARAMETER_STATUS => {}
                    back::READY_FOR_QUERY => {
                        chunk.unsplit(message);
                        done = self.observer.session.outstanding.is_empty();
                        break;
                    }
                    _ => chunk.unsplit(message),
                }
            }
            if !chunk.is_empty() {
                active.send(Chunk { messages: chunk.freeze() });
            }
            self.intact()?;
            if done || !self.to_client.is_empty() {
                self.pump(cx)?;
                return Poll::Ready(Ok(()));
            }
            if whole_message(&self.buffered).is_some() {
                continue;
            }
            self.pump(cx)?;
            let Some(inner) = self.inner.as_mut() else { return Poll::Ready(Ok(())) };
            self.buffered.reserve(self.room);
            let room = self.buffered.capacity() - self.buffered.len();
            let read = pin!(inner.read_buf(&mut self.buffered)).poll(cx);
            if let Poll::Ready(Ok(n)) = read {
                // A long answer is read in longer pieces.
                self.room = if n == room { LONG_READ } else { SHORT_READ };
            }
            self.observer.session.state.read_blocked.store(read.is_pending(), Ordering::Release);
            if ready!(read)? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// What cannot be understood ends the session, once all that came before it is told.
    fn intact(&self) -> Result<(), Malformed> {
        if self.observer.broken && self.to_client.is_empty() { Err(Malformed) } else { Ok(()) }
    }

    /// Says Terminate: Terminate and the end of the stream. Only while nothing is in flight.
    fn poll_termination(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(inner) = self.inner.as_mut() else { return Poll::Ready(Ok(())) };
        loop {
            match self.termination {
                Termination::NotYet => self.termination = Termination::Sending { sent: 0 },
                Termination::Sending { sent } if sent == TERMINATE.len() => {
                    ready!(Pin::new(&mut *inner).poll_shutdown(cx))?;
                    self.termination = Termination::Sent;
                }
                Termination::Sending { sent } => {
                    let n = ready!(Pin::new(&mut *inner).poll_write(cx, &TERMINATE[sent..]))?;
                    self.termination = Termination::Sending { sent: sent + n };
                }
                Termination::Sent => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Observed<S> {
    /// The rewriter, from the moment on in which a pooler is known of. tokio-postgres has named nothing before.
    fn rewrites(&mut self) -> Option<&mut Rewriter> {
        let session = &self.observer.session.state;
        if self.rewriter.is_none()
            && self.observer.session.started
            && session.behind_pooler.load(Ordering::Acquire)
            && self.observer.out.at_boundary()
            && self.observer.input.at_boundary()
        {
            self.rewriter = Some(Rewriter::new());
        }
        self.rewriter.as_mut()
    }

    /// Writes what has become of tokio-postgres's requests. `Ready` once nothing is left of it.
    fn write_rewritten(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (Some(rewriter), Some(inner)) = (self.rewriter.as_mut(), self.inner.as_mut()) else {
            return Poll::Ready(Ok(()));
        };
        while !rewriter.out.is_empty() {
            let n = ready!(Pin::new(&mut *inner).poll_write(cx, &rewriter.out))?;
            let sent = rewriter.out.split_to(n);
            self.observer.sent(&sent);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads whole messages for tokio-postgres, without those that answer what was added to its requests. `Ready` if
    /// there is something for it.
    fn read_rewritten(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while let Some(len) = whole_message(&self.buffered) {
                let message = self.buffered.split_to(len);
                let understood = self.observer.received(&message);
                self.intact()?;
                if message.first() == Some(&back::PARAMETER_STATUS) {
                    continue;
                }
                match self.rewriter.as_mut() {
                    Some(rewriter) if understood == message.len() => {
                        rewriter.back(&message, &mut self.to_client)
                    }
                    Some(_) | None => self.to_client.extend_from_slice(&message[..understood]),
                }
            }
            if !self.to_client.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let Some(inner) = self.inner.as_mut() else { return Poll::Ready(Ok(())) };
            self.buffered.reserve(SHORT_READ);
            let read = pin!(inner.read_buf(&mut self.buffered)).poll(cx);
            self.observer.session.state.read_blocked.store(read.is_pending(), Ordering::Release);
            if ready!(read)? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

/// The length of the message at the front, if all of it is there. What is no message is all of it.
fn whole_message(bytes: &[u8]) -> Option<usize> {
    match backend_message(bytes) {
        Ok(len) => len.filter(|len| *len <= bytes.len()),
        Err(Malformed) => Some(bytes.len()),
    }
}

/// Moves as much as fits.
fn drain(from: &mut BytesMut, to: &mut ReadBuf<'_>) {
    let n = from.len().min(to.remaining());
    to.put_slice(&from.split_to(n));
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Observed<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.to_client.is_empty()
                && let Some(fence) = this.fence()
            {
                return fence.poll_read(buf);
            }
            if this.observer.session.state.closing.load(Ordering::Acquire)
                && this.observer.session.published.0.is_quiet()
            {
                ready!(this.poll_termination(cx))?;
                return Poll::Ready(Ok(()));
            }
            this.intact()?;
            this.pump(cx)?;
            if !this.to_client.is_empty() {
                drain(&mut this.to_client, buf);
                return Poll::Ready(Ok(()));
            }
            if this.inner.is_none() {
                // Ended from outside: nothing more will come, whoever it would be for.
                return Poll::Ready(Ok(()));
            }
            if this.active.is_some() {
                ready!(this.read_exchange(cx))?;
                continue;
            }
            if this.rewriter.is_some() {
                ready!(this.read_rewritten(cx))?;
                continue;
            }
            if !this.buffered.is_empty() {
                // Read together with the end of the last exchange, and nobody's but tokio-postgres's.
                let left = this.observer.received_for_client(&mut this.buffered);
                this.buffered.truncate(left);
                this.to_client.unsplit(this.buffered.split());
                continue;
            }
            let Some(inner) = this.inner.as_mut() else { return Poll::Ready(Ok(())) };
            if this.observer.input.within() == Some(back::PARAMETER_STATUS) {
                // Not for tokio-postgres: read in larger pieces than the room that this may have left.
                this.buffered.reserve(SHORT_READ);
                let read = pin!(inner.read_buf(&mut this.buffered)).poll(cx);
                this.observer.session.state.read_blocked.store(read.is_pending(), Ordering::Release);
                if ready!(read)? == 0 {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let before = buf.filled().len();
            let read = Pin::new(inner).poll_read(cx, buf);
            this.observer.session.state.read_blocked.store(read.is_pending(), Ordering::Release);
            ready!(read)?;
            let came = buf.filled().len() - before;
            let left = this.observer.received_for_client(&mut buf.filled_mut()[before..]);
            buf.set_filled(before + left);
            if came > 0 && left == 0 {
                // Nothing of it was for tokio-postgres, or could be understood.
                continue;
            }
            return Poll::Ready(Ok(()));
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Observed<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.fence().is_some() {
            if let Some(fence) = this.fence.as_mut() {
                fence.asked(&mut this.observer, buf);
                // The answers are read in the next poll.
                cx.waker().wake_by_ref();
            }
            return Poll::Ready(Ok(buf.len()));
        }
        // Not before a flush of everything: whatever is not written now waits in the client's buffer.
        this.set_unflushed(true);
        this.pump(cx)?;
        if this.active.is_some() {
            this.client_waits = true;
            return Poll::Pending;
        }
        if this.inner.is_none() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if let Some(rewriter) = this.rewrites() {
            // All of it is taken; the flush that follows waits until it is written.
            rewriter.take(buf);
            if !rewriter.answers.is_empty() {
                let answers = rewriter.answers.split();
                this.to_client.extend_from_slice(&answers);
                // They are read in the next poll.
                cx.waker().wake_by_ref();
            }
            let _ = this.write_rewritten(cx)?;
            return Poll::Ready(Ok(buf.len()));
        }
        let Some(inner) = this.inner.as_mut() else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let n = ready!(Pin::new(inner).poll_write(cx, buf))?;
        this.observer.sent(&buf[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.fence().is_some() {
            return Poll::Ready(Ok(()));
        }
        this.pump(cx)?;
        if this.rewriter.as_ref().is_some_and(|rewriter| !rewriter.out.is_empty()) {
            this.set_unflushed(true);
            if this.active.is_some() {
                this.client_waits = true;
                return Poll::Pending;
            }
            ready!(this.write_rewritten(cx))?;
        }
        if let Some(inner) = this.inner.as_mut()
            && let Poll::Pending = Pin::new(inner).poll_flush(cx)?
        {
            this.set_unflushed(true);
            return Poll::Pending;
        }
        // tokio-postgres flushes after all that it had to write, and its buffer is empty by then.
        this.set_unflushed(false);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.inner.as_mut() {
            Some(inner) => Pin::new(inner).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Observed<S> {
    fn channel_binding(&self) -> ChannelBinding {
        match &self.channel_binding {
            Some(data) => ChannelBinding::tls_server_end_point(data.clone()),
            None => ChannelBinding::none(),
        }
    }
}
