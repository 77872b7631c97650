//! Tokens with what belongs to them: what listings and `explain` look at.

use std::collections::{BTreeSet, HashMap};

use boundkey_lifecycle::{Enrolment, LockInForce, View};
use boundkey_store::records::{BotRecord, EnrolmentRecord, LockIndex, Record, TokenRecord};
use boundkey_store::{Entry, Range, Revision, keys};
use boundkey_token::{Bot, RecoveryMode};
use time::OffsetDateTime;

use crate::join::lock_of_identity;
use crate::{Refusal, Service};

/// A token with its enrolment, its bot, and every lock that would stop its next join.
pub(super) struct Row {
    pub(super) record: TokenRecord,
    pub(super) revision: Revision,
    pub(super) enrolment: Enrolment,
    pub(super) bot: Option<Bot>,
    pub(super) locks: Vec<LockInForce>,
}

impl Row {
    pub(super) fn view<'a>(&'a self, service: &'a Service, now: OffsetDateTime) -> View<'a> {
        View {
            token: &self.record.token,
            bot: self.bot.as_ref(),
            enrolment: &self.enrolment,
            locks: &self.locks,
            policy: &service.config().policy,
            now,
        }
    }

    /// Where locks on it are: its own, its host's or bot instance's, its bot's. Of many clients the enrolment names
    /// whoever came first, and a lock on him stops no other.
    fn lock_keys(&self) -> impl Iterator<Item = String> {
        let spec = &self.record.token.spec;
        let is_one_of_many =
            self.enrolment.shared || spec.bound_keypair.recovery.mode == RecoveryMode::Insecure;
        let of_token = keys::lock_of("token", self.record.token.name.as_str());
        let of_identity = self.enrolment.identity.as_ref().filter(|_| !is_one_of_many).map(lock_of_identity);
        let of_bot = spec.bot_name.as_ref().map(|bot| keys::lock_of("bot", bot.as_str()));
        [Some(of_token), of_identity, of_bot].into_iter().flatten()
    }
}

/// The rows of a page: two reads of the store for all.
pub(super) async fn of_page(
    service: &Service,
    page: &Range,
    now: OffsetDateTime,
) -> Result<Vec<Row>, Refusal> {
    of_entries(service, &page.entries, now).await
}

/// The row of one token; none if there is no such token.
pub(super) async fn of_token(
    service: &Service,
    name: &str,
    now: OffsetDateTime,
) -> Result<Option<Row>, Refusal> {
    let found = service.store().get_many(&[&keys::token(name)], now).await?.into_iter().flatten().next();
    let Some(entry) = found else { return Ok(None) };
    Ok(of_entries(service, &[entry], now).await?.pop())
}

async fn of_entries(service: &Service, tokens: &[Entry], now: OffsetDateTime) -> Result<Vec<Row>, Refusal> {
    let mut rows = Vec::with_capacity(tokens.len());
    for entry in tokens {
        rows.push(Row {
            record: TokenRecord::decode(&entry.value)?,
            revision: entry.revision,
            enrolment: Enrolment::default(),
            bot: None,
            locks: Vec::new(),
        });
    }
    let enrolments = rows.iter().map(|row| keys::enrolment(row.record.token.name.as_str()));
    let enrolments = read(service, enrolments.collect(), now).await?;
    for row in &mut rows {
        if let Some(entry) = enrolments.get(&keys::enrolment(row.record.token.name.as_str())) {
            row.enrolment = EnrolmentRecord::decode(&entry.value)?.enrolment;
        }
    }
    let bot_of = |row: &Row| row.record.token.spec.bot_name.as_ref().map(|bot| keys::bot(bot.as_str()));
    let wanted = rows.iter().flat_map(|row| row.lock_keys().chain(bot_of(row))).collect();
    let found = read(service, wanted, now).await?;
    for row in &mut rows {
        if let Some(entry) = bot_of(row).and_then(|key| found.get(&key)) {
            row.bot = Some(BotRecord::decode(&entry.value)?.bot);
        }
        for entry in row.lock_keys().filter_map(|key| found.get(&key)).collect::<Vec<_>>() {
            row.locks.extend(LockIndex::decode(&entry.value)?.locks);
        }
    }
    Ok(rows)
}

/// One read of the store; many tokens may have one bot.
async fn read(
    service: &Service,
    wanted: BTreeSet<String>,
    now: OffsetDateTime,
) -> Result<HashMap<String, Entry>, Refusal> {
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let found = service.store().get_many(&wanted, now).await?;
    Ok(found.into_iter().flatten().map(|entry| (entry.key.clone(), entry)).collect())
}
