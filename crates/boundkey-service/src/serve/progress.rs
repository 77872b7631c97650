//! How far a connection is, and when it has to end: one rule for everything that a peer can be slow at.
//!
//! | what the peer keeps the server waiting for | ends |
//! |---|---|
//! | anything, with no request under way: its handshake, a request's head, the next request | after `silence`; [`GRACE`] for a farewell |
//! | taking an answer, or anything else that the socket does not get rid of | when the next [`PACE`] bytes take longer than `silence` |
//! | a body | the request's own matter: 408 after `silence`, and then the first row |
//! | nothing: it is served, again and again | no new requests after `age`; the end `farewell` later |
//! | reading what belongs to no request: control frames, heads without end | at [`UNASKED`] bytes beyond its requests |

use std::time::Duration;

use tokio::time::Instant;

/// So many bytes have to leave within `silence`, and then as many again.
pub(super) const PACE: u64 = 16 * 1024;

/// So much may come besides bodies: before the first request, and with each one.
const UNASKED: u64 = 64 * 1024;

/// For whoever says nothing: to take the farewell that HTTP has for it.
const GRACE: Duration = Duration::from_secs(1);

/// How long a connection may be slow, and live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    /// Without a request, or for [`PACE`] bytes of an answer.
    pub(super) silence: Duration,
    /// From when on no new request is taken.
    pub(super) age: Duration,
    /// For the requests that are under way then.
    pub(super) farewell: Duration,
}

/// How far a request is. Each goes through these in this order, and may leave some out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Its head is here, its body not yet.
    Arriving,
    /// The server works on it; the peer is waited for in no way.
    Working,
    /// Its answer is on its way to the peer.
    Leaving,
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on; look again at this time.
    Until(Instant),
    /// It takes no new request from now on.
    Retire,
    /// It ends; why.
    End(&'static str),
}

/// What is known of a connection. Times are passed in.
#[derive(Debug)]
pub(super) struct Progress {
    accepted: Instant,
    requests: [usize; 3],
    /// When a request came, went on or went, for the last time.
    changed: Instant,
    /// Since when there is no request, and nothing left to write.
    idle: Instant,
    written: u64,
    /// What may still be read from the socket.
    allowance: u64,
    stuck: bool,
    /// While something leaves: since when the next bytes are due, and what was written before.
    stretch: Option<(Instant, u64)>,
    retired: bool,
}

impl Progress {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            accepted: now,
            requests: [0; 3],
            changed: now,
            idle: now,
            written: 0,
            allowance: UNASKED,
            stuck: false,
            stretch: None,
            retired: false,
        }
    }

    /// A request comes (`from` nothing), goes on, or has gone (`to` nothing).
    pub(super) fn step(&mut self, from: Option<Phase>, to: Option<Phase>, now: Instant) {
        if let Some(phase) = from {
            self.requests[phase as usize] -= 1;
        }
        if let Some(phase) = to {
            self.requests[phase as usize] += 1;
        }
        if from.is_none() {
            self.allowance = self.allowance.saturating_add(UNASKED);
        }
        self.changed = now;
        self.settle(now);
    }

    /// The socket took so many bytes.
    pub(super) fn wrote(&mut self, bytes: usize, now: Instant) {
        self.written += bytes as u64;
        self.stretch = self.stretch.map(|(since, before)| {
            if self.written - before < PACE { (since, before) } else { (now, self.written) }
        });
    }

    /// So many bytes of a body came; with what frames them they were twice as many at most.
    pub(super) fn body(&mut self, bytes: usize) {
        self.allowance = self.allowance.saturating_add(2 * bytes as u64);
    }

    /// The socket gave so many bytes. False: that is more than belongs to its requests.
    pub(super) fn read(&mut self, bytes: usize) -> bool {
        self.allowance = self.allowance.saturating_sub(bytes as u64);
        self.allowance > 0
    }

    /// The socket takes no more for now, or has taken everything.
    pub(super) fn stuck(&mut self, stuck: bool, now: Instant) {
        if self.stuck != stuck {
            self.stuck = stuck;
            self.settle(now);
        }
    }

    fn settle(&mut self, now: Instant) {
        let leaves = self.stuck || self.requests[Phase::Leaving as usize] > 0;
        self.stretch = if leaves { self.stretch.or(Some((now, self.written))) } else { None };
        if !self.is_busy() {
            self.idle = now;
        }
    }

    fn is_busy(&self) -> bool {
        self.stuck || self.requests.iter().any(|count| *count > 0)
    }

    /// Since when the server waits for the peer alone; none while it works for it.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        (self.requests[Phase::Working as usize] == 0).then_some(self.changed)
    }

    /// What is to be done now.
    pub(super) fn judge(&mut self, now: Instant, patience: &Patience) -> Verdict {
        // Whatever begins after this look has its whole time then.
        let mut next = now + patience.silence;
        if !self.is_busy() {
            let due = self.idle + patience.silence;
            if due + GRACE <= now {
                return Verdict::End("no request came");
            } else if due <= now {
                if !self.retired {
                    self.retired = true;
                    return Verdict::Retire;
                }
                next = due + GRACE;
            } else {
                next = next.min(due);
            }
        }
        if let Some((since, _)) = self.stretch {
            let due = since + patience.silence;
            if due <= now {
                return Verdict::End("it does not read its answers");
            }
            next = next.min(due);
        }
        let (old, last) = (self.accepted + patience.age, self.accepted + patience.age + patience.farewell);
        if last <= now {
            return Verdict::End("its last requests took too long");
        }
        if self.retired {
            return Verdict::Until(next.min(last));
        }
        if old <= now {
            self.retired = true;
            return Verdict::Retire;
        }
        Verdict::Until(next.min(old))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        silence: Duration::from_secs(15),
        age: Duration::from_secs(600),
        farewell: Duration::from_secs(60),
    };

    fn start() -> (Progress, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        (Progress::new(start), move |seconds| start + Duration::from_secs(seconds))
    }

    /// Looks whenever it is told to; when the connection ends, and why.
    fn end(progress: &mut Progress, from: Instant) -> (Instant, &'static str) {
        let mut now = from;
        loop {
            match progress.judge(now, &PATIENCE) {
                Verdict::Until(next) => {
                    assert!(next > now, "a look that leads nowhere");
                    now = next;
                }
                Verdict::Retire => {}
                Verdict::End(why) => return (now, why),
            }
        }
    }

    #[test]
    fn silence_ends_a_connection_from_the_first_moment_on_and_after_each_answer() {
        let (mut progress, at) = start();
        assert_eq!(end(&mut progress, at(0)), (at(16), "no request came"));
        let (mut progress, at) = start();
        progress.step(None, Some(Phase::Working), at(10));
        assert_eq!(progress.judge(at(20), &PATIENCE), Verdict::Until(at(35)), "it is worked for");
        progress.step(Some(Phase::Working), Some(Phase::Leaving), at(22));
        progress.step(Some(Phase::Leaving), None, at(23));
        assert_eq!(end(&mut progress, at(35)), (at(39), "no request came"));
    }

    #[test]
    fn an_answer_leaves_at_a_pace_or_the_connection_ends() {
        let (mut progress, at) = start();
        progress.step(None, Some(Phase::Leaving), at(5));
        assert_eq!(end(&mut progress, at(5)), (at(20), "it does not read its answers"));
        let (mut progress, at) = start();
        progress.step(None, Some(Phase::Leaving), at(5));
        for n in 0..20 {
            assert!(matches!(progress.judge(at(19 + 14 * n), &PATIENCE), Verdict::Until(_)));
            progress.wrote(PACE as usize, at(19 + 14 * n));
        }
        progress.wrote(PACE as usize - 1, at(290));
        assert_eq!(end(&mut progress, at(290)), (at(300), "it does not read its answers"));
    }

    #[test]
    fn what_is_stuck_below_http_counts_as_an_answer() {
        let (mut progress, at) = start();
        progress.stuck(true, at(5));
        progress.step(None, Some(Phase::Working), at(6));
        progress.step(Some(Phase::Working), None, at(7));
        progress.stuck(true, at(19));
        assert_eq!(end(&mut progress, at(19)), (at(20), "it does not read its answers"));
        let (mut progress, at) = start();
        progress.stuck(true, at(5));
        progress.stuck(false, at(9));
        assert_eq!(end(&mut progress, at(9)), (at(25), "no request came"));
    }

    #[test]
    fn what_belongs_to_no_request_is_read_up_to_a_bound() {
        let (mut progress, at) = start();
        assert!(progress.read(UNASKED as usize - 1), "a handshake, a head");
        progress.step(None, Some(Phase::Arriving), at(1));
        progress.body(1 << 20);
        progress.step(Some(Phase::Arriving), Some(Phase::Working), at(2));
        assert!(progress.read(2 << 20), "a body and its frames");
        progress.step(Some(Phase::Working), None, at(3));
        assert!(progress.read(UNASKED as usize));
        assert!(!progress.read(1), "and then control frames without end");
    }

    #[test]
    fn an_old_connection_takes_no_request_and_ends() {
        let (mut progress, at) = start();
        progress.step(None, Some(Phase::Working), at(1));
        assert_eq!(progress.judge(at(599), &PATIENCE), Verdict::Until(at(600)));
        assert_eq!(progress.judge(at(600), &PATIENCE), Verdict::Retire);
        assert_eq!(progress.judge(at(600), &PATIENCE), Verdict::Until(at(615)));
        assert_eq!(end(&mut progress, at(600)), (at(660), "its last requests took too long"));
    }

    #[test]
    fn a_peer_is_waited_for_unless_the_server_works_for_it() {
        let (mut progress, at) = start();
        assert_eq!(progress.waiting_since(), Some(at(0)));
        progress.step(None, Some(Phase::Arriving), at(3));
        assert_eq!(progress.waiting_since(), Some(at(3)), "for its body");
        progress.step(Some(Phase::Arriving), Some(Phase::Working), at(4));
        assert_eq!(progress.waiting_since(), None);
        progress.step(Some(Phase::Working), Some(Phase::Leaving), at(9));
        assert_eq!(progress.waiting_since(), Some(at(9)), "to read");
    }
}
