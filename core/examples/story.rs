//! The incident, told with a real pool and a real server (`make demo`): a service leaks its connections one by one,
//! stands still, learns which line did it, and is taken back into service. Every step is checked: the program ends
//! with an error if the story does not come true.

use std::collections::HashMap;
use std::error::Error;
use std::time::{Duration, Instant};

use leakpool::{Connection, Diagnosis, ErrorCode, EventKind, Exhausted, Pool};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Requests that wait for a second step, each with the connection it works on. The bug lives here.
type Pending = HashMap<u32, Connection>;

/// Wrong: if the order does not exist, the connection stays in `pending` for ever.
async fn reserve_stock(pool: &Pool, pending: &mut Pending, request: u32) -> Outcome<()> {
    pending.insert(request, pool.acquire().await?);
    let rows = pending[&request].fetch("SELECT id FROM demo_orders WHERE id = $1", &[&-1_i32]).await?;
    if rows.is_empty() {
        return Err("order not found".into());
    }
    pending.remove(&request);
    Ok(())
}

/// Right: the connection is released on every path, because it is dropped.
async fn look_up(pool: &Pool, fail: bool) -> Outcome<i64> {
    let connection = pool.acquire().await?;
    let rows = connection.fetch("SELECT count(*) FROM demo_orders", &[]).await?;
    if fail {
        return Err("simulated error".into());
    }
    Ok(rows[0].get(0))
}

fn chapter(title: &str) {
    println!("\n\x1b[1m── {title} {}\x1b[0m", "─".repeat(74_usize.saturating_sub(title.len())));
}

fn check(holds: bool, claim: &str) -> Outcome<()> {
    if holds { Ok(()) } else { Err(format!("the story does not come true: {claim}").into()) }
}

fn show(pool: &Pool) {
    let s = pool.status();
    println!(
        "   pool: size {}, in use {}, idle {}, waiting {}, flagged as leaked {}",
        s.size, s.in_use, s.idle, s.waiting, s.leaked_now
    );
}

/// Connections of the pool that the server works for.
async fn queries_running(pool: &Pool) -> usize {
    pool.checkouts().iter().filter(|c| c.activity == leakpool::Activity::Executing).count()
}

async fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) -> Outcome<()> {
    let end = Instant::now() + limit;
    while !condition() {
        check(Instant::now() < end, what)?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let url = std::env::var("DATABASE_URL").map_err(|_| "DATABASE_URL is not set: run `make demo`")?;
    println!("\x1b[1mleakpool: the story of a service that froze at night\x1b[0m");
    println!("(a pool of 5; a leak is suspected after 2 s, and taken back after 6 s: short, for the demo)");

    let pool = Pool::builder()
        .dsn(&url)
        .name("orders")
        .max_size(5)
        .acquire_timeout(Duration::from_secs(3))
        .leak_threshold(Duration::from_secs(2))
        .force_release_after(Duration::from_secs(6))
        .build()?;
    let setup = "DROP TABLE IF EXISTS demo_orders; CREATE TABLE demo_orders (id int PRIMARY KEY)";
    pool.acquire().await?.batch_execute(setup).await?;
    let events = pool.events(&[EventKind::Leak, EventKind::LeaksDetected, EventKind::ForceRelease]);

    chapter("Monday: normal operations");
    for _ in 0..3 {
        look_up(&pool, false).await?;
    }
    show(&pool);
    check(pool.metrics().books.active() == 0, "everything was released")?;

    chapter("Errors, handled safely");
    for _ in 0..3 {
        let e = look_up(&pool, true).await.err().ok_or("the error came through")?;
        println!("   caught: {e}; the connection went back");
    }
    check(pool.metrics().books.active() == 0, "an error leaks nothing")?;

    chapter("Tuesday: the new feature leaks on its error path");
    let mut pending = Pending::new();
    for request in 1..=5 {
        let e = reserve_stock(&pool, &mut pending, request).await.err().ok_or("every order is missing")?;
        println!("   request {request}: {e} — and nobody noticed what else happened");
    }
    show(&pool);
    println!("   queries running: {}   <- wait, what?", queries_running(&pool).await);
    check(pool.status().in_use == 5 && queries_running(&pool).await == 0, "all 5 are taken and none works")?;

    chapter("Friday: the next request waits, and times out. But now it says why");
    let e = pool.acquire().await.err().ok_or("the pool is exhausted")?;
    println!("{}", indent(&e.to_string()));
    check(e.code() == ErrorCode::AcquireTimeout, "the error is a time-out")?;
    let exhausted = e.detail::<Exhausted>().ok_or("it carries a diagnosis")?;
    check(exhausted.diagnosis == Diagnosis::Leak, "the diagnosis is a leak")?;
    check(exhausted.holders.len() == 5, "it names all five holders")?;
    check(e.to_string().contains("story.rs"), "it names the line")?;

    chapter("The leak report");
    wait_until("all five are reported", Duration::from_secs(10), || pool.leaks().len() == 5).await?;
    let report = pool.report();
    println!("{}", indent(&report));
    check(report.contains("reserve_stock"), "the report names the function that leaks")?;

    chapter("The sweeper takes the connections back");
    wait_until("all five are taken back", Duration::from_secs(20), || {
        pool.metrics().books.force_released == 5
    })
    .await?;
    let mut told = HashMap::new();
    while let Some(event) = events.try_recv() {
        *told.entry(event.kind().name()).or_insert(0) += 1;
    }
    println!("   events: {told:?}");
    show(&pool);
    check(told.get("leak") == Some(&5) && told.get("force_release") == Some(&5), "each was told once")?;

    chapter("The leaking code wakes up: it gets an error, not another caller's session");
    let late = pending.remove(&1).ok_or("request 1 still holds its handle")?;
    let e = late.fetch("SELECT 1", &[]).await.err().ok_or("a revoked handle is fenced")?;
    println!("{}", indent(&e.to_string()));
    check(e.code() == ErrorCode::ForceReleased, "the error says what happened")?;
    drop(late);

    chapter("The service is healthy again");
    for _ in 0..10 {
        look_up(&pool, false).await?;
    }
    show(&pool);
    pending.clear();

    chapter("The books");
    let m = pool.metrics();
    println!(
        "   acquired {} = released {} + force-released {} + lost {} + active {}",
        m.books.acquired,
        m.books.released,
        m.books.force_released,
        m.books.lost,
        m.books.active()
    );
    println!(
        "   leaks {}, time-outs {}, late uses {}, late releases {}",
        m.leaks, m.timeouts, m.late_uses, m.late_releases
    );
    check(
        m.books.active() == 0 && m.leaks == 5 && m.late_uses == 1 && m.late_releases == 5,
        "the books balance",
    )?;

    pool.acquire().await?.batch_execute("DROP TABLE demo_orders").await?;
    let held = pool.close().await?;
    check(held.is_empty(), "nobody holds anything at the end")?;
    println!("\n\x1b[1mThe story came true.\x1b[0m");
    Ok(())
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("   {line}\n")).collect::<String>().trim_end().to_owned()
}
