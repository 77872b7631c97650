//! A bounded queue before somebody who may read slowly, or not at all.
//!
//! `tracing-appender` has such a queue too. It is not used here: it counts lines instead of bytes, says nothing of what it
//! dropped, and at its end it prints with `eprintln!`, which waits for the very reader that does not read.

use std::collections::VecDeque;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What waits at most; more is dropped.
const MOST_BYTES: usize = 1024 * 1024;

/// Takes one line; may wait for as long as it likes.
type Sink = fn(&[u8]) -> io::Result<()>;
/// Told how many lines were lost, once one was taken again.
type OnLost = fn(u64);

/// One reader's queue, and the thread that writes to it. Lives as long as the process.
pub(crate) struct Outlet {
    sink: Sink,
    on_lost: OnLost,
    state: Mutex<State>,
    more: Condvar,
    moved: Condvar,
}

struct State {
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The thread holds a line that it has not got rid of.
    writing: bool,
    started: bool,
    lost: u64,
    /// Somebody waited in vain for the reader, and since then nothing has moved.
    stuck: bool,
}

impl Outlet {
    pub(crate) const fn new(sink: Sink, on_lost: OnLost) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            bytes: 0,
            writing: false,
            started: false,
            lost: 0,
            stuck: false,
        };
        Self { sink, on_lost, state: Mutex::new(state), more: Condvar::new(), moved: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a line into the queue, or drops and counts it. Never waits for the reader, never fails.
    pub(crate) fn say(&'static self, line: &[u8]) {
        let mut state = self.state();
        if state.bytes + line.len() > MOST_BYTES {
            state.lost += 1;
            return;
        }
        if !state.started {
            let thread = std::thread::Builder::new().name("console".to_owned()).stack_size(256 * 1024);
            state.started = thread.spawn(|| self.write()).is_ok();
        }
        if state.started {
            state.bytes += line.len();
            state.waiting.push_back(line.to_vec());
            self.more.notify_one();
        } else {
            // No thread can be had: better a line that waits than none.
            drop(state);
            if (self.sink)(line).is_err() {
                self.state().lost += 1;
            }
        }
    }

    /// Waits until everything is written, but no longer than this; not at all if the reader did not read the last time.
    pub(crate) fn flush(&self, limit: Duration) {
        let state = self.state();
        if !state.started || state.stuck {
            return;
        }
        let busy = |state: &mut State| state.writing || !state.waiting.is_empty();
        let waited = self.moved.wait_timeout_while(state, limit, busy);
        let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        state.stuck = waited.timed_out();
    }

    fn write(&self) {
        loop {
            let line = self.next();
            let taken = (self.sink)(&line);
            let mut state = self.state();
            state.writing = false;
            state.stuck = false;
            let lost = match taken {
                // Told where there is room for the telling.
                Ok(()) if state.bytes < MOST_BYTES / 2 => std::mem::take(&mut state.lost),
                Ok(()) => 0,
                Err(_) => {
                    state.lost += 1;
                    0
                }
            };
            drop(state);
            if lost > 0 {
                (self.on_lost)(lost);
            }
            self.moved.notify_all();
        }
    }

    fn next(&self) -> Vec<u8> {
        let state = self.more.wait_while(self.state(), |state| state.waiting.is_empty());
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        let line = state.waiting.pop_front().unwrap_or_default();
        state.bytes -= line.len();
        state.writing = true;
        line
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::sync::mpsc;

    use super::*;

    const MOMENT: Duration = Duration::from_secs(30);

    #[test]
    fn what_nobody_takes_is_dropped_and_counted_and_told_once_somebody_reads_again() {
        static GATE: Mutex<()> = Mutex::new(());
        static TAKEN: AtomicU64 = AtomicU64::new(0);
        static LOST: AtomicU64 = AtomicU64::new(0);
        fn sink(_: &[u8]) -> io::Result<()> {
            drop(GATE.lock());
            TAKEN.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
        static OUTLET: Outlet = Outlet::new(sink, |lost| {
            LOST.fetch_add(lost, Ordering::SeqCst);
        });
        let closed = GATE.lock();
        let line = vec![b'x'; MOST_BYTES / 8];
        for _ in 0..100 {
            OUTLET.say(&line);
        }
        assert!(OUTLET.state().bytes <= MOST_BYTES);
        OUTLET.flush(Duration::from_millis(1));
        assert!(OUTLET.state().stuck, "who waited in vain once does not wait again");
        OUTLET.flush(MOMENT);
        drop(closed);
        OUTLET.state().stuck = false;
        OUTLET.flush(MOMENT);
        let (taken, lost) = (TAKEN.load(Ordering::SeqCst), LOST.load(Ordering::SeqCst));
        assert!((8..=9).contains(&taken), "{taken}");
        assert_eq!(taken + lost, 100);
    }

    #[test]
    fn a_reader_that_went_away_costs_lines_and_nothing_else() {
        static BROKEN: AtomicBool = AtomicBool::new(true);
        static TOLD: Mutex<Option<mpsc::Sender<u64>>> = Mutex::new(None);
        fn sink(_: &[u8]) -> io::Result<()> {
            if BROKEN.load(Ordering::SeqCst) { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
        }
        static OUTLET: Outlet = Outlet::new(sink, |lost| {
            if let Some(told) = TOLD.lock().unwrap().as_ref() {
                told.send(lost).unwrap();
            }
        });
        let (sender, told) = mpsc::channel();
        *TOLD.lock().unwrap() = Some(sender);
        for _ in 0..3 {
            OUTLET.say(b"lost\n");
        }
        OUTLET.flush(MOMENT);
        BROKEN.store(false, Ordering::SeqCst);
        OUTLET.say(b"taken\n");
        assert_eq!(told.recv_timeout(MOMENT), Ok(3));
    }
}
