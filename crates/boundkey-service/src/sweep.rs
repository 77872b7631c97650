//! Behind a mark: page by page, the certificates of what it made void are listed and the records go.
//!
//! A mark (`void/...`) revokes at once, for a join reads it; a list has each certificate as soon as its page is done. Every
//! page is one conditional commit of about [`WRITES`] writes, so that joins go on between pages. Whoever stops a sweep, or
//! kills its server, loses nothing: the next one begins with what is left. Two at a time do each other no harm.

use std::time::Duration;

use boundkey_lifecycle::EventCode;
use boundkey_store::records::{EnrolmentRecord, InstanceEntry, Record, SweptRecord, TokenRecord};
use boundkey_store::{Batch, CommitError, Condition, Entry as Stored, Revision, Write, keys};
use time::OffsetDateTime;

use crate::revocation::{self, Mark, Marks};
use crate::{Entry, Events, Refusal, RequestContext, Service};

/// A page ends with the record by which it has so many writes: its commit has at most a hundred more.
pub const WRITES: usize = 2000;
/// Records read for a page.
const PAGE: usize = 500;
/// How often it is looked for a mark while there is none.
const IDLE: Duration = Duration::from_secs(1);
/// After a failure.
const AGAIN: Duration = Duration::from_secs(5);
/// Between two pages: as long as the page took, within these bounds.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There is no mark (or none after the one that failed last).
    Nothing,
    /// One page; more is to be done.
    Page,
    /// The last page of a mark, which is gone now.
    Done,
}

/// Where a sweep stands. It may be thrown away at any time: a new one begins anew and finds what is left.
#[derive(Debug, Clone, Default)]
pub struct Sweep {
    at: Option<Position>,
    /// The mark that failed last: the others go first.
    failed: Option<String>,
}

#[derive(Debug, Clone)]
struct Position {
    mark: String,
    revision: Revision,
    after: Option<String>,
}

/// One page under way.
struct Page {
    batch: Batch,
    swept: SweptRecord,
    /// Up to which key everything is in it.
    after: Option<String>,
    last: bool,
}

impl Sweep {
    /// A sweep that begins with this mark.
    pub(crate) fn of(mark: &str) -> Self {
        let at = Position { mark: mark.to_owned(), revision: Revision(0), after: None };
        Self { at: Some(at), failed: None }
    }

    /// One page of whatever is void.
    ///
    /// # Errors
    /// The store does not answer, or a record is not readable. The next step goes on with another mark, if there is one.
    pub async fn step(&mut self, service: &Service, now: OffsetDateTime) -> Result<Progress, Refusal> {
        let Some(entry) = self.mark(service, now).await? else {
            (self.at, self.failed) = (None, None);
            return Ok(Progress::Nothing);
        };
        let mut at = self.at.take().filter(|at| at.mark == entry.key && at.revision == entry.revision);
        let after = at.as_mut().and_then(|at| at.after.take());
        let page = page(service, &entry, after.clone(), now).await;
        let page = page.inspect_err(|_| self.failed = Some(entry.key.clone()))?;
        let stay = |after| Some(Position { mark: entry.key.clone(), revision: entry.revision, after });
        if page.batch.writes.is_empty() {
            self.at = stay(page.after);
            return Ok(Progress::Page);
        }
        match service.store().commit(page.batch, now).await {
            Ok(_) if page.last => {
                service.joins().clients().forget_all();
                tracing::info!(
                    mark = entry.key,
                    machines = page.swept.machines,
                    certificates = page.swept.certificates,
                    "everything that was revoked together is on the revocation lists"
                );
                Ok(Progress::Done)
            }
            Ok(_) => {
                self.at = stay(page.after);
                Ok(Progress::Page)
            }
            // Somebody changed a record of this page, or was quicker.
            Err(CommitError::Conflict { .. }) => {
                self.at = stay(after);
                Ok(Progress::Page)
            }
            Err(error) => {
                self.failed = Some(entry.key);
                Err(error.into())
            }
        }
    }

    /// The mark to go on with.
    async fn mark(&self, service: &Service, now: OffsetDateTime) -> Result<Option<Stored>, Refusal> {
        if let Some(at) = &self.at {
            let found = service.store().get_many(&[&at.mark], now).await?;
            if let Some(entry) = found.into_iter().flatten().next() {
                return Ok(Some(entry));
            }
        }
        let page = service.store().range(keys::VOID, self.failed.as_deref(), 1, now).await?;
        Ok(page.entries.into_iter().next())
    }
}

async fn page(
    service: &Service,
    entry: &Stored,
    after: Option<String>,
    now: OffsetDateTime,
) -> Result<Page, Refusal> {
    let mark = Mark::decode(entry)?;
    let swept_key = keys::swept(&entry.key);
    let found = service.store().get_many(&[&swept_key], now).await?.into_iter().flatten().next();
    let swept = found.as_ref().map(Stored::decode::<SweptRecord>).transpose()?.unwrap_or_default();
    let unchanged = [
        Condition::At { key: entry.key.clone(), revision: entry.revision },
        Condition::of(&found, swept_key.clone()),
    ];
    let batch = Batch { conditions: unchanged.into(), writes: Vec::new() };
    let mut page = Page { batch, swept, after, last: false };
    if let Some(uid) = entry.key.strip_prefix(keys::VOID_TOKEN) {
        page.clients(service, uid, &mark, now).await?;
    } else {
        page.tokens(service, entry, &mark, now).await?;
    }
    if page.last {
        page.end(service, entry, &mark, now);
    } else if !page.batch.writes.is_empty() {
        page.batch.writes.push(Write::record(swept_key, &page.swept));
    }
    Ok(page)
}

impl Page {
    fn is_full(&self) -> bool {
        self.batch.writes.len() >= WRITES
    }

    fn list(
        &mut self,
        certificates: &[boundkey_lifecycle::IssuedCertificate],
        mark: &Mark,
        now: OffsetDateTime,
    ) {
        // A clock that is ahead now, and was right then, hides none.
        let writes = revocation::revoked_at(certificates, mark.record.at, now.min(mark.record.at));
        self.swept.machines += 1;
        self.swept.certificates += writes.len() as u64;
        self.batch.writes.extend(writes);
    }

    /// Clients of a shared token.
    async fn clients(
        &mut self,
        service: &Service,
        uid: &str,
        mark: &Mark,
        now: OffsetDateTime,
    ) -> Result<(), Refusal> {
        let prefix = keys::instances(uid);
        // Also those that have expired by a clock that may be wrong: set right, it would show them again, without the mark.
        let all = OffsetDateTime::UNIX_EPOCH;
        let read = service.store().range(&prefix, self.after.as_deref(), PAGE, all).await?;
        let total = read.entries.len();
        for (number, entry) in (1..).zip(read.entries) {
            if mark.covers(entry.revision) {
                let record = InstanceEntry::decode(&entry.value)?.record;
                self.list(&record.issued, mark, now);
                let (key, revision) = (entry.key.clone(), entry.revision);
                let is_gone = record.certificates_expire_at + revocation::INSTANCE_KEPT <= now;
                self.batch.conditions.push(match is_gone {
                    true => Condition::Absent { key },
                    false => Condition::At { key, revision },
                });
                // Removed, not marked as revoked: should it come back, it is a client like any other.
                self.batch.writes.push(Write::delete(entry.key.clone()));
            }
            self.after = Some(entry.key);
            if self.is_full() && number < total {
                return Ok(());
            }
        }
        self.last = read.next.is_none();
        Ok(())
    }

    /// Tokens of a bot: what each was issued, and a mark of the same reach on its clients if it is shared.
    async fn tokens(
        &mut self,
        service: &Service,
        of_bot: &Stored,
        mark: &Mark,
        now: OffsetDateTime,
    ) -> Result<(), Refusal> {
        let read = service.store().range(keys::TOKEN, self.after.as_deref(), PAGE, now).await?;
        let mut tokens = Vec::new();
        let end = read.entries.last().map(|entry| entry.key.clone());
        for entry in read.entries {
            let record = TokenRecord::decode(&entry.value)?;
            if record.token.spec.bot_name.as_ref().is_some_and(|bot| bot.as_str() == mark.record.name) {
                tokens.push((entry, record));
            }
        }
        let (total, last) = (tokens.len(), read.next.is_none());
        for (number, (entry, record)) in (1..).zip(tokens) {
            self.token(service, &entry, &record, (of_bot, mark), now).await?;
            if self.is_full() && number < total {
                self.after = Some(entry.key);
                return Ok(());
            }
        }
        (self.after, self.last) = (end.or(self.after.take()), last);
        Ok(())
    }

    async fn token(
        &mut self,
        service: &Service,
        entry: &Stored,
        record: &TokenRecord,
        (entry_of_mark, mark): (&Stored, &Mark),
        now: OffsetDateTime,
    ) -> Result<(), Refusal> {
        let token = &record.token;
        let (enrolment_key, void_key) =
            (keys::enrolment(token.name.as_str()), keys::void_token(&record.uid.to_string()));
        let found = service.store().get_many(&[&enrolment_key, &void_key], now).await?;
        let [Some(stored), void] = found.as_slice() else { return Ok(()) };
        let EnrolmentRecord { uid, enrolment: before } = EnrolmentRecord::decode(&stored.value)?;
        if uid != record.uid {
            return Ok(());
        }
        let read = |key: &str| if key == void_key { void.as_ref() } else { Some(entry_of_mark) };
        let marks = Marks::among(uid, token, read)?;
        let clients = marks.passed_on(token.name.as_str());
        let clients = clients.filter(|_| revocation::is_one_of_many(token, &before));
        let settled = marks.settled(token, before.clone(), stored.revision);
        if settled.enrolment == before && clients.is_none() {
            return Ok(());
        }
        self.batch.conditions.push(Condition::At { key: entry.key.clone(), revision: entry.revision });
        if settled.enrolment != before {
            self.list(&settled.unlisted, mark, now);
            self.batch
                .conditions
                .push(Condition::At { key: enrolment_key.clone(), revision: stored.revision });
            let next = EnrolmentRecord { uid, enrolment: settled.enrolment };
            self.batch.writes.push(Write::record(enrolment_key, &next));
        }
        if let Some(clients) = clients {
            self.batch.conditions.push(Condition::of(void, void_key.clone()));
            self.batch.writes.push(Write::record(void_key, &clients));
        }
        Ok(())
    }

    /// Nothing older is left: the mark goes, and the log says so.
    fn end(&mut self, service: &Service, entry: &Stored, mark: &Mark, now: OffsetDateTime) {
        self.batch.writes.push(Write::delete(entry.key.clone()));
        self.batch.writes.push(Write::delete(keys::swept(&entry.key)));
        let SweptRecord { machines, certificates } = self.swept;
        if machines == 0 {
            return;
        }
        let is_token = entry.key.starts_with(keys::VOID_TOKEN);
        let kind = if is_token { "token" } else { "bot" };
        let name = mark.record.name.clone();
        let context =
            RequestContext { correlation: mark.record.correlation_id.clone(), ..service.own_context() };
        let mut events = Events::new(now, &context);
        events.push(Entry {
            code: EventCode::CertificatesRevoked.as_str().to_owned(),
            token: is_token.then(|| name.clone()),
            identity: (!is_token).then(|| name.clone()),
            detail: format!(
                "everything of {kind} {name} that was revoked at {} is on the revocation lists",
                crate::rfc3339(mark.record.at)
            ),
            notes: vec![format!("machines={machines}"), format!("certificates={certificates}")],
            ..Entry::default()
        });
        self.batch.writes.extend(events.into_writes());
    }
}

/// Sweeps for ever. [`serve`](crate::serve::serve) runs it; whoever serves without that spawns it, and ends it with the server.
pub async fn run(service: Service) {
    let (clock, mut sweep) = (service.clock(), Sweep::default());
    loop {
        let from = clock.monotonic();
        let pause = match sweep.step(&service, service.now()).await {
            Ok(Progress::Nothing) => IDLE,
            Ok(Progress::Page | Progress::Done) => {
                clock.monotonic().saturating_sub(from).clamp(PAUSE.0, PAUSE.1)
            }
            Err(refusal) => {
                tracing::warn!(cause = refusal.cause, "revoked certificates cannot be listed now");
                AGAIN
            }
        };
        tokio::time::sleep(pause).await;
    }
}
