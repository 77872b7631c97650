//! The steps of a crash-safe join, as the state sees them.

use boundkey_keys::{PublicKey, Thumbprint};
use time::OffsetDateTime;

use crate::{AgentState, HeldKey, IdentityRecord, MAX_SUPERSEDED, Pair, PendingAttempt, Superseded};

/// A result with certificates, after ALL checks of `docs/protocol.md`, chapter *Result*.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedResult {
    /// The attempt that it ends.
    pub attempt: [u8; 16],
    /// The new join state.
    pub join_state: String,
    /// The key that is bound now; must be one that the state holds.
    pub bound_key: Thumbprint,
    /// Who the machine is from now on.
    pub identity: AcceptedIdentity,
    /// The signed CA bundle if it is another than the stored one.
    pub ca_bundle: Option<String>,
    /// The CA key that vouched for that bundle.
    pub ca_bundle_signer: Option<PublicKey>,
}

/// The identity of a result; its private keys are those of the attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedIdentity {
    /// `host` or `bot`.
    pub identity_kind: String,
    /// The host id or the bot's instance id.
    pub id: String,
    /// DER, leaf first.
    pub x509_chain: Vec<Vec<u8>>,
    /// One line, OpenSSH form.
    pub ssh_certificate: Option<String>,
    /// Now, by the local clock.
    pub obtained_at: OffsetDateTime,
    /// The end of the certificates.
    pub not_after: OffsetDateTime,
    /// When to renew, by the local clock.
    pub renew_at: OffsetDateTime,
}

/// A result without certificates, after ALL checks of `docs/protocol.md`, chapter *Result*: its receipt vouches for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvisionalResult {
    /// The attempt that it ends.
    pub attempt: [u8; 16],
    /// The join state to present next.
    pub join_state: String,
    /// The key that it names; must be one that the state holds.
    pub bound_key: Thumbprint,
}

impl AgentState {
    /// Takes a first key, to be bound by the first join.
    ///
    /// # Errors
    /// [`TransitionError::KeyPresent`]: a key is replaced by rotation only.
    pub fn adopt_key(&mut self, key: HeldKey) -> Result<(), TransitionError> {
        match &self.bound_key {
            Some(_) => Err(TransitionError::KeyPresent),
            None => {
                self.bound_key = Some(key);
                Ok(())
            }
        }
    }

    /// Makes a key that is kept elsewhere (a static key file) the one to present; false if it is already.
    ///
    /// What it replaces is superseded together with its join state, and comes back with it when the file holds
    /// the earlier key again. A pending attempt stays pending: it may have been refused for the wrong key.
    pub fn use_static_key(&mut self, key: HeldKey) -> bool {
        if self.bound_key.as_ref().is_some_and(|bound| bound.public_key() == key.public_key()) {
            return false;
        }
        let name = key.public_key().thumbprint();
        let is_named = |pair: &Superseded| pair.key.public_key().thumbprint() == name;
        if let Some(pair) = self.take_current() {
            self.supersede(pair);
        }
        let kept = self.superseded.iter().position(is_named).map(|at| self.superseded.remove(at));
        self.bound_key = Some(key);
        self.join_state = kept.and_then(|pair| pair.join_state);
        true
    }

    /// Makes an attempt pending. Save the state before anything is sent.
    ///
    /// # Errors
    /// [`TransitionError::AttemptPending`]: an earlier try may still arrive, so go on with that attempt, as it
    /// stands. [`TransitionError::NoKey`]: adopt a key first. [`TransitionError::NotNew`]: the key to be
    /// offered is one that was used before.
    pub fn begin_attempt(&mut self, pending: PendingAttempt) -> Result<(), TransitionError> {
        if let Some(present) = &self.pending {
            return Err(TransitionError::AttemptPending { attempt: present.attempt });
        }
        if self.bound_key.is_none() {
            return Err(TransitionError::NoKey);
        }
        if let Some(key) = &pending.new_key {
            self.require_unused(key)?;
        }
        self.pending = Some(pending);
        Ok(())
    }

    /// Adds a new key to the pending attempt, because the server asks for a rotation. Save the state before
    /// it is sent.
    ///
    /// # Errors
    /// [`TransitionError::NoAttempt`]; [`TransitionError::KeyOffered`]: the one offered already must be offered
    /// again, since it may be bound by now; [`TransitionError::NotNew`].
    pub fn offer_new_key(&mut self, key: HeldKey) -> Result<(), TransitionError> {
        self.require_unused(&key)?;
        let pending = self.pending.as_mut().ok_or(TransitionError::NoAttempt)?;
        if pending.new_key.is_some() {
            return Err(TransitionError::KeyOffered);
        }
        pending.new_key = Some(key);
        Ok(())
    }

    /// Stores an authenticated result: key, join state, identity and CA bundle at once; the attempt is over.
    ///
    /// A key that is replaced goes to the superseded ones together with its join state. On error nothing has
    /// changed.
    ///
    /// # Errors
    /// [`TransitionError::NoAttempt`], [`TransitionError::OtherAttempt`], [`TransitionError::KeyNotHeld`]: the
    /// result is not for this client, or not for its present attempt.
    pub fn accept_result(&mut self, result: AcceptedResult) -> Result<(), TransitionError> {
        let pending = self.end_attempt(result.attempt, result.bound_key)?;
        self.bind(result.bound_key, result.join_state, pending.new_key);
        self.identity = Some(IdentityRecord {
            identity_kind: result.identity.identity_kind,
            id: result.identity.id,
            tls_key: pending.tls_key,
            ssh_key: pending.ssh_key,
            x509_chain: result.identity.x509_chain,
            ssh_certificate: result.identity.ssh_certificate,
            obtained_at: result.identity.obtained_at,
            not_after: result.identity.not_after,
            renew_at: result.identity.renew_at,
        });
        if result.ca_bundle.is_some() {
            self.ca_bundle = result.ca_bundle;
            self.ca_bundle_signer = result.ca_bundle_signer;
        }
        self.last_error = None;
        self.last_error_at = None;
        Ok(())
    }

    /// Stores a result without certificates; the attempt is over, go on at once with a new one. Identity and certificates
    /// stay what they are. On error nothing has changed.
    ///
    /// # Errors
    /// As [`AgentState::accept_result`].
    pub fn accept_provisional(&mut self, result: ProvisionalResult) -> Result<(), TransitionError> {
        let pending = self.end_attempt(result.attempt, result.bound_key)?;
        self.bind(result.bound_key, result.join_state, pending.new_key);
        Ok(())
    }

    /// The pair to present: the bound key and its join state.
    pub fn current(&self) -> Option<Pair<'_>> {
        let key = self.bound_key.as_ref()?;
        Some(Pair { key, join_state: self.join_state.as_deref() })
    }

    /// The join state to present at the next join; none before the first.
    pub fn state_to_present(&self) -> Option<&str> {
        self.join_state.as_deref()
    }

    /// All pairs, best first: the current one, the superseded ones from new to old. Only the first is ever presented: the
    /// others look like a clone's.
    pub fn pairs(&self) -> impl Iterator<Item = Pair<'_>> {
        let older = self.superseded.iter();
        self.current()
            .into_iter()
            .chain(older.map(|pair| Pair { key: &pair.key, join_state: pair.join_state.as_deref() }))
    }

    /// Whether the key with this thumbprint is here: bound, offered or superseded.
    pub fn holds(&self, thumbprint: Thumbprint) -> bool {
        let offered = self.pending.iter().filter_map(|pending| pending.new_key.as_ref());
        let mut all = self.pairs().map(|pair| pair.key).chain(offered);
        all.any(|key| key.public_key().thumbprint() == thumbprint)
    }

    fn require_unused(&self, key: &HeldKey) -> Result<(), TransitionError> {
        let known = self.pairs().any(|pair| pair.key.public_key() == key.public_key());
        if known { Err(TransitionError::NotNew) } else { Ok(()) }
    }

    fn end_attempt(
        &mut self,
        attempt: [u8; 16],
        bound: Thumbprint,
    ) -> Result<PendingAttempt, TransitionError> {
        let present = self.pending.as_ref().ok_or(TransitionError::NoAttempt)?.attempt;
        if present != attempt {
            return Err(TransitionError::OtherAttempt { found: attempt, expected: present });
        }
        if !self.holds(bound) {
            return Err(TransitionError::KeyNotHeld { found: bound });
        }
        self.pending.take().ok_or(TransitionError::NoAttempt)
    }

    fn take_current(&mut self) -> Option<Superseded> {
        let join_state = self.join_state.take();
        self.bound_key.take().map(|key| Superseded { key, join_state })
    }

    /// Binds the named key, wherever it is, with its state; the pair before it becomes superseded. An offered key that
    /// is not named was never bound (one attempt admits one join) and is dropped.
    fn bind(&mut self, name: Thumbprint, join_state: String, offered: Option<HeldKey>) {
        let is_named = |key: &HeldKey| key.public_key().thumbprint() == name;
        let mut named = offered.filter(is_named);
        if let Some(before) = self.take_current() {
            if is_named(&before.key) {
                named = Some(before.key);
            } else {
                self.supersede(before);
            }
        }
        if let Some(at) = self.superseded.iter().position(|pair| is_named(&pair.key)) {
            named = Some(self.superseded.remove(at).key);
        }
        self.bound_key = named;
        self.join_state = Some(join_state);
    }

    /// One entry for each key: a later state of the same key replaces the earlier one.
    fn supersede(&mut self, pair: Superseded) {
        self.superseded.retain(|known| known.key.public_key() != pair.key.public_key());
        self.superseded.insert(0, pair);
        self.superseded.truncate(MAX_SUPERSEDED);
    }
}

/// A step that does not fit the state. Each is a fault of the client's code or of the server's answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransitionError {
    /// Give up nothing: go on with it.
    #[error("an attempt is pending; it ends only with a stored result")]
    AttemptPending {
        /// Its id.
        attempt: [u8; 16],
    },
    /// No attempt was made, or it has ended.
    #[error("no attempt is pending")]
    NoAttempt,
    /// The result of another attempt.
    #[error("the result is of another attempt than the pending one")]
    OtherAttempt {
        /// Named by the result.
        found: [u8; 16],
        /// The pending one.
        expected: [u8; 16],
    },
    /// There is no key to prove.
    #[error("no key is there to be bound")]
    NoKey,
    /// A bound key changes by rotation only.
    #[error("a key is there already; it is replaced by rotation only")]
    KeyPresent,
    /// Another new key was offered in this attempt.
    #[error("a new key was offered in this attempt already; it must be offered again")]
    KeyOffered,
    /// A rotation to a key that was used before.
    #[error("the new key was used before")]
    NotNew,
    /// The result binds a key that is not here.
    #[error("the result names the bound key {found}, which is not held here")]
    KeyNotHeld {
        /// Its thumbprint.
        found: Thumbprint,
    },
}

#[cfg(test)]
mod tests;
