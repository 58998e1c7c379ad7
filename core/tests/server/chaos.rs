//! Laws 1 to 4 and 10 on a bad network and a busy server: long messages on a link that stops and goes on, statements that
//! wait in Parse under a lock, lists of hosts with members that stall, copies that fail with their sinks still there,
//! cancels that are cut off and arrive later, requests sent behind one that is taken back.
//!
//! What must hold is told by the server: nobody begins inside somebody's transaction, nothing given up is committed,
//! nothing confirmed is lost, nobody's statement meets another caller's cancel. Delays are random, from a seed that is
//! printed; how much is done is fixed, how long it takes is not.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::SinkExt;
use leakpool::{Connection, ErrorCode, Pool};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::proxy::Proxy;
use crate::race::Random;
use crate::support::*;

const WORKERS: u64 = 6;
const CHECKOUTS: usize = 60;

struct Chaos {
    pool: Pool,
    proxy: Arc<Proxy>,
    next: AtomicI32,
    confirmed: Mutex<Vec<i32>>,
    /// Sinks that outlive their checkouts.
    sinks: Mutex<Vec<std::pin::Pin<Box<tokio_postgres::CopyInSink<bytes::Bytes>>>>>,
}

impl Chaos {
    /// Somebody who does as one should: nobody disturbs it.
    async fn honest(&self, held: &Connection, random: &mut Random) {
        let sql = "SELECT now() = statement_timestamp() AND pg_current_xact_id_if_assigned() IS NULL";
        let answer = held.simple_query(sql).await.unwrap_or_else(|e| panic!("{}: {e:?}", held.id()));
        let fresh = answer
            .iter()
            .any(|m| matches!(m, tokio_postgres::SimpleQueryMessage::Row(row) if row.get(0) == Some("t")));
        assert!(fresh, "{} began inside somebody's transaction", held.id());
        let x = self.next.fetch_add(1, Ordering::SeqCst);
        let padding = "x".repeat(random.below(2) as usize * 300_000);
        let sql = "INSERT INTO chaos_kept SELECT $1 WHERE length($2) >= 0";
        let inserted = held.execute(sql, &[&x, &padding]).await;
        assert_eq!(inserted.unwrap_or_else(|e| panic!("{}: {e:?}", held.id())), 1);
        self.confirmed.lock().unwrap().push(x);
    }

    async fn dishonest(&self, held: &Connection, random: &mut Random) {
        let patience = Duration::from_micros(random.below(4000));
        match random.below(7) {
            0 => {
                let size = [10, 100_000, 3_000_000][random.below(3) as usize];
                let sql = format!("BEGIN; INSERT INTO chaos_never VALUES (1); --{}", "x".repeat(size));
                let _ = timeout(patience, held.batch_execute(&sql)).await;
            }
            1 => {
                let _ = timeout(patience, held.query("SELECT x FROM chaos_locked", &[])).await;
            }
            2 => {
                let described = held.exchange().describe("SELECT x FROM chaos_locked", &[]);
                let behind = held.batch_execute("BEGIN; INSERT INTO chaos_never VALUES (2)");
                let _ = timeout(patience, async { tokio::join!(described, behind) }).await;
            }
            3 => {
                let Ok(sink) = held.copy_in::<_, bytes::Bytes>("COPY chaos_never FROM STDIN").await else {
                    return;
                };
                let mut sink = Box::pin(sink);
                let _ = timeout(patience, async {
                    let _ = sink.send(bytes::Bytes::from_static(b"no number\n")).await;
                    let _ = sink.flush().await;
                })
                .await;
                self.sinks.lock().unwrap().push(sink);
            }
            4 => {
                let running = held.batch_execute("SELECT pg_sleep(0.01)");
                let cancel = async {
                    random.a_moment().await;
                    let _ = held.cancel();
                };
                let _ = timeout(patience, async { tokio::join!(running, cancel) }).await;
            }
            5 => {
                // On a link that stands still, the request to cancel may come between the statements and the reset:
                // then the second one runs, as its holder is told that it may.
                let both = async {
                    tokio::join!(
                        held.batch_execute("SELECT pg_sleep(60)"),
                        held.batch_execute("INSERT INTO chaos_perhaps VALUES (3)")
                    )
                };
                let _ = timeout(patience, both).await;
                self.pool.force_release(held.id()).unwrap();
            }
            _ => {
                drop(
                    held.exchange()
                        .simple("BEGIN; INSERT INTO chaos_never VALUES (4); SELECT pg_sleep(0.005)"),
                );
            }
        }
    }

    async fn worker(self: Arc<Self>, mut random: Random) {
        for _ in 0..CHECKOUTS {
            let acquired = timeout(LIMIT * 2, self.pool.acquire()).await.expect("an acquire hangs");
            let held = acquired.unwrap_or_else(|e| panic!("{e}"));
            self.honest(&held, &mut random).await;
            self.dishonest(&held, &mut random).await;
            drop(held);
            if random.below(4) == 0 {
                self.sinks.lock().unwrap().clear();
            }
        }
    }

    /// The link stops and goes on, and requests to cancel are cut off now and then, to arrive later.
    async fn weather(self: Arc<Self>, over: Arc<AtomicBool>, mut random: Random) {
        while !over.load(Ordering::SeqCst) {
            self.proxy.hold_requests(random.below(3) == 0);
            self.proxy.cut_cancels(random.below(3) == 0);
            tokio::time::sleep(Duration::from_millis(random.below(15))).await;
        }
        self.proxy.hold_requests(false);
        self.proxy.cut_cancels(false);
    }
}

/// A migration that locks a table for a while, again and again.
async fn migrations(over: Arc<AtomicBool>, mut random: Random) {
    let migration = observer().await;
    while !over.load(Ordering::SeqCst) {
        migration.batch_execute("BEGIN; LOCK TABLE chaos_locked").await.unwrap();
        tokio::time::sleep(Duration::from_millis(random.below(20))).await;
        migration.batch_execute("ROLLBACK").await.unwrap();
        random.a_moment().await;
    }
}

/// A member of the list of hosts that accepts, and then closes at once or says nothing.
async fn stalling_member() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut silent = Vec::new();
        for n in 0_u32.. {
            let Ok((socket, _)) = listener.accept().await else { return };
            if n % 8 == 0 {
                silent.push(socket);
            }
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nobody_is_let_in() {
    let seed =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
    println!("seed {seed}");
    let watcher = observer().await;
    for name in ["chaos_kept", "chaos_never", "chaos_perhaps", "chaos_locked"] {
        table(&watcher, name).await;
    }
    let proxy = Arc::new(Proxy::start());
    let stalls = stalling_member().await;
    let url = url_at(&format!("{stalls},{}", proxy.address));
    let dsn = format!("{url}{}sslmode=disable&connect_timeout=1", if url.contains('?') { '&' } else { '?' });
    let reset_timeout = Duration::from_millis(500);
    let pool = Pool::builder().dsn(&dsn).max_size(3).reset_timeout(reset_timeout).build().unwrap();
    let chaos = Arc::new(Chaos {
        pool: pool.clone(),
        proxy,
        next: AtomicI32::new(0),
        confirmed: Mutex::default(),
        sinks: Mutex::default(),
    });
    let over = Arc::new(AtomicBool::new(false));
    let weather = tokio::spawn(chaos.clone().weather(over.clone(), Random(seed ^ 0xff)));
    let migrations = tokio::spawn(migrations(over.clone(), Random(seed ^ 0xfff)));
    let workers: Vec<_> =
        (1..=WORKERS).map(|n| tokio::spawn(chaos.clone().worker(Random(seed.wrapping_mul(n))))).collect();
    for worker in workers {
        worker.await.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
    over.store(true, Ordering::SeqCst);
    weather.await.unwrap();
    migrations.await.unwrap();
    chaos.sinks.lock().unwrap().clear();
    at_full_capacity(&pool).await;
    let confirmed = chaos.confirmed.lock().unwrap().len();
    assert_eq!(confirmed as u64, WORKERS * CHECKOUTS as u64);
    assert_eq!(
        rows(&watcher, "chaos_kept").await,
        confirmed as i64,
        "seed {seed}: what was confirmed is lost"
    );
    for what in [1, 2, 4] {
        let there = rows(&watcher, &format!("chaos_never WHERE x = {what}")).await;
        assert_eq!(there, 0, "seed {seed}: what was given up is there: {what}");
    }
    let books = books_balance(&pool);
    assert_eq!(books.lost, 0, "seed {seed}: {books:?}");
    pool.close().await.unwrap();
    assert_eq!(pool.acquire().await.unwrap_err().code(), ErrorCode::PoolClosed);
}
