//! Certificates onto the revocation lists, in the commit of the change that revokes them.

use boundkey_lifecycle::IssuedCertificate;
use boundkey_store::keys;
use boundkey_store::records::{InstanceEntry, Record, RevokedRecord};

use super::plan::{Plan, every};
use crate::{Refusal, ca_kind_text};

impl Plan<'_> {
    /// Lists unexpired certificates as revoked now.
    pub(super) fn revoke(&mut self, certificates: &[IssuedCertificate]) {
        for certificate in certificates {
            if certificate.expires_at <= self.now {
                continue;
            }
            let expires = certificate.expires_at.unix_timestamp();
            let key = keys::revoked(ca_kind_text(certificate.ca), expires, &certificate.serial);
            let record = RevokedRecord { revoked_at: self.now, expires_at: certificate.expires_at };
            self.put_until(key, &record, Some(certificate.expires_at));
        }
    }

    /// Forgets every instance of a shared lineage; their certificates live on until they expire.
    pub(super) async fn remove_instances(&mut self, uid: &str) -> Result<usize, Refusal> {
        let entries = every(self.service, &keys::instances(uid), usize::MAX, self.now).await?;
        for entry in &entries {
            self.delete(&entry.key);
        }
        Ok(entries.len())
    }

    /// Revokes the certificates of every instance of a shared lineage; removes the instances if asked to.
    pub(super) async fn revoke_instances(&mut self, uid: &str, remove: bool) -> Result<usize, Refusal> {
        let entries = every(self.service, &keys::instances(uid), usize::MAX, self.now).await?;
        for entry in &entries {
            let mut instance = InstanceEntry::decode(&entry.value)?;
            self.revoke(&std::mem::take(&mut instance.record.issued));
            if remove {
                self.delete(&entry.key);
            } else {
                instance.record.revoked = true;
                self.put(&entry.key, &instance);
            }
        }
        Ok(entries.len())
    }
}
