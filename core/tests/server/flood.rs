//! Law 6: what a server can send without end takes no memory without end.

use std::time::Duration;

use leakpool::Pool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::child;
use crate::support::*;

#[test]
fn parameters_notices_and_notifications_without_end_take_no_memory_without_end() {
    child::run("flood");
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut m = vec![tag];
    m.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    m.extend_from_slice(body);
    m
}

/// How much memory this process has, in MiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1024
}

/// What comes of every kind, while the session is idle: 300 MiB in all.
fn flood(round: usize) -> Vec<u8> {
    let long = "x".repeat(1000);
    let mut bytes = Vec::new();
    for i in 0..100 {
        bytes.extend(message(b'S', format!("p{round}_{i}\0{long}\0").as_bytes()));
        bytes.extend(message(b'N', format!("SNOTICE\0C00000\0M{long}\0\0").as_bytes()));
        bytes.extend(message(b'A', format!("\0\0\0\x01channel\0{long}\0").as_bytes()));
    }
    bytes
}

pub fn role() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (go, mut gone) = tokio::sync::mpsc::channel::<()>(1);
        let (tell, told) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let len = socket.read_u32().await.unwrap() as usize;
            socket.read_exact(&mut vec![0; len - 4]).await.unwrap();
            let version = message(b'S', b"server_version\x0015.0\0");
            let hello = [message(b'R', &[0; 4]), version, message(b'K', &[1; 8]), message(b'Z', b"I")];
            socket.write_all(&hello.concat()).await.unwrap();
            gone.recv().await.unwrap();
            for round in 0..1000 {
                socket.write_all(&flood(round)).await.unwrap();
            }
            socket.write_all(&message(b'S', b"TimeZone\0over\0")).await.unwrap();
            tell.send(()).unwrap();
            gone.recv().await
        });
        let dsn = format!("postgres://u@127.0.0.1:{port}/d?sslmode=disable");
        let pool = Pool::builder().dsn(&dsn).max_size(1).statement_cache(true).build().unwrap();
        let held = pool.acquire().await.unwrap();
        let _slow = held.notifications();
        go.send(()).await.unwrap();
        let before = resident();
        tokio::time::timeout(LIMIT, told).await.expect("nobody reads").unwrap();
        let grown = resident().saturating_sub(before);
        assert!(grown < 50, "{grown} MiB");
        drop(go);
        held.release_broken();
        pool.close_within(Duration::ZERO).await.unwrap();
    });
}
