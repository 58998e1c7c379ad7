//! Acquisition sites as an application sees them: this file is the user, `leakpool` the library.

use std::hint::black_box;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use leakpool::StackCapture;
use leakpool::{Frame, FrameKind, ResolvedSite, SiteId, SiteTable};

#[track_caller]
fn acquire(table: &SiteTable) -> SiteId {
    table.capture(Location::caller(), StackCapture::Full, 64)
}

/// A user's own wrapper that passes the blame on.
#[track_caller]
fn wrapper(table: &SiteTable) -> SiteId {
    acquire(table)
}

fn resolve(table: &SiteTable, id: SiteId) -> Arc<ResolvedSite> {
    table.get(id).resolve()
}

#[inline(never)]
fn process(table: &SiteTable) -> (SiteId, u32) {
    (acquire(table), line!())
}

#[inline(never)]
fn handle(table: &SiteTable) -> (SiteId, u32) {
    black_box(process(table))
}

#[test]
fn the_culprit_is_the_line_that_acquires() {
    let table = SiteTable::new();
    let (id, line) = handle(&table);
    let site = resolve(&table, id);
    let place = format!("core/tests/site.rs:{line}");
    assert!(site.culprit.to_string().ends_with(&format!("process ({place})")), "{site}");
    let functions: Vec<_> = site.user_frames().filter_map(|frame| frame.function.as_deref()).collect();
    let at = |name: &str| functions.iter().position(|function| function.ends_with(name));
    assert!(at("process") < at("handle") && at("handle").is_some(), "{functions:?}");
    assert!(
        functions.iter().any(|name| name.ends_with("the_culprit_is_the_line_that_acquires")),
        "{functions:?}"
    );
    assert!(site.user_frames().all(|frame| frame.file.as_deref() == Some("core/tests/site.rs")), "{site}");
}

#[test]
fn a_track_caller_wrapper_is_not_to_blame() {
    let table = SiteTable::new();
    let (id, line) = (wrapper(&table), line!());
    let site = resolve(&table, id);
    let expected = format!("site::a_track_caller_wrapper_is_not_to_blame (core/tests/site.rs:{line})");
    // What is inlined has no path before its name, if all that is known are line tables.
    assert!(expected.ends_with(&site.culprit.to_string()), "{site}");
    assert_eq!(table.get(id).location(), Some(("core/tests/site.rs", line)));
}

#[test]
fn everybody_elses_frames_are_folded() {
    let table = SiteTable::new();
    let site = resolve(&table, handle(&table).0);
    let inside = site.frames.iter().take_while(|frame| frame.kind != FrameKind::User).collect::<Vec<_>>();
    assert!(!inside.is_empty(), "the library's own frames are there: {:#?}", site.frames);
    assert!(inside.iter().all(|frame| frame.kind == FrameKind::Library), "{inside:#?}");
    assert!(inside.iter().all(|frame| frame.owner.as_deref() == Some("leakpool")), "{inside:#?}");
    let runtime = |frame: &&Frame| frame.kind == FrameKind::Runtime && frame.owner.as_deref() == Some("std");
    assert!(site.frames.iter().any(|frame| runtime(&frame)), "{:#?}", site.frames);
    let shown = site.to_string();
    assert!(site.user_frames().next().is_some_and(|first| shown.starts_with(&first.to_string())), "{shown}");
    assert!(!shown.contains("leakpool::") && !shown.contains("std::"), "{shown}");
    assert!(shown.lines().any(|line| line.starts_with("… ") && line.contains("test")), "{shown}");
    assert!(shown.lines().count() < 10, "{shown}");
}

#[test]
fn one_line_in_a_loop_is_one_site_and_two_ways_there_are_two() {
    let table = SiteTable::new();
    let ids: Vec<SiteId> = (0..3).map(|_| process(&table).0).collect();
    assert_eq!(ids[0], ids[1]);
    assert_eq!(ids[1], ids[2]);
    let another = handle(&table).0;
    assert_ne!(ids[0], another, "the same line reached another way");
    assert_eq!(table.get(ids[0]).location(), table.get(another).location());
}

#[test]
fn the_awaited_chain_is_in_the_stack_and_the_spawner_is_not() {
    static ACQUIRES: AtomicU32 = AtomicU32::new(0);
    static AWAITS: AtomicU32 = AtomicU32::new(0);
    async fn order(table: &SiteTable) -> SiteId {
        tokio::task::yield_now().await;
        ACQUIRES.store(line!() + 1, Ordering::SeqCst);
        acquire(table)
    }
    async fn request(table: Arc<SiteTable>) -> SiteId {
        tokio::task::yield_now().await;
        AWAITS.store(line!() + 1, Ordering::SeqCst);
        order(&table).await
    }
    #[inline(never)]
    fn launcher(table: &Arc<SiteTable>) -> tokio::task::JoinHandle<SiteId> {
        tokio::spawn(request(table.clone()))
    }
    let table = Arc::new(SiteTable::new());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let ids: Vec<SiteId> = runtime.block_on(async {
        let tasks: Vec<_> = (0..8).map(|_| launcher(&table)).collect();
        let mut ids = Vec::new();
        for task in tasks {
            ids.push(task.await.unwrap());
        }
        ids
    });
    let site = resolve(&table, ids[0]);
    let shown = site.to_string();
    assert_eq!(site.culprit.file.as_deref(), Some("core/tests/site.rs"));
    assert_eq!(site.culprit.line, Some(ACQUIRES.load(Ordering::SeqCst)));
    // Async functions that were inlined into each other are lines without names, but they are there.
    assert!(shown.contains(&format!("core/tests/site.rs:{}", AWAITS.load(Ordering::SeqCst))), "{shown}");
    assert!(!shown.contains("launcher"), "{shown}");
    assert!(shown.contains("tokio"), "{shown}");
    let prints: std::collections::HashSet<u64> =
        ids.iter().map(|id| resolve(&table, *id).fingerprint()).collect();
    assert_eq!(prints.len(), 1, "however the scheduler came there");
}

#[test]
fn names_of_a_site_are_looked_up_once_by_whoever_comes() {
    let table = Arc::new(SiteTable::new());
    let id = process(&table).0;
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let table = table.clone();
            std::thread::spawn(move || table.get(id).resolve())
        })
        .collect();
    let all: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(all.iter().all(|one| Arc::ptr_eq(one, &all[0])));
}

fn nanoseconds(times: u32, one: &mut dyn FnMut()) -> f64 {
    (0..times / 10).for_each(|_| one());
    let start = std::time::Instant::now();
    (0..times).for_each(|_| one());
    start.elapsed().as_nanos() as f64 / f64::from(times)
}

#[inline(never)]
fn deeper(depth: usize, inner: &mut dyn FnMut()) {
    if depth == 0 {
        inner()
    } else {
        deeper(black_box(depth) - 1, inner)
    }
    black_box(depth);
}

/// `cargo test --release -p leakpool --test site -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, not a test: prints ratios of interleaved rounds"]
fn measure_sites() {
    let table = SiteTable::new();
    // Neighbours, so that the table is not empty.
    (0..40).for_each(|depth| deeper(depth, &mut || _ = black_box(acquire(&table))));
    for depth in [1, 8, 20] {
        let mut report = String::new();
        deeper(depth, &mut || {
            let place = Location::caller();
            let mut full = || _ = black_box(table.capture(place, StackCapture::Full, 32));
            let mut site = || _ = black_box(table.capture(place, StackCapture::Site, 32));
            let mut off = || _ = black_box(table.capture(place, StackCapture::Off, 32));
            let mut trace = || {
                let mut frames = [0; 32];
                let mut count = 0;
                backtrace::trace(|frame| {
                    frames[count] = frame.ip() as usize;
                    count += 1;
                    count < frames.len()
                });
                black_box(&frames);
            };
            let mut unresolved = || drop(black_box(backtrace::Backtrace::new_unresolved()));
            let ways: [&mut dyn FnMut(); 5] = [&mut full, &mut site, &mut off, &mut trace, &mut unresolved];
            let mut times = ways.map(|way| (way, Vec::new()));
            for _ in 0..9 {
                for (way, times) in &mut times {
                    times.push(nanoseconds(3000, way));
                }
            }
            let [full, site, off, trace, unresolved] = times.map(|(_, mut times)| {
                times.sort_by(f64::total_cmp);
                times[4]
            });
            report = format!(
                "full {full:.0} ns, site {site:.1} ns, off {off:.1} ns, trace {trace:.0} ns, new_unresolved \
                 {unresolved:.0} ns; full/trace {:.3}, full/new_unresolved {:.3}, site/trace {:.4}",
                full / trace,
                full / unresolved,
                site / trace
            );
        });
        println!("depth {depth:>2}: {report}");
    }
}
