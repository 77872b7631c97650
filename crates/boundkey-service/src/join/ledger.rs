//! Which refusals get a row of the audit log, and when. Pure: times are passed in, nothing is written.
//!
//! Refusals are counted for a token and a code. What was counted becomes one row, at first at once, then after 1, 2, 4 ...
//! 60 minutes while it goes on. Rows of strangers share a budget; what it has no room for becomes a row for everybody.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use time::{Duration, OffsetDateTime};

use super::tally::{Network, Seen, Tally};

/// The pause between two rows of one subject: it doubles from the first to the longest.
const PACE: (Duration, Duration) = (Duration::MINUTE, Duration::HOUR);
/// Without news for so long a subject is forgotten, and its pace with it.
const FORGOTTEN: Duration = Duration::hours(2);
/// Refusals of a token and code where something was proven that are events of their own: so many, and one more each half
/// hour. An agent that is refused for good comes twice an hour.
const OWN: Allowance = Allowance { burst: 3, each: Duration::minutes(30) };
/// Rows of all strangers: a thousand an hour, evenly, and so many at once. Never more than 1,200 in an hour.
const STRANGERS: Allowance = Allowance { burst: 200, each: Duration::milliseconds(3600) };
/// Of those, for the rows for everybody.
const RESERVE: i32 = 50;

/// So many at once, and one more after each such time.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    burst: i32,
    each: Duration,
}

/// What is left of an allowance, by when it will be whole again.
#[derive(Debug, Clone, Copy, Default)]
struct Used(Option<OffsetDateTime>);

impl Used {
    /// No more can be owed than was ever had: a clock that was set back leaves it whole.
    fn debt(self, of: Allowance, now: OffsetDateTime) -> Duration {
        let owed = self.0.map_or(Duration::ZERO, |whole| whole - now);
        if owed <= of.each * of.burst { owed.max(Duration::ZERO) } else { Duration::ZERO }
    }

    /// Takes one, if that leaves so many.
    fn take(&mut self, of: Allowance, now: OffsetDateTime, leave: i32) -> bool {
        let debt = self.debt(of, now) + of.each;
        let fits = debt <= of.each * (of.burst - leave);
        if fits {
            self.0 = Some(now + debt);
        }
        fits
    }
}

/// Whose refusals are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    /// Of a token that exists.
    Token(String),
    /// Of names that no token has: strangers may invent as many as they like.
    Unknown,
    /// Whatever there was no room for.
    Everybody,
}

/// Was something proven? Only holders of a key or a secret can then have come, not everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum By {
    Known,
    Strangers,
}

/// A refusal that is to be counted.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub(super) by: By,
    pub(super) whose: Whose,
    pub(super) code: &'static str,
    pub(super) network: Network,
    pub(super) seen: Seen,
    pub(super) notes: Vec<String>,
}

type Subject = (By, Whose, &'static str);

/// A row to be written.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) by: By,
    pub(super) whose: Whose,
    pub(super) code: &'static str,
    pub(super) tally: Tally,
}

#[derive(Debug, Default)]
struct Account {
    /// Since the last row.
    tally: Option<Tally>,
    written: Option<OffsetDateTime>,
    pace: Duration,
    own: Used,
}

impl Account {
    /// A clock that was set back keeps nothing waiting.
    fn is_due(&self, now: OffsetDateTime) -> bool {
        self.tally.is_some()
            && self.written.is_none_or(|written| !(written..written + self.pace).contains(&now))
    }

    fn take(&mut self, now: OffsetDateTime) -> Option<Tally> {
        let next = if self.written.is_some() { self.pace * 2 } else { PACE.0 };
        (self.pace, self.written) = (next.clamp(PACE.0, PACE.1), Some(now));
        self.tally.take()
    }

    fn is_over(&self, now: OffsetDateTime) -> bool {
        self.tally.is_none()
            && self.own.debt(OWN, now).is_zero()
            && self.written.is_none_or(|written| (now - written).abs() >= FORGOTTEN)
    }
}

/// Everything that was counted and is not written yet. Bounded; lost with the process.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Subjects of either kind, at most.
    most: usize,
    accounts: BTreeMap<Subject, Account>,
    /// How many of the accounts are those of strangers.
    strangers: usize,
    budget: Used,
}

impl Ledger {
    /// For so many pairs of token and code where something was proven, and as many of strangers.
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.max(1), accounts: BTreeMap::new(), strangers: 0, budget: Used::default() }
    }

    /// May this refusal, where something was proven, be an event of its own? True takes one of the few.
    pub(super) fn takes_own(&mut self, token: &str, code: &'static str, now: OffsetDateTime) -> bool {
        let account = self.account((By::Known, Whose::Token(token.to_owned()), code));
        account.is_some_and(|account| account.own.take(OWN, now, 0))
    }

    /// The event was not written after all.
    pub(super) fn give_back(&mut self, token: &str, code: &'static str) {
        let account = self.accounts.get_mut(&(By::Known, Whose::Token(token.to_owned()), code));
        if let Some(Some(whole)) = account.map(|account| &mut account.own.0) {
            *whole -= OWN.each;
        }
    }

    pub(super) fn count(&mut self, refused: Refused) {
        let Refused { by, whose, code, network, seen, notes } = refused;
        let tally = Tally::of(network, seen, notes);
        match self.account((by, whose.clone(), code)) {
            Some(account) => Tally::add(&mut account.tally, tally),
            None => self.for_everybody(&whose, code, tally),
        }
    }

    /// The subject's account; none if it would be one too many.
    fn account(&mut self, subject: Subject) -> Option<&mut Account> {
        let strangers = subject.0 == By::Strangers;
        let of_kind = if strangers { self.strangers } else { self.accounts.len() - self.strangers };
        match self.accounts.entry(subject) {
            Entry::Occupied(present) => Some(present.into_mut()),
            Entry::Vacant(_) if of_kind >= self.most => None,
            Entry::Vacant(absent) => {
                self.strangers += usize::from(strangers);
                Some(absent.insert(Account::default()))
            }
        }
    }

    /// One account a code, beside those that are bounded.
    fn for_everybody(&mut self, whose: &Whose, code: &'static str, mut tally: Tally) {
        if let Whose::Token(token) = whose {
            tally.of_token(token);
        }
        let entry = self.accounts.entry((By::Strangers, Whose::Everybody, code));
        let account = match entry {
            Entry::Occupied(present) => present.into_mut(),
            Entry::Vacant(absent) => {
                self.strangers += 1;
                absent.insert(Account::default())
            }
        };
        Tally::add(&mut account.tally, tally);
    }

    /// Takes the rows that are due.
    pub(super) fn due(&mut self, now: OffsetDateTime) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut due: Vec<(OffsetDateTime, Subject)> = self
            .accounts
            .iter()
            .filter(|(_, account)| account.is_due(now))
            .filter_map(|(subject, account)| Some((account.tally.as_ref()?.first.at, subject.clone())))
            .collect();
        // Who has waited longest is first.
        due.sort();
        let mut everybody: Vec<&'static str> = Vec::new();
        for (_, (by, whose, code)) in due {
            if whose == Whose::Everybody {
                everybody.push(code);
                continue;
            }
            let Some(tally) = self.take((by, whose.clone(), code), now) else { continue };
            if by == By::Known || self.budget.take(STRANGERS, now, RESERVE) {
                rows.push(Row { by, whose, code, tally });
            } else {
                self.for_everybody(&whose, code, tally);
                if !everybody.contains(&code) {
                    everybody.push(code);
                }
            }
        }
        // With what the others leave over, which is something.
        for code in everybody {
            let subject = (By::Strangers, Whose::Everybody, code);
            let is_due = self.accounts.get(&subject).is_some_and(|account| account.is_due(now));
            if is_due
                && self.budget.take(STRANGERS, now, 0)
                && let Some(tally) = self.take(subject, now)
            {
                rows.push(Row { by: By::Strangers, whose: Whose::Everybody, code, tally });
            }
        }
        self.accounts.retain(|(by, _, _), account| {
            let over = account.is_over(now);
            self.strangers -= usize::from(over && *by == By::Strangers);
            !over
        });
        rows
    }

    /// Takes all that is left, due or not: within the budget, and a row a code for everybody beyond it.
    pub(super) fn rest(&mut self, now: OffsetDateTime) -> Vec<Row> {
        let mut rows = Vec::new();
        for account in self.accounts.values_mut() {
            account.written = None;
        }
        while self.accounts.values().any(|account| account.tally.is_some()) {
            let before = rows.len();
            rows.extend(self.due(now));
            if rows.len() == before {
                // Everybody's rows, of which there is one a code.
                self.budget = Used::default();
            }
        }
        rows
    }

    fn take(&mut self, subject: Subject, now: OffsetDateTime) -> Option<Tally> {
        self.accounts.get_mut(&subject)?.take(now)
    }

    /// Puts back what could not be written: it is due again when its pause is over.
    pub(super) fn put_back(&mut self, rows: Vec<Row>) {
        for Row { by, whose, code, tally } in rows {
            match self.accounts.get_mut(&(by, whose.clone(), code)) {
                Some(account) => Tally::add(&mut account.tally, tally),
                None => self.for_everybody(&whose, code, tally),
            }
        }
    }
}

#[cfg(test)]
mod tests;
