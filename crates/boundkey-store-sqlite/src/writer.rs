//! The one thread that writes. It takes all that is queued, checks and applies it batch by batch in
//! one transaction, and answers everybody after the one sync that this costs.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use boundkey_store::{
    Batch, Change, ChangeLog, CommitError, Committed, Condition, Entry, Revision, StoreError, Write,
};
use rusqlite::{Connection, ErrorCode, OptionalExtension};
use time::OffsetDateTime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::broom::{Broom, STEP};
use crate::open::PATIENCE;
use crate::{cause, micros, readers, schema};

/// How many commits may wait; who comes later waits for a place.
const QUEUE: usize = 1024;
/// How many commits share a sync at most.
const GROUP: usize = 256;
/// Nothing to do for so long: time to tidy up.
const IDLE: Duration = Duration::from_millis(250);

pub(crate) struct Writer {
    jobs: Mutex<Option<Sender<Job>>>,
    places: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

enum Job {
    Commit(Commit),
    Purge {
        now: OffsetDateTime,
        answer: oneshot::Sender<Result<usize, StoreError>>,
    },
    DropFirst {
        prefix: String,
        before: String,
        at_most: usize,
        answer: oneshot::Sender<Result<usize, StoreError>>,
    },
    #[cfg(test)]
    Run(Box<dyn FnOnce(&Connection) + Send>),
}

struct Commit {
    batch: Batch,
    now: OffsetDateTime,
    answer: oneshot::Sender<Result<Committed, CommitError>>,
    _place: OwnedSemaphorePermit,
}

impl Writer {
    pub(crate) fn start(connection: Connection, log: Arc<ChangeLog>) -> std::io::Result<Self> {
        let (jobs, queue) = channel();
        let thread = Thread {
            connection,
            log,
            queue,
            untidy: true,
            broom: Broom::new(Instant::now()),
            purged: 0,
            askers: Vec::new(),
        };
        let thread =
            std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || thread.run())?;
        let places = Arc::new(Semaphore::new(QUEUE));
        Ok(Self { jobs: Mutex::new(Some(jobs)), places, thread: Some(thread) })
    }

    pub(crate) async fn commit(&self, batch: Batch, now: OffsetDateTime) -> Result<Committed, CommitError> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let (answer, answered) = oneshot::channel();
        self.send(Job::Commit(Commit { batch, now, answer, _place: place }))?;
        match answered.await {
            Ok(answer) => answer,
            Err(_) => Err(CommitError::Unknown("the writer has ended".to_owned())),
        }
    }

    /// In steps, between which everything else that is queued is done.
    pub(crate) async fn purge(&self, now: OffsetDateTime) -> Result<usize, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Purge { now, answer })?;
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    pub(crate) async fn drop_first(
        &self,
        prefix: &str,
        before: &str,
        at_most: usize,
    ) -> Result<usize, StoreError> {
        let (answer, answered) = oneshot::channel();
        let (prefix, before) = (prefix.to_owned(), before.to_owned());
        self.send(Job::DropFirst { prefix, before, at_most, answer })?;
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Waits until all that is queued has been written.
    pub(crate) fn stop(&mut self) {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer had ended by a panic");
        }
    }

    fn send(&self, job: Job) -> Result<(), StoreError> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.as_ref().and_then(|jobs| jobs.send(job).ok()).ok_or(StoreError::Closed)
    }

    #[cfg(test)]
    pub(crate) fn run(&self, f: impl FnOnce(&Connection) + Send + 'static) {
        self.send(Job::Run(Box::new(f))).expect("the writer runs");
    }
}

/// Each answer of a group, and what it changed.
struct Outcome {
    answers: Vec<Result<Committed, CommitError>>,
    changes: Vec<Change>,
    before: Revision,
    last: Revision,
}

struct Thread {
    connection: Connection,
    log: Arc<ChangeLog>,
    queue: Receiver<Job>,
    /// Something was written since the log was last copied back.
    untidy: bool,
    broom: Broom,
    /// Expired entries that were dropped since there were none, and who waits until there are none.
    purged: usize,
    askers: Vec<oneshot::Sender<Result<usize, StoreError>>>,
}

impl Thread {
    fn run(mut self) {
        while let Some(first) = self.wait() {
            let mut group = Vec::new();
            let mut job = Some(first);
            while let Some(next) = job {
                match next {
                    Job::Commit(commit) => group.push(commit),
                    other => {
                        self.commit_group(std::mem::take(&mut group));
                        self.run_other(other);
                    }
                }
                job = if group.len() < GROUP { self.queue.try_recv().ok() } else { None };
            }
            self.commit_group(group);
            self.sweep();
        }
        self.tidy_up();
    }

    /// The next job; `None` when the store is closed and everything is done.
    fn wait(&mut self) -> Option<Job> {
        loop {
            let pause = self.broom.pause(Instant::now());
            let Some(patience) = pause.or(self.untidy.then_some(IDLE)) else {
                return self.queue.recv().ok();
            };
            match self.queue.recv_timeout(patience) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    self.sweep();
                    if pause.is_none() {
                        self.untidy = !self.tidy_up();
                    }
                }
            }
        }
    }

    fn run_other(&mut self, job: Job) {
        match job {
            Job::Commit(commit) => self.commit_group(vec![commit]),
            Job::Purge { now, answer } => {
                self.broom.ask(now);
                self.askers.push(answer);
            }
            Job::DropFirst { prefix, before, at_most, answer } => {
                let dropped = self.drop_first(&prefix, &before, at_most);
                let _ = answer.send(dropped.map_err(|error| cause::store_error(&error)));
            }
            #[cfg(test)]
            Job::Run(f) => f(&self.connection),
        }
    }

    fn commit_group(&mut self, group: Vec<Commit>) {
        if group.is_empty() {
            return;
        }
        if let Some(commit) = group.last() {
            self.broom.hear(commit.now);
        }
        let (batches, askers): (Vec<_>, Vec<_>) = group
            .into_iter()
            .map(|commit| ((commit.batch, commit.now), (commit.answer, commit._place)))
            .unzip();
        let answers = match self.transact(batches) {
            Ok(outcome) => {
                self.publish(outcome.before, outcome.last, outcome.changes);
                outcome.answers
            }
            Err(error) => {
                tracing::error!(%error, commits = askers.len(), "the store could not commit");
                self.roll_back();
                vec![Err(error); askers.len()]
            }
        };
        for ((asker, _place), answer) in askers.into_iter().zip(answers) {
            // Whoever asked may have gone.
            let _ = asker.send(answer);
        }
    }

    /// All batches in one transaction. On an error none of them has happened, and the transaction
    /// may still be open.
    fn transact(&mut self, batches: Vec<(Batch, OffsetDateTime)>) -> Result<Outcome, CommitError> {
        let failed = |error: rusqlite::Error| CommitError::Store(cause::store_error(&error));
        self.connection.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
        let before = schema::revision(&self.connection).map_err(failed)?;
        let mut outcome =
            Outcome { answers: Vec::with_capacity(batches.len()), changes: Vec::new(), before, last: before };
        for (batch, now) in batches {
            let answer = self.check(&batch.conditions, now).map_err(failed)?;
            let answer = match answer {
                Some(key) => Err(CommitError::Conflict { key }),
                None => {
                    if !batch.writes.is_empty() {
                        outcome.last.0 += 1;
                        self.apply(batch.writes, outcome.last, &mut outcome.changes).map_err(failed)?;
                    }
                    Ok(Committed { revision: outcome.last })
                }
            };
            outcome.answers.push(answer);
        }
        if outcome.last == before {
            // Nothing to keep, so nothing to sync.
            self.connection.execute_batch("ROLLBACK").map_err(failed)?;
            return Ok(outcome);
        }
        self.connection
            .prepare_cached("UPDATE meta SET value = ?1 WHERE name = 'revision'")
            .and_then(|mut statement| statement.execute([signed(outcome.last)]))
            .map_err(failed)?;
        self.untidy = true;
        self.connection.execute_batch("COMMIT").map_err(|error| commit_failed(&error))?;
        Ok(outcome)
    }

    /// The key of the first condition that does not hold.
    fn check(&self, conditions: &[Condition], now: OffsetDateTime) -> rusqlite::Result<Option<String>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT revision FROM record WHERE key = ?1 AND (expires IS NULL OR expires > ?2)",
        )?;
        for condition in conditions {
            let found: Option<i64> =
                statement.query_row((condition.key(), micros(now)), |row| row.get(0)).optional()?;
            let holds = match condition {
                Condition::At { revision, .. } => found.is_some_and(|found| found == signed(*revision)),
                Condition::Absent { .. } => found.is_none(),
            };
            if !holds {
                return Ok(Some(condition.key().to_owned()));
            }
        }
        Ok(None)
    }

    fn apply(
        &self,
        writes: Vec<Write>,
        revision: Revision,
        changes: &mut Vec<Change>,
    ) -> rusqlite::Result<()> {
        for write in writes {
            let (key, value, expires) = match write {
                Write::Put { key, value } => (key, value, None),
                Write::PutUntil { key, value, expires } => (key, value, Some(micros(expires))),
                Write::Delete { key } => {
                    let deleted = self
                        .connection
                        .prepare_cached("DELETE FROM record WHERE key = ?1")?
                        .execute([&key])?;
                    if deleted > 0 {
                        changes.push(Change::Deleted { key, revision });
                    }
                    continue;
                }
            };
            self.connection
                .prepare_cached(
                    "INSERT INTO record (key, value, revision, expires) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (key) DO UPDATE
                     SET value = excluded.value, revision = excluded.revision, expires = excluded.expires",
                )?
                .execute((&key, &value, signed(revision), expires))?;
            changes.push(Change::Put(Entry { key, value, revision }));
        }
        Ok(())
    }

    fn publish(&self, before: Revision, last: Revision, changes: Vec<Change>) {
        if before != self.log.revision() {
            // Another process wrote: what it changed is not known here, so no watch may go on.
            self.log.reset(last);
        } else if last != before {
            self.log.append(last, changes);
        }
    }

    fn roll_back(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(cause = %cause::text(&error), "the store could not roll back");
        }
    }

    /// One step, if it is time for one.
    fn sweep(&mut self) {
        let began = Instant::now();
        let Some(ended) = self.broom.step(began) else { return };
        let step = self.purge(ended);
        let more = matches!(step, Ok(STEP));
        self.broom.stepped(began, Instant::now(), more);
        self.purged += step.as_ref().copied().unwrap_or(0);
        if let Err(error) = &step {
            tracing::warn!(cause = %cause::text(error), "expired entries could not be dropped");
        }
        if !more {
            let purged = std::mem::take(&mut self.purged);
            let answer = step.map(|_| purged).map_err(|error| cause::store_error(&error));
            for asker in self.askers.drain(..) {
                // Whoever asked may have gone.
                let _ = asker.send(answer.clone());
            }
        }
    }

    /// One step. No revision and no report: these entries have been absent since they expired.
    fn purge(&mut self, now: OffsetDateTime) -> rusqlite::Result<usize> {
        let purged = self
            .connection
            .prepare_cached(
                "DELETE FROM record WHERE key IN
                     (SELECT key FROM record WHERE expires <= ?1 ORDER BY expires LIMIT ?2)",
            )?
            .execute((micros(now), i64::try_from(STEP).unwrap_or(i64::MAX)))?;
        self.untidy |= purged > 0;
        Ok(purged)
    }

    fn drop_first(&mut self, prefix: &str, before: &str, at_most: usize) -> rusqlite::Result<usize> {
        let dropped = self
            .connection
            .prepare_cached(
                "DELETE FROM record WHERE key IN
                     (SELECT key FROM record WHERE key >= ?1 AND key < ?2 AND key < ?3 ORDER BY key LIMIT ?4)",
            )?
            .execute((prefix, readers::end(prefix), before, i64::try_from(at_most.max(1)).unwrap_or(i64::MAX)))?;
        self.untidy |= dropped > 0;
        Ok(dropped)
    }

    /// Copies the write-ahead log back and empties it. False if a reader was in the way: later then.
    fn tidy_up(&self) -> bool {
        // Not a moment of patience: commits would have to wait too.
        let checkpoint = || {
            self.connection.busy_timeout(Duration::ZERO)?;
            let busy: i64 =
                self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
            Ok::<_, rusqlite::Error>(busy == 0)
        };
        let done = checkpoint();
        if let Err(error) = self.connection.busy_timeout(PATIENCE) {
            tracing::warn!(cause = %cause::text(&error), "the store's patience could not be set");
        }
        match done {
            Ok(done) => done,
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => false,
            Err(error) => {
                tracing::warn!(cause = %cause::text(&error), "the write-ahead log could not be copied back");
                // The log keeps everything; the next commit is followed by the next try.
                true
            }
        }
    }
}

/// A commit that fails while it syncs has not happened for this process, but what it wrote may be
/// found whole when the file is opened after a crash.
fn commit_failed(error: &rusqlite::Error) -> CommitError {
    match error.sqlite_error_code() {
        Some(ErrorCode::SystemIoFailure) if !cause::is_full(error) => {
            CommitError::Unknown(cause::text(error))
        }
        _ => CommitError::Store(cause::store_error(error)),
    }
}

/// As revisions are stored. One that no commit can have reached equals none that is stored.
fn signed(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(-1)
}
