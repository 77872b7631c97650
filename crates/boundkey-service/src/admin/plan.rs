//! One administration change as reads, staged writes and one conditional commit; a lost race is planned again.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use boundkey_store::records::Record;
use boundkey_store::{Batch, CommitError, Condition, Entry as StoredEntry, Revision, Write, keys};
use time::OffsetDateTime;

use crate::sweep::Sweep;
use crate::{Entry, Events, Refusal, RequestContext, Service};

/// How often a change is planned anew after somebody else changed what it had read.
const TRIES: usize = 8;
/// Records of a range that are read at once.
const PAGE: usize = 1000;

/// What was read, and what is to be written, if nothing that was read has changed.
pub(super) struct Plan<'a> {
    pub(super) service: &'a Service,
    pub(super) now: OffsetDateTime,
    read: BTreeMap<String, Option<StoredEntry>>,
    staged: BTreeMap<String, Staged>,
    events: Vec<Entry>,
    /// The request's id, under which a sweep that comes behind it tells that it is done.
    pub(super) correlation: &'a str,
    /// Marks that this plan sets on what it revokes as a whole.
    pub(super) marks: Vec<String>,
    /// Only looked at: never committed.
    pub(super) dry_run: bool,
}

enum Staged {
    Put { value: Vec<u8>, expires: Option<OffsetDateTime> },
    Delete,
}

/// A change that can be planned any number of times.
#[async_trait]
pub(super) trait Operation: Sync {
    type Answer: Send;
    async fn plan(&self, plan: &mut Plan<'_>) -> Result<Self::Answer, Refusal>;
}

/// Plans, commits, and plans again if a record that was read has changed meanwhile.
pub(super) async fn carry_out<O: Operation>(
    service: &Service,
    context: &RequestContext,
    operation: &O,
) -> Result<O::Answer, Refusal> {
    let now = service.now();
    for _ in 0..TRIES {
        let mut plan = Plan {
            service,
            now,
            read: BTreeMap::new(),
            staged: BTreeMap::new(),
            events: Vec::new(),
            correlation: &context.correlation,
            marks: Vec::new(),
            dry_run: false,
        };
        let answer = operation.plan(&mut plan).await?;
        let marks = std::mem::take(&mut plan.marks);
        match plan.commit(context).await {
            Ok(None) => return Ok(answer),
            Ok(Some(_)) => {
                first_pages(service, &marks, now).await;
                return Ok(answer);
            }
            Err(CommitError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refusal::new(409, "conflict", "others keep changing the same record; ask again").retry_after(1))
}

/// A page of each, so that the certificates of a few machines are on the lists when the answer says so. All is revoked
/// already: what fails here is the background's to do.
async fn first_pages(service: &Service, marks: &[String], now: OffsetDateTime) {
    for mark in marks {
        if let Err(refusal) = Sweep::of(mark).step(service, now).await {
            tracing::warn!(cause = refusal.cause, mark, "revoked certificates will be listed later");
        }
    }
}

impl Plan<'_> {
    /// Reads several keys at once; later `get`s of them ask the store no more.
    pub(super) async fn load(&mut self, keys: &[&str]) -> Result<(), Refusal> {
        let missing: Vec<&str> = keys.iter().copied().filter(|key| !self.read.contains_key(*key)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let entries = self.service.store().get_many(&missing, self.now).await?;
        self.read.extend(missing.into_iter().map(str::to_owned).zip(entries));
        Ok(())
    }

    /// The record as it will be after this plan: staged, or as it was read.
    pub(super) async fn get<R: Record>(&mut self, key: &str) -> Result<Option<R>, Refusal> {
        match self.staged.get(key) {
            Some(Staged::Delete) => return Ok(None),
            Some(Staged::Put { value, .. }) => return Ok(Some(R::decode(value)?)),
            None => {}
        }
        self.load(&[key]).await?;
        Ok(self.read.get(key).and_then(Option::as_ref).map(|entry| R::decode(&entry.value)).transpose()?)
    }

    /// Records as they will be after this plan, without making them a condition of it. What is staged has a revision
    /// above all others.
    pub(super) async fn peek(&self, keys: &[&str]) -> Result<HashMap<String, StoredEntry>, Refusal> {
        let mut found = HashMap::with_capacity(keys.len());
        let mut wanted = Vec::new();
        for key in keys.iter().copied() {
            let entry = match (self.staged.get(key), self.read.get(key)) {
                (Some(Staged::Put { value, .. }), _) => {
                    let (key, value) = (key.to_owned(), value.clone());
                    Some(StoredEntry { key, value, revision: Revision(u64::MAX) })
                }
                (Some(Staged::Delete), _) => None,
                (None, Some(entry)) => entry.clone(),
                (None, None) => {
                    wanted.push(key);
                    None
                }
            };
            found.extend(entry.map(|entry| (key.to_owned(), entry)));
        }
        let read = self.service.store().get_many(&wanted, self.now).await?;
        found.extend(read.into_iter().flatten().map(|entry| (entry.key.clone(), entry)));
        Ok(found)
    }

    /// What is to be written to a key.
    pub(super) fn staged(&self, key: &str) -> Option<&[u8]> {
        match self.staged.get(key) {
            Some(Staged::Put { value, .. }) => Some(value),
            Some(Staged::Delete) | None => None,
        }
    }

    /// What was found under a key, if it was read.
    pub(super) fn found(&self, key: &str) -> Option<&StoredEntry> {
        self.read.get(key).and_then(Option::as_ref)
    }

    /// What a key held when it was read.
    pub(super) fn before(&self, key: &str) -> Option<&[u8]> {
        self.read.get(key).and_then(Option::as_ref).map(|entry| entry.value.as_slice())
    }

    /// The revision at which a key was read.
    pub(super) fn revision(&self, key: &str) -> Option<Revision> {
        self.read.get(key).and_then(Option::as_ref).map(|entry| entry.revision)
    }

    /// Does this plan write the key already?
    pub(super) fn is_staged(&self, key: &str) -> bool {
        self.staged.contains_key(key)
    }

    pub(super) fn put<R: Record>(&mut self, key: impl Into<String>, record: &R) {
        self.staged.insert(key.into(), Staged::Put { value: record.encode(), expires: None });
    }

    /// A record that vanishes by itself.
    pub(super) fn put_until<R: Record>(
        &mut self,
        key: impl Into<String>,
        record: &R,
        expires: Option<OffsetDateTime>,
    ) {
        self.staged.insert(key.into(), Staged::Put { value: record.encode(), expires });
    }

    /// A write that was made elsewhere.
    pub(super) fn stage(&mut self, write: Write) {
        let (key, staged) = match write {
            Write::Put { key, value } => (key, Staged::Put { value, expires: None }),
            Write::PutUntil { key, value, expires } => (key, Staged::Put { value, expires: Some(expires) }),
            Write::Delete { key } => (key, Staged::Delete),
        };
        self.staged.insert(key, staged);
    }

    pub(super) fn delete(&mut self, key: impl Into<String>) {
        self.staged.insert(key.into(), Staged::Delete);
    }

    /// Written in the same commit as the change.
    pub(super) fn event(&mut self, entry: Entry) {
        self.events.push(entry);
    }

    /// The revision of the commit; none if there was nothing to write.
    async fn commit(self, context: &RequestContext) -> Result<Option<Revision>, CommitError> {
        if self.staged.is_empty() || self.dry_run {
            return Ok(None);
        }
        let mut events = Events::new(self.now, context);
        for entry in self.events {
            events.push(entry);
        }
        let conditions = self
            .read
            .into_iter()
            .map(|(key, entry)| match entry {
                Some(entry) => Condition::At { key, revision: entry.revision },
                None => Condition::Absent { key },
            })
            .collect();
        let writes = self.staged.into_iter().map(|(key, staged)| match staged {
            Staged::Put { value, expires: None } => Write::Put { key, value },
            Staged::Put { value, expires: Some(expires) } => Write::PutUntil { key, value, expires },
            Staged::Delete => Write::Delete { key },
        });
        let batch = Batch { conditions, writes: writes.chain(events.into_writes()).collect() };
        self.service.store().commit(batch, self.now).await.map(|committed| Some(committed.revision))
    }
}

/// A range read page by page, so that it may be of any length.
pub(super) struct Pages<'a> {
    prefix: &'a str,
    after: Option<String>,
    ended: bool,
}

impl<'a> Pages<'a> {
    pub(super) fn of(prefix: &'a str) -> Self {
        Self { prefix, after: None, ended: false }
    }

    /// None: that was the last.
    pub(super) async fn next(
        &mut self,
        service: &Service,
        now: OffsetDateTime,
    ) -> Result<Option<Vec<StoredEntry>>, Refusal> {
        if self.ended {
            return Ok(None);
        }
        let page = service.store().range(self.prefix, self.after.as_deref(), PAGE, now).await?;
        self.ended = page.next.is_none();
        self.after = page.next;
        Ok(Some(page.entries))
    }
}

/// The token's record key and its enrolment's: always read together.
pub(super) fn token_keys(name: &str) -> (String, String) {
    (keys::token(name), keys::enrolment(name))
}
