//! Connecting to what is no server: closed ports, listeners that never answer or answer nonsense. No TLS, no
//! PostgreSQL. Hosts that cannot be reached are closed or silent ports of the loopback interface.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::net::TcpListener;

use super::*;
use crate::net::testing::{Plain, Session, TempDir, free_port};

async fn dsn(dsn: &str) -> Result<Session> {
    let target = ConnectConfig::parse_with(dsn, &[], &|_| None).unwrap();
    connect(&target, &Plain).await
}

#[track_caller]
fn refused(result: Result<Session>, code: ErrorCode, sentence: &str) {
    let e = result.err().expect("the connection should have been refused");
    assert_eq!((e.code(), e.message()), (code, sentence));
}

/// Takes connections and answers the first message of each with `answer`; then closes, or waits for ever.
async fn answering(answer: &'static [u8], close: bool) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            seen.fetch_add(1, Ordering::SeqCst);
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(answer).await;
            if !close {
                kept.push(stream);
            }
        }
    });
    (port, count)
}

#[tokio::test]
async fn a_closed_port_is_unreachable_and_every_server_is_named() {
    let port = free_port();
    refused(
        dsn(&format!("host=127.0.0.1 port={port} user=u")).await,
        ErrorCode::Unreachable,
        &format!("127.0.0.1:{port} cannot be reached: Connection refused (os error 111)"),
    );
    let dir = TempDir::new();
    refused(
        dsn(&format!("host=db1,{} hostaddr=127.0.0.1, port={port} user=u", dir.text(""))).await,
        ErrorCode::Unreachable,
        &format!(
            "no server can be used: db1:{port} (127.0.0.1) cannot be reached: Connection refused (os error 111); \
             {}:{port} cannot be reached: No such file or directory (os error 2)",
            dir.text("")
        ),
    );
}

#[tokio::test]
async fn connect_timeout_holds_for_each_address_and_covers_what_comes_after_the_socket() {
    // The system completes connections of a listener that never accepts: then nobody answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    for sslmode in ["disable", "prefer", "require"] {
        let started = Instant::now();
        refused(
            dsn(&format!("host=127.0.0.1 port={port} user=u connect_timeout=1 sslmode={sslmode}")).await,
            ErrorCode::Unreachable,
            &format!("127.0.0.1:{port} did not answer within 1 s (connect_timeout)"),
        );
        assert!(started.elapsed() < Duration::from_secs(10), "{sslmode}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_there_are_others_a_silent_server_does_not_keep_us_for_ever() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let e = dsn(&format!("host=127.0.0.1,127.0.0.1 port={port},{port} user=u")).await.err().unwrap();
    assert_eq!(e.message(), format!("127.0.0.1:{port} did not answer within 10 s (connect_timeout)"));
    let e =
        dsn(&format!("host=127.0.0.1,127.0.0.1 port={port} user=u connect_timeout=99")).await.err().unwrap();
    assert!(e.message().contains("within 99 s"), "{e}");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_or_taken_as_sslmode_says() {
    let (port, count) = answering(b"N", false).await;
    let to = format!("host=127.0.0.1 port={port} user=u connect_timeout=1");
    for mode in ["require", "verify-ca", "verify-full"] {
        let e = dsn(&format!("{to} sslmode={mode}")).await.err();
        // Where the operating system has no authorities, the last two end before.
        if let Some(e) = e.filter(|e| e.code() != ErrorCode::InvalidOption) {
            assert_eq!(e.message(), format!("127.0.0.1:{port} has no TLS, and sslmode demands it"));
        }
    }
    let before = count.load(Ordering::SeqCst);
    let e = dsn(&format!("{to} sslmode=prefer")).await.err().unwrap();
    // It took the plain stream on the same connection and waited there for the server to speak.
    assert!(e.message().contains("did not answer within 1 s"), "{e}");
    assert_eq!(count.load(Ordering::SeqCst), before + 1);
    refused(
        dsn(&format!("{to} sslmode=prefer channel_binding=require")).await,
        ErrorCode::TlsFailed,
        &format!("127.0.0.1:{port}: channel_binding=require cannot be kept: the session is not over TLS"),
    );
}

#[tokio::test]
async fn what_is_no_postgresql_server_is_told() {
    let (http, _) = answering(b"HTTP/1.1 400 Bad Request\r\n\r\n", true).await;
    refused(
        dsn(&format!("host=127.0.0.1 port={http} user=u sslmode=require")).await,
        ErrorCode::TlsFailed,
        &format!(
            "127.0.0.1:{http} does not speak PostgreSQL's protocol: it did not understand the request for TLS"
        ),
    );
    let e = dsn(&format!("host=127.0.0.1 port={http} user=u sslmode=disable")).await.err().unwrap();
    assert!([ErrorCode::Protocol, ErrorCode::Unreachable].contains(&e.code()), "{e}");
    let (old, _) = answering(b"Eserver says something\0", true).await;
    refused(
        dsn(&format!("host=127.0.0.1 port={old} user=u sslmode=require")).await,
        ErrorCode::TlsFailed,
        &format!("127.0.0.1:{old} answered with an error when asked for TLS"),
    );
    let (gone, _) = answering(b"", true).await;
    refused(
        dsn(&format!("host=127.0.0.1 port={gone} user=u sslmode=disable")).await,
        ErrorCode::Unreachable,
        &format!("127.0.0.1:{gone} closed the connection before it was ready"),
    );
    // Plain text behind the `S` must not be taken for the server's.
    let (stuffed, _) = answering(b"SR\0\0\0\x08\0\0\0\0", false).await;
    let e = dsn(&format!("host=127.0.0.1 port={stuffed} user=u sslmode=require")).await.err().unwrap();
    assert_eq!(e.code(), ErrorCode::TlsFailed, "{e}");
}

#[tokio::test]
async fn names_are_looked_up_and_a_name_that_is_none_is_told() {
    let port = free_port();
    let e = dsn(&format!("host=localhost port={port} user=u")).await.err().unwrap();
    assert!(e.message().contains(&format!("localhost:{port} (127.0.0.1) cannot be reached")), "{e}");
    // A NUL, since the C library refuses it without asking any name server.
    let mut target = ConnectConfig::parse_with("user=u", &[], &|_| None).unwrap();
    target.endpoints = vec![Endpoint::new(Host::Tcp("a\0b".into()), 5432)];
    let e = connect(&target, &Plain).await.err().unwrap();
    assert_eq!(e.code(), ErrorCode::Unreachable);
    assert!(e.message().starts_with("a\0b:5432: the name cannot be resolved: "), "{e}");
}

/// Looks at the transport instead of using it.
struct Look;

impl Establish for Look {
    type Session = Connected;

    async fn establish(
        &self,
        transport: Connected,
        _config: &tokio_postgres::Config,
    ) -> std::result::Result<Connected, NotMade> {
        Ok(transport)
    }

    async fn query_value(
        &self,
        _session: &mut Connected,
        _sql: &str,
    ) -> std::result::Result<String, tokio_postgres::Error> {
        Ok(String::new())
    }
}

#[tokio::test]
async fn the_socket_has_its_options_and_its_duplicate_is_not_inherited() {
    let (port, _) = answering(b"", false).await;
    let to = format!("host=127.0.0.1 port={port} user=u sslmode=disable");
    let open = async |more: &str| {
        let target = ConnectConfig::parse_with(&format!("{to} {more}"), &[], &|_| None).unwrap();
        connect(&target, &Look).await.unwrap()
    };
    let t = open("keepalives_idle=77 keepalives_interval=7 keepalives_count=3 tcp_user_timeout=4321").await;
    let socket = SockRef::from(&t.socket);
    assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(77));
    assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(7));
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_millis(4321)));
    let flags = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", t.socket.as_raw_fd())).unwrap();
    let flags = flags.lines().find_map(|l| l.strip_prefix("flags:")).unwrap().trim().to_owned();
    assert!(u32::from_str_radix(&flags, 8).unwrap() & 0o2_000_000 != 0, "not CLOEXEC: {flags}");
    // Shutting the duplicate down ends the stream.
    let Connected { mut stream, socket, .. } = t;
    SockRef::from(&socket).shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);

    assert!(!SockRef::from(&open("keepalives=0").await.socket).keepalive().unwrap());
}

#[tokio::test]
async fn cancel_has_a_limit_and_takes_a_closed_socket_for_an_answer() {
    let (closing, _) = answering(b"", true).await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = |port| Peer {
        place: Place::Tcp(SocketAddr::new([127, 0, 0, 1].into(), port)),
        label: format!("db1:{port}"),
        tls: None,
    };
    peer(closing).cancel(1, 2, Duration::from_secs(10)).await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let e = peer(port).cancel(1, 2, Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(e.error.to_string(), format!("db1:{port} did not take the cancel request within 50 ms"));
    assert!(e.sent, "it may still arrive");
    let e = peer(free_port()).cancel(1, 2, Duration::from_secs(10)).await.unwrap_err();
    assert_eq!((e.error.kind(), e.sent), (io::ErrorKind::ConnectionRefused, false));
}

#[test]
fn load_balancing_starts_anywhere_and_leaves_nobody_out() {
    let items = ["a", "b", "c"];
    let mut first = std::collections::HashSet::new();
    for _ in 0..200 {
        let mut order = ordered(&items, LoadBalanceHosts::Random);
        first.insert(*order[0]);
        order.sort();
        assert_eq!(order, [&"a", &"b", &"c"]);
    }
    assert_eq!(first.len(), 3);
    assert_eq!(ordered(&items, LoadBalanceHosts::Disable), [&"a", &"b", &"c"]);
}
