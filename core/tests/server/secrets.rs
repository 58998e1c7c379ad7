//! Law 9: no password in anything that can be shown.

use std::error::Error as _;
use std::fmt::{Debug, Write};
use std::time::Duration;

use leakpool::{ConnectConfig, EventKind, Events, OptionValue, Pool};

use crate::support::*;

const SECRET: &str = "s3cret-Pa55word";

/// Everything that was shown.
#[derive(Default)]
struct Shown(String);

impl Shown {
    fn text(&mut self, text: &str) {
        writeln!(self.0, "{text}").unwrap();
    }

    fn debug(&mut self, value: &(impl Debug + ?Sized)) {
        writeln!(self.0, "{value:?}\n{value:#?}").unwrap();
    }

    fn error(&mut self, e: &leakpool::Error) {
        self.debug(e);
        self.text(&e.to_string());
        let mut next = e.source();
        while let Some(e) = next {
            writeln!(self.0, "{e} {e:?}").unwrap();
            next = e.source();
        }
    }

    fn events(&mut self, events: &Events) {
        while let Some(event) = events.try_recv() {
            self.debug(&event);
        }
    }

    fn pool(&mut self, pool: &Pool) {
        self.debug(pool);
        self.debug(&pool.options());
        self.debug(&pool.policy());
        self.debug(&pool.status());
        self.text(&pool.status().to_string());
        self.debug(&pool.metrics());
        self.debug(&pool.checkouts());
        self.text(&pool.report());
        self.text(&pool.openmetrics());
        for checkout in pool.checkouts() {
            self.text(&leakpool::leak_text(&checkout));
        }
    }

    #[track_caller]
    fn hides(&self, secret: &str) {
        let at = self.0.find(secret);
        assert!(at.is_none(), "{}", &self.0[at.unwrap_or(0).saturating_sub(200)..]);
        assert!(self.0.len() > 100, "nothing was shown");
    }
}

/// The server's URL with this password and more.
fn with_password(password: &str, more: &str) -> String {
    let url = url();
    let (before, rest) = url.split_once('@').unwrap();
    let (user, _) = before.rsplit_once(':').unwrap();
    format!("{user}:{password}@{rest}{more}")
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_shown() {
    let mut shown = Shown::default();
    let dsn = with_password(SECRET, "");
    shown.debug(&Pool::builder().dsn(&dsn));
    shown.debug(&Pool::builder().connect_config(ConnectConfig::parse(&dsn).unwrap()));
    shown.debug(&ConnectConfig::parse(&dsn).unwrap());
    let pool = Pool::builder().dsn(&dsn).max_size(1).min_idle(1).build().unwrap();
    let events = pool.events(EventKind::ALL);
    for _ in 0..2 {
        shown.error(&pool.acquire().await.unwrap_err());
    }
    shown.error(&pool.query("SELECT 1", &[]).await.unwrap_err());
    shown.debug(&expect_event(&events, EventKind::Error).await);
    shown.pool(&pool);
    pool.close().await.unwrap();
    shown.events(&events);
    shown.error(&pool.acquire().await.unwrap_err());
    shown.hides(SECRET);
}

#[tokio::test]
async fn what_does_not_parse_is_not_repeated() {
    let mut shown = Shown::default();
    for dsn in [
        format!("postgres://u:{SECRET}@localhost:port/db"),
        format!("postgres://u:{SECRET}@localhost/db?sslmode=sometimes"),
        format!("postgres://u:{SECRET}%zz@localhost/db"),
        format!("postgres:/u:{SECRET}@localhost/db"),
        format!("host=localhost password='{SECRET}"),
        format!("host=localhost password={SECRET} surprise=1"),
        format!("host=localhost passwort={SECRET}"),
        SECRET.to_string(),
    ] {
        let builder = Pool::builder().dsn(&dsn);
        shown.debug(&builder);
        let e = builder.build().unwrap_err();
        assert_eq!(e.code(), leakpool::ErrorCode::InvalidDsn, "{e}");
        shown.error(&e);
    }
    shown.hides(SECRET);
    // An option that was given the DSN by mistake is another matter: its value is named. It is no password.
    let e =
        Pool::builder().dsn(&url()).set("max_size", OptionValue::Text("many".into())).build().unwrap_err();
    assert!(e.to_string().contains("many"), "{e}");
}

#[tokio::test]
async fn a_pool_that_works_shows_neither_its_password_nor_those_in_statements() {
    let (_, rest) = url().split_once("://").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let password = rest.split_once('@').unwrap().0.split_once(':').unwrap().1.to_owned();
    let watcher = observer().await;
    watcher
        .batch_execute("DROP ROLE IF EXISTS leakpool_secretive; CREATE ROLE leakpool_secretive")
        .await
        .unwrap();
    let mut shown = Shown::default();
    let (pool, clock) = on_manual_clock(|b| b.max_size(1).acquire_timeout(Duration::from_secs(1)));
    let events = pool.events(EventKind::ALL);
    let held = pool.acquire().await.unwrap();
    held.batch_execute(&format!("ALTER ROLE leakpool_secretive PASSWORD '{SECRET}'")).await.unwrap();
    shown.debug(&held);
    shown.debug(&held.cancel_handle());
    shown.pool(&pool);
    let waiter = tokio::spawn(pool.acquire());
    eventually("somebody waits", || pool.status().waiting == 1).await;
    clock.advance(Duration::from_secs(400));
    // It runs into its time-out, or gets the place that the force release frees.
    if let Ok(Err(e)) = waiter.await {
        shown.error(&e);
    }
    eventually("it is taken back", || held.revocation().is_some()).await;
    shown.error(&held.fetch("SELECT 1", &[]).await.unwrap_err());
    shown.debug(&held.revocation());
    drop(held);
    shown.pool(&pool);
    pool.close().await.unwrap();
    shown.events(&events);
    shown.hides(SECRET);
    shown.hides(&password);
    watcher.batch_execute("DROP ROLE leakpool_secretive").await.unwrap();
}
