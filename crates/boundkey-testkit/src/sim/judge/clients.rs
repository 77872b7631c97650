//! The clients of shared tokens: who holds what, and what is owed to the revocation lists once many were revoked together.

use std::collections::BTreeSet;

use boundkey_lifecycle::{IssuedCertificate, Uid};
use boundkey_service::ca_kind_text;
use boundkey_store::records::{InstanceEntry, Record};
use boundkey_store::{Write, keys};
use time::OffsetDateTime;

use super::view::Views;
use super::{Judge, Verdict};

impl Judge {
    /// Every commit: records of clients come and go.
    pub(super) fn clients_committed(&mut self, writes: &[Write], now: OffsetDateTime) -> Verdict {
        let views = &mut self.views;
        for write in writes {
            match write {
                Write::PutUntil { key, value, .. } if key.starts_with("instance/") => {
                    let issued = InstanceEntry::decode(value).map_err(|e| e.to_string())?.record.issued;
                    if let Some(kept) = issued.iter().find(|c| views.owed.contains_key(&listed(c))) {
                        return Err(format!("{key} keeps certificate {} that was revoked", kept.serial));
                    }
                    views.clients.insert(key.clone(), issued);
                }
                Write::Delete { key } if views.clients.contains_key(key) => {
                    return Err(format!("{key} is removed, and nobody revoked it"));
                }
                _ => {}
            }
        }
        let written: BTreeSet<&str> = writes.iter().map(Write::key).collect();
        for uid in written.iter().filter_map(|key| key.strip_prefix(keys::VOID_TOKEN)) {
            let is_set = |w: &Write| w.key() == keys::void_token(uid) && !matches!(w, Write::Delete { .. });
            if writes.iter().any(is_set) {
                views.revoke_clients(uid, &written, now);
            }
        }
        Ok(())
    }

    /// A verb that revokes a lineage revokes all its clients in the same commit.
    pub(super) fn revoked_with(&self, uid: Uid, verb: &str) -> Verdict {
        let prefix = keys::instances(&uid.to_string());
        match self.views.clients.keys().find(|key| key.starts_with(&prefix)) {
            Some(left) => Err(format!("`{verb}` leaves {left}")),
            None => Ok(()),
        }
    }

    /// In the end: what the store holds, by key, is what nobody revoked; and what was revoked is listed.
    pub(in crate::sim) fn swept(&self, stored: &BTreeSet<String>, now: OffsetDateTime) -> Verdict {
        let clients = &self.views.clients;
        let is_client = |key: &&String| key.starts_with("instance/");
        if let Some(void) = stored.iter().filter(is_client).find(|key| !clients.contains_key(*key)) {
            return Err(format!("{void} was revoked, and is there"));
        }
        let lives = |certificate: &IssuedCertificate| certificate.expires_at > now;
        let mut owed = self.views.owed.iter().filter(|(_, certificate)| lives(certificate));
        if let Some((key, _)) = owed.find(|(key, _)| !stored.contains(*key)) {
            return Err(format!("{key} was revoked with many others, and is on no list"));
        }
        match stored.iter().find(|key| key.starts_with(keys::VOID)) {
            Some(mark) => Err(format!("{mark} is left, and nothing is to be swept")),
            None => Ok(()),
        }
    }
}

impl Views {
    /// All but those that the same commit writes.
    fn revoke_clients(&mut self, uid: &str, written: &BTreeSet<&str>, now: OffsetDateTime) {
        let prefix = keys::instances(uid);
        let is_void = |key: &String| key.starts_with(&prefix) && !written.contains(key.as_str());
        let void: Vec<String> = self.clients.keys().filter(|key| is_void(key)).cloned().collect();
        for key in void {
            let issued = self.clients.remove(&key).unwrap_or_default();
            let owed = issued.into_iter().filter(|certificate| certificate.expires_at > now);
            self.owed.extend(owed.map(|certificate| (listed(&certificate), certificate)));
        }
    }
}

fn listed(certificate: &IssuedCertificate) -> String {
    keys::revoked(ca_kind_text(certificate.ca), certificate.expires_at.unix_timestamp(), &certificate.serial)
}
