//! The host's own OpenSSH key: which are certified, and what becomes of an attempt when it changes.

use std::path::Path;

use boundkey_keys::{PrivateKey, PublicKey};

use super::world::{Crash, World};
use crate::join::{JoinError, SshWish};

const RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC+N0BuKemKtqgoMiSbJo1/dMerJAfGNhuCW3nLhFtc+XeyO+YwfSrHHQpVprlZjrbn/S/6iXlajRUxeRi3gg8kuWfkNoBNRMmI5MA5LJBd6OVWiad46w2Djl1/kLhcOWznfbYIDSSeH5Il6yhC10eOd/JEA3Dh68MrKLJE8qtJKbBhrfWbuflT58ZPfOPsWTSIy8iC+KGbMx33bRjRZkVmIno1zbcQlF/ho8uTcs6jf0A/rH+53SiD0uWtVEYrE7CFMC9bDLxnegmWJEOs8rw07hgqBd1yIpD4+dxyhbND4972ctvWcaNAm0PABusY6BdYIUctL03A6NiOHu9dHQUv";

fn put(directory: &Path, line: &str) {
    std::fs::write(directory.join("host_key.pub"), format!("{line} root@web1\n")).unwrap();
}

fn key(seed: u8) -> PublicKey {
    PrivateKey::ed25519_from_seed(&[seed; 32]).public_key().clone()
}

fn certified(world: &mut World) -> String {
    world.state().identity.unwrap().ssh_certificate.unwrap()
}

/// Written into the attempt it would be refused at every try, and the attempt ends with a stored result only: not even
/// another key in the configuration would help.
#[tokio::test]
async fn an_rsa_key_is_refused_before_anything_is_written_or_sent() {
    let directory = tempfile::tempdir().unwrap();
    let mut world = World::new().await;
    world.join().await.unwrap();
    world.plan.ssh = SshWish::HostKeyFile(directory.path().join("host_key"));
    put(directory.path(), RSA);
    let before = world.state().to_json();
    for _ in 0..2 {
        let Err(JoinError::HostKey { path, reason }) = world.join().await else { panic!("an RSA key") };
        assert!(path.ends_with("host_key.pub"));
        assert!(reason.contains("found an RSA key; allowed: the host's Ed25519 or ECDSA key"), "{reason}");
    }
    assert!(*world.state().to_json() == *before, "the state has changed");
    assert!(world.wire.sent.is_empty(), "{:?}", world.wire.sent);
    put(directory.path(), &key(1).to_openssh());
    world.join().await.unwrap();
    assert_eq!(world.enrolment().await.recovery_count, 1);
}

/// Whether the attempt was admitted already or not, one call of `join` ends with a certificate for the key that is there.
#[tokio::test]
async fn a_pending_attempt_follows_the_host_key() {
    for crash in [Crash::AfterSave(1), Crash::AfterMessage(1), Crash::AfterMessage(2), Crash::BeforeSave(2)] {
        let directory = tempfile::tempdir().unwrap();
        let mut world = World::new().await;
        world.plan.ssh = SshWish::HostKeyFile(directory.path().join("host_key"));
        put(directory.path(), &key(1).to_openssh());
        assert!(world.join_and_crash(crash).await);
        put(directory.path(), &key(2).to_openssh());
        world.join().await.unwrap();
        let certificate = certified(&mut world);
        let stored = ssh_key::Certificate::from_openssh(&certificate).unwrap();
        let wanted = ssh_key::PublicKey::from_openssh(&key(2).to_openssh()).unwrap();
        assert_eq!(stored.public_key(), wanted.key_data());
        assert_eq!(world.enrolment().await.recovery_count, 1);
        assert!(!world.is_locked().await);
    }
}

/// A host key that cannot be read just now keeps no pending attempt from going on.
#[tokio::test]
async fn a_pending_attempt_needs_no_host_key_file() {
    let directory = tempfile::tempdir().unwrap();
    let mut world = World::new().await;
    world.plan.ssh = SshWish::HostKeyFile(directory.path().join("host_key"));
    put(directory.path(), &key(1).to_openssh());
    assert!(world.join_and_crash(Crash::AfterMessage(2)).await);
    std::fs::remove_file(directory.path().join("host_key.pub")).unwrap();
    world.join().await.unwrap();
    assert!(certified(&mut world).starts_with("ssh-ed25519-cert-v01@openssh.com "));
}
