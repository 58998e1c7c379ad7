//! The slots of a pool: one for each session that was ever checked out, for as long as JavaScript has an object for it. Its
//! number is what JavaScript knows it by, in all its checkouts.

use std::sync::Arc;

use leakpool::host::{SharedCheckout, TaskId};
use leakpool::{CheckoutId, Connection, Session};

/// No slot.
const NONE: u32 = u32::MAX;

pub(crate) struct SessionSlot {
    session: Session,
    /// While it is checked out; after a force release, until the holder comes back or goes away.
    pub(crate) checkout: Option<Arc<SharedCheckout>>,
    /// The current checkout, or the last one.
    pub(crate) id: CheckoutId,
    /// It keeps the process alive.
    pub(crate) holds: bool,
    /// JavaScript knows that its session has ended.
    told: bool,
    /// The query that runs, and its ticket.
    pub(crate) running: Option<(TaskId, u32)>,
    /// Who reads its notifications.
    pub(crate) listener: Option<TaskId>,
}

#[derive(Default)]
pub(crate) struct SessionSlots {
    list: Vec<Option<SessionSlot>>,
    free: Vec<u32>,
    /// The slot of each slot of the core's registry, as far as it has one.
    by_registry_slot: Vec<u32>,
}

impl SessionSlots {
    pub(crate) fn get(&self, number: u32) -> Option<&SessionSlot> {
        self.list.get(number as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut SessionSlot> {
        self.list.get_mut(number as usize)?.as_mut()
    }

    /// The slot that a checkout belongs to, if it is its current or last one.
    pub(crate) fn of(&self, id: CheckoutId) -> Option<u32> {
        let number = *self.by_registry_slot.get(id.slot())?;
        self.get(number).is_some_and(|slot| slot.id == id).then_some(number)
    }

    /// Takes a connection that is checked out now.
    pub(crate) fn put(&mut self, connection: Connection) -> u32 {
        let id = connection.id();
        let place = id.slot();
        if self.by_registry_slot.len() <= place {
            self.by_registry_slot.resize(place + 1, NONE);
        }
        let number = self.by_registry_slot[place];
        if let Some(slot) = self.get_mut(number)
            && slot.session.is_of(&connection)
        {
            slot.id = id;
            slot.holds = true;
            slot.checkout = Some(Arc::new(SharedCheckout::new(connection)));
            return number;
        }
        let session = connection.session();
        let checkout = Some(Arc::new(SharedCheckout::new(connection)));
        let slot = Some(SessionSlot {
            session,
            checkout,
            id,
            holds: true,
            told: false,
            running: None,
            listener: None,
        });
        let number = match self.free.pop() {
            Some(number) => {
                self.list[number as usize] = slot;
                number
            }
            None => {
                self.list.push(slot);
                self.list.len() as u32 - 1
            }
        };
        self.by_registry_slot[place] = number;
        number
    }

    /// SessionSlots whose session has ended since the last look.
    pub(crate) fn ended(&mut self) -> Vec<u32> {
        let mut ended = Vec::new();
        for (number, slot) in self.list.iter_mut().enumerate() {
            if let Some(slot) = slot
                && !slot.told
                && slot.session.has_ended()
            {
                slot.told = true;
                ended.push(number as u32);
            }
        }
        ended
    }

    /// JavaScript has no object for it any more: its number is free.
    pub(crate) fn forget(&mut self, number: u32) -> Option<SessionSlot> {
        let slot = self.list.get_mut(number as usize)?.take();
        if slot.is_some() {
            self.free.push(number);
            self.by_registry_slot.iter_mut().filter(|n| **n == number).for_each(|n| *n = NONE);
        }
        slot
    }

    pub(crate) fn drain(&mut self) -> Vec<SessionSlot> {
        self.by_registry_slot.clear();
        self.free.clear();
        self.list.drain(..).flatten().collect()
    }
}
