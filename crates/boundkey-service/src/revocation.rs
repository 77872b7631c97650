//! Revoking: serials move to `revoked/CA/EXPIRES/SERIAL`, and expire from there with their certificates.
//!
//! What one machine holds moves in the commit that revokes it. What many hold is revoked by a mark ([`Marks`]), one small
//! write, and listed page by page behind it ([`crate::sweep`]).

use boundkey_lifecycle::{Enrolment, IssuedCertificate, Uid, Verb, apply_verb};
use boundkey_store::records::{InstanceEntry, Record, RecordError, RevokedRecord, VoidRecord};
use boundkey_store::{Entry, Revision, Write, keys};
use boundkey_token::{RecoveryMode, Token};
use time::OffsetDateTime;

use crate::{Refusal, Service, ca_kind_text};

/// How long the record of an instance outlives its certificates.
pub const INSTANCE_KEPT: time::Duration = time::Duration::hours(24);

/// The writes that revoke these certificates. Expired ones need none.
pub fn revoke(certificates: &[IssuedCertificate], now: OffsetDateTime) -> Vec<Write> {
    revoked_at(certificates, now, now)
}

/// The writes that list what a mark has revoked already, whatever the clock says now: a row of a certificate that has
/// expired is gone as soon as it is written.
pub fn list(certificates: &[IssuedCertificate], now: OffsetDateTime) -> Vec<Write> {
    revoked_at(certificates, now, OffsetDateTime::UNIX_EPOCH)
}

/// As [`revoke`], of what was revoked at an earlier time.
pub fn revoked_at(certificates: &[IssuedCertificate], at: OffsetDateTime, now: OffsetDateTime) -> Vec<Write> {
    certificates
        .iter()
        .filter(|certificate| certificate.expires_at > now)
        .map(|certificate| Write::PutUntil {
            key: keys::revoked(
                ca_kind_text(certificate.ca),
                certificate.expires_at.unix_timestamp(),
                &certificate.serial,
            ),
            value: RevokedRecord { revoked_at: at, expires_at: certificate.expires_at }.encode(),
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

/// Several machines may hold it, each under an identity and a record of its own.
pub fn is_one_of_many(token: &Token, enrolment: &Enrolment) -> bool {
    enrolment.shared || token.spec.bound_keypair.recovery.mode == RecoveryMode::Insecure
}

/// The write that revokes every client of a shared token that was written before it; one that the same commit writes
/// stays.
pub fn void_clients(uid: Uid, token: &str, at: OffsetDateTime, correlation_id: &str) -> Write {
    let record =
        VoidRecord { name: token.to_owned(), at, correlation_id: correlation_id.to_owned(), before: None };
    Write::record(keys::void_token(&uid.to_string()), &record)
}

/// A [`VoidRecord`] that stands, and how far back it reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// As it is stored.
    pub record: VoidRecord,
    /// What was written before is void.
    pub boundary: Revision,
}

impl Mark {
    /// The mark in an entry.
    ///
    /// # Errors
    /// The record is not readable.
    pub fn decode(entry: &Entry) -> Result<Self, RecordError> {
        let record = VoidRecord::decode(&entry.value)?;
        Ok(Self { boundary: record.before.unwrap_or(entry.revision), record })
    }

    /// Is what was written at this revision void?
    pub fn covers(&self, revision: Revision) -> bool {
        revision < self.boundary
    }
}

/// The marks that stand on a token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    of_clients: Option<Mark>,
    of_bot: Option<Mark>,
}

impl Marks {
    /// Under which keys they are. A join reads them with what it decides on, and its commit depends on them.
    pub fn keys(uid: Uid, token: &Token, is_one_of_many: bool) -> Vec<String> {
        let of_clients = is_one_of_many.then(|| keys::void_token(&uid.to_string()));
        of_clients.into_iter().chain(Self::of_bot_key(token)).collect()
    }

    fn of_bot_key(token: &Token) -> Option<String> {
        token.spec.bot_name.as_ref().map(|bot| keys::void_bot(bot.as_str()))
    }

    /// Those among the entries that were read.
    ///
    /// # Errors
    /// A record is not readable.
    pub fn among<'a>(
        uid: Uid,
        token: &Token,
        find: impl Fn(&str) -> Option<&'a Entry>,
    ) -> Result<Self, RecordError> {
        let read = |key: String| find(&key).map(Mark::decode).transpose();
        let of_bot = Self::of_bot_key(token).map(read).transpose()?.flatten();
        Ok(Self { of_clients: read(keys::void_token(&uid.to_string()))?, of_bot })
    }

    /// Is a client void whose record was written at this revision?
    pub fn cover(&self, revision: Revision) -> bool {
        self.of_clients.iter().chain(&self.of_bot).any(|mark| mark.covers(revision))
    }

    /// What the mark on a bot comes to for the clients of one of its shared tokens: a mark of the same reach on them. None if
    /// there is none, or one on them reaches as far.
    pub(crate) fn passed_on(&self, token: &str) -> Option<VoidRecord> {
        let reach = self.of_clients.as_ref().map(|mark| mark.boundary);
        let mark = self.of_bot.as_ref().filter(|mark| Some(mark.boundary) > reach)?;
        Some(VoidRecord { name: token.to_owned(), before: Some(mark.boundary), ..mark.record.clone() })
    }

    /// The enrolment as it is with what was revoked for its bot's tokens, and what whoever writes it has to list.
    pub fn settled(&self, token: &Token, enrolment: Enrolment, written: Revision) -> Settled {
        let Some(mark) = self.of_bot.as_ref().filter(|mark| mark.covers(written)) else {
            return Settled { enrolment, unlisted: Vec::new() };
        };
        // All of them, whatever the clock said when the mark was made: whoever lists them leaves out what has expired.
        let unlisted = enrolment.issued.clone();
        let outcome = apply_verb(token, &enrolment, Verb::Revoke, mark.record.at);
        Settled { enrolment: outcome.next.unwrap_or(enrolment), unlisted }
    }
}

impl Service {
    /// The marks that stand on a token.
    pub(crate) async fn marks(
        &self,
        uid: Uid,
        token: &Token,
        is_one_of_many: bool,
        now: OffsetDateTime,
    ) -> Result<Marks, Refusal> {
        let keys = Marks::keys(uid, token, is_one_of_many);
        let wanted: Vec<&str> = keys.iter().map(String::as_str).collect();
        let found = self.store().get_many(&wanted, now).await?;
        let find = |key: &str| found.iter().flatten().find(|entry| entry.key == key);
        Ok(Marks::among(uid, token, find)?)
    }
}

/// An enrolment with all that was revoked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// What it comes to.
    pub enrolment: Enrolment,
    /// Certificates that are revoked and on no list yet. Whoever writes the enrolment lists them in the same commit, for
    /// the sweep will not find them any more.
    pub unlisted: Vec<IssuedCertificate>,
}

#[cfg(test)]
mod tests {
    use boundkey_lifecycle::CaKind;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn what_a_mark_has_revoked_is_listed_under_a_clock_that_is_ahead_too() {
        let expires_at = datetime!(2026-05-02 12:00 UTC);
        let certificates = [IssuedCertificate { ca: CaKind::Host, serial: "4a".to_owned(), expires_at }];
        let ahead = expires_at + time::Duration::days(2);
        assert!(revoke(&certificates, ahead).is_empty(), "what is revoked now and has expired needs no row");
        let listed = list(&certificates, ahead);
        let [Write::PutUntil { key, expires, .. }] = listed.as_slice() else { panic!("{listed:?}") };
        assert_eq!(*key, keys::revoked("host", expires_at.unix_timestamp(), "4a"));
        assert_eq!(*expires, expires_at + time::Duration::hours(1), "it is there once the clock is right");
    }
}
