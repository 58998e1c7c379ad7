//! Where the notifications of a connection wait until somebody asks for them.

use leakpool::Notifications;
use parking_lot::Mutex;

/// Taken by whoever waits for some.
pub(crate) struct Inbox(Mutex<Option<Notifications>>);

impl Inbox {
    pub(crate) fn new(notifications: Notifications) -> Inbox {
        Inbox(Mutex::new(Some(notifications)))
    }

    pub(crate) fn take(&self) -> Taken<'_> {
        let notifications = self.0.lock().take();
        Taken { inbox: self, notifications }
    }
}

/// Taken out, and put back also when a wait is given up: none may be lost.
pub(crate) struct Taken<'a> {
    inbox: &'a Inbox,
    notifications: Option<Notifications>,
}

impl Taken<'_> {
    /// `None` while another caller waits for them.
    pub(crate) fn notifications(&mut self) -> Option<&mut Notifications> {
        self.notifications.as_mut()
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        // One that has found nothing there puts nothing back.
        if let Some(notifications) = self.notifications.take() {
            *self.inbox.0.lock() = Some(notifications);
        }
    }
}
