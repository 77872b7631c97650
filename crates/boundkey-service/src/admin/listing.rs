//! What a listing is asked for: a page of it, and filters.

use std::collections::BTreeMap;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use boundkey_store::Range;
use time::OffsetDateTime;

use super::known;
use crate::{Refusal, Service};

/// Items of a page when the request names no limit, and at most.
pub(super) const PAGE: usize = 500;
pub(super) const PAGE_MAX: usize = 5000;

/// `?limit=500&after=NAME`, with the filters that some listings know.
#[derive(Debug, Clone, Default)]
pub(super) struct Listing {
    limit: Option<usize>,
    pub(super) after: Option<String>,
    state: Option<String>,
    /// `label=K=V`, any number of them; all must fit.
    labels: Vec<(String, String)>,
    /// Seconds.
    stale: Option<u64>,
    pub(super) view: Option<String>,
    pub(super) secrets: bool,
}

const PARAMETERS: &[&str] = &["limit", "after", "state", "label", "stale", "view", "secrets"];

impl Listing {
    /// How many are looked at for a page.
    pub(super) fn limit(&self) -> usize {
        self.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX)
    }

    /// A page of the entries under a prefix, as they are.
    pub(super) async fn page(&self, service: &Service, prefix: &str) -> Result<Range, Refusal> {
        let after = self.after.as_ref().map(|name| format!("{prefix}{name}"));
        Ok(service.store().range(prefix, after.as_deref(), self.limit(), service.now()).await?)
    }

    /// The `after` of the next page, without the prefix.
    pub(super) fn next(page: &Range, prefix: &str) -> Option<String> {
        page.next.as_deref().and_then(|key| key.strip_prefix(prefix)).map(str::to_owned)
    }

    /// Does a row pass the filters?
    pub(super) fn wants(
        &self,
        state: &str,
        labels: &BTreeMap<String, String>,
        last_joined_at: Option<OffsetDateTime>,
        now: OffsetDateTime,
    ) -> bool {
        let is_stale = |seconds: u64| {
            last_joined_at.is_none_or(|at| u64::try_from((now - at).whole_seconds()).unwrap_or(0) >= seconds)
        };
        self.state.as_ref().is_none_or(|wanted| wanted == state)
            && self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.stale.is_none_or(is_stale)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), Refusal> {
        match name {
            "limit" => self.limit = Some(read(name, &value, "a whole number")?),
            "after" => self.after = Some(value),
            "state" => {
                known("state", &value, boundkey_api::TOKEN_STATES)?;
                self.state = Some(value);
            }
            "label" => match value.split_once('=') {
                Some((key, value)) => self.labels.push((key.to_owned(), value.to_owned())),
                None => return Err(unreadable(name, &value, "KEY=VALUE")),
            },
            "stale" => self.stale = Some(read(name, &value, "a whole number of seconds")?),
            "view" => {
                known("view", &value, &["summary"])?;
                self.view = Some(value);
            }
            "secrets" => self.secrets = read(name, &value, "true, false")?,
            other => return known("parameter", other, PARAMETERS),
        }
        Ok(())
    }
}

/// One parameter may stand several times, which `Query` reads into no struct.
impl<S: Send + Sync> FromRequestParts<S> for Listing {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let pairs: Query<Vec<(String, String)>> = Query::from_request_parts(parts, state)
            .await
            .map_err(|error| Refusal::new(400, "malformed_request", error.to_string()))?;
        let mut listing = Self::default();
        for (name, value) in pairs.0 {
            listing.set(&name, value)?;
        }
        Ok(listing)
    }
}

fn read<T: FromStr>(name: &str, value: &str, allowed: &str) -> Result<T, Refusal> {
    value.parse().map_err(|_| unreadable(name, value, allowed))
}

fn unreadable(name: &str, value: &str, allowed: &str) -> Refusal {
    let value = boundkey_document::quoted(value);
    Refusal::new(400, "malformed_request", format!("{name} is {value}; allowed: {allowed}"))
}

/// The first names under a prefix.
pub(super) async fn names(service: &Service, prefix: &str, most: usize) -> Result<Vec<String>, Refusal> {
    let mut names = Vec::new();
    let mut after: Option<String> = None;
    while names.len() < most {
        let page = service.store().range(prefix, after.as_deref(), PAGE, service.now()).await?;
        names.extend(
            page.entries.iter().filter_map(|entry| entry.key.strip_prefix(prefix)).map(str::to_owned),
        );
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(names)
}
