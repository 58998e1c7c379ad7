//! Law 10: a mistake is an error value: a typed code, a sentence that helps, no password.

use std::time::Duration;

use leakpool::{ErrorCode, OptionValue, Pool, PoolBuilder, duration_from_millis, duration_from_secs};

use crate::support::*;

/// The error has this code and says these words, and shows no password.
#[track_caller]
fn refused<T>(result: leakpool::Result<T>, code: ErrorCode, words: &[&str]) {
    let e = result.err().unwrap_or_else(|| panic!("should have been {code}: {words:?}"));
    assert_eq!(e.code(), code, "{e}");
    for word in words {
        assert!(e.to_string().contains(word), "{word:?} is not in: {e}");
    }
    let url = url();
    let password = url.split_once('@').and_then(|(before, _)| before.rsplit_once(':')).unwrap().1;
    assert!(!format!("{e} {e:?}").contains(password), "it shows the password");
}

fn set(name: &str, value: OptionValue) -> leakpool::Result<Pool> {
    builder().set(name, value).build()
}

#[tokio::test]
async fn options() {
    use ErrorCode::InvalidOption as No;
    let text = |text: &str| OptionValue::Text(text.into());
    refused(set("max_sise", OptionValue::Integer(1)), No, &["max_sise", "max_size"]);
    refused(set("max_size", text("many")), No, &["max_size", "many"]);
    refused(set("leak_threshold", OptionValue::Seconds(-1.0)), No, &["leak_threshold", "-1"]);
    refused(set("leak_threshold", OptionValue::Seconds(f64::NAN)), No, &["leak_threshold", "NaN"]);
    refused(set("leak_threshold", OptionValue::Millis(f64::INFINITY)), No, &["leak_threshold", "inf"]);
    refused(set("leak_threshold", OptionValue::Seconds(1e300)), No, &["leak_threshold", "10 years"]);
    refused(set("acquire_timeout", text("soon")), No, &["acquire_timeout", "soon"]);
    refused(set("utilization_warning", OptionValue::Number(f64::NAN)), No, &["utilization_warning"]);
    refused(set("max_size", OptionValue::Integer(-1)), No, &["max_size", "-1"]);
    refused(duration_from_secs("idle_timeout", f64::NEG_INFINITY), No, &["idle_timeout"]);
    refused(duration_from_millis("idle_timeout", -0.5), No, &["idle_timeout", "-0.5"]);
    type Mistake = (fn(PoolBuilder) -> PoolBuilder, &'static [&'static str]);
    let build: [Mistake; 11] = [
        (|b| b.max_size(0), &["max_size (0)", "1 to 65535"]),
        (|b| b.max_size(65_536), &["max_size (65536)"]),
        (|b| b.max_size(usize::MAX), &["max_size"]),
        (|b| b.max_size(2).min_idle(3), &["min_idle (3)", "max_size (2)"]),
        (
            |b| b.force_release_after(Duration::from_secs(1)),
            &["force_release_after", "leak_threshold (30 s)"],
        ),
        (|b| b.max_held(Duration::from_secs(1)), &["max_held", "leak_threshold"]),
        (|b| b.leak_threshold(Duration::MAX), &["leak_threshold"]),
        (|b| b.reset_timeout(Duration::ZERO), &["reset_timeout"]),
        (|b| b.check_interval(Duration::ZERO), &["check_interval"]),
        (|b| b.utilization_warning(1.5), &["utilization_warning (1.5)"]),
        (|b| b.name("a\nb"), &["name", "control characters"]),
    ];
    for (wrong, words) in build {
        refused(wrong(builder()).build(), No, words);
    }
    refused(builder().stack_depth(0).build(), No, &["stack_depth (0)"]);
    // Sizes at their limit are no mistake.
    builder().max_size(65_535).build().unwrap().close().await.unwrap();
}

#[tokio::test]
async fn connection_strings() {
    use ErrorCode::InvalidDsn as No;
    let new = |dsn: &str| Pool::builder().dsn(dsn).build();
    refused(new("mysql://localhost/db"), No, &["postgres"]);
    refused(new("postgres://localhost:99999/db"), No, &["port"]);
    refused(new("postgres://localhost/db?sslmode=perhaps"), No, &["sslmode", "perhaps"]);
    refused(new("host=localhost sslmod=require"), No, &["sslmod", "sslmode"]);
    refused(new("postgres://localhost/%ff"), No, &["UTF-8"]);
    refused(new("host='localhost"), No, &["host"]);
}

#[tokio::test]
async fn servers_that_cannot_be_used() {
    let acquire = |dsn: String| async move {
        let pool = Pool::builder().dsn(&dsn).acquire_timeout(LIMIT).build()?;
        let result = pool.acquire().await.map(drop);
        assert_eq!(pool.metrics().create_errors, u64::from(result.is_err()));
        pool.close().await?;
        result
    };
    // A port that was ours a moment ago, and is nobody's now.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    refused(acquire(url_at(&nobody)).await, ErrorCode::Unreachable, &[&nobody]);
    let name = "no-such-host.invalid:5432";
    refused(acquire(url_at(name)).await, ErrorCode::Unreachable, &["no-such-host.invalid"]);
    let (server, _) = url().rsplit_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    refused(acquire(format!("{server}/never_made")).await, ErrorCode::DatabaseMissing, &["never_made"]);
    let (before, rest) = url().split_once('@').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let (user, _) = before.rsplit_once(':').unwrap();
    let wrong = format!("{user}:not-it@{rest}");
    refused(acquire(wrong).await, ErrorCode::AuthenticationFailed, &["password authentication failed"]);
    let Ok(certificates) = std::env::var("LEAKPOOL_TEST_CERTS") else {
        eprintln!("skipped: the wrong certificate; LEAKPOOL_TEST_CERTS is not set");
        return;
    };
    let other = format!("{}?sslmode=verify-full&sslrootcert={certificates}/other-ca.crt", url());
    refused(acquire(other).await, ErrorCode::TlsFailed, &["sslrootcert"]);
    let missing = format!("{}?sslmode=verify-full&sslrootcert=/no/such/file", url());
    refused(acquire(missing).await, ErrorCode::InvalidOption, &["/no/such/file"]);
    let right = format!("{}?sslmode=verify-full&sslrootcert={certificates}/ca.crt", url());
    acquire(right).await.unwrap();
}

#[tokio::test]
async fn statements_and_values() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    refused(held.fetch("SELECT", &[&1_i32]).await, ErrorCode::InvalidArgument, &["parameters"]);
    refused(held.fetch("SELECT $1::int4", &[&"text"]).await, ErrorCode::InvalidArgument, &["parameter 0"]);
    refused(held.fetch("SELEKT 1", &[]).await, ErrorCode::Database, &["SELEKT", "42601"]);
    refused(held.fetch("SELECT 1/0", &[]).await, ErrorCode::Database, &["division by zero"]);
    let nul = held.fetch("SELECT 'a\0b'", &[]).await;
    assert!(nul.is_err(), "a NUL byte in SQL");
    held.batch_execute("SELECT 1").await.expect("and the session goes on");
    // Text that is not UTF-8: the value cannot be read, the session can.
    held.batch_execute("SET client_encoding = 'LATIN1'").await.unwrap();
    let rows = held.fetch("SELECT chr(228)", &[]).await.unwrap();
    let e = rows[0].try_get::<_, String>(0).unwrap_err();
    refused(Err::<(), _>(held.error(e)), ErrorCode::Protocol, &["column 0"]);
    held.batch_execute("RESET client_encoding; SELECT 1").await.unwrap();
    drop(held);
    pool.close().await.unwrap();
}

#[tokio::test]
async fn a_server_that_goes_away_in_mid_query() {
    let watcher = observer().await;
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    let pid = held.backend_pid().unwrap() as i32;
    let holder = tokio::spawn(async move { held.fetch("SELECT pg_sleep(600)", &[]).await });
    eventually("it runs", || pool.checkouts()[0].activity == leakpool::Activity::Executing).await;
    watcher.execute("SELECT pg_terminate_backend($1)", &[&pid]).await.unwrap();
    refused(holder.await.unwrap(), ErrorCode::ConnectionLost, &["terminat"]);
    at_full_capacity(&pool).await;
    pool.close().await.unwrap();
}

#[tokio::test]
async fn calls_at_the_wrong_time() {
    let pool = builder().max_size(1).name("only-once").build().unwrap();
    refused(builder().name("only-once").build(), ErrorCode::InvalidOption, &["only-once", "another pool"]);
    refused(pool.try_acquire(), ErrorCode::NoneIdle, &["only-once"]);
    let held = pool.acquire().await.unwrap();
    let (id, cancel) = (held.id(), held.cancel_handle());
    // Releasing twice is no Rust program; what is left of a release speaks of it.
    held.release();
    refused(cancel.cancel(), ErrorCode::AlreadyReleased, &["released before"]);
    refused(pool.force_release(id), ErrorCode::UnknownCheckout, &["only-once", &id.to_string()]);
    refused(pool.prove_leaked(id), ErrorCode::UnknownCheckout, &[]);
    refused(pool.owner_ended(id), ErrorCode::UnknownCheckout, &[]);
    let forged = leakpool::CheckoutId::from_u64(u64::MAX);
    refused(pool.force_release(forged), ErrorCode::UnknownCheckout, &["not live"]);
    refused("3".parse::<leakpool::CheckoutId>(), ErrorCode::InvalidArgument, &["slot.generation"]);
    let mut policy = (*pool.policy()).clone();
    policy.force_release_after = Duration::from_secs(1);
    refused(pool.reconfigure(policy), ErrorCode::InvalidOption, &["force_release_after"]);
    assert_eq!(pool.policy().force_release_after, Duration::from_secs(300), "the old policy stays");
    refused(pool.resize(0), ErrorCode::InvalidOption, &["max_size (0)"]);
    drop(cancel);
    pool.close().await.unwrap();
    refused(pool.close().await, ErrorCode::PoolClosed, &["only-once"]);
    refused(pool.acquire().await, ErrorCode::PoolClosed, &["only-once"]);
    refused(pool.try_acquire(), ErrorCode::PoolClosed, &[]);
    refused(pool.query("SELECT 1", &[]).await, ErrorCode::PoolClosed, &[]);
    refused(pool.begin().await, ErrorCode::PoolClosed, &[]);
    refused(pool.resize(2), ErrorCode::PoolClosed, &[]);
    drop(pool);
    // The name is free again.
    builder().name("only-once").build().unwrap().close().await.unwrap();
}

#[test]
fn a_pool_without_a_runtime() {
    refused(builder().build(), ErrorCode::NoRuntime, &["runtime()"]);
}

#[test]
fn a_runtime_that_is_gone() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let pool = builder().runtime(runtime.handle().clone()).max_size(1).build().unwrap();
    drop(runtime);
    let other = tokio::runtime::Runtime::new().unwrap();
    let result =
        other.block_on(async { tokio::time::timeout(LIMIT, pool.acquire()).await.expect("it hangs") });
    refused(result, ErrorCode::NoRuntime, &["shut down"]);
}
