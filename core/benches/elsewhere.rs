//! What leak detection costs in other languages' pools: HikariCP and DBCP2 in a Java process of their own, in turns
//! with ours. Only where `LEAKPOOL_BENCH_JAVA` is set; their connections lead to nothing.

#![allow(clippy::unwrap_used)]

mod support;

use std::cell::RefCell;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use leakpool::{Pool, StackCapture};
use support::report::{Row, Section, directory};
use support::rounds::Contest;

const JARS: [&str; 6] =
    ["HikariCP", "commons-dbcp2", "commons-pool2", "commons-logging", "slf4j-api", "slf4j-nop"];
const CASES: [(&str, &str); 4] = [
    ("hikari-off", "HikariCP"),
    ("hikari-on", "HikariCP with leakDetectionThreshold"),
    ("dbcp2-off", "DBCP2"),
    ("dbcp2-on", "DBCP2 with abandoned tracking"),
];

struct Java {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    version: String,
}

/// Compiles the sources into the target directory and starts them.
fn java() -> Result<Java, String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/java");
    let classes = directory().join("java");
    let jars: Vec<PathBuf> = JARS.iter().map(|jar| format!("/usr/share/java/{jar}.jar").into()).collect();
    if let Some(missing) = jars.iter().find(|jar| !jar.exists()) {
        return Err(format!(
            "{} is missing (Debian: libhikaricp-java, libcommons-dbcp2-java)",
            missing.display()
        ));
    }
    let path = std::env::join_paths(jars.iter().chain([&classes])).map_err(|e| e.to_string())?;
    let compiled = Command::new("javac")
        .arg("-d")
        .arg(&classes)
        .arg("-cp")
        .arg(&path)
        .args(["StubConnection.java", "Checkout.java"].map(|file| sources.join(file)))
        .status();
    if !compiled.is_ok_and(|status| status.success()) {
        return Err("javac failed (Debian: default-jdk-headless)".into());
    }
    let mut process = Command::new("java")
        .arg("-cp")
        .arg(path)
        .arg("Checkout")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
        return Err("no pipes".into());
    };
    let mut java = Java { process, input, output: BufReader::new(output), version: String::new() };
    java.version = java.answer().trim_start_matches("ready on ").to_string();
    Ok(java)
}

impl Java {
    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_string()
    }

    fn run(&mut self, case: &str, count: u64) -> Duration {
        writeln!(self.input, "{case} {count}").unwrap();
        Duration::from_nanos(self.answer().parse().unwrap())
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn ours(pool: Pool, count: u64) -> Duration {
    let started = Instant::now();
    for _ in 0..count {
        drop(black_box(pool.acquire().await.unwrap()));
    }
    started.elapsed()
}

fn main() {
    if !support::asked() {
        return;
    }
    if std::env::var_os("LEAKPOOL_BENCH_JAVA").is_none() {
        println!("pools in other languages are left out: LEAKPOOL_BENCH_JAVA is not set");
        return;
    }
    let java = match java() {
        Ok(java) => RefCell::new(java),
        Err(error) => return println!("pools in other languages are left out: {error}"),
    };
    let mut section = Section::new(
        "What leak detection costs elsewhere",
        &format!(
            "Checkout and return of an idle connection below 18 frames: ours with a real server, HikariCP 2.7.9 \
             and DBCP2 2.9.0 (Debian's) on {} with connections to nothing, warmed up for 2.5 s each, one thread.",
            java.borrow().version
        ),
    );
    let runtime = support::runtime();
    let url = support::database_url();
    let pool = runtime.block_on(async {
        let pool = support::our_pool(&url, 1, StackCapture::Full);
        support::warm_ours(&pool, 1).await;
        pool
    });
    let mut contest = Contest::default();
    contest.case("full", |count| support::in_task(&runtime, 18, Box::pin(ours(pool.clone(), count))));
    for (case, name) in CASES {
        let java = &java;
        contest.case(name, move |count| java.borrow_mut().run(case, count));
    }
    let samples = contest.run(25, Duration::from_millis(20));
    let [(_, hikari_off), (_, hikari), (_, dbcp2_off), (_, dbcp2)] = CASES;
    section.row(Row::ratio(&samples, "full", hikari, Some(0.5)));
    section.row(Row::ratio(&samples, "full", dbcp2, None));
    section.row(Row::ratio(&samples, hikari, hikari_off, None));
    section.row(Row::ratio(&samples, dbcp2, dbcp2_off, None));
    section.finish("9-elsewhere");
}
