//! Tokens with what belongs to them: what listings, `explain` and the guard of `cut_off` look at.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use boundkey_lifecycle::{Clients, Enrolment, LockInForce, View};
use boundkey_store::records::{BotRecord, EnrolmentRecord, LockIndex, Record, RecordError, TokenRecord};
use boundkey_store::{Entry, Revision, keys};
use boundkey_token::Bot;
use time::OffsetDateTime;

use super::plan::{Pages, Plan};
use crate::join::lock_of_identity;
use crate::revocation::{Marks, is_one_of_many};
use crate::{Refusal, Service};

/// A token with its enrolment, its bot, and every lock that would stop its next join.
pub(super) struct Row {
    pub(super) record: TokenRecord,
    pub(super) revision: Option<Revision>,
    pub(super) enrolment: Enrolment,
    pub(super) bot: Option<Bot>,
    pub(super) locks: Vec<LockInForce>,
    /// Of a shared token, as far as they are counted.
    pub(super) clients: Option<u64>,
}

impl Row {
    fn new(record: TokenRecord, revision: Option<Revision>) -> Self {
        Self {
            record,
            revision,
            enrolment: Enrolment::default(),
            bot: None,
            locks: Vec::new(),
            clients: None,
        }
    }

    pub(super) fn view<'a>(&'a self, service: &'a Service, now: OffsetDateTime) -> View<'a> {
        View {
            token: &self.record.token,
            bot: self.bot.as_ref(),
            enrolment: &self.enrolment,
            locks: &self.locks,
            clients: self
                .clients
                .map(|on_record| Clients { on_record, limit: service.joins().clients().limit() }),
            policy: &service.config().policy,
            now,
        }
    }

    /// Several machines may hold it, each under an identity of its own.
    pub(super) fn is_one_of_many(&self) -> bool {
        is_one_of_many(&self.record.token, &self.enrolment)
    }

    /// Where locks on it are: its own, its host's or bot instance's, its bot's. Of many clients the enrolment names
    /// whoever came first, and a lock on him stops no other.
    fn lock_keys(&self) -> impl Iterator<Item = String> {
        let spec = &self.record.token.spec;
        let is_one_of_many = self.is_one_of_many();
        let of_token = keys::lock_of("token", self.record.token.name.as_str());
        let of_identity = self.enrolment.identity.as_ref().filter(|_| !is_one_of_many).map(lock_of_identity);
        let of_bot = spec.bot_name.as_ref().map(|bot| keys::lock_of("bot", bot.as_str()));
        [Some(of_token), of_identity, of_bot].into_iter().flatten()
    }
}

/// Where rows are read from.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// The store.
    Store(&'a Service, OffsetDateTime),
    /// The store as it will be after a plan.
    Plan(&'a Plan<'a>),
}

impl Source<'_> {
    /// One read of the store; many tokens may have one bot.
    async fn read(self, wanted: BTreeSet<String>) -> Result<HashMap<String, Entry>, Refusal> {
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        match self {
            Self::Plan(plan) => plan.peek(&wanted).await,
            Self::Store(service, now) => {
                Ok(by_key(service.store().get_many(&wanted, now).await?.into_iter().flatten().collect()))
            }
        }
    }
}

/// The rows of a page, and the name of the last one if there are more.
pub(super) struct Rows {
    pub(super) rows: Vec<Row>,
    pub(super) next: Option<String>,
}

/// The rows behind a name: a few ranges of the store for all of them.
pub(super) async fn page(
    service: &Service,
    after: Option<&str>,
    limit: usize,
    now: OffsetDateTime,
) -> Result<Rows, Refusal> {
    let store = service.store();
    let page = store.range(keys::TOKEN, after.map(keys::token).as_deref(), limit, now).await?;
    let mut stored: Vec<Stored> =
        page.entries.into_iter().map(|token| Stored { token, enrolment: None }).collect();
    // In the same order: there is one for each token that was applied, and none without.
    let mut after = after.map(keys::enrolment);
    let mut waiting = stored.iter_mut().peekable();
    while waiting.peek().is_some() {
        let page = store.range(keys::ENROLMENT, after.as_deref(), limit, now).await?;
        for entry in page.entries {
            let name = entry.key.strip_prefix(keys::ENROLMENT).unwrap_or_default();
            while waiting.next_if(|stored| stored.name() < name).is_some() {}
            if let Some(stored) = waiting.next_if(|stored| stored.name() == name) {
                stored.enrolment = Some(entry);
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let rows = read_all(stored, marks(service, now).await?).await?;
    let locks = store.range(keys::LOCK_OF, None, FEW_LOCKS, now).await?;
    let locks = locks.next.is_none().then(|| by_key(locks.entries));
    let mut rows = guarded(Source::Store(service, now), rows, locks).await?;
    for row in rows.iter_mut().filter(|row| row.is_one_of_many()) {
        row.clients = service.joins().clients().known(row.record.uid);
    }
    let next = page.next.as_deref().and_then(|key| key.strip_prefix(keys::TOKEN)).map(str::to_owned);
    Ok(Rows { rows, next })
}

/// A token and its enrolment as they are in the store.
struct Stored {
    token: Entry,
    enrolment: Option<Entry>,
}

impl Stored {
    fn name(&self) -> &str {
        self.token.key.strip_prefix(keys::TOKEN).unwrap_or_default()
    }

    fn read(self, marks: &HashMap<String, Entry>) -> Result<Row, RecordError> {
        let mut row = Row::new(TokenRecord::decode(&self.token.value)?, Some(self.token.revision));
        if let Some(entry) = self.enrolment {
            let stored = EnrolmentRecord::decode(&entry.value)?.enrolment;
            let token = &row.record.token;
            let marks = Marks::among(row.record.uid, token, |key| marks.get(key))?;
            row.enrolment = marks.settled(token, stored, entry.revision).enrolment;
        }
        Ok(row)
    }
}

/// Reading records is most of what a listing costs: another processor does half of it.
async fn read_all(mut stored: Vec<Stored>, marks: HashMap<String, Entry>) -> Result<Vec<Row>, Refusal> {
    let read = |stored: Vec<Stored>, marks: &HashMap<String, Entry>| {
        stored.into_iter().map(|stored| stored.read(marks)).collect::<Result<Vec<Row>, _>>()
    };
    if stored.len() < WORTH_A_THREAD {
        return Ok(read(stored, &marks)?);
    }
    let marks = Arc::new(marks);
    let (second, of_second) = (stored.split_off(stored.len() / 2), Arc::clone(&marks));
    let second = tokio::task::spawn_blocking(move || read(second, &of_second));
    let mut rows = read(stored, &marks)?;
    rows.extend(second.await.map_err(Refusal::internal)??);
    Ok(rows)
}

const WORTH_A_THREAD: usize = 100;

/// So many locks are read at once; of more, those that a page is about.
const FEW_LOCKS: usize = 100;

/// All marks of revocations that go on: there are few.
async fn marks(service: &Service, now: OffsetDateTime) -> Result<HashMap<String, Entry>, Refusal> {
    let (mut marks, mut pages) = (HashMap::new(), Pages::of(keys::VOID));
    while let Some(page) = pages.next(service, now).await? {
        marks.extend(by_key(page));
    }
    Ok(marks)
}

fn by_key(entries: Vec<Entry>) -> HashMap<String, Entry> {
    entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect()
}

/// The row of one token; none if there is no such token.
pub(super) async fn of_token(
    service: &Service,
    name: &str,
    now: OffsetDateTime,
) -> Result<Option<Row>, Refusal> {
    let found = service.store().get_many(&[&keys::token(name)], now).await?.into_iter().flatten().next();
    let Some(entry) = found else { return Ok(None) };
    let row = Row::new(TokenRecord::decode(&entry.value)?, Some(entry.revision));
    let mut row = completed(Source::Store(service, now), vec![row]).await?.pop();
    if let Some(row) = row.as_mut().filter(|row| row.is_one_of_many()) {
        row.clients = Some(service.joins().clients().measure(service, row.record.uid, now).await?);
    }
    Ok(row)
}

/// The rows of these tokens as they are after what the plan has staged so far; those that there are. What is only looked
/// at here is no condition of the plan.
pub(super) async fn planned(plan: &Plan<'_>, names: &[String]) -> Result<Vec<Row>, Refusal> {
    named(Source::Plan(plan), names).await
}

/// The rows of these tokens as they are in the store; those that there are.
pub(super) async fn stored(
    service: &Service,
    names: &[String],
    now: OffsetDateTime,
) -> Result<Vec<Row>, Refusal> {
    named(Source::Store(service, now), names).await
}

async fn named(source: Source<'_>, names: &[String]) -> Result<Vec<Row>, Refusal> {
    let wanted: BTreeSet<String> = names.iter().map(|name| keys::token(name)).collect();
    let found = source.read(wanted).await?;
    let mut rows = Vec::with_capacity(found.len());
    for name in names {
        if let Some(entry) = found.get(&keys::token(name)) {
            rows.push(Row::new(TokenRecord::decode(&entry.value)?, None));
        }
    }
    completed(source, rows).await
}

async fn completed(source: Source<'_>, mut rows: Vec<Row>) -> Result<Vec<Row>, Refusal> {
    let enrolments = rows.iter().map(|row| keys::enrolment(row.record.token.name.as_str()));
    let marks = rows.iter().flat_map(|row| Marks::keys(row.record.uid, &row.record.token, false));
    let found = source.read(enrolments.chain(marks).collect()).await?;
    for row in &mut rows {
        let token = &row.record.token;
        if let Some(entry) = found.get(&keys::enrolment(token.name.as_str())) {
            let marks = Marks::among(row.record.uid, token, |key| found.get(key))?;
            let stored = EnrolmentRecord::decode(&entry.value)?.enrolment;
            row.enrolment = marks.settled(token, stored, entry.revision).enrolment;
        }
    }
    guarded(source, rows, None).await
}

/// With their bots and locks; `locks`: all that there are, if they were read already.
async fn guarded(
    source: Source<'_>,
    mut rows: Vec<Row>,
    locks: Option<HashMap<String, Entry>>,
) -> Result<Vec<Row>, Refusal> {
    let bot_of = |row: &Row| row.record.token.spec.bot_name.as_ref().map(|bot| keys::bot(bot.as_str()));
    let bots = source.read(rows.iter().filter_map(bot_of).collect()).await?;
    let locks = match locks {
        Some(locks) => locks,
        None => source.read(rows.iter().flat_map(Row::lock_keys).collect()).await?,
    };
    for row in &mut rows {
        if let Some(entry) = bot_of(row).and_then(|key| bots.get(&key)) {
            row.bot = Some(BotRecord::decode(&entry.value)?.bot);
        }
        if locks.is_empty() {
            continue;
        }
        for entry in row.lock_keys().filter_map(|key| locks.get(&key)).collect::<Vec<_>>() {
            row.locks.extend(LockIndex::decode(&entry.value)?.locks);
        }
    }
    Ok(rows)
}
