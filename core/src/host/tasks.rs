//! Futures that an event loop of the host polls on its own thread.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use parking_lot::Mutex;

use super::runtime::HostRuntime;

/// One of the [`Tasks`] of a loop. Never used twice by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(u64);

/// What the threads that wake tasks share with the loop. Lock protocol: `woken` is a leaf, held for a push or a swap.
struct Inbox {
    woken: Mutex<Vec<u64>>,
    /// The loop was told and has not looked yet.
    told: AtomicBool,
    tell: Box<dyn Fn() + Send + Sync>,
}

struct Wakeup {
    id: u64,
    /// It is in `woken` already.
    queued: AtomicBool,
    inbox: Arc<Inbox>,
}

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        self.inbox.woken.lock().push(self.id);
        if !self.inbox.told.swap(true, Ordering::AcqRel) {
            (self.inbox.tell)();
        }
    }
}

type Work = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    /// `None` while it is polled.
    work: Option<Work>,
    wakeup: Arc<Wakeup>,
    waker: Waker,
}

/// Futures that one thread of the host polls, its event loop: first when they are spawned, then when the loop, told
/// by `tell`, calls [`run`](Tasks::run). They need not be `Send`, and may spawn and cancel tasks themselves.
///
/// What they wait for is done elsewhere: the sockets are read on the runtime's thread whether the loop runs or not.
pub struct Tasks {
    runtime: HostRuntime,
    inbox: Arc<Inbox>,
    tasks: RefCell<HashMap<u64, Task>>,
    next: Cell<u64>,
    /// The last batch, kept for its memory.
    batch: RefCell<Vec<u64>>,
}

impl Tasks {
    /// No tasks yet. `tell` is called on any thread when there is something to [`run`](Tasks::run): once, and not again
    /// before the loop has begun to.
    pub fn new(runtime: HostRuntime, tell: impl Fn() + Send + Sync + 'static) -> Rc<Tasks> {
        let inbox = Inbox { woken: Mutex::default(), told: AtomicBool::new(false), tell: Box::new(tell) };
        Rc::new(Tasks {
            runtime,
            inbox: Arc::new(inbox),
            tasks: RefCell::default(),
            next: Cell::new(0),
            batch: RefCell::default(),
        })
    }

    /// Polls the future, and keeps it if it is not ready. `None` if it was.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) -> Option<TaskId> {
        let id = self.next.replace(self.next.get() + 1);
        let wakeup = Arc::new(Wakeup { id, queued: AtomicBool::new(false), inbox: self.inbox.clone() });
        let waker = Waker::from(wakeup.clone());
        let mut work: Work = Box::pin(future);
        let _entered = self.runtime.enter();
        if work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            return None;
        }
        self.tasks.borrow_mut().insert(id, Task { work: Some(work), wakeup, waker });
        Some(TaskId(id))
    }

    /// Polls every task that was woken since the last time.
    pub fn run(&self) {
        let _entered = self.runtime.enter();
        // Before the look: whoever wakes a task after it tells the loop again.
        self.inbox.told.store(false, Ordering::SeqCst);
        let mut batch = self.batch.take();
        std::mem::swap(&mut *self.inbox.woken.lock(), &mut batch);
        for id in batch.drain(..) {
            self.poll(id);
        }
        self.batch.replace(batch);
    }

    fn poll(&self, id: u64) {
        let Some((mut work, waker)) = self.tasks.borrow_mut().get_mut(&id).and_then(|task| {
            // Before the poll: what happens during it wakes the task anew.
            task.wakeup.queued.store(false, Ordering::SeqCst);
            Some((task.work.take()?, task.waker.clone()))
        }) else {
            return;
        };
        let done = work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let mut tasks = self.tasks.borrow_mut();
        if done {
            tasks.remove(&id);
        } else if let Some(task) = tasks.get_mut(&id) {
            task.work = Some(work);
            return;
        }
        drop(tasks);
        // Outside the borrow: what it held may spawn or cancel tasks when it goes.
        drop(work);
    }

    /// Drops a task. False if it has ended before.
    pub fn cancel(&self, id: TaskId) -> bool {
        let task = self.tasks.borrow_mut().remove(&id.0);
        task.is_some()
    }

    /// How many tasks wait for something.
    pub fn pending(&self) -> usize {
        self.tasks.borrow().len()
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("pending", &self.pending()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Poll;

    use futures_channel::oneshot;
    use futures_util::FutureExt;

    use super::*;
    use crate::host::runtime;

    fn tasks() -> (Rc<Tasks>, Arc<AtomicUsize>) {
        let told = Arc::new(AtomicUsize::new(0));
        let counting = told.clone();
        let tell = move || {
            counting.fetch_add(1, Ordering::SeqCst);
        };
        (Tasks::new(runtime().unwrap(), tell), told)
    }

    #[test]
    fn one_call_for_any_number_of_answers() {
        let (tasks, told) = tasks();
        let sum = Rc::new(Cell::new(0));
        let senders: Vec<_> = (0..10)
            .map(|_| {
                let (sender, receiver) = oneshot::channel::<u32>();
                let sum = sum.clone();
                assert!(tasks.spawn(receiver.map(move |n| sum.set(sum.get() + n.unwrap()))).is_some());
                sender
            })
            .collect();
        assert_eq!((tasks.pending(), told.load(Ordering::SeqCst)), (10, 0));
        let thread = std::thread::spawn(move || senders.into_iter().for_each(|s| s.send(2).unwrap()));
        thread.join().unwrap();
        assert_eq!(told.load(Ordering::SeqCst), 1);
        tasks.run();
        assert_eq!((tasks.pending(), sum.get()), (0, 20));
        assert!(tasks.spawn(async {}).is_none());
    }

    #[test]
    fn a_task_that_wakes_itself_has_its_turn_in_the_next_run() {
        let (tasks, told) = tasks();
        let mut rounds = 0;
        tasks.spawn(std::future::poll_fn(move |cx| {
            rounds += 1;
            cx.waker().wake_by_ref();
            if rounds == 3 { Poll::Ready(()) } else { Poll::Pending }
        }));
        for round in 1..=2 {
            assert_eq!((tasks.pending(), told.load(Ordering::SeqCst)), (1, round));
            tasks.run();
        }
        assert_eq!(tasks.pending(), 0);
        // It woke itself before it ended: a turn for nobody.
        tasks.run();
    }

    #[test]
    fn a_cancelled_task_is_dropped_and_a_task_may_cancel_another() {
        let (tasks, _) = tasks();
        let held = Rc::new(());
        let inner = held.clone();
        let other = tasks
            .spawn(async move {
                std::future::pending::<()>().await;
                drop(inner);
            })
            .unwrap();
        let (go, gone) = oneshot::channel::<()>();
        let canceller = tasks.clone();
        tasks.spawn(async move {
            let _ = gone.await;
            assert!(canceller.cancel(other));
            assert!(!canceller.cancel(other));
        });
        go.send(()).unwrap();
        tasks.run();
        assert_eq!((tasks.pending(), Rc::strong_count(&held)), (0, 1));
    }
}
