//! One result: what it says, which CAs vouch for it, and whether a client may take it.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boundkey_ca::{
    AuthorityKey, LeafProfile, LeafRequest, SshAuthority, SshProfile, SshRequest, X509Authority,
};
use boundkey_keys::PublicKey;
use boundkey_proto::{
    AttemptId, BUNDLE_TYP, CaBundle, Certificates, Identity, JoinResult, MAX_JOIN_STATE, RECEIPT_TYP,
    Request, SignedBundle,
};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use super::super::Choices;
use super::super::forge::{encode, header, public, unsigned};
use crate::scene::{CLUSTER, NOW};

pub(super) const OTHER: &str = "other.example";
pub(super) const ID: &str = "3f3e8d2c-9d3b-4b8e-a9a6-0d3a52a5a1b0";

fn authority(seed: u8, name: &str) -> X509Authority {
    let key = AuthorityKey::ed25519_from_seed(&[seed; 32]).expect("a key");
    let (from, to) = (NOW - Duration::days(3650), NOW + Duration::days(7300));
    X509Authority::create(key, name, [seed; 16], from, to).expect("a CA")
}

pub(super) static TLS: LazyLock<[X509Authority; 3]> =
    LazyLock::new(|| [70, 71, 72].map(|seed| authority(seed, "example.com tls CA")));
/// Two of hosts, one of bots, one that nobody knows.
static SIGNERS: LazyLock<[X509Authority; 4]> =
    LazyLock::new(|| [73, 74, 75, 76].map(|seed| authority(seed, "example.com CA")));
/// Two of hosts, one of users.
static SSH: LazyLock<[SshAuthority; 3]> = LazyLock::new(|| {
    [77, 78, 79].map(|seed| SshAuthority::new(AuthorityKey::ed25519_from_seed(&[seed; 32]).expect("a key")))
});

fn der(authority: &X509Authority) -> String {
    STANDARD.encode(authority.certificate_der())
}

fn some<T>(things: &[T], mask: usize) -> impl Iterator<Item = &T> {
    things.iter().enumerate().filter(move |(n, _)| mask >> n & 1 == 1).map(|(_, thing)| thing)
}

/// What a tls CA says.
fn by(ca: &X509Authority, typ: &str, content: &Value) -> String {
    let kid = ca.key().public_key().thumbprint().to_string();
    unsigned(&header("EdDSA", &kid, typ), content)
}

/// What a CA bundle says and who signed it: one bit for each CA.
#[derive(Clone, Copy)]
pub(super) struct Bundle {
    pub(super) cluster: &'static str,
    pub(super) version: u64,
    pub(super) tls: usize,
    pub(super) hosts: usize,
    pub(super) signers: usize,
}

impl Bundle {
    pub(super) fn signed(self) -> SignedBundle {
        let bundle = CaBundle {
            cluster: self.cluster.to_owned(),
            version: self.version,
            tls: some(&*TLS, self.tls).map(der).collect(),
            host: some(&SIGNERS[..2], self.hosts).map(der).collect(),
            bot: vec![der(&SIGNERS[2])],
            ssh_host: some(&SSH[..2], self.hosts).map(|ca| ca.key().public_key().clone()).collect(),
            ssh_user: vec![SSH[2].key().public_key().clone()],
            note: None,
        };
        let content = json!(bundle);
        SignedBundle(some(&*TLS, self.signers).map(|ca| by(ca, BUNDLE_TYP, &content)).collect())
    }

    /// Of a bundle that is stored: the tls CAs by which a later one is trusted.
    pub(super) fn trusted(text: &str) -> usize {
        let signed: SignedBundle = serde_json::from_str(text).expect("a stored bundle");
        let tls = signed.peek().expect("a stored bundle").tls;
        (0..TLS.len()).filter(|n| tls.contains(&der(&TLS[*n]))).map(|n| 1 << n).sum()
    }
}

/// A result, and what its certificates will say.
pub(super) struct Said {
    pub(super) result: JoinResult,
    pub(super) bundle: Bundle,
    signer: usize,
    tls_key: Option<PublicKey>,
    digest: Option<[u8; 32]>,
    spiffe: Option<String>,
    valid_at: OffsetDateTime,
    ssh: Option<(usize, SshProfile, Option<PublicKey>)>,
    /// There are no certificates.
    stripped: bool,
    /// Then there is this.
    receipt: Option<Receipt>,
}

/// Whose it is; and of which result and for which cluster, if not for this one.
#[derive(Clone, Copy, Default)]
struct Receipt {
    ca: usize,
    digest: Option<[u8; 32]>,
    cluster: Option<&'static str>,
}

impl Said {
    pub(super) fn new(result: JoinResult, version: u64, trusted: usize) -> Self {
        Self {
            bundle: Bundle { cluster: CLUSTER, version, tls: trusted | 1, hosts: 3, signers: trusted | 1 },
            signer: 0,
            tls_key: None,
            digest: None,
            spiffe: None,
            valid_at: result.server_time,
            ssh: Some((0, SshProfile::Host, None)),
            stripped: false,
            receipt: Some(Receipt::default()),
            result,
        }
    }

    pub(super) fn bend(&mut self, request: &Request, old: &[JoinResult], choices: &mut Choices<'_>) {
        let other = choices.one_of(old);
        match choices.below(20) {
            0 => self.result.attempt = other.map_or(AttemptId([1; 16]), |old| old.attempt),
            1 => self.result.join_state = other.map_or_else(String::new, |old| old.join_state.clone()),
            2 => {
                // As long as one may be.
                self.result.join_state = "s".repeat(MAX_JOIN_STATE - choices.below(2));
            }
            3 => self.result.bound_key = request.bound_key.clone(),
            4 => self.result.bound_key = request.new_key.clone().unwrap_or_else(|| public(44).clone()),
            5 => {
                self.result.bound_key = other.map_or_else(|| public(45).clone(), |old| old.bound_key.clone())
            }
            6 => self.result.identity = Identity::BotInstance(ID.to_owned()),
            7 => {
                self.result.identity = Identity::BotInstance(ID.to_owned());
                self.signer = 2;
                self.spiffe = Some(format!("spiffe://{CLUSTER}/bot/deploy/{ID}"));
                self.ssh = Some((2, SshProfile::User, None));
            }
            8 => self.signer = choices.below(4),
            9 => self.tls_key = Some(public(choices.below(40)).clone()),
            10 => self.digest = Some(other.map_or([0; 32], JoinResult::digest)),
            11 => {
                let spiffe = [
                    format!("spiffe://{CLUSTER}/host/other"),
                    format!("spiffe://{OTHER}/host/{ID}"),
                    format!("spiffe://{CLUSTER}/bot/deploy/{ID}"),
                    format!("spiffe://{CLUSTER}/host/x/{ID}"),
                ];
                self.spiffe = choices.one_of(&spiffe).cloned();
            }
            12 => self.valid_at = NOW + Duration::days(i64::from(choices.byte()) - 128),
            13 => self.result.server_time = NOW + Duration::days(i64::from(choices.byte()) - 128),
            14 => self.ssh = None,
            15 => {
                let profile = if choices.flag() { SshProfile::User } else { SshProfile::Host };
                let key = choices.flag().then(|| public(3).clone());
                self.ssh = Some((choices.below(3), profile, key));
            }
            16 => {
                self.stripped = true;
                let right = Receipt::default();
                self.receipt = match choices.below(8) {
                    0 => None,
                    1 => Some(Receipt { ca: choices.below(3), ..right }),
                    2 => Some(Receipt { digest: Some(other.map_or([0; 32], JoinResult::digest)), ..right }),
                    3 => Some(Receipt { cluster: Some(OTHER), ..right }),
                    _ => self.receipt,
                };
            }
            17 => {
                self.bundle.version += 1;
                self.bundle.tls = choices.below(8);
                self.bundle.hosts = choices.below(4);
            }
            18 => self.bundle.signers = choices.below(8),
            _ => self.bundle.cluster = OTHER,
        }
    }

    /// Makes the certificates or the receipt; whether the result holds together (chapter "Result", all but 4).
    pub(super) fn vouch(&mut self, request: &Request) -> bool {
        self.result.ca_bundle = self.bundle.signed();
        let held =
            [Some(&request.bound_key), request.new_key.as_ref()].contains(&Some(&self.result.bound_key));
        let certified = if self.stripped { None } else { self.certify(request) };
        let vouched = certified.unwrap_or_else(|| self.attest());
        vouched && held && self.result.attempt == request.attempt
    }

    /// Makes the receipt.
    fn attest(&mut self) -> bool {
        let Some(Receipt { ca, digest, cluster }) = self.receipt else { return false };
        let cluster = cluster.unwrap_or(self.bundle.cluster);
        let digest = digest.unwrap_or_else(|| self.result.digest());
        let content = json!({"cluster": cluster, "digest": encode(digest)});
        self.result.receipt = Some(by(&TLS[ca], RECEIPT_TYP, &content));
        self.bundle.tls >> ca & 1 == 1 && cluster == self.bundle.cluster && digest == self.result.digest()
    }

    /// Makes the certificates; None if there can be none of this kind.
    fn certify(&mut self, request: &Request) -> Option<bool> {
        let id = self.result.identity.id().to_owned();
        let (kind, cas) = match &self.result.identity {
            Identity::Host(_) => ("host", self.bundle.hosts),
            Identity::BotInstance(_) => ("bot/deploy", 4),
        };
        let expected = format!("spiffe://{}/{kind}/{id}", self.bundle.cluster);
        let spiffe = self.spiffe.clone().unwrap_or_else(|| expected.clone());
        let digest = self.digest.unwrap_or_else(|| self.result.digest());
        let tls_key = self.tls_key.as_ref().unwrap_or(&request.tls_key);
        let (from, to) = (self.valid_at - Duration::HOUR, self.valid_at + Duration::DAY);
        // Those of bots have no host names.
        let names = if self.signer == 2 { Vec::new() } else { vec!["web-1".to_owned()] };
        let leaf = SIGNERS[self.signer].sign_leaf(&LeafRequest {
            profile: if self.signer == 2 { LeafProfile::Bot } else { LeafProfile::Host },
            public_key: tls_key,
            common_name: "web-1",
            dns_names: &names,
            ip_addresses: &[],
            spiffe_id: Some(&spiffe),
            roles: &["Node"],
            serial: [9; 20],
            not_before: from,
            not_after: to,
            result_digest: Some(digest),
        });
        let leaf = leaf.ok()?;
        let ssh = self.ssh.as_ref().filter(|_| request.ssh_key.is_some() || self.signer == 1);
        let line = ssh.and_then(|(ca, profile, key)| {
            let public_key = key.as_ref().or(request.ssh_key.as_ref()).unwrap_or(public(3));
            SSH[*ca]
                .sign(&SshRequest {
                    profile: *profile,
                    public_key,
                    key_id: "web-1",
                    principals: &["web-1".to_owned()],
                    serial: 1,
                    nonce: [1; 16],
                    not_before: from,
                    not_after: to,
                })
                .ok()
        });
        let ssh_fits = match (&line, &request.ssh_key, ssh) {
            (None, None, _) => true,
            (Some(_), Some(_), Some((ca, profile, key))) => {
                let of_kind = if kind == "host" {
                    *profile == SshProfile::Host && *ca < 2 && self.bundle.hosts >> ca & 1 == 1
                } else {
                    *profile == SshProfile::User && *ca == 2
                };
                of_kind && key.as_ref().is_none_or(|key| Some(key) == request.ssh_key.as_ref())
            }
            _ => false,
        };
        let x509_chain = vec![STANDARD.encode(&leaf), der(&SIGNERS[self.signer])];
        self.result.certificates = Some(Certificates { x509_chain, ssh: line });
        let certified = cas >> self.signer & 1 == 1
            && (from..=to).contains(&self.result.server_time)
            && *tls_key == request.tls_key
            && digest == self.result.digest()
            && spiffe == expected;
        Some(certified && ssh_fits)
    }
}
