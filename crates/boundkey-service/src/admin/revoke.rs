//! Revocations in the commit of the change that revokes: certificates onto the lists, or a mark on what many hold.

use boundkey_lifecycle::{IssuedCertificate, Uid};
use boundkey_store::records::{EnrolmentRecord, TokenRecord, VoidRecord};
use boundkey_store::{Revision, keys};
use boundkey_token::Token;

use super::plan::Plan;
use crate::revocation::{Marks, Settled};
use crate::{Refusal, revocation};

impl Plan<'_> {
    /// Lists unexpired certificates as revoked now.
    pub(super) fn revoke(&mut self, certificates: &[IssuedCertificate]) {
        for write in revocation::revoke(certificates, self.now) {
            self.stage(write);
        }
    }

    /// Lists all of them, whatever the clock says: what a mark may have revoked already.
    pub(super) fn list(&mut self, certificates: &[IssuedCertificate]) {
        for write in revocation::list(certificates, self.now) {
            self.stage(write);
        }
    }

    /// Revokes all clients of a shared token by one mark: those that are there, and any that joins before the commit. They
    /// are not shut out: they may come back as recoveries.
    pub(super) fn void_clients(&mut self, uid: Uid, token: &str) {
        self.stage(revocation::void_clients(uid, token, self.now, self.correlation));
        self.marks.push(keys::void_token(&uid.to_string()));
    }

    /// Are there records of single clients of this token? (Void ones count until they are swept.)
    pub(super) async fn has_clients(&self, uid: Uid) -> Result<bool, Refusal> {
        let prefix = keys::instances(&uid.to_string());
        Ok(!self.service.store().range(&prefix, None, 1, self.now).await?.entries.is_empty())
    }

    /// What is told of a revocation that goes on behind the answer.
    pub(super) fn listing(&self) -> &'static str {
        match self.marks.is_empty() {
            true => "",
            false => {
                "; what many machines hold is listed page by page: `boundkeyctl status` shows what is left"
            }
        }
    }

    /// Revokes, by one mark, what all tokens of a bot were issued.
    pub(super) fn void_bot(&mut self, bot: &str) {
        let key = keys::void_bot(bot);
        let record = VoidRecord {
            name: bot.to_owned(),
            at: self.now,
            correlation_id: self.correlation.to_owned(),
            before: None,
        };
        self.put(&key, &record);
        self.marks.push(key);
    }

    /// The enrolment of a token, with what was revoked for its bot's tokens. Whoever writes it lists the rest with it. None:
    /// nobody has joined, and no secret was made.
    pub(super) async fn enrolment(&mut self, record: &TokenRecord) -> Result<Option<Settled>, Refusal> {
        let key = keys::enrolment(record.token.name.as_str());
        let Some(stored) = self.get::<EnrolmentRecord>(&key).await? else { return Ok(None) };
        let written = match self.is_staged(&key) {
            true => Revision(u64::MAX),
            false => self.revision(&key).unwrap_or_default(),
        };
        let marks = self.marks(record.uid, &record.token, false).await?;
        Ok(Some(marks.settled(&record.token, stored.enrolment, written)))
    }

    /// Which tokens are a bot's decides what its mark revokes: that must not change until it is swept.
    pub(super) async fn refuse_under_a_mark(&mut self, tokens: [&Token; 2]) -> Result<(), Refusal> {
        for bot in tokens.into_iter().filter_map(|token| token.spec.bot_name.as_ref()) {
            if self.get::<VoidRecord>(&keys::void_bot(bot.as_str())).await?.is_some() {
                let detail = format!(
                    "spec.bot_name cannot be changed while what bot/{bot} was issued is being revoked; ask again in a few \
                     seconds (`boundkeyctl status` shows what is left)"
                );
                return Err(Refusal::new(409, "revocation_under_way", detail).retry_after(5));
            }
        }
        Ok(())
    }

    /// The marks that stand on a token; the plan depends on them.
    pub(super) async fn marks(
        &mut self,
        uid: Uid,
        token: &Token,
        is_one_of_many: bool,
    ) -> Result<Marks, Refusal> {
        let keys = Marks::keys(uid, token, is_one_of_many);
        self.load(&keys.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        Ok(Marks::among(uid, token, |key| self.found(key))?)
    }
}
