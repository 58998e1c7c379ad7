//! Instructions of the hot path, counted by valgrind: the same at every run, where nanoseconds are not.
//!
//! The program starts itself under callgrind twice for each case, with few and with many repetitions; what the
//! many took beyond the few belongs to the repetitions alone.

#![allow(clippy::unwrap_used)]

mod support;

use std::hint::black_box;
use std::process::{Command, Stdio};

use leakpool::{CheckOut, LeakDetector, LeakPolicy, StackCapture};
use support::report::{Row, Section};
use support::rounds::Spread;
use support::{at_depth, versions};

const CASE: &str = "LEAKPOOL_BENCH_CASE";
const FEW: u64 = 500;
const MANY: u64 = 8_500;
const DEEP: usize = 18;

const BARE: &str = "deadpool-postgres";
const BARE_QUERY: &str = "deadpool-postgres, query";
const CASES: [(&str, &str); 6] = [
    ("off", BARE),
    ("site", BARE),
    ("full", BARE),
    ("full, deep", BARE),
    ("watched, full", BARE),
    ("full, query", BARE_QUERY),
];

/// What a child does: one case, so many times.
fn repeat(case: &str, count: u64) {
    let url = support::database_url();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let depth = if case.ends_with("deep") { DEEP } else { 0 };
    let capture = match case {
        "off" => StackCapture::Off,
        "site" => StackCapture::Site,
        _ => StackCapture::Full,
    };
    let case = case.to_string();
    runtime.block_on(async {
        let work = Box::pin(async move {
            let query = case.ends_with("query");
            if case.starts_with(BARE) {
                let pool = support::bare_pool(&url, 1);
                support::warm_bare(&pool, 1).await;
                for _ in 0..count {
                    let client = pool.get().await.unwrap();
                    if query {
                        let statement = client.prepare_cached("SELECT 1").await.unwrap();
                        black_box(client.query(&statement, &[]).await.unwrap());
                    }
                    drop(black_box(client));
                }
            } else if case.starts_with("watched") {
                let pool = support::bare_pool(&url, 1);
                support::warm_bare(&pool, 1).await;
                let detector = LeakDetector::new("bench", LeakPolicy::default()).unwrap();
                for _ in 0..count {
                    let client = pool.get().await.unwrap();
                    let id = detector.check_out(CheckOut::here()).unwrap();
                    black_box(&client);
                    detector.check_in(id).unwrap();
                }
            } else {
                let pool = support::our_pool(&url, 1, capture);
                support::warm_ours(&pool, 1).await;
                for _ in 0..count {
                    let client = pool.acquire().await.unwrap();
                    if query {
                        let statement = client.prepare_cached("SELECT 1").await.unwrap();
                        black_box(client.query(&statement, &[]).await.unwrap());
                    }
                    drop(black_box(client));
                }
            }
        });
        tokio::spawn(at_depth(depth, work)).await.unwrap();
    });
    // No destructors: what ends a pool is not what is counted.
    std::process::exit(0);
}

/// Instructions that callgrind saw. `None` if it did not run.
fn collected(case: &str, count: u64) -> Option<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().ok()?)
        .arg("--bench")
        .env(CASE, format!("{case}:{count}"))
        .stdout(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find(|line| line.contains("Collected :"))?;
    line.split_whitespace().last()?.parse().ok()
}

fn instructions(case: &str) -> Option<f64> {
    Some((collected(case, MANY)? - collected(case, FEW)?) / (MANY - FEW) as f64)
}

fn main() {
    if !support::asked() {
        return;
    }
    if let Ok(case) = std::env::var(CASE) {
        let (case, count) = case.rsplit_once(':').unwrap();
        return repeat(case, count.parse().unwrap());
    }
    let Some(version) = versions::first_line("valgrind", &["--version"]) else {
        println!("instructions are not counted: there is no valgrind");
        return;
    };
    let mut section = Section::new(
        "Instructions of acquire and release",
        &format!("Counted by {version} (callgrind) on a runtime of one thread, an idle connection."),
    );
    let mut bases = [(BARE, 0.0), (BARE_QUERY, 0.0)];
    for (base, count) in &mut bases {
        let Some(counted) = instructions(base) else {
            println!("instructions are not counted: valgrind failed");
            return;
        };
        *count = counted;
        section.row(Row::value(base, "instructions", None, Spread::of(&[counted]), ""));
    }
    for (case, against) in CASES {
        let base = bases.iter().find(|(base, _)| *base == against);
        let (Some(ours), Some((_, bare))) = (instructions(case), base) else { continue };
        let note = format!("{ours:.0} against {bare:.0} instructions");
        let mut row = Row::value(case, "x", None, Spread::of(&[ours / bare]), note);
        row.against = against.into();
        section.row(row);
    }
    section.finish("8-instructions");
}
