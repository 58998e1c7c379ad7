//! Every interleaving of the slot's state machine and of the deadline queue, under `loom` (`make loom`).
//!
//! A model is at most four threads with a few steps each: seconds, not minutes. loom's types exist only inside a
//! model, so with the cfg `leakpool_loom` no other test of this crate runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32 as Plain, Ordering::Relaxed};

use loom::thread;

use super::checkout::{CheckoutLabels, Flags, Slot, State};
use super::id::CheckoutId;
use super::registry::Registry;
use super::site::SiteId;
use crate::clock::Nanos;

const NOBODY: &str = "nobody else hands out this slot";

/// A registry with one slot.
fn one_slot() -> (Arc<Registry>, Arc<Slot>) {
    let registry = Arc::new(Registry::new());
    let slot = registry.claim().expect(NOBODY);
    (registry, slot)
}

fn check_out(slot: &Slot, at: Nanos) -> CheckoutId {
    slot.check_out(at, SiteId::from_index(at as u32), at, CheckoutLabels::default())
}

/// Counts what happened, outside the model.
#[derive(Default)]
struct Count(Plain);

impl Count {
    fn add(&self, happened: bool) {
        self.0.fetch_add(u32::from(happened), Relaxed);
    }

    fn get(&self) -> u32 {
        self.0.load(Relaxed)
    }
}

#[test]
fn loom_a_checkout_ends_once() {
    loom::model(|| {
        let (_, slot) = one_slot();
        let id = check_out(&slot, 1);
        let ended = Arc::new(Count::default());
        // Besides the holder: the sweeper, and a force release by hand or a session that dies.
        let others: Vec<_> = [State::Ended, State::Ended]
            .into_iter()
            .map(|to| {
                let (slot, ended) = (slot.clone(), ended.clone());
                thread::spawn(move || ended.add(slot.end_holding(id.generation(), to, 2).is_ok()))
            })
            .collect();
        ended.add(slot.end_holding(id.generation(), State::Free, 2).is_ok());
        others.into_iter().for_each(|t| t.join().expect("no panic"));
        assert_eq!(ended.get(), 1);
        assert_ne!(slot.word().state, State::Held);
    });
}

#[test]
fn loom_a_return_settles_or_is_given_up_and_a_revoke_comes_before_or_never() {
    loom::model(|| {
        let (_, slot) = one_slot();
        let generation = check_out(&slot, 1).generation();
        let (released, revoked) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let (settled, given_up) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let revoke = {
            let (slot, revoked) = (slot.clone(), revoked.clone());
            thread::spawn(move || revoked.add(slot.end_holding(generation, State::Ended, 2).is_ok()))
        };
        let task = {
            let (slot, settled) = (slot.clone(), settled.clone());
            thread::spawn(move || settled.add(slot.end_returning(generation, State::Free).is_ok()))
        };
        let sweeper = {
            let (slot, given_up) = (slot.clone(), given_up.clone());
            thread::spawn(move || {
                if slot.word().state == State::Returning {
                    assert_eq!(slot.returning_since(), 2, "judged by an older return");
                    given_up.add(slot.end_returning(generation, State::Ended).is_ok());
                }
            })
        };
        let word = slot.word();
        released.add(slot.end_holding_as_seen(word, State::Returning, 2).is_ok());
        for thread in [revoke, task, sweeper] {
            thread.join().expect("no panic");
        }
        // Whoever comes last finds what is left to do.
        settled.add(slot.end_returning(generation, State::Free).is_ok());
        assert_eq!(released.get() + revoked.get(), 1, "the holding ends once");
        assert_eq!(settled.get() + given_up.get(), released.get(), "the return ends once, if there was one");
        let expected = if settled.get() == 1 { State::Free } else { State::Ended };
        assert_eq!(slot.word().state, expected);
    });
}

#[test]
fn loom_a_release_that_is_taken_back_is_settled_once() {
    loom::model(|| {
        let (_, slot) = one_slot();
        let generation = check_out(&slot, 1).generation();
        let settled = Arc::new(Count::default());
        let task = {
            let (slot, settled) = (slot.clone(), settled.clone());
            thread::spawn(move || settled.add(slot.end_returning(generation, State::Free).is_ok()))
        };
        let revoke = {
            let slot = slot.clone();
            thread::spawn(move || slot.end_holding(generation, State::Ended, 2).is_ok())
        };
        let released = slot.end_holding(generation, State::Free, 2).is_ok();
        let back = released && slot.begin_returning(generation, 3);
        assert_eq!(back, released, "nobody else can have moved a free slot");
        task.join().expect("no panic");
        assert_eq!(revoke.join().expect("no panic"), !released);
        settled.add(slot.end_returning(generation, State::Free).is_ok());
        assert_eq!(settled.get(), u32::from(released));
    });
}

#[test]
fn loom_a_flag_is_said_once_and_whoever_ends_the_checkout_knows_it() {
    loom::model(|| {
        let (_, slot) = one_slot();
        let generation = check_out(&slot, 1).generation();
        let said = Arc::new(Count::default());
        let sweepers: Vec<_> = (0..2)
            .map(|_| {
                let (slot, said) = (slot.clone(), said.clone());
                thread::spawn(move || {
                    said.add(slot.flag(generation, Flags::LEAK));
                    slot.flag(generation, Flags::LONG_RUNNING);
                })
            })
            .collect();
        let mut word = slot.word();
        let flags = loop {
            match slot.end_holding_as_seen(word, State::Free, 2) {
                Ok(()) => break word.flags,
                Err(seen) => word = seen,
            }
        };
        sweepers.into_iter().for_each(|t| t.join().expect("no panic"));
        assert_eq!(
            said.get(),
            u32::from(flags.has(Flags::LEAK)),
            "the release did not see the flag, or saw a lie"
        );
    });
}

#[test]
fn loom_the_facts_are_those_of_one_checkout() {
    loom::model(|| {
        let (_, slot) = one_slot();
        let first = check_out(&slot, 1);
        let reader = {
            let slot = slot.clone();
            thread::spawn(move || {
                if let Some((word, facts)) = slot.facts() {
                    // Each checkout of this model is acquired at the time that is its generation.
                    assert_eq!(facts.acquired_at, word.generation, "half of one checkout, half of another");
                    assert_eq!(facts.expected, word.generation);
                }
            })
        };
        slot.end_holding(first.generation(), State::Free, 2).expect(NOBODY);
        check_out(&slot, 2);
        reader.join().expect("no panic");
    });
}

const LIMIT: Nanos = 10;

/// What the sweeper does with each slot that is due (`Detector::sweep`).
fn sweep(registry: &Registry, now: Nanos) {
    while let Some(slot) = registry.pop_due(now) {
        let word = slot.word();
        if word.state == State::Held {
            registry.schedule(&slot, now + LIMIT);
        }
    }
}

#[test]
fn loom_no_live_checkout_is_ever_without_an_entry_that_counts() {
    loom::model(|| {
        let (registry, slot) = one_slot();
        let (first, _) = registry.check_out(&slot, 1, SiteId::OFF, 0, CheckoutLabels::default(), LIMIT);
        let sweeper = {
            let registry = registry.clone();
            thread::spawn(move || sweep(&registry, 1 + LIMIT))
        };
        slot.end_holding(first.generation(), State::Free, 5).expect(NOBODY);
        registry.check_out(&slot, 6, SiteId::OFF, 0, CheckoutLabels::default(), LIMIT);
        sweeper.join().expect("no panic");
        assert_eq!(slot.word().state, State::Held);
        assert!(registry.looks_at(&slot), "a live checkout that nobody will ever look at");
    });
}

#[test]
fn loom_a_sweeper_that_falls_asleep_is_woken_for_what_is_due_before() {
    loom::model(|| {
        let (registry, slot) = one_slot();
        let (first, _) = registry.check_out(&slot, 1, SiteId::OFF, 0, CheckoutLabels::default(), LIMIT);
        slot.end_holding(first.generation(), State::Free, 2).expect(NOBODY);
        let sweeper = {
            let registry = registry.clone();
            thread::spawn(move || {
                sweep(&registry, 1 + LIMIT);
                registry.fall_asleep()
            })
        };
        let (_, wake) = registry.check_out(&slot, 6, SiteId::OFF, 0, CheckoutLabels::default(), LIMIT);
        let sleeps_until = sweeper.join().expect("no panic");
        // Either its sleep ends in time, or it is woken.
        let due = 1 + 2 * LIMIT;
        assert!(wake || sleeps_until.is_some_and(|until| until <= due), "it sleeps until {sleeps_until:?}");
    });
}

#[test]
fn loom_a_stale_generation_touches_nobody() {
    loom::model(|| {
        let (registry, slot) = one_slot();
        let old = check_out(&slot, 1);
        slot.end_holding(old.generation(), State::Ended, 2).expect(NOBODY);
        // Whoever still knows the old checkout: a late holder, and a sweep that looked before.
        let late = {
            let (registry, slot) = (registry.clone(), slot.clone());
            thread::spawn(move || {
                assert!(slot.end_holding(old.generation(), State::Free, 3).is_err());
                assert!(slot.end_returning(old.generation(), State::Ended).is_err());
                assert!(registry.find(old).is_none_or(|(_, word)| word.state != State::Held));
            })
        };
        let sweeper = {
            let slot = slot.clone();
            thread::spawn(move || assert!(!slot.flag(old.generation(), Flags::LEAK)))
        };
        registry.retire(&slot);
        let again = registry.claim().expect(NOBODY);
        assert!(Arc::ptr_eq(&slot, &again), "it is used again");
        let new = check_out(&again, 2);
        assert_ne!(new, old);
        assert_eq!(again.end_holding(new.generation(), State::Free, 3), Ok(Flags::default()));
        late.join().expect("no panic");
        sweeper.join().expect("no panic");
    });
}

#[test]
fn loom_two_claims_never_get_one_slot() {
    loom::model(|| {
        let (registry, slot) = one_slot();
        registry.retire(&slot);
        let other = {
            let registry = registry.clone();
            thread::spawn(move || registry.claim().expect(NOBODY).index())
        };
        let mine = registry.claim().expect(NOBODY).index();
        assert_ne!(mine, other.join().expect("no panic"));
    });
}
