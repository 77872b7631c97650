//! Revocation lists, built from the range of revoked serials and signed again only when that has changed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use boundkey_ca::{key_revocation_list, revocation_list};
use boundkey_keys::sha256;
use boundkey_lifecycle::{BACK_DATED, CaKind};
use boundkey_store::records::{Record, RevokedRecord};
use boundkey_store::{Store, Watch, keys};
use time::OffsetDateTime;
use tokio::sync::Mutex;

use crate::authorities::pem;
use crate::pieces::Pieces;
use crate::{Refusal, Service, ca_kind_text};

/// How long a list may be used by those who cannot fetch a newer one.
const VALID: time::Duration = time::Duration::hours(24);
/// An unchanged list is signed anew after this long.
const REUSED: time::Duration = time::Duration::hours(1);
const PAGE: usize = 1000;
/// After a build no other begins for so many times as long as it took, but for no longer than this.
const PAUSES: u32 = 10;
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// Lists that were replaced stay for who still reads them, while all together are no larger than this part of the
/// memory for messages.
const PART_OF_MESSAGES: usize = 4;

/// The revocation lists of all CAs, at one moment.
#[derive(Debug)]
pub struct RevocationLists {
    pub(crate) host: Arc<Pieces>,
    pub(crate) bot: Arc<Pieces>,
    /// Both, one after the other in PEM, as OpenSSL and nginx read them.
    pub(crate) both: Arc<Pieces>,
    pub(crate) krl: Arc<Pieces>,
}

impl RevocationLists {
    fn new(host: &[u8], bot: &[u8], krl: &[u8]) -> Self {
        let both = pem("X509 CRL", host) + &pem("X509 CRL", bot);
        Self {
            host: Pieces::new(host),
            bot: Pieces::new(bot),
            both: Pieces::new(both.as_bytes()),
            krl: Pieces::new(krl),
        }
    }

    /// A copy of the DER CRL of the host or the bot CA; empty for the others, which revoke nothing.
    pub fn crl(&self, kind: CaKind) -> Vec<u8> {
        match kind {
            CaKind::Host => self.host.to_vec(),
            CaKind::Bot => self.bot.to_vec(),
            CaKind::Tls | CaKind::SshHost | CaKind::SshUser => Vec::new(),
        }
    }

    /// A copy of the OpenSSH KRL of both OpenSSH CAs.
    pub fn krl(&self) -> Vec<u8> {
        self.krl.to_vec()
    }

    fn bytes(&self) -> usize {
        [&self.host, &self.bot, &self.both, &self.krl].into_iter().map(|list| list.bytes()).sum()
    }
}

/// The lists that were made last, and whether anything was revoked since.
#[derive(Default)]
pub(crate) struct ListCache {
    cache: Mutex<Cache>,
    /// Builds that were begun: who asks before one begins may have what it makes.
    begun: AtomicU64,
}

#[derive(Default)]
struct Cache {
    present: Option<Cached>,
    /// For readers under way, oldest first.
    replaced: VecDeque<Arc<RevocationLists>>,
    watch: Option<Box<dyn Watch>>,
    /// The store may hold more than `present` does.
    changed: bool,
    /// No build begins before this, on the monotonic clock.
    due: Duration,
}

struct Cached {
    /// The number of its build.
    build: u64,
    content: [u8; 32],
    number: u64,
    made_at: OffsetDateTime,
    lists: Arc<RevocationLists>,
}

impl Cached {
    fn is_fresh(&self, now: OffsetDateTime) -> bool {
        (now - self.made_at).abs() < REUSED
    }
}

impl Cache {
    /// Notes whether anything was revoked since the last look.
    async fn look(&mut self, store: &dyn Store) -> Result<(), Refusal> {
        if let Some(watch) = &mut self.watch {
            // Whatever was committed before this call is reported at once.
            let news = tokio::select! {
                biased;
                news = watch.next() => Some(news),
                () = std::future::ready(()) => None,
            };
            match news {
                None => {}
                Some(Ok(_)) => self.changed = true,
                // It fell behind, or a restore came: nobody knows what has changed.
                Some(Err(_)) => self.watch = None,
            }
        }
        if self.watch.is_none() {
            self.changed = true;
            let revision = store.revision().await?;
            self.watch = Some(store.watch(keys::REVOKED, revision).await?);
        }
        Ok(())
    }

    /// What a build made that began after so many.
    fn built_after(&self, begun: u64, now: OffsetDateTime) -> Option<Arc<RevocationLists>> {
        let present = self.present.as_ref().filter(|present| present.build > begun && present.is_fresh(now));
        present.map(|present| Arc::clone(&present.lists))
    }

    fn current(&self, now: OffsetDateTime) -> Option<Arc<RevocationLists>> {
        let present = self.present.as_ref().filter(|present| !self.changed && present.is_fresh(now));
        present.map(|present| Arc::clone(&present.lists))
    }

    /// The present lists and those before them stay whatever their size, so that nobody is cut off before two builds have
    /// gone by; of older ones as many as fit into `most` bytes with them.
    fn replace(&mut self, cached: Cached, most: usize) {
        self.changed = false;
        let lists = Arc::clone(&cached.lists);
        self.replaced.extend(self.present.replace(cached).map(|before| before.lists));
        let mut bytes = lists.bytes() + self.replaced.iter().map(|lists| lists.bytes()).sum::<usize>();
        while bytes > most
            && self.replaced.len() > 1
            && let Some(oldest) = self.replaced.pop_front()
        {
            bytes -= oldest.bytes();
        }
    }
}

type Revoked = Vec<(Vec<u8>, OffsetDateTime)>;

impl Service {
    /// The revocation lists as of now: everything that was committed before this call is in them. Builds are apart by ten
    /// times what one takes, 20 s at most; who asks for more in between waits.
    ///
    /// # Errors
    /// The store does not answer, a record is not readable, or a list cannot be signed.
    pub async fn revocation_lists(&self) -> Result<Arc<RevocationLists>, Refusal> {
        let begun = self.list_cache().begun.load(Ordering::SeqCst);
        // One builds, the others wait for it.
        let mut cache = self.list_cache().cache.lock().await;
        if let Some(lists) = cache.built_after(begun, self.now()) {
            return Ok(lists);
        }
        cache.look(self.store()).await?;
        if let Some(lists) = cache.current(self.now()) {
            return Ok(lists);
        }
        let pause = cache.due.saturating_sub(self.clock().monotonic()).min(LONGEST_PAUSE);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
            cache.look(self.store()).await?;
        }
        let begun = self.clock().monotonic();
        let lists = self.build_lists(&mut cache).await?;
        let ended = self.clock().monotonic();
        let pause = pause_after(ended.saturating_sub(begun));
        cache.due = if pause.is_zero() { Duration::ZERO } else { ended + pause };
        Ok(lists)
    }

    async fn build_lists(&self, cache: &mut Cache) -> Result<Arc<RevocationLists>, Refusal> {
        let now = self.now();
        let build = self.list_cache().begun.fetch_add(1, Ordering::SeqCst) + 1;
        let mut all = Vec::new();
        for kind in [CaKind::Host, CaKind::Bot, CaKind::SshHost, CaKind::SshUser] {
            all.push(self.revoked(kind, now).await?);
        }
        let content = digest(&all);
        if let Some(present) = cache.present.as_mut().filter(|p| p.content == content && p.is_fresh(now)) {
            present.build = build;
            cache.changed = false;
            return Ok(Arc::clone(&present.lists));
        }
        let by_clock = u64::try_from(now.unix_timestamp_nanos() / 1000).unwrap_or(0);
        let number = cache.present.as_ref().map_or(by_clock, |present| by_clock.max(present.number + 1));
        let lists = Arc::new(self.sign_lists(&all, number, now).map_err(Refusal::internal)?);
        let most = self.config().limits.message_bytes / PART_OF_MESSAGES;
        cache.replace(Cached { build, content, number, made_at: now, lists: Arc::clone(&lists) }, most);
        Ok(lists)
    }

    async fn revoked(&self, kind: CaKind, now: OffsetDateTime) -> Result<Revoked, Refusal> {
        let prefix = format!("{}{}/", keys::REVOKED, ca_kind_text(kind));
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
        let krl = key_revocation_list(
            number,
            now,
            self.cluster(),
            &[
                (authorities.ssh_host.key().public_key(), ssh(&all[2])),
                (authorities.ssh_user.key().public_key(), ssh(&all[3])),
            ],
        )?;
        Ok(RevocationLists::new(
            &revocation_list(&authorities.host, number, &all[0], this_update, next_update)?,
            &revocation_list(&authorities.bot, number, &all[1], this_update, next_update)?,
            &krl,
        ))
    }
}

/// How long after a build that took so long no other begins.
fn pause_after(took: Duration) -> Duration {
    took.saturating_mul(PAUSES).min(LONGEST_PAUSE)
}

/// In parts, so that nothing of the lists' size is made for it.
fn digest(all: &[Revoked]) -> [u8; 32] {
    let mut digest = [0; 32];
    for revoked in all {
        for part in revoked.chunks(PAGE) {
            let mut bytes = Vec::with_capacity(part.len() * 32);
            for (serial, at) in part {
                bytes.extend_from_slice(&(serial.len() as u64).to_be_bytes());
                bytes.extend_from_slice(serial);
                bytes.extend_from_slice(&at.unix_timestamp().to_be_bytes());
            }
            digest = sha256(&[&digest, &bytes]);
        }
        digest = sha256(&[&digest, b"-"]);
    }
    digest
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

#[cfg(test)]
mod tests {
    use super::*;

    fn cached(bytes: usize) -> Cached {
        let lists = Arc::new(RevocationLists::new(b"", b"", &vec![0; bytes]));
        Cached { build: 1, content: [0; 32], number: 1, made_at: OffsetDateTime::UNIX_EPOCH, lists }
    }

    #[test]
    fn lists_that_were_replaced_stay_while_there_is_room_and_the_present_ones_always() {
        let mut cache = Cache::default();
        let one = cached(0).lists.bytes() + 1000;
        for _ in 0..5 {
            cache.replace(cached(1000), 3 * one);
        }
        assert_eq!(cache.replaced.len(), 2, "the present one and two before it");
        let reader = Arc::downgrade(&cache.replaced[0].krl);
        cache.replace(cached(100_000), 3 * one);
        assert!(cache.replaced.len() == 1 && cache.present.is_some(), "the one before it stays");
        assert!(reader.upgrade().is_none(), "what is dropped is gone");
    }

    #[test]
    fn builds_are_apart_by_ten_times_what_one_takes_and_by_twenty_seconds_at_most() {
        assert_eq!(pause_after(Duration::from_millis(3)), Duration::from_millis(30));
        assert_eq!(pause_after(Duration::from_secs(10)), Duration::from_secs(20));
        assert_eq!(pause_after(Duration::ZERO), Duration::ZERO);
    }
}
