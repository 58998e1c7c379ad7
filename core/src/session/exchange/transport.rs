//! What passes between an asker and the wire: requests one way, whole messages of their answers the other way,
//! both bounded. The wire (`wire.rs`) decides when; nothing here reads or writes a socket.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use futures_channel::mpsc;
use futures_core::Stream;

/// How many pieces of an answer may wait for a slow reader, besides the one that it reads. A piece is what one read
/// from the socket gave: 8 to 32 KiB, or one whole message if that is longer.
pub(crate) const PIECES: usize = 4;

/// A raw request: bytes that are whole messages and end with what the server answers by a ReadyForQuery.
pub(crate) struct Request {
    pub(crate) bytes: Bytes,
    /// How many bytes of its SQL text (in the simple protocol) are not its asker's.
    pub(crate) in_front: usize,
    /// What follows them (copy data); `None` if nothing does.
    pub(crate) more: Option<mpsc::Receiver<Bytes>>,
    pub(crate) replies: mpsc::Sender<Chunk>,
    /// The checkout that asks: once that has ended, nothing more of this is sent, and its answer is nobody's.
    pub(crate) generation: u64,
}

/// Some whole messages of an answer.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) messages: Bytes,
}

impl Chunk {
    /// Says that the request did not get its turn, and will not.
    pub(crate) const REFUSAL: Chunk = Chunk { messages: Bytes::new() };

    pub(crate) fn is_refusal(&self) -> bool {
        self.messages.is_empty()
    }
}

/// The request whose turn it is.
pub(crate) struct Active {
    pub(crate) pending: Bytes,
    pub(crate) in_front: usize,
    pub(crate) generation: u64,
    more: Option<mpsc::Receiver<Bytes>>,
    replies: Option<mpsc::Sender<Chunk>>,
}

impl Active {
    pub(crate) fn new(request: Request) -> Active {
        let Request { bytes, in_front, more, replies, generation } = request;
        Active { pending: bytes, in_front, generation, more, replies: Some(replies) }
    }

    /// The asker's checkout is over: what it still sends is cut off here, what is still answered is thrown away.
    pub(crate) fn abandon(&mut self) {
        self.more = None;
        self.replies = None;
    }

    /// Somebody waits for its answer.
    pub(crate) fn is_awaited(&self) -> bool {
        self.replies.as_ref().is_some_and(|replies| !replies.is_closed())
    }

    /// More may come to be sent.
    pub(crate) fn has_more(&self) -> bool {
        self.more.is_some()
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
        match self.replies.as_mut() {
            Some(replies) => replies.poll_ready(cx).map(|_| ()),
            None => Poll::Ready(()),
        }
    }

    /// Passes messages on; an asker that has gone gets nothing, and the answer is read to its end all the same.
    pub(crate) fn send(&mut self, chunk: Chunk) {
        if let Some(replies) = self.replies.as_mut() {
            let _ = replies.start_send(chunk);
        }
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
