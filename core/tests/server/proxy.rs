//! A TCP proxy in front of the server, on a thread of its own: it counts connections and can become a black hole.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

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

async fn forward(mut client: TcpStream, inner: Arc<Inner>) {
    let Ok(mut server) = TcpStream::connect(server_address()).await else { return };
    let swallowing = inner.swallowing.notified();
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        // The sockets stay open, and silent.
        () = swallowing => std::future::pending().await,
    }
}
