//! Certificates of a join. Everything about them is fixed before the commit; signing follows it, and a retry signs
//! the same bytes again.

use std::collections::HashSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boundkey_ca::{
    CaError, LeafProfile, LeafRequest, LintError, Serials, SshAuthority, SshProfile, SshRequest,
    X509Authority, common_name, derive_serials, is_dns_name, is_principal,
};
use boundkey_keys::{PublicKey, Purpose, sha256};
use boundkey_lifecycle::{Admission, BACK_DATED, CaKind, Identity, IssuedCertificate, Retry, StateClaims};
use boundkey_proto::{Certificates, result_digest};
use boundkey_token::{RequestedNames, RoleSet};
use time::OffsetDateTime;

use super::Joining;
use crate::Refusal;
use crate::context::hex;

/// The certificates of one join, planned and not yet signed.
pub(super) struct Planned {
    serials: Serials,
    with_ssh: bool,
    identity: Identity,
    sequence: u64,
    names: RequestedNames,
    roles: RoleSet,
    issued_at: OffsetDateTime,
    expires_at: OffsetDateTime,
}

impl Planned {
    pub(super) fn of_admission(joining: &Joining<'_>, admission: &Admission) -> Result<Self, Refusal> {
        let window = (admission.issued_at, admission.certificates_expire_at);
        Self::new(joining, &admission.claims, &admission.names, &admission.roles, window)
    }

    /// None: the result is provisional. So it is, too, when other serials would be signed now than were recorded (the
    /// master key was rotated since): what is not recorded could not be revoked.
    pub(super) fn of_retry(joining: &Joining<'_>, retry: &Retry) -> Result<Option<Self>, Refusal> {
        let Some(c) = &retry.certificates else { return Ok(None) };
        let planned = Self::new(joining, &retry.claims, &c.names, &retry.roles, (c.issued_at, c.expire_at))?;
        let instance =
            joining.snapshot.instance.as_ref().map(|i| i.record.issued.as_slice()).unwrap_or_default();
        let recorded = |certificate: &IssuedCertificate| {
            joining.snapshot.enrolment.issued.iter().chain(instance).any(|known| known == certificate)
        };
        Ok(planned.to_record().iter().all(recorded).then_some(planned))
    }

    fn new(
        joining: &Joining<'_>,
        claims: &StateClaims,
        names: &RequestedNames,
        roles: &RoleSet,
        (issued_at, expires_at): (OffsetDateTime, OffsetDateTime),
    ) -> Result<Self, Refusal> {
        let master = joining.service.master();
        let key = master
            .derive(Purpose::Serials, master.current())
            .ok_or_else(|| Refusal::internal("the current epoch of the master key is retired"))?;
        let request = &joining.received.request;
        let serials = derive_serials(
            &key,
            &claims.uid.0,
            claims.generation,
            claims.identity.id(),
            claims.sequence,
            &request.attempt.0,
            issued_at.unix_timestamp_nanos() / 1000,
        );
        Ok(Self {
            serials,
            with_ssh: request.ssh_key.is_some(),
            identity: claims.identity.clone(),
            sequence: claims.sequence,
            names: usable(names, &claims.identity),
            roles: roles.clone(),
            issued_at,
            expires_at,
        })
    }

    fn is_bot(&self) -> bool {
        matches!(self.identity, Identity::BotInstance(_))
    }

    /// What the commit records, so that it can be revoked.
    pub(super) fn to_record(&self) -> Vec<IssuedCertificate> {
        let (x509, ssh) =
            if self.is_bot() { (CaKind::Bot, CaKind::SshUser) } else { (CaKind::Host, CaKind::SshHost) };
        let expires_at = self.expires_at;
        let mut issued = vec![IssuedCertificate { ca: x509, serial: hex(&self.serials.x509), expires_at }];
        if self.with_ssh {
            issued.push(IssuedCertificate {
                ca: ssh,
                serial: format!("{:016x}", self.serials.ssh),
                expires_at,
            });
        }
        issued
    }

    /// Hosts renew at 40 to 60 % of the lifetime, spread by identity and sequence; bots at a third.
    pub(super) fn renew_in(&self, now: OffsetDateTime) -> Duration {
        let lifetime = (self.expires_at - self.issued_at).max(time::Duration::ZERO);
        let due = if self.is_bot() {
            self.issued_at + lifetime / 3
        } else {
            let hash =
                sha256(&[b"boundkey renew in", self.identity.id().as_bytes(), &self.sequence.to_be_bytes()]);
            let spread = i32::from(u16::from_be_bytes([hash[0], hash[1]]));
            let whole = i32::from(u16::MAX);
            self.issued_at + lifetime * (2 * whole + spread) / (5 * whole)
        };
        Duration::try_from(due - now).unwrap_or_default().max(Duration::from_secs(1))
    }

    /// Whether both certificates could be signed: asked before the commit promises them.
    pub(super) fn check(&self, joining: &Joining<'_>) -> Result<(), LintError> {
        let (common_name, spiffe_id) = self.subject(joining);
        let (authority, _) = self.x509(joining);
        authority.check_leaf(&self.leaf(joining, &common_name, &spiffe_id, &self.role_names(), [0; 32]))?;
        match &joining.received.request.ssh_key {
            Some(key) => self.ssh(joining).0.check(&self.ssh_request(
                joining,
                key,
                &self.key_id(joining),
                &self.principals(),
            )),
            None => Ok(()),
        }
    }

    pub(super) fn sign(
        &self,
        joining: &Joining<'_>,
        join_state: &str,
        bound_key: &PublicKey,
    ) -> Result<Certificates, CaError> {
        let request = &joining.received.request;
        let (common_name, spiffe_id) = self.subject(joining);
        let digest = result_digest(join_state, bound_key.thumbprint(), request.attempt);
        let (authority, _) = self.x509(joining);
        let leaf =
            authority.sign_leaf(&self.leaf(joining, &common_name, &spiffe_id, &self.role_names(), digest))?;
        let ssh = match &request.ssh_key {
            Some(key) => {
                let (key_id, principals) = (self.key_id(joining), self.principals());
                Some(self.ssh(joining).0.sign(&self.ssh_request(joining, key, &key_id, &principals))?)
            }
            None => None,
        };
        let x509_chain = vec![STANDARD.encode(leaf), STANDARD.encode(authority.certificate_der())];
        Ok(Certificates { x509_chain, ssh })
    }

    fn x509<'a>(&self, joining: &Joining<'a>) -> (&'a X509Authority, LeafProfile) {
        let authorities = joining.service.authorities();
        if self.is_bot() {
            (&authorities.bot, LeafProfile::Bot)
        } else {
            (&authorities.host, LeafProfile::Host)
        }
    }

    fn ssh<'a>(&self, joining: &Joining<'a>) -> (&'a SshAuthority, SshProfile) {
        let authorities = joining.service.authorities();
        if self.is_bot() {
            (&authorities.ssh_user, SshProfile::User)
        } else {
            (&authorities.ssh_host, SshProfile::Host)
        }
    }

    fn leaf<'a>(
        &'a self,
        joining: &'a Joining<'_>,
        common_name: &'a str,
        spiffe_id: &'a str,
        roles: &'a [&'a str],
        digest: [u8; 32],
    ) -> LeafRequest<'a> {
        LeafRequest {
            profile: self.x509(joining).1,
            public_key: &joining.received.request.tls_key,
            common_name,
            dns_names: &self.names.dns_names,
            ip_addresses: &self.names.ip_addresses,
            spiffe_id: Some(spiffe_id),
            roles,
            serial: self.serials.x509,
            not_before: self.issued_at - BACK_DATED,
            not_after: self.expires_at,
            result_digest: Some(digest),
        }
    }

    fn ssh_request<'a>(
        &self,
        joining: &Joining<'_>,
        public_key: &'a PublicKey,
        key_id: &'a str,
        principals: &'a [String],
    ) -> SshRequest<'a> {
        SshRequest {
            profile: self.ssh(joining).1,
            public_key,
            key_id,
            principals,
            serial: self.serials.ssh,
            nonce: self.serials.ssh_nonce,
            not_before: self.issued_at - BACK_DATED,
            not_after: self.expires_at,
        }
    }

    fn role_names(&self) -> Vec<&'static str> {
        self.roles.iter().map(boundkey_token::Role::as_str).collect()
    }

    fn key_id(&self, joining: &Joining<'_>) -> String {
        let roles = self.role_names().join(",");
        format!("token={} instance={} roles={roles}", joining.received.request.token, self.identity.id())
    }

    fn subject(&self, joining: &Joining<'_>) -> (String, String) {
        let cluster = joining.service.cluster();
        match &self.identity {
            Identity::Host(id) => (
                common_name(joining.received.request.token.as_str(), id).to_owned(),
                format!("spiffe://{cluster}/host/{id}"),
            ),
            Identity::BotInstance(id) => {
                let spec = joining.snapshot.token.as_ref().and_then(|t| t.token.spec.bot_name.as_ref());
                let bot = spec.map_or("", |name| name.as_str());
                (common_name(bot, id).to_owned(), format!("spiffe://{cluster}/bot/{bot}/{id}"))
            }
        }
    }

    /// A host is known by its names and addresses, a bot by its logins. Never nobody: sshd would let such a
    /// certificate in as anybody.
    fn principals(&self) -> Vec<String> {
        let mut principals = self.names.principals.clone();
        if !self.is_bot() && principals.is_empty() {
            principals.extend(self.names.dns_names.iter().cloned());
            principals.extend(self.names.ip_addresses.iter().map(ToString::to_string));
        }
        if principals.is_empty() {
            principals.push(self.identity.id().to_owned());
        }
        principals
    }
}

/// Names of tokens need not be names of hosts (`a..b`, `10.0.0.1`): what cannot stand in a certificate is left out of
/// the defaults. What was asked for by name has been checked against the token.
///
/// DNS, X.509 and ssh compare the names of hosts in lower case, whatever a token is called: so they are certified. A host's
/// principals keep the form that they were given beside it, as ssh compares those of its `HostKeyAlias` exactly; logins are
/// left alone.
fn usable(names: &RequestedNames, identity: &Identity) -> RequestedNames {
    let dns_names = names.dns_names.iter().filter(|name| is_dns_name(name)).map(|n| n.to_ascii_lowercase());
    let mut principals: Vec<String> = names.principals.iter().filter(|n| is_principal(n)).cloned().collect();
    if matches!(identity, Identity::Host(_)) {
        let lower = principals.iter().map(|name| name.to_ascii_lowercase());
        // What does not fit is the form that nobody looks for.
        principals = distinct(lower.chain(principals.iter().cloned())).take(PRINCIPALS).collect();
    }
    RequestedNames {
        dns_names: distinct(dns_names).collect(),
        ip_addresses: names.ip_addresses.clone(),
        principals,
    }
}

/// Principals that OpenSSH reads in one certificate.
const PRINCIPALS: usize = 256;

/// Each once, where it stands first.
fn distinct(names: impl Iterator<Item = String>) -> impl Iterator<Item = String> {
    let mut seen = HashSet::new();
    names.filter(move |name| seen.insert(name.clone()))
}
