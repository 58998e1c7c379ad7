//! Every walk is compared with what the general unwinder says in the same frame.

use std::ffi::{CString, c_int, c_void};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use super::{capture, capture_general, walk};

/// The cached walk alone, without the general unwinder behind it.
#[inline(never)]
fn walk_alone(frames: &mut [usize]) -> Option<usize> {
    let registers = walk::Registers::read();
    black_box(walk::walk(registers, frames))
}

fn reference() -> Vec<usize> {
    let mut frames = Vec::new();
    backtrace::trace(|frame| {
        frames.push(frame.ip() as usize);
        true
    });
    frames.retain(|ip| *ip != 0);
    frames
}

/// Walks and traces in one frame; panics unless both saw the same callers. Returns how many.
#[inline(never)]
fn assert_same() -> usize {
    let mut frames = [0; 256];
    let count = walk_alone(&mut frames).expect("this stack can be walked");
    let reference = reference();
    // The innermost address differs: it is the line of the call itself.
    let ours = &frames[1..count];
    assert!(!ours.is_empty());
    let inside = reference.len() - ours.len();
    assert_eq!(ours, &reference[inside..], "walked {count} frames, the general unwinder {}", reference.len());
    assert!(inside <= 6, "the walk missed {inside} frames");

    let whole = capture(&mut frames);
    assert_eq!(whole, count, "capture finds what the walk finds");
    assert_eq!(&frames[1..whole], &reference[inside..]);
    let marker = 0u8;
    let general = capture_general(&mut frames, &raw const marker as usize);
    assert_eq!(&frames[..general], &reference[inside..]);
    count
}

#[inline(never)]
fn recurse(depth: usize, inner: &dyn Fn() -> usize) -> usize {
    let padding = black_box([depth; 7]);
    let found = if depth == 0 { inner() } else { recurse(depth - 1, inner) };
    black_box(padding);
    found
}

#[test]
fn walks_a_deep_recursion_and_a_closure() {
    let shallow = assert_same();
    let deep = recurse(100, &|| black_box(assert_same()));
    assert!(deep >= shallow + 100, "{deep} after {shallow}");
    let text = String::from("captured");
    let closure = || {
        black_box(&text);
        black_box(assert_same())
    };
    assert!(black_box(closure)() > 1);
}

#[test]
fn walks_a_spawned_thread_whatever_its_stack() {
    for size in [64 << 10, 2 << 20] {
        let thread = std::thread::Builder::new().stack_size(size);
        let found = thread.spawn(|| recurse(9, &|| black_box(assert_same()))).unwrap().join().unwrap();
        assert!(found > 10);
    }
}

#[test]
fn walks_tokio_tasks_on_every_worker() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                tokio::spawn(async {
                    tokio::task::yield_now().await;
                    nested(6).await
                })
            })
            .collect();
        for task in tasks {
            assert!(task.await.unwrap() > 8);
        }
    });
}

fn nested(depth: usize) -> std::pin::Pin<Box<dyn Future<Output = usize> + Send>> {
    Box::pin(async move {
        tokio::task::yield_now().await;
        if depth == 0 { black_box(assert_same()) } else { black_box(nested(depth - 1).await) }
    })
}

#[test]
fn walks_through_c_code_that_calls_back() {
    static FOUND: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn compare(_: *const c_void, _: *const c_void) -> c_int {
        FOUND.store(assert_same(), Ordering::SeqCst);
        0
    }
    let mut values = [2u8, 1];
    // SAFETY: two elements of one byte each, and a comparison that is no stranger than allowed.
    unsafe { libc::qsort(values.as_mut_ptr().cast(), 2, 1, Some(compare)) };
    assert!(FOUND.load(Ordering::SeqCst) > 3);
}

#[test]
fn walks_a_library_that_comes_and_goes() {
    let folder = std::env::temp_dir().join(format!("leakpool-unwind-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let shape = |padding: usize| {
        let source = folder.join("lib.c");
        let text = format!(
            "int through(int (*f)(void)) {{ volatile char room[{padding}]; room[0] = 1; return f() + room[0]; }}"
        );
        std::fs::write(&source, text).unwrap();
        let library = folder.join(format!("lib{padding}.so"));
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
        let status = std::process::Command::new(compiler)
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .status()
            .unwrap();
        assert!(status.success());
        CString::new(library.to_str().unwrap()).unwrap()
    };
    extern "C" fn back() -> c_int {
        assert_same() as c_int
    }
    // The same code at (nearly always) the same address, with frames of another size each time.
    let libraries = [shape(64), shape(4096), shape(512)];
    for library in libraries.iter().cycle().take(12) {
        // SAFETY: loads a library made above, calls its one function with the type it has, and unloads it when
        // nothing of it runs any more.
        unsafe {
            let handle = libc::dlopen(library.as_ptr(), libc::RTLD_NOW);
            assert!(!handle.is_null());
            let through = libc::dlsym(handle, c"through".as_ptr());
            assert!(!through.is_null());
            let through: extern "C" fn(extern "C" fn() -> c_int) -> c_int = std::mem::transmute(through);
            // Long enough for the look at the count of unloads to come round.
            for _ in 0..40 {
                capture(&mut [0; 4]);
            }
            assert!(through(back) > 3);
            assert_eq!(libc::dlclose(handle), 0);
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn captures_while_a_thread_is_torn_down() {
    struct Last(mpsc::Sender<usize>);
    impl Drop for Last {
        fn drop(&mut self) {
            let _ = self.0.send(assert_same());
        }
    }
    thread_local!(static LAST: std::cell::RefCell<Option<Last>> = const { std::cell::RefCell::new(None) });
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || LAST.with(|last| *last.borrow_mut() = Some(Last(sender))));
    thread.join().unwrap();
    assert!(receiver.recv().unwrap() > 1);
}

#[test]
fn a_foreign_stack_is_left_to_the_general_unwinder() {
    static WALKED: AtomicUsize = AtomicUsize::new(usize::MAX);
    static CAPTURED: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn handler(_: c_int) {
        let mut frames = [0; 64];
        WALKED.store(walk_alone(&mut frames).map_or(0, |n| n + 1), Ordering::SeqCst);
        CAPTURED.store(capture(&mut frames), Ordering::SeqCst);
    }
    std::thread::spawn(|| {
        let mut memory = vec![0u8; 256 << 10];
        // SAFETY: the alternate stack lives until the thread no longer uses it; the handler only captures.
        unsafe {
            let mut stack: libc::stack_t = std::mem::zeroed();
            stack.ss_sp = memory.as_mut_ptr().cast();
            stack.ss_size = memory.len();
            let mut before: libc::stack_t = std::mem::zeroed();
            assert_eq!(libc::sigaltstack(&raw const stack, &raw mut before), 0);
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_ONSTACK;
            assert_eq!(libc::sigaction(libc::SIGUSR2, &raw const action, std::ptr::null_mut()), 0);
            assert_eq!(libc::raise(libc::SIGUSR2), 0);
            assert_eq!(libc::sigaltstack(&raw const before, std::ptr::null_mut()), 0);
        }
    })
    .join()
    .unwrap();
    assert_eq!(WALKED.load(Ordering::SeqCst), 0, "the walk must not trust a stack that it does not know");
    assert!(CAPTURED.load(Ordering::SeqCst) > 3, "through the signal frame into the thread");
}

#[test]
fn fills_no_more_than_it_is_given() {
    assert_eq!(capture(&mut []), 0);
    let mut one = [0; 1];
    assert_eq!(capture(&mut one), 1);
    assert_ne!(one[0], 0);
    recurse(20, &|| {
        let mut few = [0; 5];
        assert_eq!(capture(&mut few), 5);
        assert!(few.iter().all(|address| *address != 0));
        capture(&mut few)
    });
}

#[test]
fn threads_fill_the_shared_cache_together() {
    let threads: Vec<_> = (0..8)
        .map(|n| {
            std::thread::spawn(move || {
                for round in 0..200 {
                    recurse((n * 7 + round) % 40, &|| black_box(assert_same()));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// `cargo test --release -p leakpool --lib unwind -- --ignored --nocapture --test-threads=1`
#[test]
#[ignore = "a measurement, not a test: prints ratios of interleaved rounds"]
fn measure_capture() {
    fn ours() -> usize {
        let mut frames = [0; 32];
        black_box(capture(black_box(&mut frames)))
    }
    fn traced() -> usize {
        let mut frames = [0; 32];
        let mut count = 0;
        backtrace::trace(|frame| {
            frames[count] = frame.ip() as usize;
            count += 1;
            count < frames.len()
        });
        black_box(&frames);
        count
    }
    fn unresolved() -> usize {
        black_box(backtrace::Backtrace::new_unresolved()).frames().len()
    }
    fn compare(place: &str) -> usize {
        let frames = capture(&mut [0; 128]);
        let rounds: Vec<[f64; 3]> = (0..9)
            .map(|_| [ours as fn() -> usize, traced, unresolved].map(|one| nanoseconds(3000, one)))
            .collect();
        let median = |pick: &dyn Fn(&[f64; 3]) -> f64| {
            let mut all: Vec<f64> = rounds.iter().map(pick).collect();
            all.sort_by(f64::total_cmp);
            (all[0], all[all.len() / 2], all[all.len() - 1])
        };
        let (best, time, worst) = median(&|r| r[0]);
        let (_, trace, _) = median(&|r| r[1]);
        let (_, full, _) = median(&|r| r[2]);
        let (low, ratio, high) = median(&|r| r[0] / r[1]);
        println!(
            "{place:>28}: {frames:>3} frames, capture {time:>4.0} ns ({best:.0}-{worst:.0}), trace {trace:>5.0} ns, \
             new_unresolved {full:>6.0} ns; capture/trace {ratio:.3} ({low:.3}-{high:.3}), /new_unresolved {:.3}",
            median(&|r| r[0] / r[2]).1
        );
        frames
    }
    for depth in [1, 8, 20, 40] {
        recurse(depth, &|| compare(&format!("recursion of {depth}")));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        for depth in [1, 6] {
            tokio::spawn(nested_measure(depth, compare)).await.unwrap();
        }
    });
    let threads: Vec<_> = (0..2)
        .map(|n| std::thread::spawn(move || recurse(12, &|| compare(&format!("thread {n} of two")))))
        .collect();
    threads.into_iter().for_each(|thread| assert!(thread.join().unwrap() > 12));
}

fn nested_measure(
    depth: usize,
    measure: fn(&str) -> usize,
) -> std::pin::Pin<Box<dyn Future<Output = usize> + Send>> {
    Box::pin(async move {
        tokio::task::yield_now().await;
        if depth == 0 { measure("tokio task") } else { black_box(nested_measure(depth - 1, measure).await) }
    })
}

fn nanoseconds(times: u32, one: fn() -> usize) -> f64 {
    for _ in 0..times / 10 {
        black_box(one());
    }
    let start = std::time::Instant::now();
    for _ in 0..times {
        black_box(one());
    }
    start.elapsed().as_nanos() as f64 / f64::from(times)
}
