//! Laws 6 and 7: nobody's event loop, subscriber or network delays detection, taking back, or anybody else.

use std::sync::mpsc;
use std::sync::{Mutex, Once};
use std::time::Duration;

use leakpool::{Activity, EventKind, ManualClock, Pool};
use tracing::field::{Field, Visit};

use crate::child;
use crate::proxy::Proxy;
use crate::support::*;

/// The log lines of this process at WARN and above, as (event, pool, text).
static LINES: Mutex<Vec<(String, String, String)>> = Mutex::new(Vec::new());

#[derive(Default)]
struct Line {
    event: String,
    pool: String,
    text: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let value = format!("{value:?}");
        match field.name() {
            "event" => self.event = value.trim_matches('"').to_owned(),
            "pool" => self.pool = value.trim_matches('"').to_owned(),
            "message" => self.text = value,
            _ => {}
        }
    }
}

struct Lines;

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        LINES.lock().unwrap().push((line.event, line.pool, line.text));
    }
}

fn read_the_log() {
    use tracing_subscriber::layer::SubscriberExt;
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let filter = tracing_subscriber::filter::LevelFilter::WARN;
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(filter).with(Lines))
            .unwrap();
    });
}

/// A runtime on a thread of its own that has built a pool, acquired from it, and then blocks until it is told.
struct Blocked {
    pool: Pool,
    clock: ManualClock,
    pid: u32,
    go_on: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<String>,
}

/// `running`: with a statement that the server works on.
fn blocked_runtime(name: &'static str, running: bool) -> Blocked {
    let (tell, told) = mpsc::channel();
    let (go_on, gone_on) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let clock = ManualClock::new();
            let pool = builder().max_size(1).name(name).clock(clock.clone()).force_release_busy(true);
            let pool = pool.build().unwrap();
            let held = pool.acquire().await.unwrap();
            held.batch_execute("SELECT 'before the block'").await.unwrap();
            let mut statement = Box::pin(held.batch_execute("SELECT pg_sleep(600)"));
            if running {
                let _ = futures_util::poll!(&mut statement);
                eventually("it runs", || pool.checkouts()[0].activity == Activity::Executing).await;
            }
            tell.send((pool.clone(), clock, held.backend_pid().unwrap())).unwrap();
            // What a blocked event loop is: nothing of this runtime runs until the test says so.
            gone_on.recv().unwrap();
            let e = statement.await.unwrap_err();
            held.error(e).to_string()
        })
    });
    let (pool, clock, pid) = told.recv().unwrap();
    Blocked { pool, clock, pid, go_on, thread }
}

/// Leak, log line, force release and the end of the session, all while the runtime of the pool stands still.
pub async fn detects_on_a_blocked_runtime(name: &'static str, running: bool) {
    read_the_log();
    let watcher = observer().await;
    let b = blocked_runtime(name, running);
    let events = b.pool.events(&[EventKind::Leak, EventKind::LongRunning, EventKind::ForceRelease]);
    let logged = |event: &str| {
        let lines = LINES.lock().unwrap();
        lines.iter().any(|(e, p, text)| e == event && p == name && text.contains("independence.rs"))
    };
    b.clock.advance(Duration::from_secs(31));
    if running {
        expect_event(&events, EventKind::LongRunning).await;
    } else {
        expect_event(&events, EventKind::Leak).await;
        assert!(b.pool.report().contains("before the block"));
        eventually("the leak is logged", || logged("leak")).await;
    }
    b.clock.advance(Duration::from_secs(300));
    expect_event(&events, EventKind::ForceRelease).await;
    eventually("the force release is logged", || logged("force_release")).await;
    // The server's own word: the session is gone while the runtime that made it stands still.
    session_gone(&watcher, b.pid).await;
    assert!(!b.thread.is_finished());
    b.go_on.send(()).unwrap();
    let late = b.thread.join().unwrap();
    assert!(late.contains("was acquired at"), "{late}");
}

#[tokio::test]
async fn a_blocked_runtime_stops_neither_the_report_nor_the_log_nor_the_closing() {
    detects_on_a_blocked_runtime("blocked-idle", false).await;
}

#[tokio::test]
async fn a_runtime_that_is_blocked_while_a_statement_runs_stops_neither() {
    detects_on_a_blocked_runtime("blocked-busy", true).await;
}

#[tokio::test]
async fn a_subscriber_that_blocks_delays_no_acquire_and_loses_events() {
    let pool = builder().max_size(1).build().unwrap();
    let (block, blocked) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let both = Mutex::new((tell, blocked));
    let subscription = pool.subscribe(&[EventKind::Acquire], move |_| {
        let both = both.lock().unwrap();
        let _ = both.0.send(());
        let _ = both.1.recv();
    });
    drop(pool.acquire().await.unwrap());
    told.recv_timeout(LIMIT).unwrap();
    // It is in the callback now, and stays there.
    let mut acquired = 0;
    while pool.metrics().events_dropped == 0 {
        let held = tokio::time::timeout(LIMIT, pool.acquire()).await.expect("it waits for a subscriber");
        drop(held.unwrap());
        acquired += 1;
        assert!(acquired < 1_000_000, "nothing was lost, and nothing is bounded");
    }
    drop(block);
    drop(subscription);
    assert_eq!(books_balance(&pool).acquired, acquired + 1);
    pool.close().await.unwrap();
}

/// Takes back a checkout whose statement runs; returns the backend, and keeps the holder going.
async fn take_back_running(pool: &Pool) -> u32 {
    let held = pool.acquire().await.unwrap();
    let (id, pid) = (held.id(), held.backend_pid().unwrap());
    drop(tokio::spawn(
        async move { held.batch_execute("SELECT pg_sleep(600)").await.map_err(|e| held.error(e)) },
    ));
    let runs = || pool.checkouts().iter().any(|c| c.id == id && c.activity == Activity::Executing);
    eventually("it runs", runs).await;
    pool.force_release(id).unwrap();
    pid
}

#[tokio::test]
async fn a_host_that_swallows_packets_delays_nobody_elses_close() {
    let proxy = Proxy::start();
    let watcher = observer().await;
    let theirs = Pool::builder().dsn(&proxy.url()).max_size(8).build().unwrap();
    let ours = builder().max_size(1).build().unwrap();
    let mut running = Vec::new();
    for _ in 0..8 {
        let held = theirs.acquire().await.unwrap();
        let id = held.id();
        running.push(id);
        drop(tokio::spawn(async move {
            held.batch_execute("SELECT pg_sleep(600)").await.map_err(|e| held.error(e))
        }));
    }
    let all_run = || theirs.checkouts().iter().filter(|c| c.activity == Activity::Executing).count() == 8;
    eventually("they run", all_run).await;
    proxy.swallow();
    for id in running {
        theirs.force_release(id).unwrap();
    }
    assert_eq!(theirs.status().ending, 8);
    // One after the other, eight cancels into the void would take longer than `session_gone` waits.
    let pid = take_back_running(&ours).await;
    session_gone(&watcher, pid).await;
    assert_eq!(theirs.status().ending, 8, "a void that answers?");
    ours.close().await.unwrap();
    drop(proxy);
    theirs.close().await.unwrap();
}

#[test]
fn one_set_of_threads_for_all_pools_gone_with_the_last_of_them() {
    child::run("threads");
}

/// The threads of the library that this process has.
pub fn threads() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .map(|name| name.trim_end().to_owned())
        .filter(|name| name.starts_with("leakpool-"))
        .collect();
    names.sort();
    names
}

/// How many sockets this process has open.
pub fn sockets() -> usize {
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}

/// The process of its own for `one_set_of_threads…`.
pub fn threads_role() {
    let runtimes: Vec<_> = (0..2)
        .map(|_| tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap())
        .collect();
    runtimes[0].block_on(async {
        let before = sockets();
        assert_eq!(threads(), [""; 0]);
        for round in 0..2 {
            let pools: Vec<Pool> = (0..6)
                .map(|i| builder().max_size(2).runtime(runtimes[i % 2].handle().clone()).build().unwrap())
                .collect();
            let mut held = Vec::new();
            for pool in &pools {
                held.push(pool.acquire().await.unwrap());
                drop(pool.acquire().await.unwrap());
            }
            // The kernel keeps 15 bytes of a name.
            assert_eq!(threads(), ["leakpool-closer", "leakpool-events", "leakpool-sweepe"], "round {round}");
            pools[0].force_release(held[0].id()).unwrap();
            for (i, pool) in pools.iter().enumerate() {
                // One is dropped only, with its holder.
                if i != 5 {
                    pool.close_within(Duration::ZERO).await.unwrap();
                }
            }
            let events = pools[1].events(&[EventKind::Leak]);
            assert_eq!(threads().len(), 3, "the last pool is still there");
            drop((pools, held, events));
            eventually("the threads have ended", || threads().is_empty()).await;
            eventually("no socket is left", || sockets() <= before).await;
        }
    });
}
