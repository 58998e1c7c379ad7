//! Law 6: a log line is host code. It runs on the dispatcher's thread, and one that blocks delays nobody but others that
//! are to be told.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leakpool::{Activity, Clock, EventKind, ManualClock, Nanos, Pool};
use tracing::field::{Field, Visit};

use crate::child;
use crate::proxy::Proxy;
use crate::support::*;

#[tokio::test]
async fn a_close_waits_for_nobodys_callback_for_ever() {
    for of_another in [true, false] {
        let stuck = builder().max_size(1).build().unwrap();
        let (block, blocked) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let both = Mutex::new((tell, blocked));
        let subscription = stuck.subscribe(&[EventKind::Acquire], move |_| {
            let both = both.lock().unwrap();
            let _ = both.0.send(());
            let _ = both.1.recv();
        });
        drop(stuck.acquire().await.unwrap());
        told.recv_timeout(LIMIT).unwrap();
        // It is in the callback now, and stays there.
        let ours = builder().max_size(1).build().unwrap();
        drop(ours.acquire().await.unwrap());
        let pool = if of_another { ours } else { stuck.clone() };
        let closing = pool.close_within(Duration::from_millis(100));
        let closed = tokio::time::timeout(LIMIT, closing).await;
        drop(block);
        drop(subscription);
        closed.expect("it waits for a callback").unwrap();
    }
}

/// Where lines were logged: the thread's name and the text; the first line that says this waits for a word.
struct Lines {
    seen: Mutex<Vec<(String, String)>>,
    block: Mutex<Option<(&'static str, mpsc::Receiver<()>)>>,
}

static LINES: Lines = Lines { seen: Mutex::new(Vec::new()), block: Mutex::new(None) };

impl Lines {
    fn block_at(text: &'static str) -> mpsc::Sender<()> {
        let (go_on, gone_on) = mpsc::channel();
        *LINES.block.lock().unwrap() = Some((text, gone_on));
        go_on
    }

    fn has(text: &str) -> bool {
        LINES.seen.lock().unwrap().iter().any(|(_, line)| line.contains(text))
    }
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

struct Layer;

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Layer {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if event.metadata().target() != "leakpool" {
            return;
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        LINES.seen.lock().unwrap().push((thread, text.0.clone()));
        let blocking = LINES.block.lock().unwrap().take_if(|(at, _)| text.0.contains(*at));
        if let Some((_, gone_on)) = blocking {
            let _ = gone_on.recv();
        }
    }
}

#[test]
fn a_log_line_that_blocks_delays_neither_the_sweeper_nor_the_closer() {
    child::run("log");
}

#[derive(Debug, Clone)]
struct PanicsOnce(ManualClock, Arc<AtomicBool>);

impl Clock for PanicsOnce {
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

/// A pool whose checkout runs a statement.
async fn running(pool: &Pool) -> leakpool::CancelHandle {
    let held = pool.acquire().await.unwrap();
    let (id, cancel) = (held.id(), held.cancel_handle());
    drop(tokio::spawn(
        async move { held.batch_execute("SELECT pg_sleep(600)").await.map_err(|e| held.error(e)) },
    ));
    let runs = || pool.checkouts().iter().any(|c| c.id == id && c.activity == Activity::Executing);
    eventually("it runs", runs).await;
    cancel
}

pub fn role() {
    use tracing_subscriber::layer::SubscriberExt;
    let filter = tracing_subscriber::filter::LevelFilter::DEBUG;
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(filter).with(Layer)).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let watcher = observer().await;

        // The closer: a cancel that does not arrive is told, and the subscriber blocks.
        let undelivered = "a cancel request could not be delivered";
        let go_on = Lines::block_at(undelivered);
        let proxy = Proxy::start();
        let theirs =
            Pool::builder().dsn(&format!("{}?sslmode=disable", proxy.url())).max_size(1).build().unwrap();
        let cancel = running(&theirs).await;
        proxy.cut_cancels(true);
        cancel.cancel().unwrap();
        eventually("it is told", || Lines::has(undelivered)).await;
        let ours = builder().max_size(1).build().unwrap();
        let _running = running(&ours).await;
        let (id, pid) = (ours.checkouts()[0].id, ours.checkouts()[0].backend_pid.unwrap());
        ours.force_release(id).unwrap();
        session_gone(&watcher, pid).await;
        go_on.send(()).unwrap();
        proxy.cut_cancels(false);

        // The sweeper: a clock that panics is told, and the subscriber blocks.
        let panicked = "panicked";
        let go_on = Lines::block_at(panicked);
        let moved = ManualClock::new();
        let panics = PanicsOnce(moved.clone(), Arc::default());
        let broken = builder().max_size(1).clock(panics.clone()).build().unwrap();
        let (judged, clock) = on_manual_clock(|b| b.max_size(1));
        let held = judged.acquire().await.unwrap();
        panics.1.store(true, Ordering::SeqCst);
        moved.advance(Duration::from_secs(1));
        eventually("it is told", || Lines::has(panicked)).await;
        clock.advance(Duration::from_secs(31));
        eventually("the sweeper goes on", || judged.metrics().leaks == 1).await;
        go_on.send(()).unwrap();
        drop(held);

        // What a server says without end: on the threads that read it, nobody's code runs.
        let notices = "DO $$ BEGIN FOR i IN 1..20000 LOOP RAISE NOTICE 'again'; END LOOP; END $$";
        let held = judged.acquire().await.unwrap();
        held.batch_execute(notices).await.unwrap();
        held.exchange().simple(notices).unwrap().collect().await.unwrap();
        drop(held);
        for pool in [theirs, ours, broken, judged] {
            pool.close_within(Duration::ZERO).await.unwrap();
        }
    });
    let told = AtomicUsize::new(0);
    for (thread, text) in LINES.seen.lock().unwrap().iter() {
        assert_eq!(thread, "leakpool-events", "{text}");
        told.fetch_add(1, Ordering::Relaxed);
    }
    assert!(told.into_inner() > 0);
}
