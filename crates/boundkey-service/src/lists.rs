//! Revocation lists, built from the range of revoked serials and signed again only when that has changed.

use boundkey_ca::{key_revocation_list, revocation_list};
use boundkey_keys::sha256;
use boundkey_lifecycle::{BACK_DATED, CaKind};
use boundkey_store::Revision;
use boundkey_store::records::{Record, RevokedRecord};
use std::sync::Arc;
use time::OffsetDateTime;
use tokio::sync::Mutex;

use crate::{Refusal, Service, ca_kind_text};

/// How long a list may be used by those who cannot fetch a newer one.
const VALID: time::Duration = time::Duration::hours(24);
/// An unchanged list is signed anew after this long.
const REUSED: time::Duration = time::Duration::hours(1);
const PAGE: usize = 1000;

/// The revocation lists of all CAs, at one moment.
#[derive(Debug, Clone)]
pub struct RevocationLists {
    host: Vec<u8>,
    bot: Vec<u8>,
    krl: Vec<u8>,
}

impl RevocationLists {
    /// The DER CRL of the host or the bot CA; empty for the others, which revoke nothing.
    pub fn crl(&self, kind: CaKind) -> &[u8] {
        match kind {
            CaKind::Host => &self.host,
            CaKind::Bot => &self.bot,
            CaKind::Tls | CaKind::SshHost | CaKind::SshUser => &[],
        }
    }

    /// The OpenSSH KRL of both OpenSSH CAs.
    pub fn krl(&self) -> &[u8] {
        &self.krl
    }
}

/// The lists that were made last.
#[derive(Default)]
pub(crate) struct ListCache(Mutex<Option<Cached>>);

struct Cached {
    revision: Revision,
    content: [u8; 32],
    number: u64,
    made_at: OffsetDateTime,
    lists: Arc<RevocationLists>,
}

type Revoked = Vec<(Vec<u8>, OffsetDateTime)>;

impl Service {
    /// The revocation lists as of now: everything that was committed before this call is in them.
    ///
    /// # Errors
    /// The store does not answer, a record is not readable, or a list cannot be signed.
    pub async fn revocation_lists(&self) -> Result<Arc<RevocationLists>, Refusal> {
        let now = self.now();
        // One builds, the others wait for it.
        let mut cache = self.list_cache().0.lock().await;
        let revision = self.store().revision().await?;
        let fresh = |cached: &Cached| (now - cached.made_at).abs() < REUSED;
        if let Some(cached) = cache.as_ref().filter(|c| c.revision == revision && fresh(c)) {
            return Ok(cached.lists.clone());
        }
        let mut all = Vec::new();
        for kind in [CaKind::Host, CaKind::Bot, CaKind::SshHost, CaKind::SshUser] {
            all.push(self.revoked(kind, now).await?);
        }
        let content = digest(&all);
        if let Some(cached) = cache.as_mut().filter(|c| c.content == content && fresh(c)) {
            cached.revision = revision;
            return Ok(cached.lists.clone());
        }
        let by_clock = u64::try_from(now.unix_timestamp_nanos() / 1000).unwrap_or(0);
        let number = cache.as_ref().map_or(by_clock, |cached| by_clock.max(cached.number + 1));
        let lists = Arc::new(self.sign_lists(&all, number, now).map_err(Refusal::internal)?);
        *cache = Some(Cached { revision, content, number, made_at: now, lists: lists.clone() });
        Ok(lists)
    }

    async fn revoked(&self, kind: CaKind, now: OffsetDateTime) -> Result<Revoked, Refusal> {
        let prefix = format!("revoked/{}/", ca_kind_text(kind));
        let mut revoked = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.store().range(&prefix, after.as_deref(), PAGE, now).await?;
            for entry in &page.entries {
                let serial = entry.key.rsplit('/').next().and_then(from_hex).ok_or_else(|| {
                    Refusal::internal(format!("the record {} does not name a serial", entry.key))
                })?;
                revoked.push((serial, RevokedRecord::decode(&entry.value)?.revoked_at));
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(revoked),
            }
        }
    }

    fn sign_lists(
        &self,
        all: &[Revoked],
        number: u64,
        now: OffsetDateTime,
    ) -> Result<RevocationLists, boundkey_ca::CaError> {
        let authorities = self.authorities();
        let (this_update, next_update) = (now - BACK_DATED, now + VALID);
        let ssh = |revoked: &Revoked| revoked.iter().map(|(serial, _)| to_u64(serial)).collect::<Vec<u64>>();
        Ok(RevocationLists {
            host: revocation_list(&authorities.host, number, &all[0], this_update, next_update)?,
            bot: revocation_list(&authorities.bot, number, &all[1], this_update, next_update)?,
            krl: key_revocation_list(
                number,
                now,
                self.cluster(),
                &[
                    (authorities.ssh_host.key().public_key(), ssh(&all[2])),
                    (authorities.ssh_user.key().public_key(), ssh(&all[3])),
                ],
            )?,
        })
    }
}

fn digest(all: &[Revoked]) -> [u8; 32] {
    let mut text = String::new();
    for revoked in all {
        for (serial, at) in revoked {
            text.push_str(&format!("{} {}\n", crate::context::hex(serial), at.unix_timestamp()));
        }
        text.push('-');
    }
    sha256(&[text.as_bytes()])
}

fn to_u64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.is_empty() || !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}
