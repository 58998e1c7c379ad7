//! The dispatcher without a detector: order, bounds, barriers, ends. Threads are awaited by a condition, never by time.

use std::sync::atomic::AtomicUsize;
use std::time::SystemTime;

use parking_lot::Condvar;

use super::*;
use crate::detect::event::EventData;
use crate::detect::id::CheckoutId;

const LONG: Duration = Duration::from_secs(20);

fn numbered(n: usize) -> Event {
    Event {
        pool: "orders".into(),
        at: SystemTime::UNIX_EPOCH,
        data: EventData::Utilization { in_use: n, max_size: 10 },
    }
}

fn chatty() -> Event {
    let data = EventData::Release { id: CheckoutId::new(1, 1), held: Duration::ZERO };
    Event { data, ..numbered(0) }
}

fn number(event: &Event) -> usize {
    match event.data {
        EventData::Utilization { in_use, .. } => in_use,
        _ => panic!("{event:?}"),
    }
}

/// A gate that a callback can be held at.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
    arrived: AtomicUsize,
}

impl Gate {
    fn pass(&self) {
        self.arrived.fetch_add(1, Ordering::SeqCst);
        let mut open = self.open.lock();
        while !*open {
            self.changed.wait(&mut open);
        }
    }
    fn open(&self) {
        *self.open.lock() = true;
        self.changed.notify_all();
    }
    fn await_arrival(&self) {
        until(|| self.arrived.load(Ordering::SeqCst) > 0);
    }
}

fn until(condition: impl Fn() -> bool) {
    let limit = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < limit, "this did not happen in time");
        thread::sleep(Duration::from_millis(1));
    }
}

/// An outbox whose dispatcher is held at the gate, by one job.
fn held() -> (Arc<Outbox>, Arc<Gate>) {
    let outbox = Outbox::new().unwrap();
    let gate = Arc::new(Gate::default());
    let at = gate.clone();
    outbox.run(move || at.pass());
    gate.await_arrival();
    (outbox, gate)
}

/// A dispatcher of its own, so that a test that holds the thread does not hold the other tests.
fn alone() -> Arc<Outbox> {
    let shared = Arc::new(Shared::default());
    let for_thread = shared.clone();
    thread::spawn(move || run(&for_thread));
    with(Arc::new(Dispatcher { shared, process: Process::current() }))
}

fn with(dispatcher: Arc<Dispatcher>) -> Arc<Outbox> {
    let queue = Queue {
        mask: AtomicU32::new(0),
        dropped: AtomicU64::new(0),
        lines_lost: AtomicU64::new(0),
        closed: AtomicBool::new(false),
        items: Mutex::default(),
        subscribers: Mutex::default(),
    };
    Arc::new(Outbox { queue: Arc::new(queue), dispatcher })
}

fn alone_and_held() -> (Arc<Outbox>, Arc<Gate>) {
    let outbox = alone();
    let gate = Arc::new(Gate::default());
    let at = gate.clone();
    outbox.run(move || at.pass());
    gate.await_arrival();
    (outbox, gate)
}

#[test]
fn events_come_in_order_to_those_who_want_their_kind() {
    let outbox = Outbox::new().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let into = seen.clone();
    let _kept = outbox.subscribe(&[EventKind::Utilization], move |e| into.lock().push(number(e)));
    assert_eq!(outbox.queue.mask.load(Ordering::Relaxed), EventKind::Utilization.bit());
    assert!(outbox.wants(EventKind::Utilization));
    for n in 0..1000 {
        outbox.send(numbered(n));
        outbox.send(chatty());
    }
    assert!(outbox.flush(LONG));
    assert_eq!(*seen.lock(), (0..1000).collect::<Vec<_>>());
    assert_eq!(outbox.dropped(), 0);
}

#[test]
fn a_panic_in_a_callback_ends_nothing() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in the drop of a payload");
        }
    }
    let outbox = Outbox::new().unwrap();
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    let _first = outbox.subscribe(&[EventKind::Utilization], |_| panic!("{}", "in a callback"));
    let _worse = outbox.subscribe(&[EventKind::Utilization], |_| std::panic::panic_any(Bomb));
    let _second = outbox.subscribe(&[EventKind::Utilization], move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    outbox.run(|| panic!("in a job"));
    outbox.send(numbered(0));
    outbox.send(numbered(1));
    assert!(outbox.flush(LONG));
    assert_eq!(told.load(Ordering::SeqCst), 2);
}

#[test]
fn a_full_queue_loses_the_newest_and_counts_them_and_keeps_room_for_leaks() {
    let (outbox, gate) = alone_and_held();
    let all = outbox.events(EventKind::ALL, 2 * CAPACITY);
    for _ in 0..CAPACITY {
        outbox.send(chatty());
    }
    assert_eq!(outbox.dropped(), (CAPACITY - CHATTY) as u64);
    for n in 0..CAPACITY {
        outbox.send(numbered(n));
    }
    assert_eq!(outbox.dropped(), CAPACITY as u64);
    let jobs = Arc::new(AtomicUsize::new(0));
    for _ in 0..10 {
        let jobs = jobs.clone();
        outbox.run(move || {
            jobs.fetch_add(1, Ordering::SeqCst);
        });
    }
    gate.open();
    assert!(outbox.flush(LONG));
    assert_eq!(jobs.load(Ordering::SeqCst), 10, "a job is never lost");
    let events: Vec<Event> = std::iter::from_fn(|| all.try_recv()).collect();
    assert_eq!(events.len(), CAPACITY);
    assert_eq!(number(&events[CHATTY]), 0, "the oldest are kept, in order");
    assert_eq!(all.lost(), 0);
}

#[test]
fn a_slow_pool_fills_only_its_own_queue() {
    let (slow, gate) = alone_and_held();
    let quick = with(slow.dispatcher.clone());
    let events = quick.events(&[EventKind::Utilization], 2000);
    let _slow = slow.subscribe(&[EventKind::Utilization], |_| {});
    for n in 0..2 * CAPACITY {
        slow.send(numbered(n));
    }
    for n in 0..2000 {
        quick.send(numbered(n));
    }
    gate.open();
    assert!(quick.flush(LONG));
    assert_eq!(slow.dropped(), CAPACITY as u64);
    assert_eq!((quick.dropped(), events.lost()), (0, 0));
    assert_eq!(std::iter::from_fn(|| events.try_recv()).count(), 2000);
}

#[test]
fn dropping_a_subscription_waits_for_the_call_that_runs() {
    let outbox = alone();
    let gate = Arc::new(Gate::default());
    let (at, calls) = (gate.clone(), Arc::new(AtomicUsize::new(0)));
    let ended = calls.clone();
    let subscription = outbox.subscribe(&[EventKind::Utilization], move |_| {
        at.pass();
        ended.fetch_add(1, Ordering::SeqCst);
    });
    outbox.send(numbered(0));
    outbox.send(numbered(1));
    gate.await_arrival();
    let dropping = Arc::new(AtomicBool::new(false));
    let dropped = Arc::new(AtomicBool::new(false));
    let (began, done) = (dropping.clone(), dropped.clone());
    let thread = thread::spawn(move || {
        began.store(true, Ordering::SeqCst);
        drop(subscription);
        done.store(true, Ordering::SeqCst);
    });
    until(|| dropping.load(Ordering::SeqCst) && outbox.queue.subscribers.lock().is_empty());
    thread::yield_now();
    assert!(!dropped.load(Ordering::SeqCst), "the callback still runs");
    gate.open();
    thread.join().unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 1, "the running call had ended when the drop returned");
    assert!(outbox.flush(LONG));
    assert_eq!(calls.load(Ordering::SeqCst), 1, "and none came after it");
}

#[test]
fn a_callback_can_end_its_own_subscription() {
    let outbox = Outbox::new().unwrap();
    let own: Arc<Mutex<Option<Subscription>>> = Arc::default();
    let (mine, calls) = (own.clone(), Arc::new(AtomicUsize::new(0)));
    let count = calls.clone();
    let subscription = outbox.subscribe(&[EventKind::Utilization], move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let own = mine.lock().take();
        drop(own);
    });
    *own.lock() = Some(subscription);
    outbox.send(numbered(0));
    outbox.send(numbered(1));
    assert!(outbox.flush(LONG));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(outbox.queue.mask.load(Ordering::Relaxed), 0);
}

#[test]
fn a_callback_cannot_wait_for_itself() {
    let outbox = Outbox::new().unwrap();
    let (tell, told) = mpsc::channel();
    let inner = outbox.clone();
    outbox.run(move || tell.send(inner.flush(LONG)).unwrap());
    assert_eq!(told.recv_timeout(LONG), Ok(false));
}

#[tokio::test]
async fn a_stream_gives_events_to_tasks_and_threads_and_ends_after_the_last() {
    let outbox = Outbox::new().unwrap();
    let events = Arc::new(outbox.events(&[EventKind::Utilization], 2));
    let reader = events.clone();
    let task = tokio::spawn(async move { reader.recv().await.as_ref().map(number) });
    outbox.send(numbered(7));
    assert_eq!(task.await.unwrap(), Some(7));

    for n in 0..5 {
        outbox.send(numbered(n));
    }
    assert!(outbox.flushed().await);
    assert_eq!((events.lost(), outbox.dropped()), (3, 3));
    assert_eq!(events.recv_timeout(LONG).as_ref().map(number), Some(0));
    outbox.close();
    assert!(outbox.flushed().await);
    assert!(events.is_closed());
    assert_eq!(events.recv().await.as_ref().map(number), Some(1));
    assert!(events.recv().await.is_none());
    assert!(events.recv_timeout(LONG).is_none());
    assert!(outbox.events(EventKind::ALL, 1).is_closed(), "a stream of a closed pool is at its end");
}

#[test]
fn a_thread_that_waits_is_woken_by_the_end() {
    let outbox = Outbox::new().unwrap();
    let events = outbox.events(EventKind::ALL, 1);
    let waiting = thread::spawn(move || events.recv_timeout(LONG).is_none());
    drop(outbox);
    assert!(waiting.join().unwrap());
}

#[test]
fn what_is_queued_is_told_after_the_outbox_is_gone_and_then_the_thread_ends() {
    let (outbox, gate) = alone_and_held();
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    let subscription = outbox.subscribe(&[EventKind::Utilization], move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    for n in 0..100 {
        outbox.send(numbered(n));
    }
    let shared = Arc::downgrade(&outbox.dispatcher.shared);
    drop(outbox);
    gate.open();
    until(|| shared.strong_count() == 0);
    assert_eq!(told.load(Ordering::SeqCst), 100);
    drop(subscription);
}

#[test]
fn all_outboxes_share_one_dispatcher() {
    let a = Outbox::new().unwrap();
    let b = Outbox::new().unwrap();
    assert!(Arc::ptr_eq(&a.dispatcher, &b.dispatcher));
}

#[test]
fn in_a_forked_child_nothing_waits_for_a_lock_that_nobody_will_let_go() {
    let shared = Arc::new(Shared::default());
    let outbox = with(Arc::new(Dispatcher { shared: shared.clone(), process: Process::foreign() }));
    let queue = outbox.queue.clone();
    let _items = queue.items.lock();
    let _subscribers = queue.subscribers.lock();
    let _state = shared.state.lock();
    let events = outbox.events(EventKind::ALL, 1);
    drop(outbox.subscribe(EventKind::ALL, |_| {}));
    outbox.send(numbered(0));
    outbox.run(|| {});
    assert!(!outbox.flush(LONG));
    assert!(events.recv_timeout(LONG).is_none() && events.try_recv().is_none() && events.is_closed());
    drop(events);
    drop(outbox);
}

#[test]
fn a_held_dispatcher_delays_but_never_blocks_the_sender() {
    let (outbox, gate) = held();
    let events = outbox.events(&[EventKind::Utilization], 1);
    outbox.send(numbered(1));
    assert!(!outbox.flush(Duration::ZERO));
    assert!(events.try_recv().is_none());
    gate.open();
    assert_eq!(events.recv_timeout(LONG).as_ref().map(number), Some(1));
}

#[test]
fn one_callback_can_end_the_next_before_its_turn() {
    let outbox = Outbox::new().unwrap();
    let second: Arc<Mutex<Option<Subscription>>> = Arc::default();
    let calls = Arc::new(AtomicUsize::new(0));
    let (victim, count) = (second.clone(), calls.clone());
    let _first = outbox.subscribe(&[EventKind::Utilization], move |_| {
        let victim = victim.lock().take();
        drop(victim);
    });
    *second.lock() = Some(outbox.subscribe(&[EventKind::Utilization], move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    }));
    outbox.send(numbered(0));
    assert!(outbox.flush(LONG));
    assert_eq!(calls.load(Ordering::SeqCst), 0, "its guard was gone before the event was told to it");
}

#[test]
fn a_line_that_blocks_holds_nobody_up_and_lines_are_bounded() {
    let outbox = Outbox::new().unwrap();
    let (block, blocked) = mpsc::channel::<()>();
    // Nobody reads lines in this process: these are put in as `log` does for those who do.
    outbox.enqueue(Item::Line(Box::new(move || _ = blocked.recv())), CHATTY);
    let told = Arc::new(AtomicU64::new(0));
    for _ in 0..CHATTY + 100 {
        let told = told.clone();
        outbox.enqueue(Item::Line(Box::new(move || _ = told.fetch_add(1, Ordering::Relaxed))), CHATTY);
    }
    assert!(outbox.queue.lines_lost.load(Ordering::Relaxed) >= 99, "one may be under way");
    assert_eq!(outbox.dropped(), 0, "no event was lost");
    drop(block);
    assert!(outbox.flush(Duration::from_secs(30)));
    assert!(told.load(Ordering::Relaxed) <= CHATTY as u64 + 1);
    assert_eq!(outbox.queue.lines_lost.load(Ordering::Relaxed), 0, "their number is told");
    // One that panics is a lost line, and nothing else.
    outbox.enqueue(Item::Line(Box::new(|| panic!("a subscriber that does not work"))), CHATTY);
    assert!(outbox.flush(Duration::from_secs(30)));
    // What nobody reads is not even put in.
    outbox.log(Level::TRACE, || panic!("nobody reads this"));
    assert!(outbox.flush(Duration::from_secs(30)));
}
