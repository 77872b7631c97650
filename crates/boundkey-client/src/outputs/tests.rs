use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use boundkey_keys::PrivateKey;
use boundkey_keystore::IdentityRecord;
use boundkey_proto::CaBundle;
use time::macros::datetime;

use super::*;

fn identity(seed: u8, kind: &str) -> IdentityRecord {
    IdentityRecord {
        identity_kind: kind.to_owned(),
        id: format!("id-{seed}"),
        tls_key: PrivateKey::ed25519_from_seed(&[seed; 32]),
        ssh_key: Some(PrivateKey::ed25519_from_seed(&[seed + 1; 32])),
        x509_chain: vec![vec![seed; 100], vec![7; 80]],
        ssh_certificate: Some(format!("ssh-ed25519-cert-v01@openssh.com AAAA{seed}")),
        obtained_at: datetime!(2026-01-01 0:00 UTC),
        not_after: datetime!(2026-01-02 0:00 UTC),
        renew_at: datetime!(2026-01-01 12:00 UTC),
    }
}

fn bundle() -> CaBundle {
    let key = |seed: u8| PrivateKey::ed25519_from_seed(&[seed; 32]).public_key().clone();
    CaBundle {
        cluster: "example.com".to_owned(),
        version: 1,
        tls: vec!["AQ==".to_owned()],
        host: vec!["Ag==".to_owned()],
        bot: vec!["Aw==".to_owned()],
        ssh_host: vec![key(11)],
        ssh_user: vec![key(12)],
        note: None,
    }
}

fn output(kind: OutputKind, path: &Path) -> OutputConfig {
    OutputConfig { kind, path: path.to_owned(), access: FileAccess::default(), reload: None }
}

fn tls(path: &Path) -> OutputConfig {
    output(OutputKind::Tls { reuse_key: false }, path)
}

/// Writes an output for an identity, and says what happened.
fn write(output: &OutputConfig, seed: u8) -> Result<Written, String> {
    let kind = if output.kind == OutputKind::OpensshUser { "bot" } else { "host" };
    let (identity, bundle) = (identity(seed, kind), bundle());
    let material = Material { identity: &identity, bundle: &bundle, revoked_keys: b"revoked" };
    write_output(output, &material).map_err(|error| error.to_string())
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn an_output_is_created_replaced_as_a_whole_and_then_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/tls");
    let output = tls(&path);
    assert_eq!(write(&output, 1), Ok(Written::Replaced(Replaced::Created)));
    assert_eq!(names(&path), ["ca.pem", "cert.pem", "chain.pem", "key.pem"]);
    assert_eq!(
        (mode(&path), mode(&path.join("key.pem")), mode(&path.join("cert.pem"))),
        (0o700, 0o600, 0o600)
    );
    assert_eq!(write(&output, 1), Ok(Written::Unchanged));
    let before = std::fs::metadata(&path).unwrap().ino();
    assert_eq!(write(&output, 2), Ok(Written::Replaced(Replaced::Whole)));
    assert_ne!(std::fs::metadata(&path).unwrap().ino(), before, "it is another directory");
    assert_eq!(names(path.parent().unwrap()), ["tls"], "nothing is left beside it");
    let key = std::fs::read(path.join("key.pem")).unwrap();
    let key = PrivateKey::from_pem(&key).unwrap();
    assert_eq!(key.public_key(), identity(2, "host").tls_key.public_key());
}

#[test]
fn a_reader_that_opened_the_directory_sees_one_identity() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tls");
    write(&tls(&path), 1).unwrap();
    let open = std::fs::File::open(path.join("cert.pem")).unwrap();
    let old = std::fs::read(path.join("cert.pem")).unwrap();
    write(&tls(&path), 2).unwrap();
    let still = std::io::read_to_string(open).unwrap();
    assert_eq!(still.as_bytes(), old);
    assert_ne!(std::fs::read(path.join("cert.pem")).unwrap(), old);
}

#[test]
fn files_of_others_stay_and_ours_are_replaced_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tls");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("dhparam.pem"), "theirs").unwrap();
    let by_file = Written::Replaced(Replaced::FileByFile(FileByFile::OtherFiles));
    assert_eq!(write(&tls(&path), 1), Ok(by_file));
    assert_eq!(write(&tls(&path), 2), Ok(by_file));
    assert_eq!(names(&path), ["ca.pem", "cert.pem", "chain.pem", "dhparam.pem", "key.pem"]);
    assert_eq!(std::fs::read_to_string(path.join("dhparam.pem")).unwrap(), "theirs");
    assert_eq!(write(&tls(&path), 2), Ok(Written::Unchanged));
}

#[test]
fn a_wrong_mode_or_a_missing_file_is_made_good() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tls");
    let mut output = tls(&path);
    write(&output, 1).unwrap();
    std::fs::remove_file(path.join("chain.pem")).unwrap();
    assert_eq!(write(&output, 1), Ok(Written::Replaced(Replaced::Whole)));
    output.access.mode = 0o640;
    assert_eq!(write(&output, 1), Ok(Written::Replaced(Replaced::Whole)));
    assert_eq!((mode(&path), mode(&path.join("key.pem"))), (0o750, 0o640));
}

#[test]
fn links_and_files_in_the_place_of_the_directory_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("target");
    std::fs::create_dir(&target).unwrap();
    let link = dir.path().join("link");
    symlink(&target, &link).unwrap();
    let shown = link.display();
    assert_eq!(
        write(&tls(&link), 1),
        Err(format!("{shown} is a symbolic link: name the directory itself in `outputs`"))
    );
    assert!(names(&target).is_empty());
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert_eq!(
        write(&tls(&file), 1),
        Err(format!("{} is no directory: outputs are directories", file.display()))
    );
}

#[test]
fn a_link_planted_at_a_file_or_beside_the_directory_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tls");
    let victim = dir.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    std::fs::create_dir(&path).unwrap();
    symlink(&victim, path.join("key.pem")).unwrap();
    symlink(&victim, path.join("other")).unwrap();
    symlink(dir.path(), dir.path().join(".tls.boundkey-new")).unwrap();
    write(&tls(&path), 1).unwrap();
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    assert!(std::fs::symlink_metadata(path.join("key.pem")).unwrap().is_file());
    std::fs::remove_file(path.join("other")).unwrap();
    write(&tls(&path), 2).unwrap();
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn what_a_crash_left_is_cleared_or_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tls");
    // Before the exchange: half a directory beside.
    std::fs::create_dir(dir.path().join(".tls.boundkey-new")).unwrap();
    std::fs::write(dir.path().join(".tls.boundkey-new/key.pem"), "half").unwrap();
    assert_eq!(write(&tls(&path), 1), Ok(Written::Replaced(Replaced::Created)));
    // Between the two steps of a file system that cannot exchange.
    std::fs::rename(&path, dir.path().join(".tls.boundkey-old")).unwrap();
    assert_eq!(write(&tls(&path), 1), Ok(Written::Unchanged), "the old one is put back");
    assert_eq!(names(dir.path()), ["tls"]);
}

#[test]
fn an_unknown_owner_is_named_and_nothing_changes() {
    let dir = tempfile::tempdir().unwrap();
    let mut output = tls(&dir.path().join("tls"));
    output.access.owner = Some("no-such-user".to_owned());
    let error = "this system has no user `no-such-user`; allowed: the name or number of an existing one";
    assert_eq!(write(&output, 1), Err(error.to_owned()));
    assert!(names(dir.path()).is_empty());
}

#[test]
fn a_mount_point_is_written_file_by_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tls");
    std::fs::create_dir(&path).unwrap();
    // A bind mount of another directory of the same file system: a mount point all the same.
    let mount = std::process::Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&path).output();
    if !mount.is_ok_and(|output| output.status.success()) {
        println!("SKIP: no right to mount here");
        return;
    }
    let by_file = Written::Replaced(Replaced::FileByFile(FileByFile::MountPoint));
    let outcomes = [write(&tls(&path), 1), write(&tls(&path), 2), write(&tls(&path), 2)];
    let found = names(&path);
    let unmounted = std::process::Command::new("umount").arg(&path).status().unwrap();
    assert!(unmounted.success());
    assert_eq!(outcomes, [Ok(by_file), Ok(by_file), Ok(Written::Unchanged)]);
    assert_eq!(found, ["ca.pem", "cert.pem", "chain.pem", "key.pem"]);
    assert_eq!(names(dir.path()), ["tls"], "nothing is left beside it");
}

#[test]
fn a_host_key_of_sshd_is_certified_and_never_copied() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ssh");
    let with = |host_key: Option<&str>| {
        output(OutputKind::OpensshHost { host_key: host_key.map(Into::into) }, &path)
    };
    write(&with(Some("/etc/ssh/ssh_host_rsa_key")), 1).unwrap();
    assert_eq!(
        names(&path),
        ["known_hosts", "revoked_keys", "ssh_host_rsa_key-cert.pub", "sshd.conf", "user_ca.pub"]
    );
    let sshd = std::fs::read_to_string(path.join("sshd.conf")).unwrap();
    assert!(sshd.contains("HostKey /etc/ssh/ssh_host_rsa_key\n"), "{sshd}");
    assert!(
        sshd.contains(&format!("HostCertificate {}/ssh_host_rsa_key-cert.pub\n", path.display())),
        "{sshd}"
    );
    std::fs::remove_dir_all(&path).unwrap();
    write(&with(None), 1).unwrap();
    let own = [
        "known_hosts",
        "revoked_keys",
        "ssh_host_ed25519_key",
        "ssh_host_ed25519_key-cert.pub",
        "ssh_host_ed25519_key.pub",
        "sshd.conf",
        "user_ca.pub",
    ];
    assert_eq!(names(&path), own);
    assert_eq!(std::fs::read(path.join("revoked_keys")).unwrap(), b"revoked");
}

#[test]
fn a_bot_gets_key_certificate_and_known_hosts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("boundkey");
    write(&output(OutputKind::OpensshUser, &path), 1).unwrap();
    assert_eq!(names(&path), ["id_ed25519", "id_ed25519-cert.pub", "id_ed25519.pub", "known_hosts"]);
    let known = std::fs::read_to_string(path.join("known_hosts")).unwrap();
    assert_eq!(known, format!("@cert-authority * {}\n", bundle().ssh_host[0].to_openssh()));
}

#[test]
fn the_identity_directory_has_everything() {
    let dir = tempfile::tempdir().unwrap();
    let (identity, bundle) = (identity(1, "bot"), bundle());
    let material = Material { identity: &identity, bundle: &bundle, revoked_keys: b"" };
    write_identity(dir.path(), &material, None).unwrap();
    assert_eq!(
        names(&identity_dir(dir.path())),
        [
            "ca.pem",
            "cert.pem",
            "chain.pem",
            "id_ed25519",
            "id_ed25519-cert.pub",
            "id_ed25519.pub",
            "identity.pem",
            "key.pem",
            "known_hosts",
            "server-ca.pem"
        ]
    );
    let whole = std::fs::read_to_string(identity_dir(dir.path()).join("identity.pem")).unwrap();
    assert_eq!(whole.matches("BEGIN CERTIFICATE").count(), 2, "its own and the server's CA");
    assert_eq!(whole.matches("BEGIN PRIVATE KEY").count(), 1);
}

#[test]
fn without_an_openssh_certificate_the_output_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (mut identity, bundle) = (identity(1, "host"), bundle());
    identity.ssh_certificate = None;
    let material = Material { identity: &identity, bundle: &bundle, revoked_keys: b"" };
    let output = output(OutputKind::OpensshHost { host_key: None }, &dir.path().join("ssh"));
    let error = write_output(&output, &material).unwrap_err().to_string();
    assert_eq!(error, "the identity has no OpenSSH certificate: the cluster issued none for this token");
    write_identity(dir.path(), &material, None).expect("the identity directory does without");
}

#[tokio::test]
async fn reload_commands_succeed_or_say_why_not() {
    run_reload("true").await.unwrap();
    assert_eq!(
        run_reload("echo no such unit >&2; exit 5").await.unwrap_err().to_string(),
        "`echo no such unit >&2; exit 5` failed with exit status: 5: no such unit"
    );
    // More than a pipe holds, and a daemon that keeps standard error open.
    run_reload("head -c 300000 /dev/zero >&2; sleep 5 & exit 0").await.unwrap();
}
