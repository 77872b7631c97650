//! What the registration secret is worth: the proof key is sealed in the enrolment, and derived at most once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use boundkey_keys::{Epoch, Purpose, hmac_sha256, sha256};
use boundkey_lifecycle::{Sealed, SecretEvidence};
use boundkey_proto::Received;
use boundkey_store::keys;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::read::Snapshot;
use crate::context::hex;
use crate::{Refusal, Service, Slot};

/// Proof keys of secrets whose enrolment holds none yet, by the hash of what the token holds sealed.
#[derive(Default)]
pub(super) struct DerivedKeys(Mutex<HashMap<[u8; 32], Zeroizing<[u8; 32]>>>);

/// Beyond this many the table starts anew.
const DERIVED_KEPT: usize = 1024;

impl DerivedKeys {
    fn find(&self, id: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn keep(&self, id: [u8; 32], key: &Zeroizing<[u8; 32]>) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if table.len() >= DERIVED_KEPT {
            table.clear();
        }
        table.insert(id, key.clone());
    }
}

pub(super) async fn evidence(
    service: &Service,
    received: &Received,
    snapshot: &Snapshot,
    now: OffsetDateTime,
) -> Result<SecretEvidence, Refusal> {
    if received.secret_proof.is_none() {
        return Ok(SecretEvidence::NotPresented);
    }
    let name = received.request.token.as_str();
    // Where there is no secret the proof is compared all the same, with a key that nobody can know.
    let key = match proof_key(service, name, snapshot).await? {
        Some(key) => key,
        None => unknowable(service),
    };
    if !received.secret_matches(&key) {
        return Ok(SecretEvidence::Wrong);
    }
    if snapshot.enrolment.secret.used || used_by_a_removed_token(service, &key, now).await? {
        return Ok(SecretEvidence::ProvenAlreadyUsed);
    }
    Ok(SecretEvidence::Proven)
}

fn unknowable(service: &Service) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    service.entropy().fill(key.as_mut());
    key
}

/// The proof key of the secret in force, or of the one that was used.
async fn proof_key(
    service: &Service,
    name: &str,
    snapshot: &Snapshot,
) -> Result<Option<Zeroizing<[u8; 32]>>, Refusal> {
    let record = &snapshot.enrolment.secret;
    if let Some(sealed) = &record.proof_key {
        let plain = service.open(Slot::ProofKey(name), sealed).map_err(Refusal::internal)?;
        let key: [u8; 32] = plain
            .as_slice()
            .try_into()
            .map_err(|_| Refusal::internal("a sealed proof key is not of 32 bytes"))?;
        return Ok(Some(Zeroizing::new(key)));
    }
    let Some((slot, sealed)) = secret_in_force(name, snapshot) else { return Ok(None) };
    let id = sha256(&[name.as_bytes(), &[0], &sealed.0]);
    if let Some(key) = service.joins().derived.find(&id) {
        return Ok(Some(key));
    }
    let secret = service.open_secret(slot, sealed).map_err(Refusal::internal)?;
    let key = service.stretch().proof_key(secret, service.cluster(), name).await;
    service.joins().derived.keep(id, &key);
    Ok(Some(key))
}

/// The spec's secret, unless `reset` voided it; else the generated one.
fn secret_in_force<'a>(name: &'a str, snapshot: &'a Snapshot) -> Option<(Slot<'a>, &'a Sealed)> {
    let record = &snapshot.enrolment.secret;
    let of_spec =
        snapshot.token.as_ref().and_then(|t| t.sealed_secret.as_ref()).filter(|_| !record.spec_void);
    match (of_spec, &record.generated) {
        (Some(sealed), _) => Some((Slot::TokenSecret(name), sealed)),
        (None, Some(sealed)) => Some((Slot::GeneratedSecret(name), sealed)),
        (None, None) => None,
    }
}

/// A secret that registered a machine, and whose token was removed since, stays used.
async fn used_by_a_removed_token(
    service: &Service,
    proof_key: &[u8; 32],
    now: OffsetDateTime,
) -> Result<bool, Refusal> {
    let marks = service.used_secret_keys(proof_key);
    let marks: Vec<&str> = marks.iter().map(String::as_str).collect();
    let found = service.store().get_many(&marks, now).await?;
    Ok(found.iter().any(Option::is_some))
}

impl Service {
    /// By which `used-secret/FINGERPRINT` knows a secret that was used by a token since removed, from its proof key.
    /// Keyed, so that the store alone does not let anybody guess secrets.
    pub fn secret_fingerprint(&self, proof_key: &[u8]) -> String {
        self.fingerprint_of(self.master().current(), proof_key)
            .expect("the current epoch of a keyring is never retired")
    }

    fn fingerprint_of(&self, epoch: Epoch, proof_key: &[u8]) -> Option<String> {
        let key = self.master().derive(Purpose::SecretFingerprint, epoch)?;
        Some(hex(&hmac_sha256(key.as_bytes(), proof_key)))
    }

    /// Under which records a used secret may stand: it was noted under the key and epoch of its time. Those that the
    /// keyring still holds are asked for, of the last sixteen keys and eight epochs.
    pub(crate) fn used_secret_keys(&self, proof_key: &[u8]) -> Vec<String> {
        let Epoch { master, epoch } = self.master().current();
        let near = |master: u32| master.saturating_sub(16)..=master.saturating_add(16);
        near(master)
            .flat_map(|master| (epoch.saturating_sub(8)..=epoch).map(move |epoch| Epoch { master, epoch }))
            .filter_map(|epoch| self.fingerprint_of(epoch, proof_key))
            .map(|fingerprint| keys::used_secret(&fingerprint))
            .collect()
    }
}
