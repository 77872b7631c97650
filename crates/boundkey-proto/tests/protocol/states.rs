//! `states.json`: join states, as servers make them and take them back. For other servers: to clients they are opaque.

use boundkey_keys::{MacKey, Purpose, sign_mac_jws};
use boundkey_lifecycle::{Adoption, Hash32, Identity, StateClaims, StateEvidence, StateId, Trail, Uid};
use boundkey_proto::{STATE_TYP, open_state, seal_state};
use serde_json::{Value, json};
use time::Duration;
use time::macros::datetime;

use crate::completes::state_word;
use crate::scene::*;
use crate::vectors::{cases, frame, text};

pub(crate) fn claims() -> StateClaims {
    StateClaims {
        uid: Uid([0xd1; 16]),
        generation: 1,
        sequence: 2,
        state_id: StateId([0xe2; 16]),
        trail: Trail(vec![[0xe1; 8], [0xe2; 8]]),
        shared: false,
        registration_attempt: Some(Hash32([0xf0; 32])),
        recovery_count: 1,
        key: public(BOUND).thumbprint(),
        identity: Identity::Host("6f1d0c52-9f0e-4f6f-8b42-0d6f5a3c9e11".to_owned()),
        certificates_expire_at: datetime!(2026-11-24 07:00:00 UTC),
        issued_at: datetime!(2026-11-23 07:00:00.123456 UTC),
        key_since: Some(datetime!(2026-11-01 00:00:00 UTC)),
        adoption: None,
        passed: Trail::default(),
    }
}

/// Of a client that stayed when its token was no longer shared.
fn adopted() -> StateClaims {
    let instance = Identity::Host("0b9c4a52-0d1f-4f6f-8b42-0d6f5a3c9e22".to_owned());
    StateClaims {
        adoption: Some(Adoption { instance, sequence: 2 }),
        passed: Trail(vec![[0xe1; 8], [0xa7; 8]]),
        ..claims()
    }
}

pub(crate) fn sealed() -> String {
    sealed_for(CLUSTER)
}

pub(crate) fn sealed_for(cluster: &str) -> String {
    seal_state(&claims(), cluster, &master())
}

/// The payload of the plain state, taken from the text.
fn payload() -> String {
    String::from_utf8(unb64(sealed().split('.').nth(1).expect("three parts"))).expect("UTF-8")
}

/// Any payload under the right key.
fn under_the_key(payload: &str) -> String {
    let epoch = master().current();
    let key = master().derive(Purpose::JoinState, epoch).expect("current");
    sign_mac_jws(&MacKey::new(&key), STATE_TYP, &epoch.to_string(), payload.as_bytes())
}

pub(crate) fn file() -> Value {
    let state = sealed();
    let payload = payload();
    let open = payload.strip_suffix('}').expect("an object").to_owned();
    let epoch = master().current();
    let header = format!(r#"{{"alg":"HS256","kid":"{epoch}","typ":"{STATE_TYP}"}}"#);
    let join_key = master().derive(Purpose::JoinState, epoch).expect("current");
    let of_adopted = |change: fn(String) -> String| {
        let state = seal_state(&adopted(), CLUSTER, &master());
        let payload = unb64(state.split('.').nth(1).expect("three parts"));
        under_the_key(&change(String::from_utf8(payload).expect("UTF-8")))
    };
    let mac = |header: &str| {
        forge(header, &payload, |input| boundkey_keys::hmac_sha256(join_key.as_bytes(), input).to_vec())
    };
    let header_open = header.strip_suffix('}').expect("an object");
    let all: Vec<(&str, String, &str)> = vec![
        ("plain", state.clone(), "valid"),
        ("of the older master key", seal_state(&claims(), CLUSTER, &keyring_at(1, 0x11, 2)), "valid"),
        (
            "of an epoch that is unknown here",
            seal_state(&claims(), CLUSTER, &keyring_at(2, 0x22, 77)),
            "valid",
        ),
        ("of one that was adopted", seal_state(&adopted(), CLUSTER, &master()), "valid"),
        (
            "adopted at sequence 0",
            of_adopted(|payload| payload.replace("\"seq\":2},", "\"seq\":0},")),
            "unreadable",
        ),
        (
            "with another member in adoption",
            of_adopted(|payload| payload.replace("\"seq\":2},", "\"seq\":2,\"admin\":true},")),
            "unreadable",
        ),
        (
            "with a mark of 7 bytes",
            of_adopted(|payload| payload.replace("\"p6enp6enp6c\"]", "\"p6enp6enpw\"]")),
            "unreadable",
        ),
        ("of a retired epoch", seal_state(&claims(), CLUSTER, &keyring_at(2, 0x22, 1)), "unknown_epoch"),
        (
            "of an unknown master key",
            seal_state(&claims(), CLUSTER, &keyring_at(3, 0x33, 3)),
            "unknown_epoch",
        ),
        (
            "of another master key with the same id",
            seal_state(&claims(), CLUSTER, &keyring_at(2, 0x99, 3)),
            "bad_tag",
        ),
        ("of a cluster that shares the master key", sealed_for("example.org"), "other_cluster"),
        ("with an altered claim", altered(&state, state.find('.').expect("parts") + 60), "bad_tag"),
        ("with an altered tag", altered(&state, state.len() - 9), "bad_tag"),
        ("truncated", state[..state.len() - 4].to_owned(), "bad_tag"),
        ("without a tag", format!("{}.", state.rsplit_once('.').expect("parts").0), "bad_tag"),
        ("of two parts", state.rsplit_once('.').expect("parts").0.to_owned(), "unreadable"),
        ("with padding", format!("{state}="), "bad_tag"),
        (
            "with alg none",
            { forge(&header.replace("HS256", "none"), &payload, |_| Vec::new()) },
            "unreadable",
        ),
        ("signed with the bound key", signed(BOUND, STATE_TYP, &payload), "unreadable"),
        (
            "with the typ of a challenge",
            mac(&header.replace(STATE_TYP, "boundkey-challenge+jwt")),
            "unreadable",
        ),
        ("a challenge", challenge(), "unreadable"),
        ("with crit", mac(&format!(r#"{header_open},"crit":["seq"]}}"#)), "unreadable"),
        ("with a repeated header member", mac(&format!(r#"{header_open},"kid":"{epoch}"}}"#)), "unreadable"),
        (
            "with kid in another spelling",
            mac(&header.replace(&format!("\"{epoch}\""), "\"02.3\"")),
            "unreadable",
        ),
        ("with an unknown claim", under_the_key(&format!(r#"{open},"admin":true}}"#)), "unreadable"),
        ("with a repeated claim", under_the_key(&format!(r#"{open},"seq":9}}"#)), "unreadable"),
        ("of version 2", under_the_key(&payload.replace("\"ver\":1", "\"ver\":2")), "unreadable"),
        ("with sequence 0", under_the_key(&payload.replace("\"seq\":2", "\"seq\":0")), "unreadable"),
        (
            "with sequence 2^53",
            under_the_key(&payload.replace("\"seq\":2", "\"seq\":9007199254740992")),
            "unreadable",
        ),
        (
            "with a sequence that is a float",
            under_the_key(&payload.replace("\"seq\":2", "\"seq\":2.0")),
            "unreadable",
        ),
        (
            "with a generation out of range",
            { under_the_key(&payload.replace("\"generation\":1", "\"generation\":4294967296")) },
            "unreadable",
        ),
        (
            "made with the challenge key",
            {
                let key = master().derive(Purpose::Challenge, epoch).expect("current");
                sign_mac_jws(&MacKey::new(&key), STATE_TYP, &epoch.to_string(), payload.as_bytes())
            },
            "bad_tag",
        ),
        ("empty", String::new(), "unreadable"),
        ("too long", "s".repeat(8193), "unreadable"),
    ];
    let all =
        all.into_iter().map(|(name, state, word)| json!({"name": name, "join_state": state, "expect": word}));
    let payload: Value = serde_json::from_str(&payload).expect("JSON");
    frame(
        "Join states, and what a server with this keyring makes of them. Opaque to clients; for other servers. \
         `given.payload` has its members in the order of the chapter when it is made.",
        json!({"cluster": CLUSTER, "master_key": master_file(), "payload": payload}),
        all.collect(),
    )
}

#[test]
fn a_server_takes_the_states_of_the_file_and_no_other() {
    for case in cases("states.json") {
        let found = open_state(text(&case, "join_state"), CLUSTER, &master());
        assert_eq!(state_word(&found), text(&case, "expect"), "{}", case["name"]);
        if let StateEvidence::Valid(found) = found {
            let made = if case["name"] == "of one that was adopted" { adopted() } else { claims() };
            assert_eq!(*found, made, "{}", case["name"]);
        }
    }
}

#[test]
fn the_same_claims_make_the_same_state_to_the_byte() {
    assert_eq!(sealed(), sealed());
    let mut other = claims();
    other.issued_at += Duration::microseconds(1);
    assert_ne!(seal_state(&other, CLUSTER, &master()), sealed());
}

#[test]
fn the_claims_stand_in_the_order_of_the_chapter() {
    let expected = format!(
        concat!(
            r#"{{"iss":"example.com","aud":"example.com","sub":"d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1","#,
            r#""jti":"4uLi4uLi4uLi4uLi4uLi4g","iat":1795417200,"ver":1,"generation":1,"seq":2,"recovery_count":1,"#,
            r#""key":"{key}","identity":{{"host":"6f1d0c52-9f0e-4f6f-8b42-0d6f5a3c9e11"}},"#,
            r#""certificates_expire_at":1795503600000000,"issued_at":1795417200123456,"key_since":1793491200000000,"#,
            r#""trail":["4eHh4eHh4eE","4uLi4uLi4uI"],"shared":false,"#,
            r#""registration_attempt":"8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PA"}}"#
        ),
        key = thumbprint(BOUND)
    );
    assert_eq!(payload(), expected);
    let state = seal_state(&adopted(), CLUSTER, &master());
    let of_adopted = String::from_utf8(unb64(state.split('.').nth(1).expect("three parts"))).expect("UTF-8");
    let more = concat!(
        r#","adoption":{"instance":{"host":"0b9c4a52-0d1f-4f6f-8b42-0d6f5a3c9e22"},"seq":2},"#,
        r#""passed":["4eHh4eHh4eE","p6enp6enp6c"]}"#
    );
    assert_eq!(of_adopted, format!("{}{more}", expected.strip_suffix('}').expect("an object")));
}
