//! Capture of one stack that is known already: ours against `backtrace`, at several depths.

#![allow(clippy::unwrap_used)]

mod support;

use std::hint::black_box;
use std::panic::Location;
use std::time::{Duration, Instant};

use backtrace::Backtrace;
use criterion::Criterion;
use leakpool::{SiteTable, StackCapture};
use support::report::{Row, Section};
use support::rounds::{Contest, Samples};
use support::starts;

const DEPTHS: [usize; 4] = [14, 20, 26, 32];
/// The default of `stack_depth`.
const MOST: usize = 32;

#[derive(Clone, Copy)]
enum Kind {
    Full,
    Site,
    Trace,
    Unresolved,
}

const KINDS: [(&str, Kind); 4] = [
    ("full", Kind::Full),
    ("site", Kind::Site),
    ("backtrace::trace", Kind::Trace),
    ("Backtrace::new_unresolved", Kind::Unresolved),
];

#[inline(never)]
fn measure(table: &SiteTable, kind: Kind, count: u64) -> Duration {
    let started = Instant::now();
    for _ in 0..count {
        match kind {
            Kind::Full => drop(black_box(table.capture(Location::caller(), StackCapture::Full, MOST))),
            Kind::Site => drop(black_box(table.capture(Location::caller(), StackCapture::Site, MOST))),
            Kind::Trace => drop(black_box(trace())),
            Kind::Unresolved => drop(black_box(Backtrace::new_unresolved())),
        }
    }
    started.elapsed()
}

/// The same frames into an array of the same size, without a look at any name.
fn trace() -> ([usize; MOST], usize) {
    let (mut frames, mut count) = ([0; MOST], 0);
    backtrace::trace(|frame| {
        frames[count] = frame.ip() as usize;
        count += 1;
        count < MOST
    });
    (frames, count)
}

/// Below that many frames more.
#[inline(never)]
fn below<T>(frames: usize, work: &mut dyn FnMut() -> T) -> T {
    if frames == 0 {
        return work();
    }
    let result = below(frames - 1, work);
    black_box(frames);
    result
}

/// How many frames `below` has to add for a stack of that depth.
fn missing(depth: usize) -> usize {
    let mut frames = 0;
    while below(frames, &mut || on_thread(&mut || trace().1)) < depth && frames < MOST {
        frames += 1;
    }
    frames
}

/// A frame between, that the work cannot be inlined into.
#[inline(never)]
fn on_thread<T>(work: &mut dyn FnMut() -> T) -> T {
    black_box(work())
}

fn contest() -> Samples {
    let table = SiteTable::new();
    let mut contest = Contest::default();
    for depth in DEPTHS {
        let frames = missing(depth);
        for (name, kind) in KINDS {
            let table = &table;
            contest.case(format!("{name}, {depth} frames"), move |count| {
                below(frames, &mut || measure(table, kind, count))
            });
        }
    }
    contest.run(15, Duration::from_millis(3))
}

fn absolute() {
    let table = SiteTable::new();
    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400));
    let mut group = criterion.benchmark_group("capture of 20 frames");
    let frames = missing(20);
    for (name, kind) in KINDS {
        group.bench_function(name, |b| {
            b.iter_custom(|count| below(frames, &mut || measure(&table, kind, count)));
        });
    }
    group.finish();
}

fn main() {
    if !support::asked() {
        return;
    }
    let mut section = Section::new(
        "Capture of one stack",
        "`SiteTable::capture` unwinds, hashes and finds the known site; `backtrace::trace` only unwinds, up to as \
         many frames, and `Backtrace::new_unresolved` puts them into a vector.",
    );
    let samples = starts::in_starts(4, contest);
    for depth in DEPTHS {
        let name = |kind: &str| format!("{kind}, {depth} frames");
        section.row(Row::ratio(&samples, &name("full"), &name("backtrace::trace"), Some(0.15)));
        section.row(Row::ratio(&samples, &name("full"), &name("Backtrace::new_unresolved"), None));
        section.row(Row::ratio(&samples, &name("site"), &name("backtrace::trace"), None));
    }
    section.finish("2-capture");
    absolute();
}
