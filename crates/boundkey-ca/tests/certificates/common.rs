//! Scenes shared by the tests: one CA of each algorithm, one request for each profile.

use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Output};

use boundkey_ca::{
    AuthorityKey, LeafProfile, LeafRequest, SshAuthority, SshProfile, SshRequest, X509Authority,
};
use boundkey_keys::{PrivateKey, PublicKey};
use time::OffsetDateTime;
use time::macros::datetime;

pub(crate) const CA_FROM: OffsetDateTime = datetime!(2020-01-01 0:00 UTC);
pub(crate) const CA_TO: OffsetDateTime = datetime!(2060-01-01 0:00 UTC);
pub(crate) const FROM: OffsetDateTime = datetime!(2021-03-04 5:06:07 UTC);
pub(crate) const TO: OffsetDateTime = datetime!(2059-03-04 5:06:07 UTC);
pub(crate) const HOST_ID: &str = "spiffe://example.com/host/5a3f";
pub(crate) const BOT_ID: &str = "spiffe://example.com/bot/ci/77aa";

pub(crate) fn ed25519_key() -> AuthorityKey {
    AuthorityKey::ed25519_from_seed(&[1; 32]).unwrap()
}

pub(crate) fn ca_of(key: AuthorityKey) -> X509Authority {
    X509Authority::create(key, "example.com host CA", [0xab; 16], CA_FROM, CA_TO).unwrap()
}

/// A CA of each algorithm, with its name.
pub(crate) fn both_cas() -> [(&'static str, X509Authority); 2] {
    [("Ed25519", ca_of(ed25519_key())), ("P-256", ca_of(AuthorityKey::generate_p256().unwrap()))]
}

pub(crate) fn both_ssh_cas() -> [(&'static str, SshAuthority); 2] {
    [
        ("Ed25519", SshAuthority::new(ed25519_key())),
        ("P-256", SshAuthority::new(AuthorityKey::generate_p256().unwrap())),
    ]
}

pub(crate) fn subject() -> PublicKey {
    PrivateKey::ed25519_from_seed(&[2; 32]).public_key().clone()
}

/// A P-384 key made by somebody else.
pub(crate) fn p384() -> PublicKey {
    PublicKey::from_openssh(
        "ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBGJwyl5ir2vS5R+hTMwABl87UzU\
         /Eft8r6BfTM0yla5enQoeOTf/D8NuAyXW052g6s90e9lbjEyS8Gh8zpX2MGxGMATm5xRkKhbeg8DPd19bt6dhbRmNAedmBp+Gom\
         7xfA==",
    )
    .unwrap()
}

pub(crate) struct Names {
    pub(crate) dns: Vec<String>,
    pub(crate) ip: Vec<IpAddr>,
}

pub(crate) fn names() -> Names {
    Names {
        dns: vec!["node1.example.com".to_owned(), "node1".to_owned()],
        ip: vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()],
    }
}

pub(crate) fn leaf<'a>(profile: LeafProfile, key: &'a PublicKey, names: &'a Names) -> LeafRequest<'a> {
    let joined = matches!(profile, LeafProfile::Host | LeafProfile::Bot);
    let named = profile != LeafProfile::Admin;
    LeafRequest {
        profile,
        public_key: key,
        common_name: "5a3f",
        dns_names: if named { &names.dns } else { &[] },
        ip_addresses: if named { &names.ip } else { &[] },
        spiffe_id: match profile {
            LeafProfile::Host => Some(HOST_ID),
            LeafProfile::Bot => Some(BOT_ID),
            LeafProfile::Admin => Some("spiffe://example.com/admin/alice"),
            LeafProfile::Server => None,
        },
        roles: match profile {
            LeafProfile::Host => &["Node", "App"],
            LeafProfile::Bot => &["Bot"],
            LeafProfile::Admin => &["admin"],
            LeafProfile::Server => &[],
        },
        serial: [0x42; 20],
        not_before: FROM,
        not_after: TO,
        result_digest: joined.then_some([0xd1; 32]),
    }
}

pub(crate) fn ssh<'a>(profile: SshProfile, key: &'a PublicKey, principals: &'a [String]) -> SshRequest<'a> {
    SshRequest {
        profile,
        public_key: key,
        key_id: "token=example-token instance=77aa roles=Node,App",
        principals,
        serial: 0x0123_4567_89ab_cdef,
        nonce: [9; 16],
        not_before: FROM,
        not_after: TO,
    }
}

pub(crate) fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Whether a program is here; says SKIP if not.
pub(crate) fn has(program: &str, probe: &str) -> bool {
    let found = Command::new(program).arg(probe).output().is_ok();
    if !found {
        println!("SKIP: {program} is not installed");
    }
    found
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = base64(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let number = group.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = DIGITS[(number >> (18 - 6 * place)) as usize & 63] as char;
            out.push(if place > group.len() { '=' } else { digit });
        }
    }
    out
}

pub(crate) fn run(directory: &Path, program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).current_dir(directory).output().unwrap()
}

/// Standard output of a run that must succeed.
pub(crate) fn succeed(directory: &Path, program: &str, arguments: &[&str]) -> String {
    let output = run(directory, program, arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}
