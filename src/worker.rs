//! The one way to run something on another thread: a named thread with bounded
//! channels, a cancel flag, and panics that arrive as values. Computations that do not need
//! each other run [`side_by_side`].

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// A flag that the owner raises and the worker looks at between steps.
#[derive(Debug, Clone, Default)]
pub struct CancelFlag(Arc<AtomicBool>);

impl CancelFlag {
    /// Asks the worker to stop what it is doing.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Forgets earlier requests to stop.
    pub fn lower(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// Whether the owner asked to stop.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What a worker thread holds of the connection to its owner.
#[derive(Debug)]
pub struct WorkerSide<Command, Event> {
    /// Commands in order of arrival; disconnected when the owner is gone.
    pub commands: Receiver<Command>,
    /// Events to the owner; sending blocks while the queue is full.
    pub events: Sender<Event>,
    /// Raised by the owner to cancel the work in hand.
    pub cancel: CancelFlag,
}

/// Why a command was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The queue is full; try again after the next event.
    #[error("the worker is busy")]
    Busy,
    /// The thread has ended (see its last event).
    #[error("the worker has stopped")]
    Stopped,
}

/// Owner's handle of a worker thread. Dropping it raises the cancel flag and
/// closes the command queue; the thread then ends on its own.
#[derive(Debug)]
pub struct Worker<Command, Event> {
    commands: Option<Sender<Command>>,
    events: Receiver<Event>,
    cancel: CancelFlag,
    thread: Option<JoinHandle<()>>,
}

impl<Command: Send + 'static, Event: Send + 'static> Worker<Command, Event> {
    /// Starts `body` on a thread called `name`. If it panics, `on_panic` turns the
    /// message into the last event.
    ///
    /// # Errors
    /// When the operating system refuses a new thread.
    pub fn start(
        name: &str,
        command_bound: usize,
        event_bound: usize,
        body: impl FnOnce(&WorkerSide<Command, Event>) + Send + 'static,
        on_panic: impl FnOnce(String) -> Event + Send + 'static,
    ) -> std::io::Result<Self> {
        let (command_tx, command_rx) = bounded(command_bound);
        let (event_tx, event_rx) = bounded(event_bound);
        let cancel = CancelFlag::default();
        let side = WorkerSide { commands: command_rx, events: event_tx, cancel: cancel.clone() };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| body(&side)));
            if let Err(payload) = outcome {
                // The owner may be gone already; then nobody is left to tell.
                drop(side.events.send(on_panic(panic_message(payload.as_ref()))));
            }
        })?;
        Ok(Self { commands: Some(command_tx), events: event_rx, cancel, thread: Some(thread) })
    }

    /// Queues a command without blocking.
    ///
    /// # Errors
    /// [`SendError::Busy`] when the queue is full, [`SendError::Stopped`] when the thread has ended.
    pub fn try_send(&self, command: Command) -> Result<(), SendError> {
        let Some(commands) = &self.commands else { return Err(SendError::Stopped) };
        commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => SendError::Busy,
            TrySendError::Disconnected(_) => SendError::Stopped,
        })
    }

    /// Events in order; poll with `try_recv`, or block on it in command line jobs.
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// The flag that cancels the work in hand.
    pub fn cancel(&self) -> &CancelFlag {
        &self.cancel
    }

    /// Closes the command queue, drains events so that the thread cannot block on
    /// a full queue, and waits for it to end.
    pub fn finish(mut self) {
        self.commands = None;
        while self.events.recv().is_ok() {}
        if let Some(thread) = self.thread.take() {
            // A panic was already reported through `on_panic`.
            drop(thread.join());
        }
    }
}

impl<Command, Event> Drop for Worker<Command, Event> {
    fn drop(&mut self) {
        self.cancel.raise();
    }
}

/// Runs `work` on every item, as many at a time as there are processors, and gives what came
/// out in order. Whatever `work` does in parallel stays on its own thread: computations that
/// never wait for each other beat one after the other on all threads. Inside of `work`, and on
/// one processor, items are taken one by one.
pub fn side_by_side<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let lanes = lanes();
    if items.len() < 2 || lanes.len() < 2 || rayon::current_num_threads() < 2 {
        return items.iter().map(work).collect();
    }
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(items.len())));
    let take_turns = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return };
            let result = work(item);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
        }
    };
    std::thread::scope(|scope| {
        let start = |lane: &'static ThreadPool| scope.spawn(|| lane.install(take_turns));
        let started: Vec<_> = lanes.iter().take(items.len()).map(start).collect();
        for lane in started {
            if let Err(panic) = lane.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// A pool of one thread for every thread of rayon's; none where the system refuses threads.
fn lanes() -> &'static [ThreadPool] {
    static LANES: OnceLock<Vec<ThreadPool>> = OnceLock::new();
    LANES.get_or_init(|| {
        let name = |k: usize| format!("loc3r-lane-{k}");
        let lane = |k| ThreadPoolBuilder::new().num_threads(1).thread_name(move |_| name(k)).build();
        // A fresh thread is in no other pool, and told of the one that all share.
        let width = std::thread::scope(|scope| scope.spawn(rayon::current_num_threads).join());
        (0..width.unwrap_or(1)).map(lane).collect::<Result<_, _>>().unwrap_or_default()
    })
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_become_events_in_order() {
        let worker = Worker::start(
            "doubler",
            4,
            4,
            |side| {
                for n in &side.commands {
                    side.events.send(n * 2).unwrap();
                }
            },
            |_| -1,
        )
        .unwrap();
        for n in 1..=3 {
            worker.try_send(n).unwrap();
        }
        let doubled: Vec<i32> = worker.events().iter().take(3).collect();
        assert_eq!(doubled, [2, 4, 6]);
        worker.finish();
    }

    #[test]
    fn a_panic_arrives_as_the_last_event() {
        let worker: Worker<(), String> =
            Worker::start("faulty", 1, 1, |_| panic!("out of paper"), |message| message).unwrap();
        assert_eq!(worker.events().recv().unwrap(), "out of paper");
        assert!(worker.events().recv().is_err());
    }

    #[test]
    fn items_side_by_side_come_back_in_order_and_stay_on_their_threads() {
        let items: Vec<u64> = (0..50).collect();
        let threads = || rayon::current_num_threads();
        let found = side_by_side(&items, |&n| {
            let inside = side_by_side(&[n, n + 1], |&m| (m, threads()));
            (n * n, threads(), inside)
        });
        for (n, (square, width, inside)) in found.iter().enumerate() {
            assert_eq!(*square, (n * n) as u64);
            assert_eq!(*inside, [(n as u64, *width), (n as u64 + 1, *width)]);
        }
        assert!(threads() == 1 || found.iter().all(|(_, width, _)| *width == 1));
        assert!(side_by_side(&[] as &[u8], |_| ()).is_empty());
    }

    #[test]
    #[should_panic(expected = "out of ink")]
    fn a_panic_side_by_side_is_not_lost() {
        side_by_side(&[1, 2, 3, 4], |&n| assert_ne!(n, 3, "out of ink"));
    }

    #[test]
    fn a_full_queue_is_busy_and_a_dead_worker_is_stopped() {
        let (release, gate) = bounded::<()>(0);
        let worker: Worker<u8, ()> =
            Worker::start("slow", 1, 1, move |_| assert!(gate.recv().is_err()), |_| ()).unwrap();
        worker.try_send(1).unwrap();
        assert_eq!(worker.try_send(2), Err(SendError::Busy));
        drop(release);
        assert!(worker.events().recv().is_err());
        assert_eq!(worker.try_send(3), Err(SendError::Stopped));
    }
}
