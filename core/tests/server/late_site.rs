//! What hosts need that look at their stacks late: a checkout whose line is told after its acquire, the session behind
//! it, a handle that a finalizer found unreachable, and a password that a function gives.

use std::time::Duration;

use leakpool::{
    AcquireOptions, ChangingPassword, ConnectConfig, ErrorCode, EventData, EventKind, HostFrame, Pool,
    Secret, SiteId,
};

use crate::support::*;

const FRAME: HostFrame<'static> = HostFrame::new("/srv/app/orders.js", 42, "process");

#[tokio::test]
async fn a_line_that_is_told_later_counts_from_then_on() {
    let (pool, clock) = on_manual_clock(|builder| builder.max_size(2));
    let events = pool.events(&[EventKind::Leak]);
    let held = pool.acquire_site(SiteId::LATER, AcquireOptions::new()).await.unwrap();
    assert!(pool.site_of(held.id()).unwrap().is_told_later());
    clock.advance(Duration::from_secs(60));
    let event = expect_event(&events, EventKind::Leak).await;
    assert!(event.text().contains("a line that follows"), "{}", event.text());
    let EventData::Leak { checkout, .. } = event.data else { panic!() };
    assert!(checkout.site.is_told_later());

    let site = pool.locate(held.id(), &[FRAME]).unwrap();
    assert_eq!(site.place(), "/srv/app/orders.js:42");
    assert_eq!((site.acquired(), site.leaked()), (1, 1), "what was said before counts here too");
    let again = pool.locate(held.id(), &[HostFrame::new("/srv/app/other.js", 1, "f")]).unwrap();
    assert_eq!((again.place(), again.acquired()), (site.place(), 1), "the first one is right");
    assert!(pool.report().contains("LEAK: process (/srv/app/orders.js:42)"), "{}", pool.report());
    assert_eq!(pool.site_of(held.id()).unwrap().place(), site.place());

    let (id, session) = (held.id(), held.session());
    held.release();
    assert_eq!(pool.site_of(id).unwrap().place(), site.place(), "until the connection is checked out anew");
    let next = pool.try_acquire_site(SiteId::LATER, AcquireOptions::new()).unwrap();
    assert!(session.is_of(&next) && !session.has_ended());
    assert!(pool.site_of(id).is_none());
    assert_eq!(pool.locate(id, &[FRAME]).unwrap_err().code(), ErrorCode::UnknownCheckout);
    let other = pool.acquire().await.unwrap();
    assert!(!session.is_of(&other));
    next.release_broken();
    assert!(session.has_ended());
    drop(other);
    pool.close().await.unwrap();
}

#[tokio::test]
async fn an_abandoned_handle_is_a_proven_leak_and_nobody_releases_it_late() {
    let pool = builder().max_size(2).build().unwrap();
    let events = pool.events(&[EventKind::Leak, EventKind::ForceRelease, EventKind::LateRelease]);
    let (held, taken) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    pool.force_release(taken.id()).unwrap();
    expect_event(&events, EventKind::ForceRelease).await;
    taken.abandon();
    held.abandon();
    let leak = expect_event(&events, EventKind::Leak).await;
    assert_eq!(leak.data.reason(), Some("proven"));
    assert_eq!(expect_event(&events, EventKind::ForceRelease).await.data.reason(), Some("proven"));
    at_full_capacity(&pool).await;
    assert_eq!((pool.metrics().late_releases, books_balance(&pool).force_released), (0, 2));
    pool.close().await.unwrap();
    assert!(events.recv().await.is_none(), "nothing else was told");
}

#[tokio::test]
async fn each_new_connection_takes_the_password_that_was_set_last() {
    let mut target: ConnectConfig = url().parse().unwrap();
    let (right, password) = (target.password.clone().unwrap(), ChangingPassword::default());
    target.password = Some(Secret::new("wrong"));
    target.changing_password = Some(password.clone());
    assert!(!format!("{target:?}").contains("wrong"));
    let pool = Pool::builder().connect_config(target).max_size(2).build().unwrap();
    assert_eq!(pool.acquire().await.unwrap_err().code(), ErrorCode::AuthenticationFailed);
    password.set(right);
    let held = pool.acquire().await.unwrap();
    password.set(Secret::new("out of date"));
    assert_eq!(pool.acquire().await.unwrap_err().code(), ErrorCode::AuthenticationFailed);
    drop(held);
    pool.close().await.unwrap();
}
