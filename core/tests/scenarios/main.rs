//! The Rust runner of tests/scenarios: one named test for each file. What the files mean is said there, in README.md.

#![allow(clippy::expect_used, clippy::panic)] // Tests, though not of the harness that clippy knows.

mod acts;
mod expects;
mod facts;
mod format;
mod matching;
mod places;
mod runner;
mod script;
mod server;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use script::Scenario;
use serde_json::Value;

/// The steps that Rust cannot do, and why. A scenario with such a step is skipped, by the step's name.
pub const UNSUPPORTED: [(&str, &str); 2] = [
    ("query_released", "a released handle is gone: the compiler refuses to use it"),
    ("release_again", "a release consumes the handle: the compiler refuses a second one"),
];

/// Where the scenarios are.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/scenarios")
}

/// Every scenario: its name and its text.
pub fn scenarios() -> Vec<(String, String)> {
    let mut all: Vec<_> = std::fs::read_dir(directory())
        .expect("tests/scenarios can be listed")
        .map(|entry| entry.expect("tests/scenarios can be listed").path())
        .filter(|path| path.extension().is_some_and(|e| e == "json") && !path.ends_with("schema.json"))
        .map(|path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).expect("a scenario can be read"))
        })
        .collect();
    all.sort();
    all
}

fn run(text: &str) -> Result<(), Failed> {
    let value: Value = serde_json::from_str(text)?;
    format::conforms(&value)?;
    let scenario: Scenario = serde_json::from_value(value)?;
    // On one thread, what a step does has been done to its end when the next one looks.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(runner::Runner::run(&scenario)).map_err(Failed::from)
}

fn trial((name, text): (String, String)) -> Trial {
    let steps = serde_json::from_str::<Scenario>(&text);
    let unsupported = steps.ok().and_then(|scenario| {
        UNSUPPORTED.into_iter().find(|(step, _)| scenario.names().any(|name| name == *step))
    });
    match unsupported {
        Some((step, reason)) => {
            let why = format!("skipped, {step}: {reason}");
            Trial::test(name, {
                let why = why.clone();
                move || Err(Failed::from(why))
            })
            .with_kind(why)
            .with_ignored_flag(true)
        }
        None => Trial::test(name, move || run(&text)),
    }
}

fn main() -> ExitCode {
    let mut trials = format::trials();
    trials.extend(scenarios().into_iter().map(trial));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
