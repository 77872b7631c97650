//! Machines and an administrator who want to do their work meanwhile.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use boundkey_client::{Backoff, SystemEntropy};
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use super::Pace;
use crate::machine::Machine;

/// What they waited for: joins, or looks at `status`.
#[derive(Debug, Clone, Default)]
pub struct Waits {
    times: Vec<Duration>,
    /// How many came to nothing, after their time in `times`.
    pub failures: usize,
    /// How many needed more than one try.
    pub retried: usize,
    /// Why the first of them did.
    pub cause: Option<String>,
}

impl Waits {
    fn add(&mut self, began: Instant, outcome: Result<(), String>) {
        self.times.push(began.elapsed());
        if let Err(cause) = outcome {
            self.failures += 1;
            self.cause.get_or_insert(cause);
        }
    }

    fn join(mut self, other: Self) -> Self {
        self.times.extend(other.times);
        self.times.sort_unstable();
        self.failures += other.failures;
        self.retried += other.retried;
        self.cause = self.cause.or(other.cause);
        self
    }

    /// How many there were.
    pub fn count(&self) -> usize {
        self.times.len()
    }

    /// The wait that so many of a hundred were not above; zero if there were none.
    pub fn at(&self, percent: usize) -> Duration {
        let index = (self.times.len() * percent / 100).min(self.times.len().saturating_sub(1));
        self.times.get(index).copied().unwrap_or_default()
    }

    /// The longest.
    pub fn longest(&self) -> Duration {
        self.at(100)
    }
}

/// Machines join in turn, each time over a new connection, until `over`.
pub(super) fn join(machines: Vec<Machine>, pace: Pace, over: &AtomicBool) -> (Vec<Machine>, Waits) {
    let queue = Rc::new(std::cell::RefCell::new(VecDeque::from(machines)));
    let all = super::run::block_on(async {
        let local = LocalSet::new();
        let lanes: Vec<_> = (0..pace.lanes)
            .map(|_| {
                let queue = Rc::clone(&queue);
                local.spawn_local(async move {
                    // The flag is another thread's: it is looked at between two joins.
                    let (entropy, mut waits) = (SystemEntropy::new(), Waits::default());
                    loop {
                        let Some(mut machine) = queue.borrow_mut().pop_front() else { return waits };
                        let began = Instant::now();
                        let mut last = None;
                        let joined = timeout(pace.patience, persist(&mut machine, &entropy, &mut last)).await;
                        waits.retried += usize::from(last.is_some());
                        let outcome = joined.map_err(|_| last.unwrap_or_else(|| "no answer".to_owned()));
                        waits.add(began, outcome);
                        machine.disconnect();
                        queue.borrow_mut().push_back(machine);
                        if OVER.with(|flag| flag.get()) {
                            return waits;
                        }
                        sleep(pace.pause).await;
                    }
                })
            })
            .collect();
        local
            .run_until(async {
                let mut all = Waits::default();
                let watch = async {
                    while !over.load(Ordering::Relaxed) {
                        sleep(Duration::from_millis(10)).await;
                    }
                    OVER.with(|flag| flag.set(true));
                    std::future::pending::<()>().await;
                };
                let collect = async {
                    for lane in lanes {
                        all = std::mem::take(&mut all).join(lane.await.expect("a lane ends"));
                    }
                };
                tokio::select! { () = collect => {}, () = watch => {} }
                all
            })
            .await
    });
    let machines = Rc::into_inner(queue).expect("the lanes have ended").into_inner();
    (Vec::from(machines), all)
}

/// As an agent: whoever is not let in comes again after a pause, which the server may name. `last` is why.
async fn persist(machine: &mut Machine, entropy: &SystemEntropy, last: &mut Option<String>) {
    let mut backoff = Backoff::standard();
    while let Err(error) = machine.join(entropy).await {
        *last = Some(error.to_string());
        machine.disconnect();
        sleep(backoff.next(error.setback(), entropy)).await;
    }
}

thread_local! {
    static OVER: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// `GET /v1/status` over the socket, again and again until `over`.
pub(super) fn look(socket: &Path, pace: Pace, over: &AtomicBool) -> Waits {
    let mut waits = Waits::default();
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        waits.add(began, status(socket, pace.patience).map_err(|error| error.to_string()));
        std::thread::sleep(pace.pause);
    }
    waits.join(Waits::default())
}

fn status(socket: &Path, patience: Duration) -> std::io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(b"GET /v1/status HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.lines().next().unwrap_or_default();
    if status.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(std::io::Error::other(status.to_owned())) }
}
