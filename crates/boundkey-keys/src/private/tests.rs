use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

fn error(file: &str) -> KeyFileError {
    PrivateKey::from_pem(file.as_bytes()).unwrap_err()
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

fn keys() -> [PrivateKey; 2] {
    [PrivateKey::ed25519_from_seed(&[7; 32]), PrivateKey::generate_p256().unwrap()]
}

fn scalar(bytes: [u8; 32]) -> PrivateKey {
    PrivateKey::p256(Zeroizing::new(bytes), None).unwrap()
}

#[test]
fn every_form_reads_back() {
    for key in keys() {
        let der = key.to_pkcs8_der();
        for read in [
            PrivateKey::from_pkcs8_der(&der),
            PrivateKey::from_pem(key.to_pkcs8_pem().as_bytes()),
            PrivateKey::from_pem(key.to_openssh_pem("root@web1").as_bytes()),
            PrivateKey::from_pem(key.to_openssh_pem("").replace('\n', "\r\n").as_bytes()),
        ] {
            let read = read.unwrap();
            assert_eq!(read.public_key(), key.public_key());
            assert_eq!(read.algorithm(), key.algorithm());
            assert_eq!(*read.to_pkcs8_der(), *der);
            let signature = read.sign(b"message").unwrap();
            assert_eq!(signature.len(), 64);
            assert!(key.public_key().verifies(b"message", &signature));
        }
    }
}

#[test]
fn openssh_numbers_of_any_length_read_back() {
    for first in [[0, 0], [0, 1], [0, 0x80], [0x7f, 0], [0x80, 0]] {
        let mut bytes = [0x11; 32];
        bytes[..2].copy_from_slice(&first);
        let key = scalar(bytes);
        let read = PrivateKey::from_pem(key.to_openssh_pem("x").as_bytes()).unwrap();
        assert_eq!(read.public_key(), key.public_key(), "{first:?}");
    }
}

/// Java and some devices leave the public half out.
#[test]
fn a_p256_key_without_its_public_half_is_completed() {
    let key = PrivateKey::generate_p256().unwrap();
    let full = key.to_pkcs8_der();
    // The inner structure ends after the number, and all lengths shrink by the 70 bytes of the public half.
    let mut der = full[..full.len() - 70].to_vec();
    assert_eq!((der[2], der[28], der[30]), (0x87, 0x6d, 0x6b));
    let body: Vec<u8> = {
        der[28] -= 70;
        der[30] -= 70;
        der[3..].to_vec()
    };
    let der = [&[0x30, 0x87 - 70][..], &body].concat();
    let read = PrivateKey::from_pkcs8_der(&der).unwrap();
    assert_eq!(read.public_key(), key.public_key());
}

#[test]
fn pkcs8_version_2_reads_and_its_public_half_is_checked() {
    use ring::signature::{Ed25519KeyPair, KeyPair as _};
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let der = document.as_ref();
    let read = PrivateKey::from_pkcs8_der(der).unwrap();
    let expected = Ed25519KeyPair::from_pkcs8(der).unwrap();
    let public = PublicKey::from_ed25519(expected.public_key().as_ref().try_into().unwrap());
    assert_eq!(read.public_key(), &public);
    let mut other = der.to_vec();
    *other.last_mut().unwrap() ^= 1;
    assert_eq!(PrivateKey::from_pkcs8_der(&other).unwrap_err(), KeyFileError::HalvesDiffer);
}

#[test]
fn halves_that_do_not_fit_are_refused_in_every_form() {
    let [ed25519, p256] = keys();
    let other = PrivateKey::ed25519_from_seed(&[8; 32]);
    // The same file with another public half in all of its places.
    let swap = |text: &str, from: &[u8], to: &[u8]| {
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        let mut binary = STANDARD.decode(body).unwrap();
        let mut places = 0;
        while let Some(at) = binary.windows(from.len()).position(|window| window == from) {
            binary[at..at + from.len()].copy_from_slice(to);
            places += 1;
        }
        assert!(places > 0);
        pem("OPENSSH PRIVATE KEY", &binary)
    };
    let tail = |key: &PrivateKey, n: usize| {
        let blob = key.public_key().to_ssh_blob();
        blob[blob.len() - n..].to_vec()
    };
    let changed = swap(&ed25519.to_openssh_pem("x"), &tail(&ed25519, 32), &tail(&other, 32));
    assert_eq!(error(&changed), KeyFileError::HalvesDiffer);
    let another = PrivateKey::generate_p256().unwrap();
    let changed = swap(&p256.to_openssh_pem("x"), &tail(&p256, 65), &tail(&another, 65));
    assert_eq!(error(&changed), KeyFileError::HalvesDiffer);
    let mut der = p256.to_pkcs8_der().to_vec();
    *der.last_mut().unwrap() ^= 1;
    assert_eq!(PrivateKey::from_pkcs8_der(&der).unwrap_err(), KeyFileError::HalvesDiffer);
}

#[test]
fn numbers_outside_the_group_are_refused() {
    for bytes in [[0; 32], [0xff; 32]] {
        let refused = PrivateKey::p256(Zeroizing::new(bytes), None).unwrap_err();
        assert_eq!(refused, KeyFileError::Damaged);
    }
}

#[test]
fn what_is_no_private_key_is_named() {
    assert_eq!(error(""), KeyFileError::Empty);
    assert_eq!(error("\n\n"), KeyFileError::Empty);
    assert_eq!(error("hello"), KeyFileError::NotAKey);
    assert_eq!(error("PuTTY-User-Key-File-3: ssh-ed25519\n"), KeyFileError::Putty);
    assert_eq!(
        error(&PrivateKey::ed25519_from_seed(&[1; 32]).public_key().to_openssh()),
        KeyFileError::PublicKey
    );
    assert_eq!(error(&pem("PUBLIC KEY", b"x")), KeyFileError::PublicKey);
    assert_eq!(error(&pem("CERTIFICATE", b"x")), KeyFileError::Certificate);
    assert_eq!(error("ssh-ed25519-cert-v01@openssh.com AAAA"), KeyFileError::Certificate);
    assert_eq!(error(&"x".repeat(70_000)), KeyFileError::TooLong { bytes: 70_000, max: 65_536 });
    let der = PrivateKey::ed25519_from_seed(&[1; 32]).to_pkcs8_der();
    assert_eq!(PrivateKey::from_pem(&[&der[..], &[0xff]].concat()).unwrap_err(), KeyFileError::Der);
    assert_eq!(PrivateKey::from_pem(&[0xff, 0xfe]).unwrap_err(), KeyFileError::NotAKey);
}

#[test]
fn encrypted_and_older_forms_say_what_to_do() {
    assert_eq!(error(&pem("ENCRYPTED PRIVATE KEY", b"x")), KeyFileError::Encrypted { form: "PKCS#8" });
    let traditional =
        "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END EC PRIVATE KEY-----";
    assert_eq!(error(traditional), KeyFileError::Encrypted { form: "PEM" });
    let label = "EC PRIVATE KEY".to_owned();
    assert_eq!(error(&pem("EC PRIVATE KEY", b"x")), KeyFileError::OlderForm { label });
    assert_eq!(error(&pem("RSA PRIVATE KEY", b"x")), KeyFileError::Unsupported { found: "RSA".to_owned() });
    let text = KeyFileError::Encrypted { form: "OpenSSH" }.to_string();
    assert!(text.contains("ssh-keygen -p -N ''"), "{text}");
}

#[test]
fn one_key_is_found_among_other_blocks_and_two_are_refused() {
    let key = PrivateKey::generate_p256().unwrap();
    let text = key.to_pkcs8_pem();
    let parameters = pem("EC PARAMETERS", b"x");
    let certificate = pem("CERTIFICATE", b"x");
    let file = format!("comment\n{parameters}{}{certificate}", *text);
    assert_eq!(PrivateKey::from_pem(file.as_bytes()).unwrap().public_key(), key.public_key());
    assert_eq!(error(&format!("{}{}", *text, *text)), KeyFileError::SeveralKeys);
    assert_eq!(error(&text[..text.len() - 10]), KeyFileError::Cut);
    assert_eq!(error("-----BEGIN PRIVATE KEY"), KeyFileError::Cut);
}

#[test]
fn a_cut_or_changed_structure_is_damaged() {
    for key in keys() {
        let der = key.to_pkcs8_der();
        for length in 0..der.len() {
            assert_eq!(PrivateKey::from_pkcs8_der(&der[..length]).unwrap_err(), KeyFileError::Damaged);
        }
        let longer = [&der[..], &[0]].concat();
        assert_eq!(PrivateKey::from_pkcs8_der(&longer).unwrap_err(), KeyFileError::Damaged);
        let text = key.to_openssh_pem("x");
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        let binary = STANDARD.decode(body).unwrap();
        for length in 0..binary.len() {
            assert!(openssh::parse(&binary[..length]).is_err(), "{length}");
        }
        assert_eq!(error(&pem("PRIVATE KEY", b"")), KeyFileError::Damaged);
        assert_eq!(error(&pem("OPENSSH PRIVATE KEY", b"")), KeyFileError::Damaged);
        assert_eq!(error(&text.replace("OPENSSH PRIVATE", "PRIVATE")), KeyFileError::Damaged);
    }
}

/// A changed byte is refused, or it lies where nothing depends on it (comment, padding, check numbers), or it
/// changes the key and then the public half with it.
#[test]
fn no_changed_byte_gives_a_key_with_foreign_halves() {
    for key in keys() {
        let text = key.to_openssh_pem("comment");
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        let binary = STANDARD.decode(body).unwrap();
        for at in 0..binary.len() {
            let mut changed = binary.clone();
            changed[at] ^= 1;
            if let Ok(read) = openssh::parse(&changed) {
                assert_eq!(read.public_key(), key.public_key(), "byte {at}");
                assert!(key.public_key().verifies(b"m", &read.sign(b"m").unwrap()), "byte {at}");
            }
        }
    }
}

#[test]
fn debug_shows_the_public_half_alone() {
    let key = PrivateKey::ed25519_from_seed(&[7; 32]);
    assert_eq!(format!("{key:?}"), format!("PrivateKey(of {})", key.public_key()));
}

#[test]
fn control_characters_cannot_leave_the_comment() {
    let key = PrivateKey::ed25519_from_seed(&[7; 32]);
    assert_eq!(*key.to_openssh_pem("a\nb\0c"), *key.to_openssh_pem("a b c"));
}

proptest::proptest! {
    #[test]
    fn any_seed_and_comment_read_back(seed: [u8; 32], comment in ".{0,80}") {
        let key = PrivateKey::ed25519_from_seed(&seed);
        let read = PrivateKey::from_pem(key.to_openssh_pem(&comment).as_bytes()).unwrap();
        proptest::prop_assert_eq!(read.public_key(), key.public_key());
        proptest::prop_assert_eq!(&*read.to_pkcs8_der(), &*key.to_pkcs8_der());
    }

    #[test]
    fn no_bytes_make_the_readers_panic(bytes: Vec<u8>, text in ".{0,200}") {
        let _ = PrivateKey::from_pkcs8_der(&bytes);
        let _ = PrivateKey::from_pem(&bytes);
        let _ = openssh::parse(&[b"openssh-key-v1\0", &bytes[..]].concat());
        let _ = PrivateKey::from_pem(format!("-----BEGIN {text}-----END {text}-----").as_bytes());
        let _ = PrivateKey::from_pem(pem("PRIVATE KEY", &bytes).as_bytes());
        let _ = PrivateKey::from_pem(pem("OPENSSH PRIVATE KEY", &bytes).as_bytes());
    }
}
