//! Revoking: serials move to `revoked/CA/EXPIRES/SERIAL` in the commit that revokes them, and expire from there with
//! their certificates.

use boundkey_lifecycle::{IssuedCertificate, Uid};
use boundkey_store::records::{InstanceEntry, Record, RevokedRecord};
use boundkey_store::{Condition, Write, keys};
use time::OffsetDateTime;

use crate::loaded::Loaded;
use crate::{Refusal, Service, ca_kind_text};

/// How long the record of an instance outlives its certificates.
pub const INSTANCE_KEPT: time::Duration = time::Duration::hours(24);
/// Instances read at a time.
const PAGE: usize = 500;

/// The writes that revoke these certificates. Expired ones need none.
pub fn revoke(certificates: &[IssuedCertificate], now: OffsetDateTime) -> Vec<Write> {
    certificates
        .iter()
        .filter(|certificate| certificate.expires_at > now)
        .map(|certificate| Write::PutUntil {
            key: keys::revoked(
                ca_kind_text(certificate.ca),
                certificate.expires_at.unix_timestamp(),
                &certificate.serial,
            ),
            value: RevokedRecord { revoked_at: now, expires_at: certificate.expires_at }.encode(),
            // A verifier whose clock is slow must find it in the list until it too sees the certificate expire.
            expires: certificate.expires_at + time::Duration::hours(1),
        })
        .collect()
}

/// The write of an instance of a shared lineage: it is dropped some time after its certificates expired.
pub fn put_instance(uid: Uid, entry: &InstanceEntry) -> Write {
    Write::PutUntil {
        key: keys::instance(&uid.to_string(), entry.record.identity.id()),
        value: entry.encode(),
        expires: entry.record.certificates_expire_at + INSTANCE_KEPT,
    }
}

/// The conditions and writes that revoke every instance of a shared lineage but one.
///
/// # Errors
/// The store does not answer, or a record is not readable.
pub async fn revoke_instances(
    service: &Service,
    uid: Uid,
    keep: Option<&str>,
    now: OffsetDateTime,
) -> Result<(Vec<Condition>, Vec<Write>), Refusal> {
    let prefix = keys::instances(&uid.to_string());
    let (mut conditions, mut writes) = (Vec::new(), Vec::new());
    let mut after: Option<String> = None;
    loop {
        let page = service.store().range(&prefix, after.as_deref(), PAGE, now).await?;
        for entry in &page.entries {
            let record = Loaded::<InstanceEntry>::decode(entry)?.record.record;
            if record.revoked || keep == Some(record.identity.id()) {
                continue;
            }
            conditions.push(Condition::At { key: entry.key.clone(), revision: entry.revision });
            // Removed, not marked: should the token be shared again, they come back as clients like any other.
            writes.push(Write::Delete { key: entry.key.clone() });
            writes.extend(revoke(&record.issued, now));
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok((conditions, writes)),
        }
    }
}
