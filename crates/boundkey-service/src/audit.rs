//! Audit events, written in the same commit as the change that they describe.

use boundkey_store::records::{Counted, EventRecord, Record};
use boundkey_store::{Write, keys};
use time::OffsetDateTime;

use crate::RequestContext;

/// What happened; time, actor, source and correlation id come from the request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Stable, snake case: `registered`, `token_created`, ...
    pub code: String,
    /// The token's name, if one is concerned.
    pub token: Option<String>,
    /// A host id, bot instance id or administrator.
    pub identity: Option<String>,
    /// A sentence.
    pub detail: String,
    /// Particulars, in snake case, with `key=value` pairs where they have values.
    pub notes: Vec<String>,
    /// How often, for refusals that were counted together; else 0.
    pub count: u64,
    /// When these began and ended.
    pub counted: Option<Counted>,
}

/// The events of one request, in order. Their writes go into the batch of the change.
#[derive(Debug)]
pub struct Events<'a> {
    at: OffsetDateTime,
    context: &'a RequestContext,
    source: Option<String>,
    writes: Vec<Write>,
}

impl<'a> Events<'a> {
    /// No events yet.
    pub fn new(at: OffsetDateTime, context: &'a RequestContext) -> Self {
        Self {
            at: crate::clock::to_micros(at),
            context,
            source: context.source.map(|s| s.to_string()),
            writes: Vec::new(),
        }
    }

    /// Another source than the request's: a whole network.
    #[must_use]
    pub fn seen_from(mut self, source: &str) -> Self {
        self.source = Some(source.to_owned());
        self
    }

    /// Adds an event.
    pub fn push(&mut self, entry: Entry) {
        let record = EventRecord {
            at: self.at,
            code: entry.code,
            token: entry.token,
            identity: entry.identity,
            source: self.source.clone(),
            correlation_id: self.context.correlation.clone(),
            detail: entry.detail,
            actor: self.context.actor.clone(),
            notes: entry.notes,
            count: entry.count,
            counted: entry.counted,
        };
        // Several events of one request have one time and one correlation id: the number keeps their keys apart.
        let id = format!("{}-{:03}", self.context.correlation, self.writes.len());
        let micros = self.at.unix_timestamp_nanos() / 1000;
        self.writes.push(Write::Put { key: keys::event(micros, &id), value: record.encode() });
    }

    /// The writes, for the batch of the change.
    pub fn into_writes(self) -> Vec<Write> {
        self.writes
    }
}
