//! The end of the audit log: what is older than `audit.keep` goes, and what makes it larger than `audit.keep_mib`. The
//! oldest go first, in steps between which joins are committed.

use std::time::{Duration, Instant};

use boundkey_store::{Measure, Revision, Steady, keys};
use time::OffsetDateTime;

use crate::{Entry, Events, Refusal, Service};

/// Events that are dropped at a time.
const STEP: usize = 250;
/// After a step the joins have the store for so many times as long, and for this long at least.
const REST: u32 = 3;
const REST_LEAST: Duration = Duration::from_millis(10);
/// The log is measured this often if anything was written, and at each look if it may have grown over its bound.
const MEASURE: Duration = Duration::from_secs(600);
/// A log that is too large is cut to so many hundredths of its bound.
const CUT_TO: u64 = 90;
/// The event that tells of a log that was too large is written this often.
const TELL: time::Duration = time::Duration::DAY;

/// What one look dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trimmed {
    /// For their age.
    pub by_age: u64,
    /// Because the log was too large.
    pub by_size: u64,
}

/// Looks after the audit log of one service. What it remembers may be lost: a new one measures again.
#[derive(Debug, Default)]
pub struct Retention {
    steady: Steady,
    measured: Option<Measured>,
    told: Option<OffsetDateTime>,
}

#[derive(Debug, Clone, Copy)]
struct Measured {
    at: Instant,
    revision: Revision,
    log: Measure,
}

impl Measured {
    /// Has it to be measured again? Each commit since may have written two events of the usual size.
    fn is_old(&self, instant: Instant, revision: Revision, most: u64) -> bool {
        let commits = revision.0.saturating_sub(self.revision.0);
        let usual = self.log.bytes / self.log.entries.max(1);
        let grown = self.log.bytes.saturating_add(usual.max(1).saturating_mul(2).saturating_mul(commits));
        let rested = instant.saturating_duration_since(self.at) >= MEASURE;
        // A restored store goes back.
        revision != self.revision && (rested || grown > most || revision < self.revision)
    }
}

/// The number of its oldest events that have to go, so that so many bytes are left.
fn surplus(log: Measure, most: u64) -> u64 {
    let left = most / 100 * CUT_TO;
    if log.bytes <= most {
        return 0;
    }
    let share = u128::from(log.bytes - left) * u128::from(log.entries);
    u64::try_from(share.div_ceil(u128::from(log.bytes.max(1)))).unwrap_or(u64::MAX)
}

impl Retention {
    /// Drops what is over the bounds; to be called every minute. `instant`: by the clock that nobody sets. An age is
    /// believed as the store believes an expiry: in the first hour nothing is old, and a clock that jumps for less than
    /// an hour makes nothing old.
    ///
    /// # Errors
    /// The store does not answer; what was dropped until then is gone.
    pub async fn look(&mut self, service: &Service, instant: Instant) -> Result<Trimmed, Refusal> {
        let now = service.now();
        let keep = service.config().audit;
        self.steady.hear(now);
        let mut trimmed = Trimmed::default();
        let long_ago = self.steady.long_ago(instant);
        if let Some(before) =
            keep.age.zip(long_ago).and_then(|(age, long_ago)| long_ago.checked_sub(age.try_into().ok()?))
        {
            trimmed.by_age =
                drop_first(service, &keys::event(before.unix_timestamp_nanos() / 1000, ""), u64::MAX).await?;
            if trimmed.by_age > 0 {
                tracing::info!(
                    events = trimmed.by_age,
                    before = crate::rfc3339(before),
                    "dropped events older than audit.keep"
                );
            }
        }
        if let Some(most) = keep.bytes {
            trimmed.by_size = self.cut(service, instant, most).await?;
            if trimmed.by_size > 0 {
                self.tell(service, trimmed.by_size, most, now).await?;
            }
        }
        Ok(trimmed)
    }

    async fn cut(&mut self, service: &Service, instant: Instant, most: u64) -> Result<u64, Refusal> {
        let store = service.store();
        let revision = store.revision().await?;
        if self.measured.is_some_and(|measured| !measured.is_old(instant, revision, most)) {
            return Ok(0);
        }
        let mut dropped = 0;
        loop {
            let log = store.measure(keys::EVENT, service.now()).await?;
            self.measured = Some(Measured { at: instant, revision, log });
            let surplus = surplus(log, most);
            // Behind the last event: times are digits.
            let step = drop_first(service, &format!("{}~", keys::EVENT), surplus).await?;
            dropped += step;
            if step == 0 {
                return Ok(dropped);
            }
        }
    }

    /// Less is kept than was promised: a warning each time, an event once a day.
    async fn tell(
        &mut self,
        service: &Service,
        events: u64,
        most: u64,
        now: OffsetDateTime,
    ) -> Result<(), Refusal> {
        let mib = most / (1024 * 1024);
        let first = service.store().range(keys::EVENT, None, 1, now).await?.entries.into_iter().next();
        let until = first.and_then(|entry| keys::event_time(&entry.key));
        let until = until.map_or_else(|| "now".to_owned(), crate::rfc3339);
        let detail = format!(
            "{events} events of before {until} were dropped: the audit log was larger than audit.keep_mib, {mib}"
        );
        tracing::warn!(
            events,
            until,
            keep_mib = mib,
            "the audit log was too large: its oldest events were dropped"
        );
        if self.told.is_some_and(|told| (now - told).abs() < TELL) {
            return Ok(());
        }
        let context = service.own_context();
        let mut row = Events::new(now, &context);
        row.push(Entry { code: "audit_trimmed".to_owned(), detail, ..Entry::default() });
        service
            .store()
            .commit(boundkey_store::Batch { conditions: Vec::new(), writes: row.into_writes() }, now)
            .await?;
        self.told = Some(now);
        Ok(())
    }
}

/// Drops the first events of before a key, so many at most, with rests.
async fn drop_first(service: &Service, before: &str, most: u64) -> Result<u64, Refusal> {
    let clock = service.clock();
    let mut dropped = 0;
    while dropped < most {
        let began = clock.monotonic();
        let part = usize::try_from(most - dropped).map_or(STEP, |rest| rest.min(STEP));
        let step = service.store().drop_first(keys::EVENT, before, part).await?;
        dropped += step as u64;
        if step < part {
            break;
        }
        let took = clock.monotonic().saturating_sub(began);
        tokio::time::sleep((took * REST).max(REST_LEAST)).await;
    }
    Ok(dropped)
}
