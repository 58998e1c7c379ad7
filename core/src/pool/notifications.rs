//! Notifications: from the connection's task to those who have asked for them, bounded for each.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures_core::Stream;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_postgres::Notification;

use crate::process::Process;

/// How many notifications wait for a slow reader before it loses some.
const WAITING: usize = 1024;

/// Those who want to hear what arrives on one connection.
#[derive(Debug, Default)]
pub(crate) struct Listeners(Mutex<Heard>);

/// Held for a look, an insertion or a removal; a sender is used, and dropped, with no lock held, because that wakes.
#[derive(Debug, Default)]
struct Heard {
    next: u64,
    senders: BTreeMap<u64, mpsc::Sender<Notification>>,
    /// What came before anyone asked for it, and in which checkout.
    kept: Option<(u64, Notifications)>,
}

impl Listeners {
    /// One more, until it is dropped or all are let go. The first of a checkout also gets what has come in it before.
    pub(crate) fn add(self: &Arc<Self>, generation: u64) -> Notifications {
        let kept = self.0.lock().kept.take();
        match kept {
            Some((of, notifications)) if of == generation => notifications,
            Some(_) | None => self.another(),
        }
    }

    fn another(self: &Arc<Self>) -> Notifications {
        let (sender, receiver) = mpsc::channel(WAITING);
        let mut heard = self.0.lock();
        let key = heard.next;
        heard.next += 1;
        heard.senders.insert(key, sender);
        drop(heard);
        Notifications { receiver, key, listeners: Arc::downgrade(self), process: Process::current() }
    }

    /// `holder`: the generation of the checkout in which it came, if it came in one.
    pub(crate) fn tell(self: &Arc<Self>, notification: &Notification, holder: Option<u64>) {
        if let Some(generation) = holder
            && self.0.lock().senders.is_empty()
        {
            let kept = self.another();
            self.0.lock().kept = Some((generation, kept));
        }
        let senders: Vec<_> = self.0.lock().senders.values().cloned().collect();
        for sender in senders {
            // One that is slow loses it.
            let _ = sender.try_send(notification.clone());
        }
    }

    /// They are at their end once they have received what was told before.
    pub(crate) fn let_go(&self) {
        let mut heard = self.0.lock();
        let all = (std::mem::take(&mut heard.senders), heard.kept.take());
        drop(heard);
        drop(all);
    }

    fn remove(&self, key: u64) {
        let sender = self.0.lock().senders.remove(&key);
        drop(sender);
    }
}

/// Notifications of one connection, in order. Ends with the checkout or the session. A reader that leaves more
/// than 1,024 waiting loses the later ones.
pub struct Notifications {
    receiver: mpsc::Receiver<Notification>,
    key: u64,
    listeners: Weak<Listeners>,
    process: Process,
}

impl Notifications {
    /// The next one; `None` when there will be no more.
    pub async fn recv(&mut self) -> Option<Notification> {
        self.receiver.recv().await
    }
}

impl Stream for Notifications {
    type Item = Notification;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Notification>> {
        self.get_mut().receiver.poll_recv(cx)
    }
}

impl Drop for Notifications {
    fn drop(&mut self) {
        // In a forked child the lock may be held for ever.
        if self.process.is_current()
            && let Some(listeners) = self.listeners.upgrade()
        {
            listeners.remove(self.key);
        }
    }
}

impl fmt::Debug for Notifications {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifications").field("receiver", &self.receiver).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_gone_at_once() {
        let listeners = Arc::new(Listeners::default());
        let (first, second) = (listeners.add(1), listeners.add(1));
        for _ in 0..1000 {
            drop(listeners.add(1));
        }
        assert_eq!(listeners.0.lock().senders.len(), 2);
        drop(first);
        assert_eq!(listeners.0.lock().senders.len(), 1);
        listeners.let_go();
        let mut second = second;
        assert!(second.receiver.try_recv().is_err_and(|e| e == mpsc::error::TryRecvError::Disconnected));
        // One of before takes no later one with it.
        let third = listeners.add(1);
        drop(second);
        assert_eq!(listeners.0.lock().senders.len(), 1);
        drop(listeners);
        drop(third);
    }
}
