use super::*;
use crate::{MacKey, MasterKey, Purpose, mac_jws_kid, sign_mac_jws, verify_mac_jws};

const TYP: &str = "test+jwt";

/// Keys and signatures by OpenSSL 3.0; the payload is `{"made":"by openssl"}`.
const RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCbdmEHrT2YBK4naGNB68nPRYf5ptSeyWIlgouY5Qw4+w4JSSl2cr82j3ZXwhlmcgXL7ELwjpODkjuRQzImJdcxdYNBMu/Lmbn6X0HjztfHXYW5kD80XtxwmFJ+QZ7ancc4Kyv6pzQTvHaPZqDLMcWFaf3syJR7YHUVl1y6YxImOE40JF8lhuZG1x1iybZ2Nf1AO/cub5XPkYfcnvIAj0jBKi3QNN14yPB7+dH7lDAAdLewzqZX7O9o9Zs3yrrIzQrAbI44Mez7aXnUxGcxbJHfceTDNxJ3CjbxbLjtiPUCLzSkc8kZ79aOjpMVMWVV1M6FJAnAlYKQsiNsohEzc5mJ";
const RSA_JWS: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6Im8xQkVJbDJmeU8yaUdTNFhqcnJ5QWxRM2pIWmdDTHlBTlVvYW1ad3FwY0UiLCJ0eXAiOiJ0ZXN0K2p3dCJ9.eyJtYWRlIjoiYnkgb3BlbnNzbCJ9.dfuMqhPBwYWaX-lmwXap9wN3D0kvNYeR48K6BCwanc2S-a9TJ3Y_A9wWpLZKGthmCZ7eEacHq2-jhoxYvpNWdqD35J0MNxUvpU0GKG1UbDEBpUkyK7ajUz2WgfUmW3cVVY0xO2CIV3g8x1UqHkyReWXniO-kQ9jIjpYaCa8HwiVNPFgw-hpjOTAElLzZWrp5UxZqEE_c9WvSTXFMzMruoAaebOAo9CNZ6XC8ELOwY8ESuGP-XU0LsFWCt1QLCWQzwbpq__lAI1X5O8hGihUz40oPSF7CgCp9ryoNHSy98W5iqmQs-g5k_9gtjbrFvKqFfcwwCF-gAUqXtgYpSY4JkQ";
const P384: &str = "ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBCrYa3lBQfou675srT4CJT5zz4wukOGuRwh5k2itVjFsHE4X734pUADTWEcOkRImLhFyB0mwT1QE63gfqsQrKXSCJEJqt4LFYheVdutDR8iTHhHqSs6e/ZL1ZVjplDGOBw==";
const P384_JWS: &str = "eyJhbGciOiJFUzM4NCIsImtpZCI6IlozN1NuYTREb1NtYXNJdWk2YjhDY0hZeGcxRVBtWlE3aFRxbF9hU1JXcUkiLCJ0eXAiOiJ0ZXN0K2p3dCJ9.eyJtYWRlIjoiYnkgb3BlbnNzbCJ9.X4jOoFNuUnuaYdkcBpn6cLDyZ--LICKiwL7bWiNams7Tis0Q2Vd0KLx_EvQiI3K5-8WT7q9nLRV6RiqxTu3UJmGyLYu_xshDfYs0OqcCkoL76uXBiFZqZXWnXNUPTu1H";

fn ed25519() -> PrivateKey {
    PrivateKey::ed25519_from_seed(&[7; 32])
}

fn p256() -> PrivateKey {
    PrivateKey::generate_p256().unwrap()
}

fn unbase64(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// A JWS with any header, signed as it stands by an Ed25519 key.
fn with_header(header: &str) -> String {
    let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode("{}"));
    let signature = ed25519().sign(input.as_bytes()).unwrap();
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn kid() -> String {
    ed25519().public_key().thumbprint().to_string()
}

fn refusal(compact: &str) -> JwsError {
    verify_jws(compact, TYP, ed25519().public_key()).unwrap_err()
}

#[test]
fn what_is_signed_verifies() {
    for key in [ed25519(), p256()] {
        let text = sign_jws(&key, TYP, b"payload").unwrap();
        let (proven, payload) = verify_jws(&text, TYP, key.public_key()).unwrap();
        assert_eq!(payload, b"payload");
        assert_eq!(proven.public_key(), key.public_key());
        assert_eq!(proven.thumbprint(), key.public_key().thumbprint());
    }
}

#[test]
fn the_header_has_the_documented_bytes() {
    let text = sign_jws(&ed25519(), TYP, b"").unwrap();
    let header = String::from_utf8(unbase64(text.split('.').next().unwrap())).unwrap();
    assert_eq!(header, format!(r#"{{"alg":"EdDSA","kid":"{}","typ":"test+jwt"}}"#, kid()));
}

#[test]
fn ed25519_signatures_are_deterministic() {
    assert_eq!(sign_jws(&ed25519(), TYP, b"x").unwrap(), sign_jws(&ed25519(), TYP, b"x").unwrap());
}

#[test]
fn the_ed25519_signature_is_that_of_rfc_8037() {
    let seed = unbase64("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
    let key = PrivateKey::ed25519_from_seed(&seed.try_into().unwrap());
    let input = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    assert_eq!(
        URL_SAFE_NO_PAD.encode(key.sign(input).unwrap()),
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    );
}

#[test]
fn the_p256_signature_of_rfc_7515_verifies() {
    let x = unbase64("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU");
    let y = unbase64("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
    let key = PublicKey::from_p256(&[&[4], &x[..], &y[..]].concat()).unwrap();
    let input = concat!(
        "eyJhbGciOiJFUzI1NiJ9.",
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    );
    let signature =
        unbase64("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q");
    assert!(key.verifies(input.as_bytes(), &signature));
    // As strict as the protocol is, the RFC's own header is not enough for it.
    let compact = format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature));
    assert_eq!(verify_jws(&compact, TYP, &key).unwrap_err(), JwsError::Header);
}

#[test]
fn rsa_and_p384_signatures_by_openssl_verify() {
    for (line, compact) in [(RSA, RSA_JWS), (P384, P384_JWS)] {
        let key: PublicKey = line.parse().unwrap();
        let (proven, payload) = verify_jws(compact, TYP, &key).unwrap();
        assert_eq!(proven.public_key(), &key);
        assert_eq!(payload, br#"{"made":"by openssl"}"#);
    }
}

#[test]
fn any_flipped_bit_is_refused() {
    let (ed25519, p256) = (ed25519(), p256());
    let mac = mac_key(1);
    let signed = |key: &PrivateKey| sign_jws(key, TYP, b"{}").unwrap();
    let of = |key: PublicKey| move |text: &str| verify_jws(text, TYP, &key).map(|(_, payload)| payload);
    type Check = Box<dyn Fn(&str) -> Result<Vec<u8>, JwsError>>;
    let cases: [(String, Check); 5] = [
        (signed(&ed25519), Box::new(of(ed25519.public_key().clone()))),
        (signed(&p256), Box::new(of(p256.public_key().clone()))),
        (P384_JWS.to_owned(), Box::new(of(P384.parse().unwrap()))),
        (RSA_JWS.to_owned(), Box::new(of(RSA.parse().unwrap()))),
        (sign_mac_jws(&mac, TYP, "1.0", b"{}"), Box::new(move |text| verify_mac_jws(text, TYP, &mac))),
    ];
    for (text, verify) in cases {
        verify(&text).unwrap();
        for at in 0..text.len() {
            for bit in 0..7 {
                let mut changed = text.clone().into_bytes();
                changed[at] ^= 1 << bit;
                let changed = String::from_utf8(changed).unwrap();
                assert!(verify(&changed).is_err(), "bit {bit} of byte {at} of {text}");
            }
        }
    }
}

#[test]
fn another_key_or_purpose_is_refused() {
    let text = sign_jws(&ed25519(), TYP, b"{}").unwrap();
    let other = PrivateKey::ed25519_from_seed(&[8; 32]);
    assert_eq!(verify_jws(&text, TYP, other.public_key()).unwrap_err(), JwsError::OtherKey { found: kid() });
    assert_eq!(
        verify_jws(&text, "other+jwt", ed25519().public_key()).unwrap_err(),
        JwsError::Typ { found: TYP.to_owned(), expected: "other+jwt".to_owned() }
    );
    assert_eq!(
        verify_jws(&text, TYP, p256().public_key()).unwrap_err(),
        JwsError::Alg { found: "EdDSA".to_owned(), expected: "ES256" }
    );
}

#[test]
fn algorithms_that_do_not_fit_the_key_are_refused_though_the_signature_is_good() {
    for alg in ["none", "None", "", "HS256", "HS512", "ES256", "RS256", "PS256", "Ed25519", "eddsa"] {
        let header = format!(r#"{{"alg":"{alg}","kid":"{}","typ":"{TYP}"}}"#, kid());
        let expected = JwsError::Alg { found: alg.to_owned(), expected: "EdDSA" };
        assert_eq!(refusal(&with_header(&header)), expected);
    }
}

/// The classic confusion: the public key's bytes, known to all, taken for an HMAC key.
#[test]
fn a_mac_is_never_taken_for_a_signature() {
    let forged = sign_mac_jws(&mac_key(1), TYP, &kid(), b"{}");
    assert_eq!(refusal(&forged), JwsError::Alg { found: "HS256".to_owned(), expected: "EdDSA" });
    let signed = sign_jws(&ed25519(), TYP, b"{}").unwrap();
    assert_eq!(
        verify_mac_jws(&signed, TYP, &mac_key(1)),
        Err(JwsError::Alg { found: "EdDSA".to_owned(), expected: "HS256" })
    );
}

#[test]
fn a_header_with_more_less_or_repeated_members_is_refused() {
    let kid = kid();
    let good = format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"{TYP}"}}"#);
    verify_jws(&with_header(&good), TYP, ed25519().public_key()).unwrap();
    let rest = &good[1..];
    for header in [
        format!(r#"{{"crit":["exp"],{rest}"#),
        format!(r#"{{"jwk":{{"kty":"OKP"}},{rest}"#),
        format!(r#"{{"x5c":[],{rest}"#),
        format!(r#"{{"b64":false,{rest}"#),
        format!(r#"{{"alg":"EdDSA",{rest}"#),
        format!(r#"{{"alg":"none",{rest}"#),
        format!(r#"{{"typ":"{TYP}",{rest}"#),
        format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"EdDSA","typ":"{TYP}"}}"#),
        format!(r#"{{"alg":null,"kid":"{kid}","typ":"{TYP}"}}"#),
        format!(r#"["EdDSA","{kid}","{TYP}"]"#),
        format!("{good}{{}}"),
        format!(" {good}"),
        "null".to_owned(),
        "{}".to_owned(),
        String::new(),
        "{\"alg\":\"EdDSA\"".to_owned(),
    ] {
        assert_eq!(refusal(&with_header(&header)), JwsError::Header, "{header}");
    }
}

#[test]
fn another_order_and_escapes_mean_the_same_header() {
    let header = format!(r#"{{"typ":"t\u0065st+jwt", "kid":"{}" ,"alg":"EdDSA"}}"#, kid());
    let (_, payload) = verify_jws(&with_header(&header), TYP, ed25519().public_key()).unwrap();
    assert_eq!(payload, b"{}");
}

#[test]
fn forms_other_than_three_canonical_parts_are_refused() {
    let good = sign_jws(&ed25519(), TYP, b"{}").unwrap();
    let parts: Vec<&str> = good.split('.').collect();
    assert_eq!(refusal(""), JwsError::Parts);
    assert_eq!(refusal(&parts[..2].join(".")), JwsError::Parts);
    assert_eq!(refusal(&format!("{good}.")), JwsError::Parts);
    assert_eq!(refusal(&format!("{good}.{}", parts[2])), JwsError::Parts);
    let base64 = |part| JwsError::Base64 { part };
    assert_eq!(refusal(&format!("{}=.{}.{}", parts[0], parts[1], parts[2])), base64("header"));
    assert_eq!(refusal(&format!("{good}==")), base64("signature"));
    assert_eq!(refusal(&format!("{good}\n")), base64("signature"));
    // Detached: an empty payload was not signed.
    assert_eq!(refusal(&format!("{}..{}", parts[0], parts[2])), JwsError::Signature);
    assert_eq!(refusal(&format!("{}.{}.", parts[0], parts[1])), JwsError::Signature);
    // The last of the 86 characters holds four bits that belong to no byte.
    let stray = format!("{}{}", &good[..good.len() - 1], if good.ends_with('A') { 'B' } else { 'x' });
    assert_eq!(refusal(&stray), base64("signature"));
    let json = r#"{"payload":"e30","signatures":[]}"#;
    assert_eq!(refusal(json), JwsError::Parts);
}

#[test]
fn a_payload_in_another_spelling_is_refused_though_the_signature_is_good() {
    let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"EdDSA","kid":"{}","typ":"{TYP}"}}"#, kid()));
    for payload in ["e30=", "e31", "e3+w", "e3 0"] {
        let input = format!("{header}.{payload}");
        let signature = URL_SAFE_NO_PAD.encode(ed25519().sign(input.as_bytes()).unwrap());
        let expected = JwsError::Base64 { part: "payload" };
        assert_eq!(refusal(&format!("{input}.{signature}")), expected, "{payload}");
    }
}

#[test]
fn sizes_are_bounded_before_anything_is_decoded() {
    let long = "a".repeat(MAX_JWS_BYTES + 1);
    assert_eq!(refusal(&long), JwsError::TooLong { bytes: MAX_JWS_BYTES + 1 });
    assert_eq!(refusal(&format!("{}.a.a", "a".repeat(513))), JwsError::TooLong { bytes: 513 });
    let text = sign_jws(&ed25519(), TYP, &vec![b'x'; 40_000]).unwrap();
    assert_eq!(verify_jws(&text, TYP, ed25519().public_key()).unwrap().1.len(), 40_000);
    let parts: Vec<&str> = text.split('.').collect();
    assert_eq!(refusal(&format!("{}.{}.{}", parts[0], parts[1], "A".repeat(1367))), JwsError::Signature);
}

fn mac_key(epoch: u32) -> MacKey {
    let epoch = crate::Epoch { master: 1, epoch };
    MacKey::new(&MasterKey::new(1, [3; 32]).derive(Purpose::JoinState, epoch).unwrap())
}

#[test]
fn a_mac_names_its_epoch_and_verifies_under_it_alone() {
    let text = sign_mac_jws(&mac_key(4), TYP, "1.4", b"state");
    assert_eq!(text, sign_mac_jws(&mac_key(4), TYP, "1.4", b"state"), "deterministic");
    assert_eq!(mac_jws_kid(&text, TYP), Ok("1.4".to_owned()));
    assert_eq!(verify_mac_jws(&text, TYP, &mac_key(4)), Ok(b"state".to_vec()));
    assert_eq!(verify_mac_jws(&text, TYP, &mac_key(5)), Err(JwsError::Signature));
    let other = JwsError::Typ { found: TYP.to_owned(), expected: "other+jwt".to_owned() };
    assert_eq!(verify_mac_jws(&text, "other+jwt", &mac_key(4)), Err(other.clone()));
    assert_eq!(mac_jws_kid(&text, "other+jwt"), Err(other));
    assert_eq!(verify_mac_jws(text.rsplit_once('.').unwrap().0, TYP, &mac_key(4)), Err(JwsError::Parts));
    let cut = &text[..text.len() - 2];
    assert!(matches!(
        verify_mac_jws(cut, TYP, &mac_key(4)),
        Err(JwsError::Signature | JwsError::Base64 { .. })
    ));
}

proptest::proptest! {
    #[test]
    fn any_payload_and_purpose_round_trip(payload: Vec<u8>, typ in "[a-z+-]{1,40}", seed: [u8; 32]) {
        let key = PrivateKey::ed25519_from_seed(&seed);
        let text = sign_jws(&key, &typ, &payload).unwrap();
        proptest::prop_assert_eq!(verify_jws(&text, &typ, key.public_key()).unwrap().1, payload.clone());
        let text = sign_mac_jws(&mac_key(1), &typ, "1.1", &payload);
        proptest::prop_assert_eq!(verify_mac_jws(&text, &typ, &mac_key(1)).unwrap(), payload);
    }

    #[test]
    fn no_text_verifies_or_panics(text in "[A-Za-z0-9_=+./{}\" -]{0,300}") {
        proptest::prop_assert!(verify_jws(&text, TYP, ed25519().public_key()).is_err());
        proptest::prop_assert!(verify_mac_jws(&text, TYP, &mac_key(1)).is_err());
    }
}
