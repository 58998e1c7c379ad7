//! Laws 1 and 5 under fire: return, sweep, force release, cancel and close at once.
//!
//! Who owns a session is told by the server: each holder writes a mark into its session and reads it again before it
//! lets go; and by a table of who holds which backend now. Delays are random yields, from a seed that is printed.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::SinkExt;
use leakpool::{CancelHandle, CheckoutId, Connection, ErrorCode, Pool};

use crate::support::*;

/// xorshift64*: enough to shuffle.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }

    pub async fn a_moment(&mut self) {
        for _ in 0..self.below(12) {
            tokio::task::yield_now().await;
        }
    }
}

#[derive(Default)]
struct Round {
    /// Who holds this backend now.
    holders: Mutex<HashMap<u32, CheckoutId>>,
    /// Handles of checkouts, live and past.
    handles: Mutex<Vec<(CheckoutId, CancelHandle)>>,
    /// Those for which a cancel was asked.
    cancelled: Mutex<HashSet<CheckoutId>>,
    acquired: AtomicU64,
    /// Handles whose connection was found to be taken away.
    revoked: AtomicU64,
    over: AtomicBool,
}

impl Round {
    /// True if the checkout goes on; false if it was taken away. Anything else is a mistake of the pool's.
    #[track_caller]
    fn judge<T>(&self, held: &Connection, result: Result<T, tokio_postgres::Error>) -> Option<T> {
        let e = match result {
            Ok(value) => return Some(value),
            Err(e) => e,
        };
        match e.code().map(|c| c.code().to_owned()).as_deref() {
            Some("57014") => {
                let asked = self.cancelled.lock().unwrap().contains(&held.id());
                assert!(asked || held.revocation().is_some(), "{}: somebody else's cancel: {e}", held.id());
            }
            Some("25P02") => {}
            code => {
                assert!(held.revocation().is_some(), "{}: {code:?} {e}", held.id());
                let e = held.error(e);
                assert_eq!(e.code(), ErrorCode::ForceReleased, "{e}");
                assert!(e.to_string().contains(&held.id().to_string()), "another checkout's revocation: {e}");
            }
        }
        None
    }

    async fn mark(&self, held: &Connection, random: &mut Random) {
        let mark = held.id().to_string();
        let set = "SELECT set_config('leakpool.mark', $1, false), pg_backend_pid()";
        let Some(row) = self.judge(held, held.query_one(set, &[&mark]).await) else { return };
        assert_eq!(Some(row.get::<_, i32>(1) as u32), held.backend_pid());
        random.a_moment().await;
        let get = "SELECT current_setting('leakpool.mark'), pg_backend_pid()";
        let Some(row) = self.judge(held, held.query_one(get, &[]).await) else { return };
        assert_eq!(row.get::<_, String>(0), mark, "somebody else was on this session");
        assert_eq!(Some(row.get::<_, i32>(1) as u32), held.backend_pid());
    }

    /// Holds a connection for a while in one of many ways.
    async fn hold(&self, held: &mut Connection, random: &mut Random) {
        self.mark(held, random).await;
        match random.below(9) {
            0 => {
                self.judge(held, held.batch_execute("BEGIN; CREATE TEMP TABLE t (x int)").await);
            }
            1 => {
                self.judge(held, held.batch_execute("SELECT pg_sleep(0.03)").await);
            }
            2 => {
                // Sent, and not waited for.
                let mut running = Box::pin(held.batch_execute("SELECT pg_sleep(0.01)"));
                let _ = futures_util::poll!(&mut running);
                random.a_moment().await;
            }
            3 => {
                // Held until it is taken away.
                let limit = Instant::now() + LIMIT;
                while held.revocation().is_none() {
                    assert!(Instant::now() < limit, "never taken back");
                    tokio::task::yield_now().await;
                }
            }
            4 => {
                let copy = held.copy_in::<_, bytes::Bytes>("COPY race_copy FROM STDIN").await;
                if let Some(copy) = self.judge(held, copy) {
                    let _ = Box::pin(copy).send(bytes::Bytes::from_static(b"1\n")).await;
                }
            }
            5 => {
                let result = async {
                    let transaction = held.transaction().await?;
                    transaction.batch_execute("SELECT 1").await?;
                    transaction.commit().await
                };
                let result = result.await;
                self.judge(held, result);
            }
            6 => {
                self.judge(held, held.batch_execute("LISTEN race").await);
            }
            _ => random.a_moment().await,
        }
        self.mark(held, random).await;
    }

    async fn worker(self: Arc<Self>, pool: Pool, mut random: Random) {
        while !self.over.load(Ordering::SeqCst) {
            let acquired = tokio::time::timeout(LIMIT, pool.acquire()).await.expect("an acquire hangs");
            let mut held = match acquired {
                Ok(held) => held,
                Err(e) if e.code() == ErrorCode::PoolClosed => return,
                Err(e) => panic!("{e}"),
            };
            self.acquired.fetch_add(1, Ordering::SeqCst);
            let (id, pid) = (held.id(), held.backend_pid().unwrap());
            let before = self.holders.lock().unwrap().insert(pid, id);
            assert_eq!(before, None, "backend {pid} is held by two");
            self.handles.lock().unwrap().push((id, held.cancel_handle()));
            self.hold(&mut held, &mut random).await;
            assert_eq!(self.holders.lock().unwrap().remove(&pid), Some(id));
            if held.revocation().is_some() {
                self.revoked.fetch_add(1, Ordering::SeqCst);
            }
            match random.below(12) {
                0 => held.release_broken(),
                _ => held.release(),
            }
        }
    }

    /// Takes back and cancels at random.
    async fn trouble(self: Arc<Self>, pool: Pool, mut random: Random) {
        while !self.over.load(Ordering::SeqCst) {
            random.a_moment().await;
            let handle = {
                let handles = self.handles.lock().unwrap();
                // Mostly one of the last, which may be live.
                let back = random.below(8) as usize;
                handles.len().checked_sub(1 + back).map(|i| handles[i].clone())
            };
            let Some((id, cancel)) = handle else { continue };
            if random.below(3) == 0 {
                match pool.force_release(id) {
                    Ok(taken) => assert_eq!(taken.id, id),
                    Err(e) => assert_eq!(e.code(), ErrorCode::UnknownCheckout, "{e}"),
                }
            } else {
                self.cancelled.lock().unwrap().insert(id);
                if let Err(e) = cancel.cancel() {
                    use ErrorCode::{AlreadyReleased, ConnectionLost, ForceReleased};
                    assert!([AlreadyReleased, ConnectionLost, ForceReleased].contains(&e.code()), "{e}");
                }
            }
            for _ in 0..random.below(200) {
                tokio::task::yield_now().await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn return_sweep_force_release_cancel_and_close_at_once() {
    let seed = match std::env::var("LEAKPOOL_TEST_SEED") {
        Ok(seed) => seed.parse().expect("LEAKPOOL_TEST_SEED is a number"),
        Err(_) => std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 | 1,
    };
    println!("LEAKPOOL_TEST_SEED={seed}");
    let mut random = Random(seed);
    let watcher = observer().await;
    table(&watcher, "race_copy").await;
    let end = Instant::now() + Duration::from_secs(10);
    let mut rounds = 0;
    while Instant::now() < end {
        rounds += 1;
        let pool = builder()
            .max_size(4)
            .leak_threshold(Duration::from_millis(20))
            .force_release_after(Duration::from_millis(40))
            .check_interval(Duration::from_millis(10))
            .build()
            .unwrap();
        let round = Arc::new(Round::default());
        let mut tasks = Vec::new();
        let mut fork = || Random(random.below(u64::MAX) << 1 | 1);
        for _ in 0..10 {
            tasks.push(tokio::spawn(round.clone().worker(pool.clone(), fork())));
        }
        for _ in 0..2 {
            tasks.push(tokio::spawn(round.clone().trouble(pool.clone(), fork())));
        }
        // A snapshot under traffic never shows more endings than beginnings.
        let length = Duration::from_millis(300 + random.below(900));
        let _ = tokio::time::timeout(length, async {
            loop {
                let b = pool.metrics().books;
                assert!(b.released + b.force_released + b.lost <= b.acquired, "{b:?}");
                tokio::task::yield_now().await;
            }
        })
        .await;
        let close_now = rounds % 3 == 0;
        if close_now {
            pool.close_within(Duration::from_millis(random.below(50))).await.unwrap();
        }
        round.over.store(true, Ordering::SeqCst);
        for task in tasks {
            // A panic in it is one here.
            tokio::time::timeout(LIMIT, task).await.expect("somebody hangs").unwrap();
        }
        let books = books_balance(&pool);
        let metrics = pool.metrics();
        // An acquire that met the close gives back what it had just got.
        let seen = round.acquired.load(Ordering::SeqCst);
        assert!(books.acquired == seen || (close_now && books.acquired > seen), "{books:?}, {seen} seen");
        assert_eq!(books.lost, 0, "{books:?}");
        assert_eq!(metrics.late_releases, books.force_released, "each revoked handle was dropped late, once");
        assert!(round.revoked.load(Ordering::SeqCst) <= books.force_released);
        assert!(round.holders.lock().unwrap().is_empty());
        drop(round);
        if !close_now {
            eventually("all has settled", || pool.status().returning == 0).await;
            let mut patient = (*pool.policy()).clone();
            (patient.leak_threshold, patient.force_release_after) = (Duration::ZERO, Duration::ZERO);
            pool.reconfigure(patient).unwrap();
            at_full_capacity(&pool).await;
            pool.close().await.unwrap();
        }
    }
    println!("{rounds} rounds");
}

/// A cancel is asked for just before, or at the very moment of, the release.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_never_reaches_the_next_holder() {
    let pool = builder().max_size(1).build().unwrap();
    for round in 0..150_u32 {
        let held = pool.acquire().await.unwrap();
        held.batch_execute("SELECT 1").await.unwrap();
        let cancel = held.cancel_handle();
        if round % 3 == 0 {
            cancel.cancel().unwrap();
            drop(held);
        } else {
            let start = Arc::new(std::sync::Barrier::new(2));
            let theirs = start.clone();
            let thread = std::thread::spawn(move || {
                theirs.wait();
                let _ = cancel.cancel();
            });
            start.wait();
            for _ in 0..round % 50 {
                std::hint::spin_loop();
            }
            drop(held);
            thread.join().unwrap();
        }
        let next = pool.acquire().await.unwrap();
        let slept = next.batch_execute("SELECT pg_sleep(0.005)").await;
        assert!(slept.is_ok(), "round {round}: somebody else's cancel: {slept:?}");
    }
    books_balance(&pool);
    pool.close().await.unwrap();
}
