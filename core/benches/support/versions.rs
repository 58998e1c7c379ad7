//! What was measured with: versions, the machine, the server.

use std::process::Command;

/// Cargo's own record of what was built in.
const LOCK: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock"));
const CRATES: [&str; 9] = [
    "leakpool",
    "deadpool",
    "deadpool-postgres",
    "tokio",
    "tokio-postgres",
    "backtrace",
    "gimli",
    "parking_lot",
    "criterion",
];

/// Names and values for the head of the report.
pub fn environment() -> Vec<(&'static str, String)> {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let model = proc_value("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.into());
    let unknown = || "unknown".to_string();
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    vec![
        ("CPUs", format!("{cpus} x {model}")),
        ("system", first_line("uname", &["-srm"]).unwrap_or_else(unknown)),
        ("compiler", first_line(&rustc, &["-V"]).unwrap_or_else(unknown)),
        ("crates", CRATES.map(|name| format!("{name} {}", crate_versions(name))).join(", ")),
        ("server", server().unwrap_or_else(|| "none asked".into())),
    ]
}

/// The load of the machine over the last minute: high = others were at work, and spreads are wide.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_string()
}

/// The CPUs that a process may run on, as in `0-1`. `None` if it is not on this machine.
pub fn cpus_of(pid: u32) -> Option<String> {
    proc_value(&format!("/proc/{pid}/status"), "Cpus_allowed_list")
}

/// What a `name: value` file of /proc says.
pub fn proc_value(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_string())
}

/// The first line that a program prints.
pub fn first_line(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next()?.to_string())
}

fn crate_versions(name: &str) -> String {
    let mut versions = Vec::new();
    let mut lines = LOCK.lines();
    while let Some(line) = lines.next() {
        if line == format!("name = {name:?}") {
            let version = lines.next().and_then(|v| v.strip_prefix("version = "));
            versions.extend(version.map(|v| v.trim_matches('"').to_string()));
        }
    }
    versions.join(" and ")
}

fn server() -> Option<String> {
    let url = std::env::var("DATABASE_URL").ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async {
        let pool = super::bare_pool(&url, 1);
        let client = pool.get().await.ok()?;
        let sql = "SELECT current_setting('server_version'), pg_backend_pid()";
        let row = client.query_one(sql, &[]).await.ok()?;
        let (version, pid): (String, i32) = (row.get(0), row.get(1));
        let local = url.contains("127.0.0.1") || url.contains("localhost");
        let cpus = u32::try_from(pid).ok().filter(|_| local).and_then(cpus_of);
        let place = cpus.map_or(String::new(), |cpus| format!(", on CPUs {cpus}"));
        Some(format!("PostgreSQL {version}{place}"))
    })
}
