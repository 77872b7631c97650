//! Parts of messages that say anything at all, for a verifier that accepts everything: nothing here is signed.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use boundkey_keys::PublicKey;
use serde_json::{Value, json};

use super::Choices;

/// Ed25519 keys by number; after them one of P-256 and one of RSA.
const ED25519: usize = 46;
pub(super) const KEYS: usize = ED25519 + 2;

struct Known {
    public: PublicKey,
    /// Of a proof, ready to be sent.
    header: String,
}

static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let lines = [
        include_str!("../../seeds/openssh_public_key/p256.pub"),
        include_str!("../../seeds/openssh_public_key/rsa.pub"),
    ];
    let others = lines.into_iter().map(|line| PublicKey::from_openssh(line.trim()).expect("a key"));
    let ed25519 = (0..ED25519).map(|n| crate::scene::key(n as u8).public_key().clone());
    let known = |public: PublicKey| Known {
        header: header(public.algorithm().jws(), &public.thumbprint().to_string(), boundkey_proto::PROOF_TYP),
        public,
    };
    ed25519.chain(others).map(known).collect()
});

/// Key number `n`; every number is one.
pub(super) fn public(n: usize) -> &'static PublicKey {
    &KNOWN[n % KEYS].public
}

/// What a proof by key number `n` begins with.
pub(super) fn proof_header(n: usize) -> &'static str {
    &KNOWN[n % KEYS].header
}

pub(super) fn header(alg: &str, kid: &str, typ: &str) -> String {
    encode(json!({"alg": alg, "kid": kid, "typ": typ}).to_string())
}

/// A compact JWS with a signature that is none.
pub(super) fn unsigned(header: &str, payload: &Value) -> String {
    format!("{header}.{}.AAAA", encode(payload.to_string()))
}

pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The payload of a compact JWS that was well-formed when it was made here.
pub(super) fn payload(compact: &str) -> Option<Value> {
    let bytes = URL_SAFE_NO_PAD.decode(compact.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// One member says something else: what `other` says there, something near, or something absurd.
pub(super) fn bend(value: &mut Value, other: &Value, choices: &mut Choices<'_>) {
    let Some(members) = value.as_object_mut() else { return };
    let names: Vec<String> = members.keys().cloned().collect();
    let Some(name) = choices.one_of(&names) else { return };
    let Some(member) = members.get_mut(name) else { return };
    match choices.below(8) {
        0 | 1 => match other.get(name) {
            Some(theirs) => *member = theirs.clone(),
            None => drop(members.remove(name)),
        },
        2 => drop(members.remove(name)),
        3 => *member = Value::Null,
        _ => alter(member, choices),
    }
}

/// Something near, or something absurd, of the same type.
fn alter(member: &mut Value, choices: &mut Choices<'_>) {
    match member {
        Value::Bool(flag) => *flag = !*flag,
        Value::Number(number) => {
            let was = number.as_i64().unwrap_or_default();
            let by = i64::from(choices.byte());
            *member = match choices.below(8) {
                0 | 1 => json!(was.saturating_add(1 + by % 4)),
                2 => json!(was.saturating_sub(1 + by % 4)),
                3 => json!(was.saturating_add(by * 3_600_000_000)),
                4 => json!(was.saturating_sub(by * 86_400_000_000)),
                5 => json!(by),
                6 => json!(1_i64 << (by % 63)),
                _ => json!(-(1_i64 << (by % 63))),
            };
        }
        Value::String(text) => {
            let at = text.len() * choices.below(32) / 32;
            match choices.below(4) {
                0 => text.truncate(text.floor_char_boundary(at)),
                1 if at < text.len() && text.is_char_boundary(at) && text.is_char_boundary(at + 1) => {
                    let with = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
                    text.replace_range(at..=at, with);
                }
                2 => text.push_str(["/", "..", " ", "\u{e9}", "\n", "%", "*"][choices.below(7)]),
                _ => text.clear(),
            }
        }
        Value::Array(list) => match choices.below(4) {
            0 => list.clear(),
            1 => drop(list.pop()),
            2 => list.reverse(),
            _ => {
                if let Some(one) = choices.one_of(list).cloned() {
                    list.push(one);
                }
            }
        },
        Value::Object(members) => {
            let names: Vec<String> = members.keys().cloned().collect();
            if let Some(inner) = choices.one_of(&names).and_then(|name| members.get_mut(name)) {
                alter(inner, choices);
            }
        }
        Value::Null => *member = json!(choices.byte()),
    }
}
