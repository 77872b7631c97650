//! What the judge knows and nobody else: the joins that really happened, in order, and values that carry their
//! fingerprint.

use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use boundkey_lifecycle::StateClaims;

use crate::store::instant;

/// One event of a lineage's history, as the judge saw it happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Entry {
    /// A join that advanced the lineage.
    Join {
        attempt: u8,
        /// The key that was bound after it.
        key: u8,
        /// It used a recovery (registration included).
        counted: bool,
        /// The instant at which it was admitted.
        at: u8,
        /// How often an administrator had opened a new way in by then.
        epoch: u8,
        /// It was admitted in `insecure`.
        shared: bool,
        /// Which client it was: the attempt by which that one had come first.
        life: u8,
        /// The same, of a bot too, whose recoveries make it another client.
        first: u8,
    },
    /// The administrator's `reset`, at this instant.
    Reset { at: u8 },
}

impl Entry {
    /// What makes two entries the same event: the attempt alone, as in a state id.
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Join { attempt: a, .. }, Self::Join { attempt: b, .. }) => a == b,
            (Self::Reset { .. }, Self::Reset { .. }) => true,
            _ => false,
        }
    }
}

/// A history, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Log(pub(crate) Vec<Entry>);

/// Where one history stands against another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Against {
    Same,
    /// The other one went on from here.
    Behind,
    /// This one went on from there.
    Ahead,
    Forked,
    /// Another history, which goes on from a join of this holder's that is the last one there.
    Returned,
    /// A reset lies between them that only the other one knows.
    BeforeReset,
    /// A reset lies between them that only this one knows.
    AfterReset,
}

impl Log {
    pub(crate) fn with(&self, entry: Entry) -> Self {
        let mut next = self.clone();
        next.0.push(entry);
        next
    }

    pub(crate) fn resets(&self) -> usize {
        self.0.iter().filter(|e| matches!(e, Entry::Reset { .. })).count()
    }

    /// Its resets, each later than those before it, and than those of another history that came before it by the clock.
    pub(crate) fn generation(&self) -> u32 {
        let resets = self.0.iter().filter_map(|e| match e {
            Entry::Reset { at } => Some(u32::try_from(instant(*at).unix_timestamp()).unwrap()),
            Entry::Join { .. } => None,
        });
        resets.fold(0, |before, at| at.max(before + 1))
    }

    /// The joins since the last reset.
    pub(crate) fn joins(&self) -> &[Entry] {
        let start = self.0.iter().rposition(|e| matches!(e, Entry::Reset { .. })).map_or(0, |at| at + 1);
        &self.0[start..]
    }

    /// The last join was one of many.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.last(), Some(Entry::Join { shared: true, .. }))
    }

    pub(crate) fn ever_shared(&self) -> bool {
        self.joins().iter().any(|e| matches!(e, Entry::Join { shared: true, .. }))
    }

    /// The join by which the lineage became one client's again: its place, and who that is, by its first attempt.
    pub(crate) fn adoption(&self) -> Option<(usize, u8)> {
        let is_shared = |e: &Entry| matches!(e, Entry::Join { shared: true, .. });
        let pairs = self.joins().windows(2).enumerate().rev();
        pairs.map(|(n, pair)| (n + 1, pair)).find_map(|(n, pair)| match pair[1] {
            Entry::Join { shared: false, first, .. } if is_shared(&pair[0]) => Some((n, first)),
            _ => None,
        })
    }

    pub(crate) fn last(&self) -> Option<Entry> {
        self.joins().last().copied()
    }

    /// Recoveries used, registration included.
    pub(crate) fn counted(&self) -> u32 {
        self.joins().iter().filter(|e| matches!(e, Entry::Join { counted: true, .. })).count() as u32
    }

    /// The events alone, without the judge's particulars: equal where the lineage stands at the same place.
    pub(crate) fn place(&self) -> u64 {
        let events: Vec<_> = self
            .0
            .iter()
            .map(|e| match e {
                Entry::Join { attempt, .. } => (true, *attempt),
                Entry::Reset { at } => (false, *at),
            })
            .collect();
        mark(&events)
    }

    pub(crate) fn against(&self, other: &Self) -> Against {
        match self.generation().cmp(&other.generation()) {
            std::cmp::Ordering::Less => return Against::BeforeReset,
            std::cmp::Ordering::Greater => return Against::AfterReset,
            std::cmp::Ordering::Equal => {}
        }
        let (mine, theirs) = (self.joins(), other.joins());
        if !mine.iter().zip(theirs).all(|(a, b)| a.same(b)) {
            return Against::Forked;
        }
        match mine.len().cmp(&theirs.len()) {
            std::cmp::Ordering::Equal => Against::Same,
            std::cmp::Ordering::Less => Against::Behind,
            std::cmp::Ordering::Greater => Against::Ahead,
        }
    }
}

/// A join state, and the history that led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) claims: StateClaims,
    pub(crate) log: Log,
    /// The bound key that it names.
    pub(crate) key: u8,
    /// Whose it is: the attempt by which that client came first.
    pub(crate) life: u8,
    /// The instant of its join.
    pub(crate) at: u8,
    /// The attempts whose results this file held, one after the other, in whichever history.
    pub(crate) been: Vec<u8>,
}

impl Held {
    pub(crate) fn first(&self) -> u8 {
        self.been[0]
    }

    /// Where its holder stands: at the end of a history whose last join was his own, he is wherever he went since. (Not
    /// where an attempt of his was used a second time: that was a copy's.)
    pub(crate) fn against(&self, store: &Log) -> Against {
        let own = match store.joins() {
            [before @ .., last @ Entry::Join { attempt, .. }] => {
                self.been.contains(attempt) && !before.iter().any(|entry| entry.same(last))
            }
            _ => false,
        };
        match self.log.against(store) {
            Against::Behind | Against::Forked if own => Against::Returned,
            found => found,
        }
    }
}

/// A shared value that hashes and compares by the fingerprint of all that it says.
#[derive(Debug)]
pub(crate) struct Print<T> {
    mark: u64,
    value: Arc<T>,
}

impl<T> Clone for Print<T> {
    fn clone(&self) -> Self {
        Self { mark: self.mark, value: Arc::clone(&self.value) }
    }
}

impl<T: Debug> Print<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { mark: mark(&value), value: Arc::new(value) }
    }

    pub(crate) fn mark(&self) -> u64 {
        self.mark
    }
}

/// The fingerprint of everything that `Debug` shows: complete, since all of these types derive it.
pub(crate) fn mark(value: &impl Debug) -> u64 {
    struct Into(DefaultHasher);
    impl std::fmt::Write for Into {
        fn write_str(&mut self, s: &str) -> std::fmt::Result {
            self.0.write(s.as_bytes());
            Ok(())
        }
    }
    let mut into = Into(DefaultHasher::new());
    std::fmt::write(&mut into, format_args!("{value:?}")).unwrap();
    into.0.finish()
}

/// A quick hash of small values, for orders and tables that last as long as a search.
pub(crate) fn quick(value: impl Hash) -> u64 {
    struct Folded(u64);
    impl Hasher for Folded {
        fn write(&mut self, bytes: &[u8]) {
            for chunk in bytes.chunks(8) {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                self.write_u64(u64::from_le_bytes(word) ^ (chunk.len() as u64) << 56);
            }
        }
        fn write_u8(&mut self, n: u8) {
            self.write_u64(u64::from(n));
        }
        fn write_isize(&mut self, n: isize) {
            self.write_u64(n as u64);
        }
        fn write_u64(&mut self, n: u64) {
            let wide = u128::from((self.0 ^ n).rotate_left(23)) * 0x9e37_79b9_7f4a_7c15;
            self.0 = (wide as u64) ^ ((wide >> 64) as u64) ^ n.rotate_left(41);
        }
        fn finish(&self) -> u64 {
            self.0
        }
    }
    let mut hasher = Folded(0x243f_6a88_85a3_08d3);
    value.hash(&mut hasher);
    hasher.finish()
}

impl<T> Deref for Print<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> PartialEq for Print<T> {
    fn eq(&self, other: &Self) -> bool {
        self.mark == other.mark
    }
}

impl<T> Eq for Print<T> {}

impl<T> Hash for Print<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.mark);
    }
}
