//! Whose an attempt to connect is, and what waits: a losing attempt has no part in the pool and leaves nothing behind; what
//! is refilled for nothing backs off; one who waits is served, or told in time, whatever else goes on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use leakpool::{AcquireOptions, Clock, ErrorCode, EventKind, ForceReleaseWhen, ManualClock, Nanos, Pool};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::proxy::Proxy;
use crate::support::*;

/// A member of the list of hosts that lets everybody in, and then answers no query. What it has let in ends when it says
/// so, not before.
struct Mute {
    address: SocketAddr,
    hang_up: watch::Sender<bool>,
    connections: Arc<AtomicUsize>,
}

impl Mute {
    async fn start() -> Mute {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let hang_up = watch::Sender::new(false);
        let (told, connections) = (hang_up.subscribe(), Arc::new(AtomicUsize::new(0)));
        let counted = connections.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(let_in(client, told.clone()));
            }
        });
        Mute { address, hang_up, connections }
    }
}

async fn let_in(mut client: TcpStream, mut hang_up: watch::Receiver<bool>) {
    let Ok(mut server) = TcpStream::connect(server_address()).await else { return };
    let mut asked = vec![0; 4096];
    let mut answer = vec![0; 4096];
    loop {
        tokio::select! {
            n = client.read(&mut asked) => match n {
                Ok(n) if n > 0 && asked[0] != b'Q' => server.write_all(&asked[..n]).await.unwrap(),
                // A query: from here on it says nothing.
                Ok(n) if n > 0 => break,
                _ => return,
            },
            n = server.read(&mut answer) => match n {
                Ok(n) if n > 0 => client.write_all(&answer[..n]).await.unwrap(),
                _ => return,
            },
        }
    }
    let _ = hang_up.wait_for(|hang_up| *hang_up).await;
}

fn dsn(hosts: &str, more: &str) -> String {
    let url = url_at(hosts);
    format!("{url}{}sslmode=disable&{more}", if url.contains('?') { '&' } else { '?' })
}

/// How many sockets of this process are connected to that port, on our side of it.
fn sockets_to(address: SocketAddr) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let remote = format!("0100007F:{:04X}", address.port());
    let open = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(2) == Some(&remote.as_str()) && fields.get(9).is_some_and(|inode| *inode != "0")
    };
    table.lines().filter(open).count()
}

#[tokio::test]
async fn a_losing_attempt_is_no_part_of_the_winners_connection() {
    let mute = Mute::start().await;
    let hosts = format!("{},{}", mute.address, server_address());
    let dsn = dsn(&hosts, "target_session_attrs=read-write&connect_timeout=1");
    let pool = Pool::builder().dsn(&dsn).max_size(1).build().unwrap();
    let events = pool.events(&[EventKind::Error, EventKind::Remove]);
    let held = pool.acquire().await.unwrap();
    assert_eq!(mute.connections.load(Ordering::SeqCst), 1);
    // Hung up on or not, the attempt that lost is over.
    mute.hang_up.send_replace(true);
    eventually("the losing attempt has let go of its socket", || sockets_to(mute.address) == 0).await;
    held.batch_execute("SELECT 1").await.unwrap();
    assert_eq!((pool.checkouts().len(), pool.metrics().books.lost), (1, 0));
    drop(held);
    at_full_capacity(&pool).await;
    books_balance(&pool);
    pool.close().await.unwrap();
    let told: Vec<_> =
        std::iter::from_fn(|| events.try_recv()).filter(|e| e.kind() == EventKind::Error).collect();
    assert!(told.is_empty(), "{told:?}");
}

/// A server of the wrong kind is tried, and let go, without a word about "an idle connection".
#[tokio::test]
async fn a_healthy_server_of_the_wrong_kind_is_no_error() {
    let dsn = dsn(&server_address(), "target_session_attrs=prefer-standby");
    let pool = Pool::builder().dsn(&dsn).max_size(4).build().unwrap();
    let events = pool.events(&[EventKind::Error]);
    for _ in 0..20 {
        let all = futures_util::future::join_all((0..4).map(|_| pool.acquire())).await;
        for held in all {
            held.unwrap().release_broken();
        }
    }
    at_full_capacity(&pool).await;
    let pools_own = pool.name().to_owned();
    pool.close().await.unwrap();
    let told: Vec<_> = std::iter::from_fn(|| events.try_recv()).collect();
    assert!(told.is_empty(), "{pools_own}: {} false errors, {:?}", told.len(), told[0]);
}

#[tokio::test]
async fn an_abandoned_attempt_leaves_nothing_behind() {
    let mute = Mute::start().await;
    let dsn = dsn(&mute.address.to_string(), "target_session_attrs=read-write");
    let pool = Pool::builder().dsn(&dsn).max_size(5).build().unwrap();
    for _ in 0..10 {
        let limit = AcquireOptions::new().timeout(Duration::from_millis(30));
        let all = (0..5).map(|_| pool.acquire_with(limit.clone()));
        for outcome in futures_util::future::join_all(all).await {
            assert_eq!(outcome.unwrap_err().code(), ErrorCode::AcquireTimeout);
        }
    }
    assert!(mute.connections.load(Ordering::SeqCst) > 5);
    eventually("their sockets are closed", || sockets_to(mute.address) == 0).await;
    eventually("their places are free", || pool.status().connecting == 0).await;
    // One that is under way ends with a close, and with the last clone of the pool.
    for closes in [true, false] {
        let pool = Pool::builder().dsn(&dsn).max_size(1).build().unwrap();
        let forever = AcquireOptions::new().timeout(Duration::ZERO);
        let mut acquire = Box::pin(pool.acquire_with(forever));
        let before = mute.connections.load(Ordering::SeqCst);
        while mute.connections.load(Ordering::SeqCst) == before {
            let _ = tokio::time::timeout(Duration::from_millis(5), &mut acquire).await;
        }
        eventually("it connects", || sockets_to(mute.address) == 1).await;
        if closes {
            pool.close_within(Duration::ZERO).await.unwrap();
            assert_eq!(acquire.await.unwrap_err().code(), ErrorCode::PoolClosed);
        } else {
            drop((acquire, pool));
        }
        eventually("it has ended", || sockets_to(mute.address) == 0).await;
    }
}

/// Moves the clock on for a second, in steps, and lets whatever comes of it go on in between.
async fn a_second_of(clock: &ManualClock) {
    for _ in 0..100 {
        clock.advance(Duration::from_millis(10));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn what_is_refilled_for_nothing_backs_off_and_is_told_once() {
    // A server that accepts, and closes at once.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connects = Arc::new(AtomicUsize::new(0));
    let counted = connects.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            drop(socket);
        }
    });
    let clock = ManualClock::new();
    let dsn = dsn(&address.to_string(), "");
    let pool = Pool::builder().dsn(&dsn).min_idle(2).clock(clock.clone()).build().unwrap();
    let events = pool.events(&[EventKind::Error]);
    eventually("it was tried", || connects.load(Ordering::SeqCst) > 0).await;
    for _ in 0..10 {
        a_second_of(&clock).await;
    }
    let tried = connects.load(Ordering::SeqCst);
    assert!((2..=12).contains(&tried), "{tried} connects in ten seconds");
    pool.close().await.unwrap();
    let told = std::iter::from_fn(|| events.try_recv()).count();
    assert!(told <= 1, "told {told} times");
}

#[tokio::test]
async fn connections_that_end_as_soon_as_they_are_made_back_off_too() {
    let clock = ManualClock::new();
    let more = "options=-c%20idle_session_timeout%3D10ms";
    let dsn = dsn(&server_address(), more);
    let pool = Pool::builder().dsn(&dsn).min_idle(2).clock(clock.clone()).build().unwrap();
    let events = pool.events(&[EventKind::Error]);
    // A round that fails (the server may end a session before it is ready) is followed by one that time has to reach.
    eventually("the first have come and gone", || {
        clock.advance(Duration::from_millis(10));
        pool.metrics().removed >= 2
    })
    .await;
    let before = pool.metrics().created;
    for _ in 0..10 {
        a_second_of(&clock).await;
    }
    let created = pool.metrics().created - before;
    assert!(created <= 24, "{created} connections in ten seconds");
    let told = std::iter::from_fn(|| events.try_recv()).count();
    assert!(told <= 4, "told {told} times");
    pool.close().await.unwrap();
}

/// A runtime that builds a pool with one connection, hands it out, and is blocked until it is dropped.
fn held_on_a_blocked_runtime() -> (Pool, std::sync::mpsc::Sender<()>) {
    let (tell, told) = std::sync::mpsc::channel();
    let (let_go, until) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let pool = builder().max_size(1).build().unwrap();
            let held = pool.acquire().await.unwrap();
            tell.send(pool).unwrap();
            let _ = until.recv();
            drop(held);
        });
    });
    (told.recv().unwrap(), let_go)
}

#[tokio::test]
async fn a_time_out_comes_although_the_pools_runtime_is_blocked() {
    let (pool, let_go) = held_on_a_blocked_runtime();
    let limit = AcquireOptions::new().timeout(Duration::from_millis(50));
    let outcome = tokio::time::timeout(LIMIT, pool.acquire_with(limit)).await.expect("it never comes");
    assert_eq!(outcome.unwrap_err().code(), ErrorCode::AcquireTimeout);
    drop(let_go);
}

/// A waker that asks the pool something, as an executor of an application may.
struct Asks(Pool, AtomicBool);

impl Wake for Asks {
    fn wake(self: Arc<Self>) {
        let _ = self.0.status();
        self.1.store(true, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_resize_wakes_nobody_under_a_lock() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    let mut waiting = Box::pin(pool.acquire());
    let asks = Arc::new(Asks(pool.clone(), AtomicBool::new(false)));
    let waker = Waker::from(asks.clone());
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let resized = {
        let pool = pool.clone();
        tokio::task::spawn_blocking(move || pool.resize(2).unwrap())
    };
    tokio::time::timeout(LIMIT, resized).await.expect("resize and status wait for each other").unwrap();
    assert!(asks.1.load(Ordering::SeqCst), "it was not woken");
    drop((waiting.await.unwrap(), held));
    pool.close().await.unwrap();
}

#[tokio::test]
async fn an_acquire_that_gives_up_wakes_nobody_under_a_lock() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    let mut waiting = Box::pin(pool.acquire());
    let asks = Arc::new(Asks(pool.clone(), AtomicBool::new(false)));
    let waker = Waker::from(asks.clone());
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let given_up = tokio::task::spawn_blocking(move || drop(waiting));
    tokio::time::timeout(LIMIT, given_up).await.expect("giving up and status wait for each other").unwrap();
    drop(held);
    pool.close().await.unwrap();
}

/// What was made for an acquire is its own, whatever has become too old meanwhile: it is handed out once.
#[tokio::test]
async fn a_drain_or_its_age_does_not_take_a_connection_from_the_acquire_that_it_was_made_for() {
    for (max_lifetime, drains) in [(Duration::ZERO, true), (Duration::from_millis(100), false)] {
        let proxy = Proxy::start();
        let (pool, clock) = {
            let clock = ManualClock::new();
            let builder = Pool::builder().dsn(&proxy.url()).max_size(1).max_lifetime(max_lifetime);
            (builder.clock(clock.clone()).build().unwrap(), clock)
        };
        proxy.hold_requests(true);
        let acquire = tokio::spawn(pool.acquire());
        eventually("it connects", || proxy.connections() == 1).await;
        if drains {
            pool.drain().unwrap();
        }
        clock.advance(Duration::from_millis(200));
        proxy.hold_requests(false);
        let connection = acquire.await.unwrap().unwrap();
        let first = connection.backend_pid();
        drop(connection);
        eventually("it is not handed out again", || pool.status().idle == 0).await;
        assert_ne!(pool.acquire().await.unwrap().backend_pid(), first);
        pool.close().await.unwrap();
    }
}

/// A close that comes as a connection gets ready: it says Terminate, and is no idle connection that was lost.
#[tokio::test]
async fn a_close_as_a_connection_gets_ready_is_no_error() {
    for n in 0..100_u64 {
        let pool = builder().max_size(2).min_idle(1).build().unwrap();
        let errors = pool.events(&[EventKind::Error]);
        let until = std::time::Instant::now() + Duration::from_micros(n * 100);
        while std::time::Instant::now() < until {
            tokio::task::yield_now().await;
        }
        pool.close().await.unwrap();
        assert!(errors.try_recv().is_none(), "round {n}");
    }
}

/// A clock of the application's that panics the next time the sweeper reads it.
#[derive(Debug, Clone)]
struct Panics(ManualClock, Arc<AtomicBool>);

impl Clock for Panics {
    fn now(&self) -> Nanos {
        let sweeper = std::thread::current().name() == Some("leakpool-sweeper");
        if sweeper && self.1.swap(false, Ordering::SeqCst) {
            panic!("a clock that does not work");
        }
        self.0.now()
    }

    fn skip(&self, by: Duration) {
        self.0.skip(by);
    }

    fn is_real(&self) -> bool {
        false
    }

    fn on_move(&self, waker: Arc<dyn Fn() + Send + Sync>) {
        self.0.on_move(waker);
    }
}

#[tokio::test]
async fn a_clock_that_panics_ends_detection_for_nobody() {
    let moved = ManualClock::new();
    let panics = Panics(moved.clone(), Arc::default());
    let theirs = builder().max_size(1).clock(panics.clone()).build().unwrap();
    let (ours, clock) = on_manual_clock(|b| b.max_size(1));
    let (their_leaks, our_leaks) = (theirs.events(&[EventKind::Leak]), ours.events(&[EventKind::Leak]));
    let held = (theirs.acquire().await.unwrap(), ours.acquire().await.unwrap());
    panics.1.store(true, Ordering::SeqCst);
    moved.advance(Duration::from_millis(1));
    eventually("it has panicked", || !panics.1.load(Ordering::SeqCst)).await;
    clock.advance(Duration::from_secs(30));
    expect_event(&our_leaks, EventKind::Leak).await;
    moved.advance(Duration::from_secs(30));
    expect_event(&their_leaks, EventKind::Leak).await;
    drop(held);
}

#[tokio::test]
async fn one_who_waits_has_one_connection_taken_back_for_him_ever() {
    let (pool, clock) = on_manual_clock(|b| b.max_size(3).force_release_when(ForceReleaseWhen::Exhausted));
    let held = futures_util::future::join_all((0..3).map(|_| pool.acquire())).await;
    clock.advance(Duration::from_secs(600));
    let mut waiting = Box::pin(pool.acquire());
    assert!(futures_util::poll!(&mut waiting).is_pending());
    eventually("one is taken back", || pool.metrics().books.force_released > 0).await;
    // He has not been polled since, and sweeps come and go.
    for _ in 0..20 {
        let rounds = pool.metrics().sweep_time.count;
        pool.reconfigure((*pool.policy()).clone()).unwrap();
        let taken_back = || pool.metrics().books.force_released;
        // A round counts if it looked at a checkout: none does once all have been taken back.
        eventually("a round", || pool.metrics().sweep_time.count > rounds || taken_back() > 1).await;
        assert_eq!(taken_back(), 1);
    }
    drop((waiting.await.unwrap(), held));
    books_balance(&pool);
    pool.close().await.unwrap();
}

/// What was asked for before a close is served, what is asked for after it is refused.
#[tokio::test]
async fn a_close_serves_those_who_had_come_before() {
    let pool = builder().max_size(2).build().unwrap();
    // It has no connection yet.
    let connecting = pool.acquire();
    let (one, other) = (connecting.await.unwrap(), pool.acquire().await.unwrap());
    let waiting = pool.acquire();
    let mut waiting = Box::pin(waiting);
    assert!(futures_util::poll!(&mut waiting).is_pending());
    let closing = {
        let pool = pool.clone();
        tokio::spawn(async move { pool.close().await })
    };
    eventually("it is closed", || pool.is_closed()).await;
    assert_eq!(pool.acquire().await.unwrap_err().code(), ErrorCode::PoolClosed);
    assert_eq!(pool.try_acquire().unwrap_err().code(), ErrorCode::PoolClosed);
    drop(one);
    let served = tokio::time::timeout(LIMIT, waiting).await.expect("it hangs").unwrap();
    assert_eq!(served.query_one("SELECT 1", &[]).await.unwrap().get::<_, i32>(0), 1);
    drop((served, other));
    assert!(closing.await.unwrap().unwrap().is_empty());
    books_balance(&pool);
    // The first acquire of all, which has to connect.
    let pool = builder().max_size(1).build().unwrap();
    let mut first = Box::pin(pool.acquire());
    assert!(futures_util::poll!(&mut first).is_pending());
    let (first, closed) = tokio::join!(
        async {
            let first = first.await.unwrap();
            first.batch_execute("SELECT 1").await.unwrap();
        },
        pool.close()
    );
    let ((), held) = (first, closed.unwrap());
    assert!(held.is_empty());
}
