//! The table and the queue of deadlines, one thread; what threads do to each other is modelled by loom.

use super::*;
use crate::detect::checkout::Flags;

fn check_out(registry: &Registry, slot: &Slot, now: Nanos, first_look: Nanos) -> (CheckoutId, bool) {
    registry.check_out(slot, now, SiteId::from_index(0), 0, CheckoutLabels::default(), first_look)
}

#[test]
fn slots_are_used_again_and_ids_are_not() {
    let registry = Registry::new();
    let slot = registry.claim().unwrap();
    let (first, _) = check_out(&registry, &slot, 1, 0);
    assert_eq!(registry.find(first).map(|(_, word)| word.state), Some(State::Held));
    assert!(slot.flag(first.generation(), Flags::LEAK));
    slot.end_holding(first.generation(), State::Ended, 2).unwrap();
    registry.retire(&slot);
    let again = registry.claim().unwrap();
    assert_eq!(again.index(), slot.index());
    let (second, _) = check_out(&registry, &again, 3, 0);
    assert_ne!(first, second);
    assert!(registry.find(first).is_none());
    assert!(!slot.word().flags.has(Flags::LEAK), "what was said of the first is not said of the second");
    assert!(registry.has_issued(first) && registry.has_issued(second));
    assert!(!registry.has_issued(CheckoutId::new(slot.index(), second.generation() + 1)));
    assert!(!registry.has_issued(CheckoutId::new(slot.index(), 0)));
    assert!(!registry.has_issued(CheckoutId::new(7, 1)));
}

#[test]
fn a_slot_is_looked_at_once_by_its_earliest_deadline() {
    let registry = Registry::new();
    let slot = registry.claim().unwrap();
    assert!(registry.fall_asleep().is_none());
    let (id, wake) = check_out(&registry, &slot, 100, 30);
    assert!(wake, "the sweeper slept for longer");
    assert!(!registry.schedule(&slot, 140), "it is looked at earlier anyway");
    assert!(registry.schedule(&slot, 120), "sooner");
    assert!(registry.pop_due(119).is_none());
    assert!(registry.pop_due(120).is_some());
    assert!(registry.pop_due(1_000).is_none(), "the entry for 130 is stale");

    slot.end_holding(id.generation(), State::Free, 121).unwrap();
    let (_, _) = check_out(&registry, &slot, 122, 30);
    assert_eq!(registry.fall_asleep(), Some(152));
    let other = registry.claim().unwrap();
    let (_, wake) = check_out(&registry, &other, 130, 30);
    assert!(!wake, "the sweeper wakes before that");
    let (_, wake) = check_out(&registry, &registry.claim().unwrap(), 130, 0);
    assert!(!wake, "zero = never");
    let due: Vec<_> = std::iter::from_fn(|| registry.pop_due(1_000)).map(|s| s.index()).collect();
    assert_eq!(due, [slot.index(), other.index()]);
}

#[test]
fn an_acquire_that_is_looked_at_early_enough_pushes_nothing() {
    let registry = Registry::new();
    let slot = registry.claim().unwrap();
    for n in 0..1000 {
        let (id, _) = check_out(&registry, &slot, 100 + n, 30);
        slot.end_holding(id.generation(), State::Free, 100 + n).unwrap();
    }
    assert_eq!(lock(&registry.queue).heap.len(), 1);
}

#[test]
fn slots_are_listed_by_state() {
    let registry = Registry::new();
    let slots: Vec<_> = (0..4).map(|_| registry.claim().unwrap()).collect();
    let ids: Vec<_> = slots.iter().map(|slot| check_out(&registry, slot, 1, 0).0).collect();
    for (slot, state) in [(0, State::Free), (1, State::Returning), (2, State::Ended)] {
        slots[slot].end_holding(ids[slot].generation(), state, 2).unwrap();
    }
    for (n, state) in [State::Free, State::Returning, State::Ended, State::Held].into_iter().enumerate() {
        let found: Vec<_> = registry.in_state(state).iter().map(|s| s.index()).collect();
        assert_eq!(found, [slots[n].index()]);
    }
}
