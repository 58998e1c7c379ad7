//! Several starts of one benchmark. Where code, heap and stacks come to lie differs from start to start, and with
//! it the luck of every cache: one start is one sample of that, so the rounds of several are put together.

use std::process::{Command, Stdio};

use super::rounds::Samples;

const CHILD: &str = "LEAKPOOL_BENCH_START";

/// Measures in `starts` processes of their own and puts their rounds together.
pub fn in_starts(starts: usize, measure: impl FnOnce() -> Samples) -> Samples {
    let mut all = Samples::default();
    if !is_child() {
        for start in 0..starts {
            all.merge(start_once(&start.to_string(), None).expect("a start failed"));
        }
        return all;
    }
    finish_child(&measure())
}

/// True in such a process.
pub fn is_child() -> bool {
    child().is_some()
}

/// What this process was started for.
pub fn child() -> Option<String> {
    std::env::var(CHILD).ok()
}

/// Hands the samples to the process that started this one.
pub fn finish_child(samples: &Samples) -> ! {
    println!("{}", serde_json::to_string(samples).unwrap());
    std::process::exit(0)
}

/// Starts this program again, to measure on one CPU or on any. `None` if it failed: the error is on stderr.
pub fn start_once(what: &str, cpu: Option<usize>) -> Option<Samples> {
    let program = std::env::current_exe().ok()?;
    let mut command = match cpu {
        Some(cpu) => {
            let mut taskset = Command::new("taskset");
            taskset.args(["-c", &cpu.to_string()]).arg(program);
            taskset
        }
        None => Command::new(program),
    };
    let output = command.arg("--bench").env(CHILD, what).stderr(Stdio::inherit()).output().ok()?;
    output.status.success().then(|| serde_json::from_slice(&output.stdout).ok())?
}
