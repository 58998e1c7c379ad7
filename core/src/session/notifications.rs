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
    /// One more, until it is dropped or all are let go. If nobody listens in this checkout yet, it also gets what has
    /// come in it before.
    pub(crate) fn add(self: &Arc<Self>, generation: u64) -> Notifications {
        let mut heard = self.0.lock();
        let kept = heard.kept.take();
        match kept {
            Some((of, notifications)) if of == generation => notifications,
            // Its end is told with no lock held.
            other => {
                let notifications = self.another(&mut heard);
                drop(heard);
                drop(other);
                notifications
            }
        }
    }

    fn another(self: &Arc<Self>, heard: &mut Heard) -> Notifications {
        let (sender, receiver) = mpsc::channel(WAITING);
        let key = heard.next;
        heard.next += 1;
        heard.senders.insert(key, sender);
        Notifications { receiver, key, listeners: Arc::downgrade(self), process: Process::current() }
    }

    /// `holder`: the generation of the checkout in which it came, if it came in one.
    pub(crate) fn deliver(self: &Arc<Self>, notification: &Notification, holder: Option<u64>) {
        for sender in self.hearers(holder) {
            // One that is slow loses it.
            let _ = sender.try_send(notification.clone());
        }
    }

    /// Who hears what comes in this checkout; if nobody does, it is kept.
    fn hearers(self: &Arc<Self>, holder: Option<u64>) -> Vec<mpsc::Sender<Notification>> {
        let mut heard = self.0.lock();
        // A release may have come between the arrival and the look at its generation: what was kept then is nobody's.
        let stale = heard.kept.take_if(|(of, _)| Some(*of) != holder);
        let ended = stale.as_ref().and_then(|(_, notifications)| heard.senders.remove(&notifications.key));
        if let Some(generation) = holder
            && heard.senders.is_empty()
        {
            let kept = self.another(&mut heard);
            heard.kept = Some((generation, kept));
        }
        let senders = heard.senders.values().cloned().collect();
        drop(heard);
        drop((stale, ended));
        senders
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

    #[test]
    fn what_is_kept_is_one_checkouts() {
        let listeners = Arc::new(Listeners::default());
        let kept = || listeners.0.lock().kept.as_ref().map(|(of, _)| *of);
        assert!(listeners.hearers(None).is_empty() && kept().is_none(), "it came in no checkout");
        assert_eq!((listeners.hearers(Some(1)).len(), kept()), (1, Some(1)));
        assert_eq!((listeners.hearers(Some(1)).len(), kept()), (1, Some(1)));
        // Released at that very moment: it was kept after all had been let go.
        assert_eq!((listeners.hearers(Some(2)).len(), kept()), (1, Some(2)));
        assert!(listeners.hearers(None).is_empty() && kept().is_none(), "it is released");
        assert_eq!(listeners.hearers(Some(3)).len(), 1);
        let mut other = listeners.add(4);
        assert_eq!(listeners.0.lock().senders.len(), 1);
        assert_eq!(kept(), None, "it is not the next one's");
        assert!(other.receiver.try_recv().is_err_and(|e| e == mpsc::error::TryRecvError::Empty));
        assert_eq!((listeners.hearers(Some(4)).len(), kept()), (1, None), "somebody listens");
        // All are let go, and it comes then.
        listeners.let_go();
        assert_eq!(listeners.hearers(Some(4)).len(), 1);
        listeners.let_go();
        assert_eq!((listeners.hearers(Some(5)).len(), kept()), (1, Some(5)));
    }
}
