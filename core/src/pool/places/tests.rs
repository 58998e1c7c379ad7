use std::pin::pin;
use std::task::Waker;
use std::thread;

use super::*;

fn places(max_size: usize) -> (Places<u32>, Arc<AtomicUsize>) {
    let waiting = Arc::<AtomicUsize>::default();
    (Places::new(max_size, waiting.clone()), waiting)
}

/// Without a limit.
fn wait(places: &Places<u32>) -> Waiting<'_, u32> {
    places.wait(0).unwrap_or_else(|TooMany| unreachable!())
}

fn poll_once(waiting: &mut Waiting<'_, u32>) -> Poll<Result<(), Closed>> {
    Pin::new(waiting).poll(&mut Context::from_waker(Waker::noop()))
}

/// Takes a place and makes a connection for it.
#[track_caller]
fn make(places: &Places<u32>) {
    assert!(matches!(places.take(), Take::Place));
    places.opened();
}

#[test]
fn what_came_back_last_is_taken_first_and_the_longest_idle_is_removed_first() {
    let (places, _) = places(3);
    (0..3).for_each(|_| make(&places));
    assert!(matches!(places.take(), Take::Nothing));
    (1..=3).for_each(|n| assert_eq!(places.put(n), None));
    assert!(matches!(places.take(), Take::Connection(3)));
    let mut asked = Vec::new();
    let removed = places.remove_idle(|n| {
        asked.push(*n);
        *n == 1
    });
    assert_eq!((removed, asked), (vec![1], vec![1, 2]));
    assert_eq!(places.counts(), Counts { max_size: 3, open: 2, idle: 1 });
}

#[test]
fn who_waits_is_served_in_turn_and_one_that_goes_away_loses_no_place() {
    let (places, waiting) = places(1);
    make(&places);
    let (mut first, mut second, mut third) = (wait(&places), wait(&places), wait(&places));
    assert_eq!(waiting.load(Ordering::SeqCst), 3);
    assert_eq!(places.put(7), None);
    assert_eq!(waiting.load(Ordering::SeqCst), 2, "the first one has it, though it was not polled yet");
    assert!(matches!(places.take(), Take::Nothing), "nobody overtakes");
    assert_eq!(poll_once(&mut second), Poll::Pending);
    assert_eq!(poll_once(&mut first), Poll::Ready(Ok(())));
    assert_eq!(places.pop(), Some(7));
    drop(first);
    places.free(true);
    // The second one was given it, and goes: it is the third's.
    drop(second);
    assert_eq!(poll_once(&mut third), Poll::Ready(Ok(())));
    assert_eq!(waiting.load(Ordering::SeqCst), 0);
    drop(third);
    places.free(false);
    assert!(matches!(places.take(), Take::Place));
}

#[test]
fn one_that_gives_up_before_its_turn_is_not_in_the_way() {
    let (places, waiting) = places(1);
    make(&places);
    let (first, mut second) = (wait(&places), wait(&places));
    drop(first);
    assert_eq!(waiting.load(Ordering::SeqCst), 1);
    assert_eq!(places.put(1), None);
    assert_eq!(poll_once(&mut second), Poll::Ready(Ok(())));
}

#[test]
fn a_pool_made_smaller_swallows_what_comes_back_and_made_larger_serves_at_once() {
    let (places, _) = places(4);
    (0..4).for_each(|_| make(&places));
    assert_eq!(places.put(1), None);
    assert_eq!(places.resize(2), [1]);
    assert_eq!(places.counts(), Counts { max_size: 2, open: 3, idle: 0 });
    assert_eq!(places.put(2), Some(2), "one too many");
    assert_eq!(places.put(3), None);
    assert!(matches!(places.take(), Take::Connection(3)));
    let mut waiting = wait(&places);
    assert_eq!(poll_once(&mut waiting), Poll::Pending);
    assert!(places.resize(3).is_empty());
    assert_eq!(poll_once(&mut waiting), Poll::Ready(Ok(())));
    assert_eq!(places.counts(), Counts { max_size: 3, open: 2, idle: 0 });
}

/// One that was given a place and was not polled yet leaves its connection among the idle ones: what comes back then is
/// none too many.
#[test]
fn a_place_on_its_way_to_one_who_waits_makes_no_connection_surplus() {
    let (places, _) = places(2);
    (0..2).for_each(|_| make(&places));
    let mut waiting = wait(&places);
    assert_eq!(places.put(1), None);
    assert_eq!(places.put(2), None);
    assert_eq!(poll_once(&mut waiting), Poll::Ready(Ok(())));
    assert_eq!(places.pop(), Some(2));
    assert_eq!(places.counts(), Counts { max_size: 2, open: 2, idle: 1 });
}

#[test]
fn one_more_is_made_only_where_there_is_room_for_it_beside_the_idle_ones() {
    let (places, _) = places(2);
    assert!(places.take_for_one_more());
    places.opened();
    assert_eq!(places.put(1), None);
    assert!(places.take_for_one_more());
    assert!(!places.take_for_one_more());
    places.free(false);
    assert!(matches!(places.take(), Take::Connection(1)));
}

#[test]
fn a_close_sends_everybody_away() {
    let (places, count) = places(1);
    make(&places);
    let mut waiting = wait(&places);
    places.close();
    assert_eq!(poll_once(&mut waiting), Poll::Ready(Err(Closed)));
    assert_eq!(poll_once(&mut wait(&places)), Poll::Ready(Err(Closed)));
    assert_eq!(count.load(Ordering::SeqCst), 0);
    assert_eq!(places.put(1), None);
    assert!(matches!(places.take(), Take::Nothing));
    assert!(!places.take_for_one_more());
}

/// Threads that take, wait, give up and give back as they like: no place is lost, none is given twice.
#[test]
fn the_books_are_exact_after_any_scramble() {
    let (places, waiting) = places(3);
    let held = AtomicUsize::new(0);
    let enter = || assert!(held.fetch_add(1, Ordering::SeqCst) < 3, "more have a place than there are");
    thread::scope(|scope| {
        for thread in 0..4_u32 {
            let (places, held) = (&places, &held);
            scope.spawn(move || {
                for round in 0..3_000_u32 {
                    let connection = match places.take() {
                        Take::Connection(connection) => Some(connection),
                        Take::Place => None,
                        Take::Nothing => {
                            let mut wait = pin!(wait(places));
                            let mut patience = (round.wrapping_mul(7) + thread) % 50;
                            let served = loop {
                                if let Poll::Ready(served) =
                                    wait.as_mut().poll(&mut Context::from_waker(Waker::noop()))
                                {
                                    break served.is_ok();
                                }
                                if patience == 0 {
                                    break false;
                                }
                                patience -= 1;
                                thread::yield_now();
                            };
                            if !served {
                                continue;
                            }
                            places.pop()
                        }
                    };
                    enter();
                    let connection = connection.unwrap_or_else(|| {
                        places.opened();
                        round
                    });
                    held.fetch_sub(1, Ordering::SeqCst);
                    if round % 11 == 0 {
                        places.free(true);
                    } else {
                        assert_eq!(places.put(connection), None);
                    }
                }
            });
        }
    });
    let counts = places.counts();
    assert_eq!((counts.open, waiting.load(Ordering::SeqCst)), (counts.idle, 0));
    for _ in 0..3 {
        assert!(!matches!(places.take(), Take::Nothing));
    }
    assert!(matches!(places.take(), Take::Nothing));
}

#[test]
fn no_more_wait_than_may_and_who_has_a_place_waits_no_more() {
    let (places, _) = places(1);
    make(&places);
    let first = places.wait(1).ok().unwrap();
    assert!(places.wait(1).is_err());
    assert!(places.wait(2).is_ok(), "and it has gone again");
    assert_eq!(places.put(1), None);
    let second = places.wait(1);
    assert!(second.is_ok(), "the first one has its place");
    assert!(places.wait(1).is_err());
    drop((first, second));
    assert!(matches!(places.take(), Take::Connection(1)));
}

/// One that was given a place just before the pool was made smaller has nothing to connect for.
#[test]
fn a_place_that_was_given_before_a_resize_is_one_too_many() {
    let (places, _) = places(2);
    (0..2).for_each(|_| make(&places));
    let mut waiting = wait(&places);
    assert_eq!(places.put(1), None);
    assert_eq!(places.resize(1), [1]);
    assert_eq!(poll_once(&mut waiting), Poll::Ready(Ok(())));
    assert!(places.pop().is_none() && places.is_overfull());
    places.free(false);
    assert!(!places.is_overfull());
    assert_eq!(places.counts(), Counts { max_size: 1, open: 1, idle: 0 });
}
