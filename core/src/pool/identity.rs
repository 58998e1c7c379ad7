//! Whose client it is. A handle can be dereferenced mutably, as its users know it from deadpool, and so a client can be
//! moved out of it, and another one in. What comes back by such a handle is handed out again only if it is the session's own.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Client;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

/// The process id and the secret of a client's backend; `None` if it does not tell.
///
/// tokio-postgres says neither, but puts both into the request by which it would cancel: here, that goes nowhere.
pub(super) fn key(client: &Client) -> Option<(i32, i32)> {
    let mut request = Request::default();
    let token = client.cancel_token();
    let sent = {
        let sending = pin!(token.cancel_query_raw(&mut request, Through));
        // It waits for nothing: this stream takes everything at once, and has nothing to be read.
        sending.poll(&mut Context::from_waker(Waker::noop()))
    };
    if !matches!(sent, Poll::Ready(Ok(()))) {
        return None;
    }
    match request.0.as_slice() {
        // CancelRequest: its length, its code, and what it is about.
        [_, _, _, _, _, _, _, _, a, b, c, d, e, f, g, h] => {
            Some((i32::from_be_bytes([*a, *b, *c, *d]), i32::from_be_bytes([*e, *f, *g, *h])))
        }
        _ => None,
    }
}

/// What a client sends, in memory.
#[derive(Default)]
struct Request(Vec<u8>);

impl AsyncRead for Request {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Request {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().0.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl TlsStream for &mut Request {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

/// Hands the stream through.
struct Through;

impl<'a> TlsConnect<&'a mut Request> for Through {
    type Stream = &'a mut Request;
    type Error = Infallible;
    type Future = Ready<Result<&'a mut Request, Infallible>>;

    fn connect(self, stream: &'a mut Request) -> Self::Future {
        ready(Ok(stream))
    }
}
