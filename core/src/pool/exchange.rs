//! The raw exchange.
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use futures_channel::mpsc;
use futures_core::Stream;

/// A raw request: bytes that are whole messages and end with what the server answers by a ReadyForQuery.
pub(crate) struct Request {
    pub(crate) bytes: Bytes,
    /// What follows them (copy data); `None` if nothing does.
    pub(crate) more: Option<mpsc::Receiver<Bytes>>,
    pub(crate) replies: mpsc::Sender<Chunk>,
}

/// Some whole messages of an answer.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) messages: Bytes,
}

/// The request whose turn it is.
pub(crate) struct Active {
    pub(crate) pending: Bytes,
    pub(crate) started: bool,
    more: Option<mpsc::Receiver<Bytes>>,
    replies: mpsc::Sender<Chunk>,
}

impl Active {
    pub(crate) fn new(request: Request) -> Active {
        Active { pending: request.bytes, started: false, more: request.more, replies: request.replies }
    }

    /// More to send: `Ready(None)` if nothing more will come.
    pub(crate) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(more) = self.more.as_mut() else { return Poll::Ready(None) };
        let next = Pin::new(more).poll_next(cx);
        if let Poll::Ready(None) = next {
            self.more = None;
        }
        next
    }

    /// Ready when the asker can take more, or has gone.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.replies.poll_ready(cx).map(|_| ())
    }

    /// Passes messages on; an asker that has gone gets nothing, and the answer is read to its end all the same.
    pub(crate) fn send(&mut self, chunk: Chunk) {
        let _ = self.replies.start_send(chunk);
    }
}

/// What ends a request whose sender has gone: CopyFail for an open copy, Sync for a voided one.
pub(crate) fn copy_abort(copying: bool, needs_sync: bool) -> Bytes {
    let mut bytes = BytesMut::new();
    if copying {
        let reason = b"the copy was not finished by its sender\0";
        bytes.put_u8(b'f');
        bytes.put_u32(reason.len() as u32 + 4);
        bytes.put_slice(reason);
    }
    if needs_sync {
        bytes.put_slice(&[b'S', 0, 0, 0, 4]);
    }
    bytes.freeze()
}
