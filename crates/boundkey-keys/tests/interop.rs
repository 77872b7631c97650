//! Key files and signatures against OpenSSL and OpenSSH, where they are installed.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use boundkey_keys::{Algorithm, KeyFileError, PrivateKey, PublicKey};

/// Output of a program that must succeed; none (and SKIP) if it is not installed.
fn run(directory: &Path, program: &str, arguments: &[&str]) -> Option<Vec<u8>> {
    let result = Command::new(program).args(arguments).current_dir(directory).stdin(Stdio::null()).output();
    let output = match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("SKIP: {program} is not installed");
            return None;
        }
        other => other.unwrap(),
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {stderr}");
    Some(output.stdout)
}

fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn keys() -> [PrivateKey; 2] {
    [PrivateKey::ed25519_from_seed(&[7; 32]), PrivateKey::generate_p256().unwrap()]
}

fn first_two_words(line: &[u8]) -> String {
    let line = String::from_utf8(line.to_vec()).unwrap();
    line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

#[test]
fn ssh_keygen_reads_what_is_written_here() {
    let directory = tempfile::tempdir().unwrap();
    for key in keys() {
        write_private(&directory.path().join("key"), &key.to_openssh_pem("root@web1"));
        let Some(line) = run(directory.path(), "ssh-keygen", &["-y", "-f", "key"]) else { return };
        assert_eq!(String::from_utf8(line).unwrap().trim(), format!("{} root@web1", key.public_key()));
        let listed = run(directory.path(), "ssh-keygen", &["-l", "-f", "key"]).unwrap();
        assert!(String::from_utf8(listed).unwrap().contains("root@web1"));
    }
}

#[test]
fn keys_by_ssh_keygen_are_read() {
    let directory = tempfile::tempdir().unwrap();
    for (kind, bits, algorithm) in
        [("ed25519", "256", Algorithm::Ed25519), ("ecdsa", "256", Algorithm::EcdsaP256)]
    {
        let _ = fs::remove_file(directory.path().join("key"));
        let arguments = ["-q", "-N", "", "-C", "a comment", "-t", kind, "-b", bits, "-f", "key"];
        if run(directory.path(), "ssh-keygen", &arguments).is_none() {
            return;
        }
        let key = PrivateKey::from_pem(&fs::read(directory.path().join("key")).unwrap()).unwrap();
        assert_eq!(key.algorithm(), algorithm);
        let line = fs::read_to_string(directory.path().join("key.pub")).unwrap();
        assert_eq!(*key.public_key(), PublicKey::from_openssh(&line).unwrap());
        // And with a passphrase it is another matter.
        run(directory.path(), "ssh-keygen", &["-q", "-p", "-N", "secret", "-f", "key"]).unwrap();
        let encrypted = fs::read(directory.path().join("key")).unwrap();
        let expected = KeyFileError::Encrypted { form: "OpenSSH" };
        assert_eq!(PrivateKey::from_pem(&encrypted).unwrap_err(), expected);
    }
}

#[test]
fn other_key_types_by_ssh_keygen_are_named() {
    let directory = tempfile::tempdir().unwrap();
    for (kind, bits, found) in [
        ("ecdsa", "384", "ecdsa-sha2-nistp384"),
        ("ecdsa", "521", "ecdsa-sha2-nistp521"),
        ("rsa", "2048", "ssh-rsa"),
    ] {
        let name = format!("{kind}{bits}");
        let arguments = ["-q", "-N", "", "-t", kind, "-b", bits, "-f", &name];
        if run(directory.path(), "ssh-keygen", &arguments).is_none() {
            return;
        }
        let file = fs::read(directory.path().join(&name)).unwrap();
        let expected = KeyFileError::Unsupported { found: found.to_owned() };
        assert_eq!(PrivateKey::from_pem(&file).unwrap_err(), expected);
    }
}

#[test]
fn openssl_reads_what_is_written_here() {
    let directory = tempfile::tempdir().unwrap();
    for key in keys() {
        write_private(&directory.path().join("key.pem"), &key.to_pkcs8_pem());
        let arguments = ["pkey", "-in", "key.pem", "-pubout", "-outform", "DER"];
        let Some(spki) = run(directory.path(), "openssl", &arguments) else { return };
        assert_eq!(Some(spki.clone()), key.public_key().to_spki_der());
        assert_eq!(PublicKey::from_spki_der(&spki).unwrap(), *key.public_key());
        // What OpenSSL writes from it is the same file again.
        let again = run(directory.path(), "openssl", &["pkey", "-in", "key.pem"]).unwrap();
        assert_eq!(String::from_utf8(again).unwrap(), *key.to_pkcs8_pem());
        fs::write(directory.path().join("key.der"), key.to_pkcs8_der()).unwrap();
        run(directory.path(), "openssl", &["pkey", "-inform", "DER", "-in", "key.der", "-noout"]).unwrap();
    }
}

#[test]
fn keys_by_openssl_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let generate: [(&[&str], Algorithm); 2] = [
        (&["genpkey", "-algorithm", "ed25519", "-out", "key.pem"], Algorithm::Ed25519),
        (
            &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "key.pem"],
            Algorithm::EcdsaP256,
        ),
    ];
    for (arguments, algorithm) in generate {
        if run(directory.path(), "openssl", arguments).is_none() {
            return;
        }
        let key = PrivateKey::from_pem(&fs::read(directory.path().join("key.pem")).unwrap()).unwrap();
        assert_eq!(key.algorithm(), algorithm);
        let arguments = ["pkey", "-in", "key.pem", "-pubout", "-outform", "DER"];
        let spki = run(directory.path(), "openssl", &arguments).unwrap();
        assert_eq!(key.public_key().to_spki_der(), Some(spki));
        let arguments = ["pkey", "-in", "key.pem", "-aes256", "-passout", "pass:x"];
        let encrypted = run(directory.path(), "openssl", &arguments).unwrap();
        let expected = KeyFileError::Encrypted { form: "PKCS#8" };
        assert_eq!(PrivateKey::from_pem(&encrypted).unwrap_err(), expected);
    }
}

#[test]
fn other_keys_by_openssl_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let cases: [(&[&str], &str); 5] = [
        (&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], "RSA"),
        (&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"], "ECDSA P-384"),
        (&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"], "ECDSA secp256k1"),
        (&["genpkey", "-algorithm", "ed448"], "Ed448"),
        (&["genpkey", "-algorithm", "X25519"], "X25519"),
    ];
    for (arguments, found) in cases {
        let Some(file) = run(directory.path(), "openssl", arguments) else { return };
        let expected = KeyFileError::Unsupported { found: found.to_owned() };
        assert_eq!(PrivateKey::from_pem(&file).unwrap_err(), expected);
    }
    let arguments = ["ecparam", "-name", "prime256v1", "-genkey", "-noout"];
    let older = run(directory.path(), "openssl", &arguments).unwrap();
    let expected = KeyFileError::OlderForm { label: "EC PRIVATE KEY".to_owned() };
    assert_eq!(PrivateKey::from_pem(&older).unwrap_err(), expected);
    // The command that the error names mends it.
    write_private(&directory.path().join("old.pem"), &String::from_utf8(older).unwrap());
    run(directory.path(), "openssl", &["pkcs8", "-topk8", "-nocrypt", "-in", "old.pem", "-out", "new.pem"])
        .unwrap();
    PrivateKey::from_pem(&fs::read(directory.path().join("new.pem")).unwrap()).unwrap();
}

#[test]
fn openssl_accepts_an_ed25519_signature_made_here() {
    let directory = tempfile::tempdir().unwrap();
    let key = PrivateKey::ed25519_from_seed(&[7; 32]);
    write_private(&directory.path().join("key.pem"), &key.to_pkcs8_pem());
    fs::write(directory.path().join("message"), b"message").unwrap();
    fs::write(directory.path().join("signature"), key.sign(b"message").unwrap()).unwrap();
    let arguments =
        ["pkeyutl", "-verify", "-rawin", "-inkey", "key.pem", "-in", "message", "-sigfile", "signature"];
    let Some(said) = run(directory.path(), "openssl", &arguments) else { return };
    assert!(String::from_utf8(said).unwrap().contains("Signature Verified Successfully"));
}

#[test]
fn public_keys_by_ssh_keygen_keep_their_text_and_fingerprint() {
    let directory = tempfile::tempdir().unwrap();
    for (kind, bits) in [("ed25519", "256"), ("ecdsa", "256"), ("ecdsa", "384"), ("rsa", "3072")] {
        let name = format!("{kind}{bits}");
        let arguments = ["-q", "-N", "", "-C", "a comment", "-t", kind, "-b", bits, "-f", &name];
        if run(directory.path(), "ssh-keygen", &arguments).is_none() {
            return;
        }
        let line = fs::read(directory.path().join(format!("{name}.pub"))).unwrap();
        let key = PublicKey::from_openssh(std::str::from_utf8(&line).unwrap()).unwrap();
        assert_eq!(key.to_openssh(), first_two_words(&line));
    }
}
