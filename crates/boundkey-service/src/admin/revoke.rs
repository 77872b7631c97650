//! Certificates onto the revocation lists, in the commit of the change that revokes them.

use boundkey_lifecycle::IssuedCertificate;
use boundkey_store::keys;
use boundkey_store::records::{InstanceEntry, Record};

use super::plan::{Plan, every};
use crate::{Refusal, revocation};

impl Plan<'_> {
    /// Lists unexpired certificates as revoked now.
    pub(super) fn revoke(&mut self, certificates: &[IssuedCertificate]) {
        for write in revocation::revoke(certificates, self.now) {
            self.stage(write);
        }
    }

    /// Forgets every instance of a shared lineage, and revokes their certificates if asked to (else they live on until
    /// they expire). None is marked as revoked: that would shut it out, and it may come back with a recovery.
    pub(super) async fn remove_instances(&mut self, uid: &str, revoke: bool) -> Result<usize, Refusal> {
        let entries = every(self.service, &keys::instances(uid), usize::MAX, self.now).await?;
        for entry in &entries {
            if revoke {
                self.revoke(&InstanceEntry::decode(&entry.value)?.record.issued);
            }
            self.delete(&entry.key);
        }
        self.emptied.push((uid.to_owned(), revoke));
        Ok(entries.len())
    }
}
