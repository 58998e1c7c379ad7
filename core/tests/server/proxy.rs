//! A TCP proxy in front of the server, on a thread of its own: it counts connections, can become a black hole, can hold
//! back what clients send, and can break off a request to cancel and deliver it later all the same.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

use crate::support::*;

pub struct Proxy {
    pub address: SocketAddr,
    inner: Arc<Inner>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Inner {
    connections: AtomicUsize,
    swallow: AtomicBool,
    swallowing: Notify,
    end: Notify,
    /// Nothing that a client sends is forwarded while this is true.
    holding: watch::Sender<bool>,
    /// A request to cancel is cut off, and delivered once this is false again.
    cutting_cancels: watch::Sender<bool>,
    cancels: AtomicUsize,
    cancels_delivered: AtomicUsize,
}

impl Proxy {
    pub fn start() -> Proxy {
        let inner = Arc::new(Inner::default());
        let (tell, told) = std::sync::mpsc::channel();
        let shared = inner.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    () = serve(&listener, &shared) => {}
                    () = shared.end.notified() => {}
                }
            });
        });
        Proxy { address: told.recv().unwrap(), inner, thread: Some(thread) }
    }

    /// The server's URL through this proxy.
    pub fn url(&self) -> String {
        url_at(&self.address.to_string())
    }

    /// How many connections have come through.
    pub fn connections(&self) -> usize {
        self.inner.connections.load(Ordering::SeqCst)
    }

    /// Holds back what clients send, or lets it go.
    pub fn hold_requests(&self, hold: bool) {
        self.inner.holding.send_replace(hold);
    }

    /// Resets the connection of every request to cancel, whose bytes arrive all the same once this is ended.
    pub fn cut_cancels(&self, cut: bool) {
        self.inner.cutting_cancels.send_replace(cut);
    }

    /// How many requests to cancel have come.
    pub fn cancels(&self) -> usize {
        self.inner.cancels.load(Ordering::SeqCst)
    }

    /// How many of those that were cut off have been delivered.
    pub fn cancels_delivered(&self) -> usize {
        self.inner.cancels_delivered.load(Ordering::SeqCst)
    }

    /// From now on nothing is forwarded and nobody is accepted: the listener's backlog takes connections, and
    /// there is never an answer.
    pub fn swallow(&self) {
        self.inner.swallow.store(true, Ordering::SeqCst);
        self.inner.swallowing.notify_waiters();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.inner.end.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: &TcpListener, inner: &Arc<Inner>) {
    loop {
        if inner.swallow.load(Ordering::SeqCst) {
            return std::future::pending().await;
        }
        let swallowing = inner.swallowing.notified();
        let Ok((client, _)) = (tokio::select! {
            accepted = listener.accept() => accepted,
            () = swallowing => continue,
        }) else {
            continue;
        };
        inner.connections.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(forward(client, inner.clone()));
    }
}

async fn forward(client: TcpStream, inner: Arc<Inner>) {
    let Ok(server) = TcpStream::connect(server_address()).await else { return };
    let swallowing = inner.swallowing.notified();
    tokio::select! {
        () = both_ways(client, server, &inner) => {}
        // The sockets stay open, and silent.
        () = swallowing => std::future::pending().await,
    }
}

/// CancelRequest (PostgreSQL manual, "Message Formats").
const CANCEL: [u8; 8] = [0, 0, 0, 16, 4, 210, 22, 46];

async fn both_ways(mut client: TcpStream, mut server: TcpStream, inner: &Inner) {
    let mut buf = vec![0; 64 * 1024];
    let mut holding = inner.holding.subscribe();
    let Ok(n) = client.read(&mut buf).await else { return };
    if buf[..n].starts_with(&CANCEL) {
        inner.cancels.fetch_add(1, Ordering::SeqCst);
        let mut cutting = inner.cutting_cancels.subscribe();
        if *cutting.borrow_and_update() {
            // Reset: whoever sent it cannot know whether it arrives.
            let _ = socket2::SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO));
            drop(client);
            let _ = cutting.wait_for(|cutting| !cutting).await;
            let _ = server.write_all(&buf[..n]).await;
            let _ = server.read(&mut buf).await;
            inner.cancels_delivered.fetch_add(1, Ordering::SeqCst);
            return;
        }
    }
    if server.write_all(&buf[..n]).await.is_err() {
        return;
    }
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = async move {
        // Before it is read: what nobody reads fills the sender's buffers, as on a slow link.
        while holding.wait_for(|holding| !holding).await.is_ok() {
            match from_client.read(&mut buf).await {
                Ok(n) if n > 0 && to_server.write_all(&buf[..n]).await.is_ok() => {}
                Ok(_) => break,
                // A reset goes through: whoever is in between on a real network forwards it, too.
                Err(_) => {
                    let socket: &TcpStream = to_server.as_ref();
                    let _ = socket2::SockRef::from(socket).set_linger(Some(std::time::Duration::ZERO));
                    return true;
                }
            }
        }
        let _ = to_server.shutdown().await;
        false
    };
    let answers = async move {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
        let _ = to_client.shutdown().await;
    };
    let mut requests = tokio::spawn(requests);
    let mut answers = std::pin::pin!(answers);
    let reset = tokio::select! {
        reset = &mut requests => reset.unwrap_or(true),
        () = &mut answers => true,
    };
    if !reset {
        answers.await;
    }
    requests.abort();
}
