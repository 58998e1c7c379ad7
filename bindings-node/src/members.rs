//! The members of a pool: one for each session that was ever lent, for as long as JavaScript has an object for it. Its
//! number is what JavaScript knows it by, in all its checkouts.

use std::sync::Arc;

use leakpool::host::{SharedCheckout, TaskId};
use leakpool::{CheckoutId, Connection, Session};

/// No member.
const NONE: u32 = u32::MAX;

pub(crate) struct Member {
    session: Session,
    /// While it is lent; after a force release, until the holder comes back or goes away.
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
pub(crate) struct Members {
    list: Vec<Option<Member>>,
    free: Vec<u32>,
    /// The member of each slot of the core's registry, as far as it has one.
    by_slot: Vec<u32>,
}

impl Members {
    pub(crate) fn get(&self, number: u32) -> Option<&Member> {
        self.list.get(number as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut Member> {
        self.list.get_mut(number as usize)?.as_mut()
    }

    /// The member that a checkout belongs to, if it is its current or last one.
    pub(crate) fn of(&self, id: CheckoutId) -> Option<u32> {
        let number = *self.by_slot.get(id.slot())?;
        self.get(number).is_some_and(|member| member.id == id).then_some(number)
    }

    /// Takes a connection that is lent now.
    pub(crate) fn put(&mut self, connection: Connection) -> u32 {
        let id = connection.id();
        let slot = id.slot();
        if self.by_slot.len() <= slot {
            self.by_slot.resize(slot + 1, NONE);
        }
        let number = self.by_slot[slot];
        if let Some(member) = self.get_mut(number)
            && member.session.is_of(&connection)
        {
            member.id = id;
            member.holds = true;
            member.checkout = Some(Arc::new(SharedCheckout::new(connection)));
            return number;
        }
        let session = connection.session();
        let checkout = Some(Arc::new(SharedCheckout::new(connection)));
        let member =
            Some(Member { session, checkout, id, holds: true, told: false, running: None, listener: None });
        let number = match self.free.pop() {
            Some(number) => {
                self.list[number as usize] = member;
                number
            }
            None => {
                self.list.push(member);
                self.list.len() as u32 - 1
            }
        };
        self.by_slot[slot] = number;
        number
    }

    /// Members whose session has ended since the last look.
    pub(crate) fn ended(&mut self) -> Vec<u32> {
        let mut ended = Vec::new();
        for (number, member) in self.list.iter_mut().enumerate() {
            if let Some(member) = member
                && !member.told
                && member.session.has_ended()
            {
                member.told = true;
                ended.push(number as u32);
            }
        }
        ended
    }

    /// JavaScript has no object for it any more: its number is free.
    pub(crate) fn forget(&mut self, number: u32) -> Option<Member> {
        let member = self.list.get_mut(number as usize)?.take();
        if member.is_some() {
            self.free.push(number);
            self.by_slot.iter_mut().filter(|n| **n == number).for_each(|n| *n = NONE);
        }
        member
    }

    pub(crate) fn drain(&mut self) -> Vec<Member> {
        self.by_slot.clear();
        self.free.clear();
        self.list.drain(..).flatten().collect()
    }
}
