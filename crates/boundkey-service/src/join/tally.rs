//! Refusals, counted together: how many, from where, and the first and the last of them.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::net::IpAddr;

use ipnet::IpNet;
use time::OffsetDateTime;

/// Networks that are counted apart.
const NAMED: usize = 4;
/// Particulars that are kept.
const NOTES: usize = 4;

/// Where a refusal came from: the widest network that is usually one customer's, a /24 or a /48. None: the Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Network(Option<IpNet>);

impl Network {
    pub(super) fn of(source: Option<IpAddr>) -> Self {
        let address = source.map(|address| address.to_canonical());
        let prefix = |address: &IpAddr| if address.is_ipv4() { 24 } else { 48 };
        let net = address.and_then(|address| IpNet::new(address, prefix(&address)).ok());
        Self(net.map(|net| net.trunc()))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(net) => net.fmt(f),
            None => f.write_str("local"),
        }
    }
}

/// One refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) correlation: String,
    pub(super) at: OffsetDateTime,
}

/// About how many different ones there were: exact to one in forty up to some thousands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Distinct(Box<[u64; 16]>);

impl Distinct {
    const BITS: u64 = 1024;

    fn add(&mut self, one: impl Hash) {
        // Always the same places: what a simulation writes is the same in each run.
        let place = BuildHasherDefault::<DefaultHasher>::default().hash_one(one) % Self::BITS;
        if let Some(word) = self.0.get_mut((place / 64) as usize) {
            *word |= 1 << (place % 64);
        }
    }

    fn join(&mut self, other: &Self) {
        for (word, more) in self.0.iter_mut().zip(other.0.iter()) {
            *word |= more;
        }
    }

    /// From how many places are still free.
    fn about(&self) -> u64 {
        let free = self.0.iter().map(|word| u64::from(word.count_zeros())).sum::<u64>().max(1);
        let bits = Self::BITS as f64;
        (bits * (bits / free as f64).ln()).round() as u64
    }
}

/// At least one refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) count: u64,
    pub(super) first: Seen,
    pub(super) last: Seen,
    pub(super) notes: BTreeSet<String>,
    named: Vec<(Network, u64)>,
    others: Option<Others>,
    tokens: Option<Distinct>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Others {
    count: u64,
    networks: Distinct,
}

impl Tally {
    pub(super) fn of(network: Network, seen: Seen, notes: Vec<String>) -> Self {
        Self {
            count: 1,
            first: seen.clone(),
            last: seen,
            notes: notes.into_iter().take(NOTES).collect(),
            named: vec![(network, 1)],
            others: None,
            tokens: None,
        }
    }

    /// These were for this token: for a row that is not about one.
    pub(super) fn of_token(&mut self, token: &str) {
        self.tokens.get_or_insert_default().add(token);
    }

    /// Adds `more` to what is there, if anything is.
    pub(super) fn add(to: &mut Option<Self>, more: Self) {
        match to {
            Some(tally) => tally.join(more),
            None => *to = Some(more),
        }
    }

    fn join(&mut self, more: Self) {
        self.count = self.count.saturating_add(more.count);
        if more.first.at < self.first.at {
            self.first = more.first;
        }
        if more.last.at >= self.last.at {
            self.last = more.last;
        }
        self.notes.extend(more.notes);
        while self.notes.len() > NOTES {
            self.notes.pop_last();
        }
        for (network, count) in more.named {
            if let Some((_, sum)) = self.named.iter_mut().find(|(named, _)| *named == network) {
                *sum = sum.saturating_add(count);
            } else if self.named.len() < NAMED {
                self.named.push((network, count));
            } else {
                let others = self.others.get_or_insert_default();
                others.count = others.count.saturating_add(count);
                others.networks.add(network);
            }
        }
        if let Some(more) = more.others {
            let others = self.others.get_or_insert_default();
            others.count = others.count.saturating_add(more.count);
            others.networks.join(&more.networks);
        }
        if let Some(more) = more.tokens {
            self.tokens.get_or_insert_default().join(&more);
        }
    }

    /// The network, or how many.
    pub(super) fn source(&self) -> String {
        match (self.named.as_slice(), &self.others) {
            ([(network, _)], None) => network.to_string(),
            (named, None) => format!("{} networks", named.len()),
            (named, Some(others)) => {
                format!("about {} networks", named.len() as u64 + others.networks.about())
            }
        }
    }
}

/// A sentence's half: how often, from where, for how many tokens.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            1 => f.write_str("once")?,
            times => write!(f, "{times} times")?,
        }
        if let ([(network, _)], None) = (self.named.as_slice(), &self.others) {
            write!(f, " from {network}")?;
        } else {
            let named = self.named.iter().map(|(network, count)| format!("{network} ({count})"));
            write!(f, " from {}", named.collect::<Vec<_>>().join(", "))?;
            if let Some(others) = &self.others {
                write!(f, " and about {} other networks ({})", others.networks.about(), others.count)?;
            }
        }
        match &self.tokens {
            Some(tokens) => write!(f, ", for about {} tokens", tokens.about()),
            None => Ok(()),
        }
    }
}
