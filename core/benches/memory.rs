//! Memory of a live checkout: a program of its own, because it counts every allocation.

#![allow(clippy::unwrap_used)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicIsize, Ordering};

use leakpool::{CheckOut, CheckoutId, LeakDetector, LeakPolicy, StackCapture, Touch, TransactionStatus};
use support::report::{Row, Section};
use support::rounds::Spread;

/// Bytes that are allocated now, as they were asked for.
static LIVE: AtomicIsize = AtomicIsize::new(0);

struct Counting;

fn add(bytes: usize) {
    LIVE.fetch_add(bytes as isize, Ordering::Relaxed);
}

fn sub(bytes: usize) {
    LIVE.fetch_sub(bytes as isize, Ordering::Relaxed);
}

// SAFETY: hands every call on to the system's allocator unchanged; the counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller's promise about the layout is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        sub(layout.size());
        // SAFETY: the memory is from `System`, with this layout, by the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        add(size);
        sub(layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn live() -> f64 {
    LIVE.load(Ordering::SeqCst) as f64
}

const COUNT: usize = 100_000;
/// Two ways at each of seven turns: 128 stacks.
const TURNS: u32 = 7;

#[inline(never)]
fn left<T>(turns: u32, way: u32, work: &mut dyn FnMut() -> T) -> T {
    let result = step(turns, way, work);
    // Another constant than on the right: the same code would be one function.
    black_box(1);
    result
}

#[inline(never)]
fn right<T>(turns: u32, way: u32, work: &mut dyn FnMut() -> T) -> T {
    let result = step(turns, way, work);
    black_box(2);
    result
}

#[inline(never)]
fn step<T>(turns: u32, way: u32, work: &mut dyn FnMut() -> T) -> T {
    match turns {
        0 => work(),
        _ if way & 1 == 0 => left(turns - 1, way >> 1, work),
        _ => right(turns - 1, way >> 1, work),
    }
}

/// Bytes a checkout, sites included, and how many sites there were. `extras` = label, owner and SQL as well.
fn of_detector(extras: bool) -> (f64, u64) {
    let detector = LeakDetector::new("memory", LeakPolicy::default()).unwrap();
    let mut ids: Vec<CheckoutId> = Vec::with_capacity(COUNT);
    let (mut label, sql) = (String::new(), "SELECT id, total FROM orders WHERE id = $1");
    let before = live();
    for i in 0..COUNT {
        let id = step(TURNS, i as u32, &mut || {
            let mut checkout = CheckOut::here();
            if extras {
                label.clear();
                label.push_str("nightly import");
                checkout = checkout.label(label.as_str());
            }
            detector.check_out(checkout).unwrap()
        });
        if extras {
            detector.touch(id, Touch::Executing(Some(sql))).unwrap();
            detector.touch(id, Touch::Idle(TransactionStatus::Idle)).unwrap();
        }
        ids.push(id);
    }
    let bytes = (live() - before) / COUNT as f64;
    let metrics = detector.metrics();
    assert_live(metrics.status.in_use);
    let sites = detector.checkouts().iter().map(|c| c.site.addresses().to_vec()).collect::<Vec<_>>();
    let mut distinct = sites;
    distinct.sort();
    distinct.dedup();
    for id in ids {
        detector.check_in(id).unwrap();
    }
    (bytes, distinct.len() as u64)
}

/// A benchmark never fails, but it must not tell of something else than it did.
fn assert_live(in_use: usize) {
    if in_use != COUNT {
        eprintln!("{in_use} checkouts were live instead of {COUNT}: the numbers mean something else");
    }
}

const CONNECTIONS: usize = 40;

/// Bytes that a connection of ours takes in the pool more than a bare one, and those that handing out it adds.
async fn of_pool() -> (f64, f64) {
    let url = support::database_url();
    // Whatever is made once in a process is made now.
    let (bare, ours) = (support::bare_pool(&url, 1), support::our_pool(&url, 1, StackCapture::Full));
    support::warm_bare(&bare, 1).await;
    support::warm_ours(&ours, 1).await;

    let bare = support::bare_pool(&url, CONNECTIONS);
    let ours = support::our_pool(&url, CONNECTIONS, StackCapture::Full);
    let before = live();
    support::warm_bare(&bare, CONNECTIONS).await;
    let with_bare = live();
    support::warm_ours(&ours, CONNECTIONS).await;
    let with_ours = live();
    let each = CONNECTIONS as f64;
    let more = ((with_ours - with_bare) - (with_bare - before)) / each;

    let mut held = Vec::with_capacity(CONNECTIONS);
    let idle = live();
    for _ in 0..CONNECTIONS {
        held.push(ours.acquire().await.unwrap());
    }
    (more, (live() - idle) / each)
}

fn main() {
    if !support::asked() {
        return;
    }
    let mut section = Section::new(
        "Memory of a live checkout",
        "Bytes asked of the allocator (counted by one of our own) for 100,000 checkouts at once from 128 stacks, \
         the stacks and the spare room of growing tables included.",
    );
    let (bytes, sites): (Vec<f64>, Vec<u64>) = (0..5).map(|_| of_detector(false)).unzip();
    let note = format!("{} different stacks, full", sites[0]);
    section.row(Row::value("a checkout of a detector", "bytes", Some(512.0), Spread::of(&bytes), note));
    let bytes: Vec<f64> = (0..3).map(|_| of_detector(true).0).collect();
    let note = "its own copy of a label of 14 bytes and of 42 bytes of SQL";
    let work = "the same with label and last SQL";
    section.row(Row::value(work, "bytes", Some(512.0), Spread::of(&bytes), note));

    let runtime = support::runtime();
    let (more, checked_out): (Vec<f64>, Vec<f64>) = (0..5).map(|_| runtime.block_on(of_pool())).unzip();
    let note = "slot, control block, wire observer; whether checked out or not";
    let work = "a connection of ours beyond a bare deadpool-postgres one";
    section.row(Row::value(work, "bytes", None, Spread::of(&more), note));
    let work = "handing out a connection of the pool";
    section.row(Row::value(work, "bytes", Some(512.0), Spread::of(&checked_out), "sites included"));
    section.finish("5-memory");
}
