//! The examples are run, and do what they say. `cargo test` builds them; with `--test examples` alone, `cargo build --examples` does.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// An example that serves, until this is dropped.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    fn start(name: &str) -> Serving {
        // Beside the test programs' folder, where `cargo test` has built the examples.
        let mut program: PathBuf = std::env::current_exe().unwrap();
        program.pop();
        program.pop();
        let mut child = Command::new(program.join("examples").join(name))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").expect("it says where it listens").to_owned();
        Serving { child, address }
    }

    /// Head and body of the answer.
    fn get(&self, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    /// Ends it as its user would.
    fn stop(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn axum_answers_and_shows_its_pool() {
    let serving = Serving::start("axum");
    let (head, body) = serving.get("/square/12");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(body, r#"{"square":144}"#);
    let (head, body) = serving.get("/metrics");
    assert!(head.contains("application/openmetrics-text"), "{head}");
    assert!(body.contains(r#"leakpool_leaks_total{db_client_connection_pool_name="axum"} 0"#), "{body}");
    serving.stop();
}

#[test]
fn prometheus_finds_several_pools_on_one_page() {
    let serving = Serving::start("prometheus");
    let (_, body) = serving.get("/metrics");
    for pool in ["orders", "reports"] {
        let line = format!(r#"leakpool_leaks_total{{db_client_connection_pool_name="{pool}"}} 0"#);
        assert!(body.contains(&line), "{body}");
    }
    assert!(body.ends_with("# EOF\n"), "{body}");
    serving.stop();
}
