//! Every answer, before it goes out: whether it is one that this holder may get.

use boundkey_keys::sha256;
use boundkey_proto::{JoinAnswer, JoinKindName, JoinResult};
use boundkey_token::RecoveryMode;
use time::OffsetDateTime;

use super::view::target_of;
use super::{Judge, Sent, Shown, Verdict};
use crate::sim::hub::DiskView;
use crate::sim::report::Report;

/// What a server came to with one message.
pub(in crate::sim) enum Outcome<'a> {
    Answered(&'a JoinAnswer),
    /// Status and code of the refusal.
    Refused(u16, &'a str),
}

/// A task's surroundings when it began: if they changed, nothing can be said of what it read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sim) struct Began {
    pub(in crate::sim) history: u64,
    pub(in crate::sim) insider: bool,
    /// Somebody had registered: from then on no secret is needed.
    pub(in crate::sim) bound: bool,
    /// How much had been committed,
    commits: u64,
    /// and when it was, by the server's clock.
    at: OffsetDateTime,
}

impl Judge {
    pub(in crate::sim) fn begins(&self, sent: &Sent, at: OffsetDateTime) -> Began {
        let token = self.holders.get(sent.from).and_then(|holder| self.views.tokens.get(&holder.token));
        Began {
            history: self.history,
            insider: self.is_insider(sent.from),
            bound: token.is_some_and(|view| view.enrolment.is_bound()),
            commits: self.commits,
            at,
        }
    }

    /// `codes`: of the events that this request committed.
    pub(in crate::sim) fn answered(
        &mut self,
        sent: &Sent,
        began: Began,
        codes: &[String],
        outcome: &Outcome<'_>,
        now: OffsetDateTime,
        report: &mut Report,
    ) -> Verdict {
        let token = self.holders.get(sent.from).map(|h| h.token.clone()).unwrap_or_default();
        match outcome {
            Outcome::Answered(JoinAnswer::Admitted(result)) => {
                let expected = usize::from(result.kind != JoinKindName::Retried);
                if codes.len() != expected {
                    return Err(format!("{token}: {:?} with {} audit events", result.kind, codes.len()));
                }
                if expected == 0 {
                    report.retries += 1;
                }
                self.given(sent, result).map_err(|fault| format!("{token}: {fault}"))
            }
            Outcome::Answered(_) if codes.is_empty() => Ok(()),
            Outcome::Answered(_) => {
                Err(format!("{token}: a question to the client was committed: {codes:?}"))
            }
            Outcome::Refused(status, code) => self
                .refused(&token, sent, began, codes, (*status, code), now)
                .map_err(|f| format!("{token}: {f}")),
        }
    }

    fn refused(
        &self,
        token: &str,
        sent: &Sent,
        began: Began,
        codes: &[String],
        (status, code): (u16, &str),
        now: OffsetDateTime,
    ) -> Verdict {
        if status == 503 {
            return Ok(());
        }
        // The cause is in the log if anything was proven: at once, or counted, which is judged when it is written. A lock
        // is there at once.
        let expected = event_of(status, code);
        let counted = codes.is_empty() && code != "clone_detected";
        if !counted && codes.iter().map(String::as_str).ne(expected.as_deref()) {
            return Err(format!("refused with `{code}`, and the audit log has {codes:?}"));
        }
        if let (true, Some(event), Some(view)) = (counted, expected, self.views.tokens.get(token))
            && began.commits == self.commits
        {
            self.rightly(token, view, sent, &event, began.at)?;
        }
        let Some(view) = self.views.tokens.get(token) else { return Ok(()) };
        let enrolment = &view.enrolment;
        let presented = self.presented(&sent.disk).and_then(|label| self.joined.get(&label));
        // By the count of the state, where the store has forgotten recoveries.
        let used = presented.map_or(0, |joined| joined.recoveries).max(enrolment.recovery_count);
        let explained = match code {
            // Whether they were right was judged when they were committed, or above.
            "locked" | "shared_token" => true,
            "registration_expired" => view.registration_ended(now),
            "token_expired" => view.is_expired(now),
            "recovery_limit_reached" => used >= view.limit(),
            // The server's clock is outside the CA's life.
            "certificate_refused" => true,
            "challenge_expired" | "challenge_not_yet_valid" => return Ok(()),
            // Where nothing was proven the true cause is not told.
            "denied" => view.is_expired(now),
            _ => false,
        };
        let steady = self.history == began.history;
        // A machine that was bound tries without its new secret first.
        let can = (began.bound && enrolment.is_bound()) || sent.with_secret || self.is_ahead(sent.from, view);
        let insider =
            began.insider && self.is_insider(sent.from) && steady && self.is_current_disk(sent) && can;
        if insider && !explained {
            return Err(format!("actor {} holds the present state and is refused `{code}`", sent.from));
        }
        if !insider
            && self.is_clean(token)
            && steady
            && !explained
            && !(code == "join_state_required" && self.is_newcomer(token, sent))
            && self.holders.get(sent.from).is_some_and(|h| h.honest)
            && self.is_current_disk(sent)
        {
            return Err(format!(
                "nobody stole, reverted or reset anything, and actor {} is refused `{code}`",
                sent.from
            ));
        }
        // An outsider with a state of this lineage and its key is what a clone looks like.
        let recognised = presented.is_some_and(|joined| {
            joined.uid == view.uid
                && joined.generation == enrolment.generation
                && [sent.disk.bound, sent.disk.new].iter().flatten().any(|key| joined.keys.contains(key))
        });
        let identities = self.identities(view, &sent.disk);
        let locked =
            code == "clone_detected" || self.views.locks_on(token, &identities, now).next().is_some();
        let of_one = enrolment.is_bound() && !view.is_one_of_many();
        if recognised && of_one && !insider && !locked && !explained && steady {
            return Err(format!(
                "actor {} came with an outlived state and its key, was refused `{code}`, and nothing is locked",
                sent.from
            ));
        }
        Ok(())
    }

    /// One of the several machines of a static key, which is to join for the first time, and comes while none but the one
    /// that was adopted may.
    fn is_newcomer(&self, token: &str, sent: &Sent) -> bool {
        let machines = self.holders.iter().filter(|holder| holder.honest && holder.token == token);
        let of_one = self.views.tokens.get(token).is_some_and(|view| view.mode() != RecoveryMode::Insecure);
        of_one && sent.disk.state.is_none() && machines.count() > 1
    }

    /// The message says what its sender's disk still says.
    fn is_current_disk(&self, sent: &Sent) -> bool {
        self.holders.get(sent.from).is_some_and(|holder| holder.knows.disk == sent.disk)
    }

    /// A result: the state is one that was made, and no two certificates share a serial.
    fn given(&mut self, sent: &Sent, result: &JoinResult) -> Verdict {
        if Some(result.attempt.0) != sent.disk.attempt {
            return Err("the answer is for another attempt".to_owned());
        }
        let mut shown = shown(&result.join_state).ok_or("the join state is not of the form of one")?;
        shown.attempt = result.attempt.0;
        shown.from = sent.disk.state.filter(|_| self.has_its_key(&sent.disk));
        if shown.identity != target_of(&result.identity) {
            return Err("the join state names another than the answer".to_owned());
        }
        self.states.entry(sha256(&[result.join_state.as_bytes()])).or_insert(shown);
        let Some(certificates) = &result.certificates else { return Ok(()) };
        let chain = certificates.chain_der().map_err(|e| e.to_string())?;
        let leaf = chain.first().map(Vec::as_slice).unwrap_or_default();
        let (tbs, serial) = x509_parts(leaf).ok_or("the certificate is not of the form of one")?;
        self.serial("x509", serial, sha256(&[tbs]))?;
        if let Some(line) = &certificates.ssh {
            let id = ssh_serial(line).ok_or("the OpenSSH certificate is not of the form of one")?;
            self.serial("ssh", &id, sha256(&[line.as_bytes()]))?;
        }
        Ok(())
    }

    /// The key that the presented state names.
    fn has_its_key(&self, disk: &DiskView) -> bool {
        let joined = self.presented(disk).and_then(|label| self.joined.get(&label));
        joined.is_some_and(|joined| {
            [disk.bound, disk.new].iter().flatten().any(|key| joined.keys.contains(key))
        })
    }

    fn serial(&mut self, kind: &'static str, serial: &[u8], content: [u8; 32]) -> Verdict {
        let known = self.serials.entry((kind, serial.to_vec())).or_insert(content);
        if *known == content {
            Ok(())
        } else {
            Err(format!("two different {kind} certificates share a serial"))
        }
    }
}

/// The event of a refusal whose sender proved something.
fn event_of(status: u16, code: &str) -> Option<String> {
    match code {
        "clone_detected" => Some("clone_detected".to_owned()),
        "secret_used" => Some("secret_replayed".to_owned()),
        "denied" => None,
        code if status == 403 => Some(format!("denied_{code}")),
        _ => None,
    }
}

/// What the text of a join state says of whose it is.
fn shown(text: &str) -> Option<Shown> {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let payload = engine.decode(text.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    let label = engine.decode(claims["jti"].as_str()?).ok()?.try_into().ok()?;
    let identity = target_of(&serde_json::from_value(claims["identity"].clone()).ok()?);
    Some(Shown { label, identity, shared: claims["shared"].as_bool()?, attempt: [0; 16], from: None })
}

/// What is signed of a certificate, and its serial.
fn x509_parts(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, content) = der_value(der, 0x30)?;
    let (tbs, inner) = der_value(content, 0x30)?;
    // [0] version, then the serial.
    let (version, _) = der_value(inner, 0xa0)?;
    let (_, serial) = der_value(inner.get(version.len()..)?, 0x02)?;
    Some((tbs, serial))
}

/// The whole element and its content.
fn der_value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, header) = match first {
        0..=0x7f => (usize::from(*first), 2),
        _ => {
            let count = usize::from(first & 0x7f);
            let bytes = rest.get(..count)?;
            (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), 2 + count)
        }
    };
    let whole = der.get(..header + length)?;
    (*found == tag).then_some((whole, whole.get(header..)?))
}

/// Type, nonce, public key, then the serial: fields of a length that they name, but for the serial.
fn ssh_serial(line: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    let blob = base64::engine::general_purpose::STANDARD.decode(line.split_whitespace().nth(1)?).ok()?;
    let mut rest = blob.as_slice();
    // The certificate of an Ed25519 key: one field of the key.
    for _ in 0..3 {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        rest = tail.get(usize::try_from(u32::from_be_bytes(*length)).ok()?..)?;
    }
    Some(rest.get(..8)?.to_vec())
}
