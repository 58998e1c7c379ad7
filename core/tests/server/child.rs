//! What needs a process of its own: this test binary runs itself again, with a role.

use std::io::{BufRead, BufReader};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use leakpool::{ErrorCode, EventKind, Pool};

use crate::support::*;
use crate::{flood, independence, log_lines};

const ROLE: &str = "LEAKPOOL_TEST_ROLE";

#[test]
fn a_process_of_its_own() {
    match std::env::var(ROLE).as_deref() {
        Ok("threads") => independence::threads_role(),
        Ok("fork") => fork_role(),
        Ok("stopped") => stopped_role(),
        Ok("flood") => flood::role(),
        Ok("log") => log_lines::role(),
        Ok(other) => panic!("there is no role {other:?}"),
        // Nobody's child.
        Err(_) => {}
    }
}

fn command(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child::a_process_of_its_own", "--exact", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role);
    command
}

/// Runs this binary again in a role, and fails as it fails.
#[track_caller]
pub fn run(role: &str) {
    let output = command(role).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}: {}\n{}", output.status, text(&output.stdout), text(&output.stderr));
}

/// What the future gives at its first poll, if it does.
fn first_poll<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

// ---- fork --------------------------------------------------------------------------------------------------

#[test]
fn a_forked_child_gets_an_error_and_the_parent_keeps_its_sessions() {
    run("fork");
}

fn fork_role() {
    let runtime = runtime();
    let pool = runtime.block_on(async { builder().max_size(3).build().unwrap() });
    let (held, returned) =
        runtime.block_on(async { (pool.acquire().await.unwrap(), pool.acquire().await.unwrap()) });
    let pids = [held.backend_pid().unwrap(), returned.backend_pid().unwrap()];
    drop(returned);
    runtime.block_on(eventually("one is idle", || pool.status().idle == 1));
    // All is quiet, so that no lock is held which the child would find locked for ever.
    // SAFETY: the child calls what this test is about (which must touch nothing but atomics there) and `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let mut wrong = 0;
        let mut check = |i: i32, right: bool| wrong |= i32::from(!right) << i;
        let forked = |code: ErrorCode| code == ErrorCode::Forked;
        check(0, pool.try_acquire().is_err_and(|e| forked(e.code())));
        let mut acquire = Box::pin(pool.acquire());
        check(1, first_poll(acquire.as_mut()).is_some_and(|r| r.is_err_and(|e| forked(e.code()))));
        check(2, pool.force_release(held.id()).is_err_and(|e| forked(e.code())));
        check(3, held.cancel().is_err_and(|e| forked(e.code())));
        check(4, pool.resize(1).is_err_and(|e| forked(e.code())));
        let mut close = Box::pin(pool.close());
        check(5, first_poll(close.as_mut()).is_some_and(|r| r.is_err_and(|e| forked(e.code()))));
        drop(close);
        check(6, pool.checkouts().is_empty() && pool.sites().is_empty() && pool.status().closed);
        check(7, pool.metrics().oldest_checkout.is_none());
        // The session is the parent's: neither of these ends it.
        drop(held);
        drop(acquire);
        drop(pool);
        // SAFETY: ends the child at once, without handlers or destructors that belong to the parent.
        unsafe { libc::_exit(wrong) };
    }
    assert!(child > 0);
    let mut status = 0;
    // SAFETY: waits for the child above; the status is ours.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert!(libc::WIFEXITED(status), "the child was killed: {status}");
    assert_eq!(libc::WEXITSTATUS(status), 0, "bits of what was not refused as it should be");
    runtime.block_on(async {
        held.batch_execute("SELECT 1").await.unwrap();
        assert_eq!(held.backend_pid(), Some(pids[0]));
        let idle = pool.acquire().await.unwrap();
        assert_eq!(idle.backend_pid(), Some(pids[1]), "the idle session did not survive the child");
        idle.batch_execute("SELECT 1").await.unwrap();
        drop((held, idle));
        books_balance(&pool);
        pool.close().await.unwrap();
    });
}

// ---- a process that was stopped ------------------------------------------------------------------------------

/// The role's threshold. The stop is longer by far; what the process runs before and after it is not.
const THRESHOLD: Duration = Duration::from_secs(5);

/// Takes a connection, says so, waits for a word, and tells whether anybody was judged by then.
fn stopped_role() {
    runtime().block_on(async {
        let pool: Pool = builder().max_size(1).leak_threshold(THRESHOLD).build().unwrap();
        let held = pool.acquire().await.unwrap();
        println!("held");
        let mut word = String::new();
        std::io::stdin().read_line(&mut word).unwrap();
        // The sweeper has had its turn since: a round is over as soon as it has judged another pool's leak.
        let (other, clock) = on_manual_clock(|b| b.max_size(1));
        let events = other.events(&[EventKind::Leak]);
        let theirs = other.acquire().await.unwrap();
        for _ in 0..3 {
            clock.advance(Duration::from_secs(31));
        }
        expect_event(&events, EventKind::Leak).await;
        println!("leaks {}", pool.metrics().leaks);
        drop((held, theirs));
    });
}

struct Running(Child);

impl Running {
    fn signal(&self, signal: i32) {
        // SAFETY: kill has no memory effects; the child is ours and not yet waited for.
        assert_eq!(unsafe { libc::kill(self.0.id() as i32, signal) }, 0);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn nobody_is_judged_for_time_in_which_the_process_was_stopped() {
    let mut command = command("stopped");
    let child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let mut child = Running(child);
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let mut line = |start: &str| loop {
        let line = lines.next().expect("the child has ended").unwrap();
        if let Some(at) = line.find(start) {
            return line[at..].to_owned();
        }
    };
    line("held");
    child.signal(libc::SIGSTOP);
    // What is waited for is that time passes: there is no other condition to poll.
    let until = Instant::now() + THRESHOLD + Duration::from_secs(1);
    while Instant::now() < until {
        std::thread::park_timeout(until - Instant::now());
    }
    child.signal(libc::SIGCONT);
    drop(child.0.stdin.take());
    assert_eq!(line("leaks "), "leaks 0");
}
