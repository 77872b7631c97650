use super::*;

const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea";
/// From `ssh-keygen -t ecdsa -b 256` and `-b 384`.
const P256: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBH3EC9bOriGWsBA35Q+ShzILwdubnsv440bykVlOjr3tuuj4G8n0bKq/WS4XaOQ+8BIdaCA1D+4we/Cee+G36c0=";
const P384: &str = "ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBLHUde9kH2fuivRJ3+64cOGrhlG6ovJYQNX94wJ4c62BiIs52DTMyqZVqoC4o4VKZfZ35x++8BXSWv5B3zt5lAHgfYVz2rt3o8loMztpZ1mKBpC8MDXmRlMiSv6wsb8Z+A==";
const RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDLei81RwAOe4sEzcUr3i3NEvx9xH7LFknlYPM4vlHaSFYz0SjZQedasav5hCogeOtiPeAhQtk+hVSK3pr65RH97RBANqjqlb6tD4UIZhqd4nvedjTFncXSX9pLFAWXpYJsz3QO2Y/qU0yyl8gwjs5ReRNuN2zQKah5A2dO+H5fcT16O3lb9nHBP+vwRROL3gbGGsg+MwTt32eP0KVzG/yXoKuUGWc4ZwCHK7OJyJvNPUb7d5jWG0qXcbGkOO2whk5+meIKQAdNCenAwwNqjSgYiOWR1kWcnM9DsCZ8IqOYGP+yLUL4NtQi1hQkyuKgcXEHkHu3lxftJNun7m8Z5ZlD";
const RSA_1024: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDIolmSRArsWrsz2BHJ2tSckh36jjfGjEMnz5Z32eijaaE2fIsYOLyw3Z2e7Wg1y8cTJywhS0WyIAtdNQ3ekhxqOaRK7i54YuL2LjebYebMoE9xcnEIBBjVwClo1BttfpTxU0LGJXG0kPrGCz5Attcx414DtSX5nKxn6kGLDAO+1w==";
const P521: &str = "ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBAFC/hzmZStHLc76w9lEZWEdZUPBerji3eglXT+Hu11h7+/Qd291uEcHG6V4+R4qNVVhEPkcsud/O7MTVykz/WaXPAA7rGzEDB2KdrAKzvxy+qyudO3BdIe1tKVzBnY/2jRRvj/FbPNqU56YNu6JMUeRwkbRcnDXg4oqlatTFyzhKKP5/Q==";

fn key(line: &str) -> PublicKey {
    line.parse().unwrap()
}

fn error(line: &str) -> ParseKeyError {
    PublicKey::from_openssh(line).unwrap_err()
}

fn unbase64(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// An OpenSSH line with any fields.
fn line(kind: &str, fields: &[&[u8]]) -> String {
    let mut blob = Vec::new();
    for field in [&[kind.as_bytes()], fields].concat() {
        blob.extend((field.len() as u32).to_be_bytes());
        blob.extend(field);
    }
    format!("{kind} {}", STANDARD.encode(blob))
}

#[test]
fn the_rsa_thumbprint_is_that_of_rfc_7638() {
    let n = unbase64(concat!(
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W",
        "-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08q",
        "NLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    ));
    let key = PublicKey::from_rsa(&n, &[1, 0, 1]).unwrap();
    assert_eq!(key.thumbprint().to_string(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

#[test]
fn the_ed25519_thumbprint_is_that_of_rfc_8037() {
    let raw = unbase64("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    let key = PublicKey::from_ed25519(raw.try_into().unwrap());
    assert_eq!(key.thumbprint().to_string(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    assert_eq!(key.to_openssh(), ED25519);
}

#[test]
fn every_accepted_kind_survives_its_text() {
    for (line, algorithm) in [
        (ED25519, Algorithm::Ed25519),
        (P256, Algorithm::EcdsaP256),
        (P384, Algorithm::EcdsaP384),
        (RSA, Algorithm::Rsa),
    ] {
        let parsed = key(line);
        assert_eq!(parsed.algorithm(), algorithm);
        assert_eq!(parsed.to_openssh(), line);
        assert_eq!(key(&format!("  {line}\troot@web1 and more \r\n")), parsed);
        assert_eq!(key(&line.replace(' ', "  ")), parsed);
        assert_eq!(ssh_key::PublicKey::from_openssh(line).unwrap().to_bytes().unwrap(), parsed.to_ssh_blob());
        let json = serde_json::to_string(&parsed).unwrap();
        assert_eq!(json, format!("\"{line}\""));
        assert_eq!(serde_json::from_str::<PublicKey>(&json).unwrap(), parsed);
    }
}

#[test]
fn spki_round_trips_for_all_but_rsa() {
    for line in [ED25519, P256, P384] {
        let der = key(line).to_spki_der().unwrap();
        assert_eq!(PublicKey::from_spki_der(&der).unwrap(), key(line));
        assert_eq!(PublicKey::from_spki_der(&der[..der.len() - 1]), Err(ParseKeyError::Spki));
        assert_eq!(PublicKey::from_spki_der(&[&der[..], &[0]].concat()), Err(ParseKeyError::Spki));
    }
    assert_eq!(key(RSA).to_spki_der(), None);
    assert_eq!(PublicKey::from_spki_der(&[]), Err(ParseKeyError::Spki));
}

#[test]
fn the_difference_between_keys_is_seen() {
    let all = [ED25519, P256, P384, RSA].map(key);
    for (i, left) in all.iter().enumerate() {
        for (j, right) in all.iter().enumerate() {
            assert_eq!(left == right, i == j);
            assert_eq!(left.thumbprint() == right.thumbprint(), i == j);
        }
    }
}

#[test]
fn what_is_no_key_line_is_named() {
    assert_eq!(error(""), ParseKeyError::Empty);
    assert_eq!(error(" \n "), ParseKeyError::Empty);
    assert_eq!(error(&format!("{ED25519}\n{P256}\n")), ParseKeyError::SeveralLines);
    assert_eq!(error(&"x".repeat(8193)), ParseKeyError::TooLong { bytes: 8193, max: 8192 });
    assert_eq!(error("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA"), ParseKeyError::PrivateKey);
    assert_eq!(error("PuTTY-User-Key-File-3: ssh-ed25519"), ParseKeyError::PrivateKey);
    assert_eq!(
        error("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"),
        ParseKeyError::Pem { found: "-----BEGIN PUBLIC KEY-----".to_owned() }
    );
    assert_eq!(
        error("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA"),
        ParseKeyError::Pem { found: "---- BEGIN SSH2 PUBLIC KEY ----".to_owned() }
    );
    assert_eq!(error("hello"), ParseKeyError::Unsupported { found: "hello".to_owned() });
}

#[test]
fn options_before_the_key_are_refused() {
    let restricted = format!("restrict,command=\"echo hi there\" {ED25519}");
    assert_eq!(error(&restricted), ParseKeyError::Options { found: "restrict,command=\"echo".to_owned() });
}

#[test]
fn certificates_security_keys_and_old_types_are_refused_by_name() {
    let found = |kind: &str| kind.to_owned();
    let certificate = "ssh-ed25519-cert-v01@openssh.com";
    assert_eq!(
        error(&format!("{certificate} AAAA")),
        ParseKeyError::Certificate { found: found(certificate) }
    );
    for kind in ["sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"] {
        assert_eq!(error(&format!("{kind} AAAA")), ParseKeyError::SecurityKey { found: found(kind) });
    }
    for kind in ["ssh-dss", "rsa-sha2-256", "SSH-ED25519", "ssh-ed448"] {
        assert_eq!(error(&format!("{kind} AAAA")), ParseKeyError::Unsupported { found: found(kind) });
    }
    assert_eq!(error(P521), ParseKeyError::Unsupported { found: found("ecdsa-sha2-nistp521") });
    let text = error(P521).to_string();
    assert!(text.contains("ecdsa-sha2-nistp521") && text.contains("allowed: ssh-ed25519"), "{text}");
}

#[test]
fn damaged_base64_is_refused() {
    let damaged = ParseKeyError::Damaged { algorithm: Algorithm::Ed25519 };
    assert_eq!(error("ssh-ed25519"), damaged);
    assert_eq!(error("ssh-ed25519 root@web1"), damaged);
    assert_eq!(error(&ED25519[..ED25519.len() - 1]), damaged);
    assert_eq!(error(&ED25519[..ED25519.len() - 4]), damaged);
    assert_eq!(error(&format!("{ED25519}AAAA")), damaged);
    // The type named by the line and the one inside must agree.
    assert_eq!(error(&P256.replace("ecdsa-sha2-nistp256", "ssh-ed25519")), damaged);
    assert_eq!(error(&line("ssh-ed25519", &[&[7; 31]])), damaged);
}

#[test]
fn weak_and_oversized_rsa_is_refused() {
    assert_eq!(error(RSA_1024), ParseKeyError::RsaSize { bits: 1024 });
    let rsa = |bits: usize, e: &[u8]| {
        let mut n = vec![0xff; bits.div_ceil(8)];
        n[0] = 0xff >> (n.len() * 8 - bits);
        PublicKey::from_rsa(&n, e).map(|key| key.algorithm())
    };
    assert_eq!(rsa(2047, &[3]), Err(ParseKeyError::RsaSize { bits: 2047 }));
    assert_eq!(rsa(2048, &[3]), Ok(Algorithm::Rsa));
    assert_eq!(rsa(8192, &[1, 0, 1]), Ok(Algorithm::Rsa));
    assert_eq!(rsa(8193, &[3]), Err(ParseKeyError::RsaSize { bits: 8193 }));
    for exponent in [&[1][..], &[2], &[], &[0, 3], &[2, 0, 0, 0, 1], &[1, 0, 0, 0, 0, 1]] {
        assert_eq!(rsa(2048, exponent), Err(ParseKeyError::RsaExponent), "{exponent:?}");
    }
    assert_eq!(rsa(2048, &[1, 0xff, 0xff, 0xff, 0xff]), Ok(Algorithm::Rsa));
    assert_eq!(PublicKey::from_rsa(&[0xfe; 256], &[3]).unwrap_err(), ParseKeyError::RsaModulus);
}

#[test]
fn the_largest_rsa_key_fits_a_line() {
    let mut n = vec![0xff; 1024];
    n[1] = 1;
    let key = PublicKey::from_rsa(&n, &[1, 0, 1]).unwrap();
    assert_eq!(self::key(&format!("{key} comment")), key);
}

#[test]
fn points_off_their_curve_are_refused() {
    for (text, name, size, algorithm) in
        [(P256, "nistp256", 65, Algorithm::EcdsaP256), (P384, "nistp384", 97, Algorithm::EcdsaP384)]
    {
        let blob = key(text).to_ssh_blob();
        let point = &blob[blob.len() - size..];
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut point = point.to_vec();
            change(&mut point);
            error(&line(algorithm.openssh(), &[name.as_bytes(), &point]))
        };
        let off = ParseKeyError::NotOnCurve { algorithm };
        for at in [1, size / 2, size - 1] {
            assert_eq!(with(&|point| point[at] ^= 1), off);
        }
        assert_eq!(with(&|point| point[1..].fill(0)), off);
        assert_eq!(with(&|point| point[1..].fill(0xff)), off);
        // Compressed: another spelling of a good point.
        assert_eq!(
            with(&|point| {
                point[0] = 2 + point[size - 1] % 2;
                point.truncate(size / 2 + 1);
            }),
            off
        );
        let mut der = key(text).to_spki_der().unwrap();
        *der.last_mut().unwrap() ^= 1;
        assert_eq!(PublicKey::from_spki_der(&der).unwrap_err(), off);
    }
}

#[test]
fn ed25519_keys_under_which_anybody_can_sign_are_refused() {
    for point in SMALL_ORDER {
        for sign in [0, 0x80] {
            let mut raw = point;
            raw[31] |= sign;
            assert_eq!(error(&line("ssh-ed25519", &[&raw])), ParseKeyError::SmallOrder);
            let der = PublicKey::from_ed25519(raw).to_spki_der().unwrap();
            assert_eq!(PublicKey::from_spki_der(&der).unwrap_err(), ParseKeyError::SmallOrder);
        }
    }
}

/// Why the list exists: under the neutral element the neutral element and zero are a signature of anything.
#[test]
fn a_small_order_key_would_verify_a_forgery() {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let forgery = [neutral, [0; 32]].concat();
    assert!(PublicKey::from_ed25519(neutral).verifies(b"anything", &forgery));
}

#[test]
fn thumbprints_have_one_spelling() {
    let text = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
    let thumbprint: Thumbprint = text.parse().unwrap();
    assert_eq!(thumbprint, key(ED25519).thumbprint());
    assert_eq!(serde_json::to_string(&thumbprint).unwrap(), format!("\"{text}\""));
    assert_eq!(serde_json::from_str::<Thumbprint>(&format!("\"{text}\"")).unwrap(), thumbprint);
    for other in ["", &text[1..], &format!("{text}="), &text.replace('_', "/"), &text.replace("S4k", "S4l")] {
        assert_eq!(other.parse::<Thumbprint>(), Err(ParseKeyError::Thumbprint), "{other}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,200}") {
        let _ = PublicKey::from_openssh(&text);
    }

    #[test]
    fn no_changed_key_makes_the_parser_panic_or_keeps_its_thumbprint(at in 0usize..51, to in 0u8..=255) {
        let mut blob = key(ED25519).to_ssh_blob();
        let changed = blob[at] != to;
        blob[at] = to;
        if let Ok(parsed) = PublicKey::from_openssh(&format!("ssh-ed25519 {}", STANDARD.encode(&blob))) {
            proptest::prop_assert_eq!(parsed.thumbprint() != key(ED25519).thumbprint(), changed);
            proptest::prop_assert_eq!(parsed.to_ssh_blob(), blob);
        }
    }
}
