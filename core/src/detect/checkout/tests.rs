//! Ids, the state word, and that a checkout ends once and is read whole.

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;

use super::*;
use crate::detect::facts::{Activity, TransactionStatus};
use crate::error::ErrorCode;

fn check_out(slot: &Slot, now: Nanos) -> CheckoutId {
    slot.check_out(now, SiteId::from_index(0), now, CheckoutLabels::default())
}

#[test]
fn an_id_survives_text_and_number_and_a_forged_one_is_refused() {
    for (slot, generation) in [(0, 1), (3, 17), ((1 << 24) - 1, (1 << 40) - 1)] {
        let id = CheckoutId::new(slot, generation);
        assert_eq!((id.slot(), id.generation()), (slot as usize, generation));
        assert_eq!(id.to_string().parse::<CheckoutId>().unwrap(), id);
        assert_eq!(CheckoutId::from_u64(id.to_u64()), id);
    }
    for text in ["", "3", ".", "3.", ".1", "-1.1", "16777216.1", "0.1099511627776", "1.2.3", "a.b"] {
        assert_eq!(text.parse::<CheckoutId>().unwrap_err().code(), ErrorCode::InvalidArgument, "{text}");
    }
}

#[test]
fn the_state_word_keeps_every_part() {
    for state in [State::Free, State::Held, State::Returning, State::Ended] {
        for generation in [0, 1, (1 << 40) - 1] {
            for flags in [Flags::default(), Flags::LEAK.with(Flags::OWNER_ENDED), Flags::EXTRAS] {
                let word = Word { generation, flags, state };
                assert_eq!(Word::unpack(word.pack()), word);
            }
        }
    }
}

#[test]
fn the_traffic_word_keeps_every_part_and_tells_the_activity() {
    use TransactionStatus::{Failed, Idle, InTransaction};
    for transaction in [Idle, InTransaction, Failed] {
        for outstanding in [0, 1, u32::MAX] {
            for bits in 0..128 {
                let traffic = Traffic {
                    transaction,
                    outstanding,
                    awaits_client: bits & 1 != 0,
                    sending: bits & 16 != 0,
                    unread: bits & 2 != 0,
                    unknown: bits & 64 != 0,
                    listening: bits & 4 != 0,
                    may_listen: bits & 32 != 0,
                    answered: bits & 8 != 0,
                };
                assert_eq!(Traffic::unpack(traffic.pack()), traffic);
                let idle = match transaction {
                    Idle => Activity::Idle,
                    InTransaction => Activity::IdleInTransaction,
                    Failed => Activity::IdleInFailedTransaction,
                };
                let activity = match (traffic.awaits_client, traffic.sending, outstanding, traffic.unread) {
                    (_, _, 1.., true) | (true, false, ..) => Activity::Stalled,
                    (_, true, ..) | (false, _, 1.., false) => Activity::Executing,
                    (false, false, 0, _) => idle,
                };
                let activity = if traffic.unknown { Activity::Unknown } else { activity };
                assert_eq!(traffic.activity(), activity);
            }
        }
    }
}

#[test]
fn one_of_many_ends_it_and_one_of_many_says_it() {
    let slot = Slot::new(0);
    for round in 1..500 {
        let id = check_out(&slot, round);
        let (ended, said) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for to in [State::Free, State::Ended, State::Returning] {
                let (slot, ended, said) = (&slot, &ended, &said);
                scope.spawn(move || {
                    if slot.flag(id.generation(), Flags::LEAK) {
                        said.fetch_add(1, Ordering::SeqCst);
                    }
                    if slot.end_holding(id.generation(), to, round).is_ok() {
                        ended.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!((ended.into_inner(), said.into_inner()), (1, 1));
        assert!(!slot.flag(id.generation(), Flags::PROVEN), "it has ended");
        assert!(slot.facts().is_none());
        slot.recycle();
    }
}

#[test]
fn an_ended_generation_can_be_neither_ended_nor_flagged_by_its_old_id() {
    let slot = Slot::new(0);
    let old = check_out(&slot, 1);
    slot.end_holding(old.generation(), State::Free, 2).unwrap();
    assert_eq!(slot.next_id().generation(), old.generation() + 1);
    let new = check_out(&slot, 3);
    assert_eq!(slot.end_holding(old.generation(), State::Ended, 4).unwrap_err().generation, new.generation());
    assert!(!slot.flag(old.generation(), Flags::LEAK));
    assert_eq!(slot.end_returning(new.generation(), State::Free).unwrap_err().state, State::Held);
    assert_eq!(slot.word().state, State::Held);
}

/// A reader between a release and the next acquire must not mix two checkouts.
#[test]
fn facts_are_all_of_one_checkout() {
    let slot = Slot::new(0);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..300_000 {
                let id = check_out(&slot, (slot.word().generation + 1) * 10);
                let _ = slot.end_holding(id.generation(), State::Free, 0);
            }
            stop.store(true, Ordering::SeqCst);
        });
        while !stop.load(Ordering::SeqCst) {
            if let Some((word, facts)) = slot.facts() {
                assert_eq!(facts.acquired_at, word.generation * 10);
                assert_eq!(facts.expected, word.generation * 10);
            }
        }
    });
}

#[test]
fn a_statement_belongs_to_the_checkout_that_sent_it() {
    let slot = Slot::new(0);
    // A clock may show the same time twice.
    let first = check_out(&slot, 7);
    slot.stamps.set_sql(Some("of the first".into()), 7);
    assert_eq!(slot.stamps.sql_of(first.generation()), Some(("of the first".into(), 7)));
    slot.end_holding(first.generation(), State::Free, 7).unwrap();
    let second = check_out(&slot, 7);
    assert_eq!(slot.stamps.sql_of(second.generation()), None, "it is somebody else's");
    slot.stamps.set_sql(Some("of the second".into()), 7);
    assert_eq!(slot.stamps.sql_of(first.generation()), None);
    assert_eq!(slot.stamps.sql_of(second.generation()), Some(("of the second".into(), 7)));
    slot.stamps.set_sql(None, 8);
    assert_eq!(slot.stamps.sql_of(second.generation()), None);
}

#[test]
fn a_text_is_never_seen_with_the_time_of_another() {
    let slot = Slot::new(0);
    let id = check_out(&slot, 0);
    let texts: Vec<Arc<str>> = (0..64_u64).map(|at| at.to_string().into()).collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..200_000_u64 {
                let at = round % 64;
                slot.stamps.set_sql(Some(texts[at as usize].clone()), at);
            }
            done.store(true, Ordering::SeqCst);
        });
        while !done.load(Ordering::SeqCst) {
            if let Some((text, at)) = slot.stamps.sql_of(id.generation()) {
                assert_eq!(*text, *at.to_string());
            }
        }
    });
}

#[test]
fn a_ready_for_query_says_one_of_three_things() {
    assert_eq!(TransactionStatus::from_wire(b"I"), Some(TransactionStatus::Idle));
    assert_eq!(TransactionStatus::from_wire(b"T"), Some(TransactionStatus::InTransaction));
    assert_eq!(TransactionStatus::from_wire(b"E"), Some(TransactionStatus::Failed));
    for body in [&b""[..], b"i", b"II", b"\0", b"F"] {
        assert_eq!(TransactionStatus::from_wire(body), None, "{body:?}");
    }
}
