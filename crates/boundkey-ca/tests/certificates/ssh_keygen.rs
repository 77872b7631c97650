//! OpenSSH reads what this crate signs.

use std::path::Path;

use crate::common::{FROM, both_ssh_cas, has, p384, run, ssh, strings, subject, succeed};
use boundkey_ca::{SshOptions, SshPermission, SshProfile, key_revocation_list};
use boundkey_keys::{PrivateKey, PublicKey};

fn list(directory: &Path, line: &str) -> String {
    std::fs::write(directory.join("key-cert.pub"), format!("{line}\n")).unwrap();
    // ssh-keygen prints local time.
    succeed(directory, "env", &["TZ=UTC", "ssh-keygen", "-L", "-f", "key-cert.pub"])
}

fn rsa() -> PublicKey {
    PublicKey::from_openssh(include_str!("data/rsa.pub").trim()).unwrap()
}

#[test]
fn ssh_keygen_lists_a_host_certificate() {
    if !has("ssh-keygen", "-?") {
        return;
    }
    let principals = strings(&["node1.example.com", "node1"]);
    for (algorithm, ca) in both_ssh_cas() {
        for key in [subject(), p384(), PrivateKey::generate_p256().unwrap().public_key().clone()] {
            let line = ca.sign(&ssh(SshProfile::Host, &key, &principals)).unwrap();
            let directory = tempfile::tempdir().unwrap();
            let text = list(directory.path(), &line);
            for expected in [
                "host certificate",
                "Key ID: \"token=example-token instance=77aa roles=Node,App\"",
                "Serial: 81985529216486895",
                "Valid: from 2021-03-04T05:06:07 to 2059-03-04T05:06:07",
                "Principals: \n                node1.example.com\n                node1\n",
                "Critical Options: (none)",
                "Extensions: (none)",
            ] {
                assert!(text.contains(expected), "{algorithm}: {expected:?} is missing in\n{text}");
            }
        }
    }
}

#[test]
fn ssh_keygen_lists_a_user_certificate_with_its_usual_permissions() {
    if !has("ssh-keygen", "-?") {
        return;
    }
    let principals = strings(&["deploy"]);
    let key = subject();
    for (algorithm, ca) in both_ssh_cas() {
        let line = ca.sign(&ssh(SshProfile::User, &key, &principals)).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let text = list(directory.path(), &line);
        let permissions = "Extensions: \n                permit-X11-forwarding\n                \
            permit-agent-forwarding\n                permit-port-forwarding\n                permit-pty\n                \
            permit-user-rc\n";
        assert!(text.contains("user certificate") && text.contains(permissions), "{algorithm}:\n{text}");
    }
}

#[test]
fn ssh_keygen_lists_the_critical_options() {
    if !has("ssh-keygen", "-?") {
        return;
    }
    let (_, ca) = &both_ssh_cas()[1];
    let principals = strings(&["deploy"]);
    let key = subject();
    let networks = ["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    let options = SshOptions {
        source_addresses: &networks,
        force_command: Some("/usr/bin/backup --all"),
        permissions: &[SshPermission::Pty],
    };
    let line = ca.sign_with(&ssh(SshProfile::User, &key, &principals), &options).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let text = list(directory.path(), &line);
    for expected in [
        "force-command /usr/bin/backup --all",
        "source-address 10.0.0.0/8,2001:db8::/32",
        "Extensions: \n                permit-pty\n",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing in\n{text}");
    }
}

#[test]
fn an_rsa_host_key_may_be_certified_for_ssh() {
    if !has("ssh-keygen", "-?") {
        return;
    }
    let principals = strings(&["node1"]);
    let key = rsa();
    let (_, ca) = &both_ssh_cas()[0];
    let line = ca.sign(&ssh(SshProfile::Host, &key, &principals)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    assert!(list(directory.path(), &line).contains("ssh-rsa-cert-v01@openssh.com host certificate"));
}

#[test]
fn ssh_keygen_finds_revoked_certificates_and_only_them() {
    if !has("ssh-keygen", "-?") {
        return;
    }
    let key = subject();
    let principals = strings(&["deploy"]);
    let [(_, one), (_, two)] = both_ssh_cas();
    let serials = vec![5, 6, 7, 8, 100, u64::MAX, 100];
    let revoked =
        [(boundkey_keys::Signer::public_key(one.key()), serials), (two.key().public_key(), vec![0x77])];
    let krl = key_revocation_list(3, FROM, "example.com", &revoked).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    std::fs::write(at.join("krl"), krl).unwrap();
    let is_revoked = |ca: &boundkey_ca::SshAuthority, serial: u64| {
        let mut request = ssh(SshProfile::User, &key, &principals);
        request.serial = serial;
        std::fs::write(at.join("key-cert.pub"), ca.sign(&request).unwrap()).unwrap();
        let output = run(at, "ssh-keygen", &["-Q", "-f", "krl", "key-cert.pub"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(text.contains("REVOKED"), !output.status.success(), "{text}");
        !output.status.success()
    };
    for serial in [5, 6, 7, 8, 100, u64::MAX] {
        assert!(is_revoked(&one, serial), "{serial}");
        assert!(!is_revoked(&two, serial), "{serial}");
    }
    for serial in [4, 9, 99, 101, u64::MAX - 1, 0x77] {
        assert!(!is_revoked(&one, serial), "{serial}");
    }
    assert!(is_revoked(&two, 0x77));
    let text = succeed(at, "ssh-keygen", &["-Q", "-l", "-f", "krl"]);
    assert!(text.contains("# KRL version 3") && text.contains("example.com"), "{text}");
    assert!(text.contains("serial: 5-8") && text.contains("serial: 100"), "{text}");
}

#[test]
fn ssh_keygen_reads_an_empty_list() {
    if !has("ssh-keygen", "-?") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("krl"), key_revocation_list(1, FROM, "", &[]).unwrap()).unwrap();
    std::fs::write(directory.path().join("key.pub"), subject().to_openssh()).unwrap();
    succeed(directory.path(), "ssh-keygen", &["-Q", "-f", "krl", "key.pub"]);
}
