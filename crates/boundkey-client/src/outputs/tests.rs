use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::sync::atomic::{AtomicUsize, Ordering};

use boundkey_keys::PrivateKey;
use boundkey_keystore::IdentityRecord;
use boundkey_proto::CaBundle;
use rustix::fs::inotify;
use time::macros::datetime;

use super::*;

mod kept;

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
    let access = FileAccess::default();
    OutputConfig { kind, path: path.to_owned(), access, reload: None, hosts: Vec::new() }
}

fn tls(path: &Path) -> OutputConfig {
    output(OutputKind::Tls { reuse_key: false }, path)
}

/// Writes an output for an identity, knowing what was written before, and says what happened.
fn write_knowing(output: &OutputConfig, seed: u8, known: &mut Digests) -> Result<Outcome, String> {
    let kind = if output.kind == OutputKind::OpensshUser { "bot" } else { "host" };
    let (identity, bundle) = (identity(seed, kind), bundle());
    let material = Material { identity: &identity, bundle: &bundle, revoked_keys: b"revoked" };
    let wanted = resolve_access(&output.access).map_err(|error| error.to_string())?;
    let outcome =
        write_output(output, &wanted, &material, known).map_err(|error| crate::agent::report(&error))?;
    known.clone_from(&outcome.digests);
    Ok(outcome)
}

fn write(output: &OutputConfig, seed: u8) -> Result<Written, String> {
    write_knowing(output, seed, &mut Digests::new()).map(|outcome| outcome.written)
}

const CREATED: Result<Written, String> = Ok(Written::Replaced(Replaced::Created));
const WHOLE: Result<Written, String> = Ok(Written::Replaced(Replaced::Whole));
const UNCHANGED: Result<Written, String> = Ok(Written::Unchanged);

/// All that readers are meant to see.
fn names(dir: &Path) -> Vec<String> {
    all_names(dir).into_iter().filter(|name| !name.starts_with("..")).collect()
}

fn all_names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Whose key is there, and whose certificate?
fn pair(dir: &Path) -> (Vec<u8>, Vec<u8>) {
    (std::fs::read(dir.join("key.pem")).unwrap(), std::fs::read(dir.join("cert.pem")).unwrap())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn an_output_is_created_replaced_as_a_whole_and_then_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/tls");
    let output = tls(&path);
    assert_eq!(write(&output, 1), CREATED);
    assert_eq!(names(&path), ["ca.pem", "cert.pem", "chain.pem", "key.pem"]);
    assert_eq!(
        (mode(&path), mode(&path.join("key.pem")), mode(&path.join("cert.pem"))),
        (0o700, 0o600, 0o600)
    );
    assert_eq!(write(&output, 1), UNCHANGED);
    let before = std::fs::metadata(&path).unwrap().ino();
    assert_eq!(write(&output, 2), WHOLE);
    assert_eq!(std::fs::metadata(&path).unwrap().ino(), before, "it is the same directory");
    assert_eq!(names(path.parent().unwrap()), ["tls"], "nothing is left beside it");
    let key = std::fs::read(path.join("key.pem")).unwrap();
    let key = PrivateKey::from_pem(&key).unwrap();
    assert_eq!(key.public_key(), identity(2, "host").tls_key.public_key());
    assert_eq!(write(&output, 3), WHOLE);
    assert_eq!(write(&output, 4), WHOLE);
    let hidden: Vec<String> = all_names(&path).into_iter().filter(|name| name.starts_with("..")).collect();
    assert_eq!(hidden, ["..3", "..4", "..data"], "the present version and the one before");
}

#[test]
fn whoever_holds_the_directory_finds_the_new_pair_and_never_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tls");
    write(&tls(&path), 1).unwrap();
    // As a process that has the directory open sees it, whatever becomes of its name.
    let held = std::fs::File::open(&path).unwrap();
    let held = Path::new("/proc/self/fd").join(std::os::fd::AsRawFd::as_raw_fd(&held).to_string());
    let version = std::fs::canonicalize(path.join("..data")).unwrap();
    let open = std::fs::File::open(path.join("cert.pem")).unwrap();
    let old = pair(&path);
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&watch, &path, inotify::WatchFlags::MOVED_TO).unwrap();
    write(&tls(&path), 2).unwrap();
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(&watch, &mut buffer);
    let told = std::iter::from_fn(|| Some(events.next().ok()?.file_name()?.to_str().unwrap().to_owned()));
    assert_eq!(told.collect::<Vec<_>>(), ["..data", "cert.pem", "chain.pem", "ca.pem", "key.pem"]);
    assert_eq!(std::io::read_to_string(open).unwrap().as_bytes(), old.1, "an open file stays as it was");
    assert_ne!(pair(&path), old);
    assert_eq!(pair(&held), pair(&path));
    assert_eq!(pair(&version), old, "who went into the version before finds its pair");
}

#[test]
fn readers_of_the_version_never_find_two_identities() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tls");
    write(&tls(&path), 1).unwrap();
    let pairs: Vec<_> = [1, 2]
        .map(|seed| {
            write(&tls(&path), seed).unwrap();
            pair(&path)
        })
        .into();
    // One renewal falls into each round of the reader, at any place of it: they are hours apart.
    let rounds = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for turn in 0..100u8 {
                write(&tls(&path), if turn % 2 == 0 { 1 } else { 2 }).unwrap();
                let before = rounds.load(Ordering::Acquire);
                while rounds.load(Ordering::Acquire) == before {
                    std::thread::yield_now();
                }
            }
        });
        while !writer.is_finished() {
            // What a reader that wants a pair does: it goes in once, and reads there.
            let version = std::fs::canonicalize(path.join("..data")).unwrap();
            let read = |name: &str| std::fs::read(version.join(name)).unwrap();
            assert!(pairs.contains(&(read("key.pem"), read("cert.pem"))));
            // And whoever reads by name finds a whole file.
            let found = std::fs::read(path.join("key.pem")).unwrap();
            assert!(pairs.iter().any(|(key, _)| *key == found));
            rounds.fetch_add(1, Ordering::Release);
        }
        writer.join().unwrap();
    });
}

#[test]
fn files_of_others_stay_and_ours_change_all_at_once_beside_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tls");
    std::fs::create_dir(&path).unwrap();
    for (name, content) in
        [("dhparam.pem", "theirs"), ("key.pem", "theirs too, and in the way"), ("..7x", "")]
    {
        std::fs::write(path.join(name), content).unwrap();
    }
    assert_eq!(write(&tls(&path), 1), WHOLE);
    assert_eq!(write(&tls(&path), 2), WHOLE);
    assert_eq!(names(&path), ["ca.pem", "cert.pem", "chain.pem", "dhparam.pem", "key.pem"]);
    assert_eq!(std::fs::read_to_string(path.join("dhparam.pem")).unwrap(), "theirs");
    assert!(path.join("..7x").exists());
    assert_eq!(write(&tls(&path), 2), UNCHANGED);
}

#[test]
fn a_missing_file_a_changed_link_and_a_mode_that_is_not_the_configured_one_are_made_good() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tls");
    let mut output = tls(&path);
    write(&output, 1).unwrap();
    std::fs::remove_file(path.join("chain.pem")).unwrap();
    assert_eq!(write(&output, 1), WHOLE);
    std::fs::remove_file(path.join("..data/chain.pem")).unwrap();
    assert_eq!(write(&output, 1), WHOLE);
    std::fs::remove_file(path.join("cert.pem")).unwrap();
    symlink("/etc/passwd", path.join("cert.pem")).unwrap();
    assert_eq!(write(&output, 1), WHOLE);
    output.access.mode = Some(0o640);
    assert_eq!(write(&output, 1), WHOLE);
    assert_eq!((mode(&path), mode(&path.join("key.pem"))), (0o750, 0o640));
    std::fs::set_permissions(path.join("key.pem"), std::fs::Permissions::from_mode(0o604)).unwrap();
    assert_eq!(write(&output, 1), WHOLE);
    assert_eq!(mode(&path.join("key.pem")), 0o640);
}

#[test]
fn without_links_files_are_replaced_one_by_one_and_a_link_in_their_place_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tls");
    let victim = dir.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    std::fs::create_dir(&path).unwrap();
    symlink(&victim, path.join("key.pem")).unwrap();
    let (bundle, mut known) = (bundle(), Digests::new());
    for seed in [1, 2] {
        let identity = identity(seed, "host");
        let files = Material { identity: &identity, bundle: &bundle, revoked_keys: b"" }.tls();
        directory::replace_one_by_one(&path, &files, &known).unwrap();
        known = files.iter().map(|file| (file.name.clone(), file.digest())).collect();
        let key = PrivateKey::from_pem(&std::fs::read(path.join("key.pem")).unwrap()).unwrap();
        assert_eq!(key.public_key(), identity.tls_key.public_key());
        assert_eq!(all_names(&path), ["ca.pem", "cert.pem", "chain.pem", "key.pem"]);
        std::fs::set_permissions(path.join("key.pem"), std::fs::Permissions::from_mode(0o640)).unwrap();
    }
    let mut more = known.clone();
    more.insert("dropped.pem".to_owned(), String::new());
    std::fs::write(path.join("dropped.pem"), "of an earlier configuration").unwrap();
    let identity = identity(3, "host");
    let files = Material { identity: &identity, bundle: &bundle, revoked_keys: b"" }.tls();
    directory::replace_one_by_one(&path, &files, &more).unwrap();
    assert_eq!(all_names(&path), ["ca.pem", "cert.pem", "chain.pem", "key.pem"]);
    assert_eq!(mode(&path.join("key.pem")), 0o640, "as it was put on the file");
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn files_that_another_configuration_left_go_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let mut known = Digests::new();
    write_knowing(&output(OutputKind::OpensshUser, &path), 1, &mut known).unwrap();
    write_knowing(&tls(&path), 1, &mut known).unwrap();
    assert_eq!(names(&path), ["ca.pem", "cert.pem", "chain.pem", "key.pem"]);
    write_knowing(&output(OutputKind::OpensshUser, &path), 1, &mut known).unwrap();
    assert_eq!(names(&path), ["id_ed25519", "id_ed25519-cert.pub", "id_ed25519.pub", "known_hosts"]);
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
    symlink(dir.path(), path.join("..1")).unwrap();
    symlink(&victim, path.join("..link-new")).unwrap();
    symlink(dir.path(), path.join("..data")).unwrap();
    write(&tls(&path), 1).unwrap();
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    assert_eq!(std::fs::read_link(path.join("key.pem")).unwrap(), Path::new("..data/key.pem"));
    std::fs::remove_file(path.join("other")).unwrap();
    write(&tls(&path), 2).unwrap();
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn the_files_of_a_new_directory_appear_all_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tls");
    write(&tls(&path), 1).unwrap();
    // As a crash just before the first version is in force leaves it.
    std::fs::remove_file(path.join("..data")).unwrap();
    assert_eq!(names(&path), ["ca.pem", "cert.pem", "chain.pem", "key.pem"]);
    assert!(names(&path).iter().all(|name| !path.join(name).exists()), "they lead nowhere yet");
    assert_eq!(write(&tls(&path), 1), WHOLE);
    assert!(names(&path).iter().all(|name| path.join(name).exists()));
}

#[test]
fn what_a_crash_left_is_cleared() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tls");
    write(&tls(&path), 1).unwrap();
    let old = pair(&path);
    // In the middle of writing the next version, and a link that was about to be renamed.
    std::fs::create_dir(path.join("..2")).unwrap();
    std::fs::write(path.join("..2/key.pem"), "half").unwrap();
    symlink("..2", path.join("..link-new")).unwrap();
    assert_eq!(write(&tls(&path), 1), UNCHANGED);
    assert_eq!(pair(&path), old);
    assert_eq!(write(&tls(&path), 2), WHOLE);
    assert_eq!(all_names(&path), ["..1", "..3", "..data", "ca.pem", "cert.pem", "chain.pem", "key.pem"]);
    // The version is in force, and not all names lead to it yet.
    std::fs::remove_file(path.join("ca.pem")).unwrap();
    assert_eq!(write(&tls(&path), 2), WHOLE);
    assert_eq!(names(&path), ["ca.pem", "cert.pem", "chain.pem", "key.pem"]);
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
fn a_mount_point_below_a_read_only_root_is_written_as_any_directory() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let path = root.join("tls");
    std::fs::create_dir_all(&path).unwrap();
    let mount = |arguments: &[&str], at: &Path| {
        let mounted = std::process::Command::new("mount").args(arguments).arg(at).output();
        mounted.is_ok_and(|output| output.status.success())
    };
    let root_name = root.to_str().unwrap();
    if !mount(&["--bind", root_name], &root) {
        println!("SKIP: no right to mount here");
        return;
    }
    assert!(mount(&["-o", "remount,ro,bind"], &root));
    assert!(mount(&["-t", "tmpfs", "none"], &path));
    let outcomes = [write(&tls(&path), 1), write(&tls(&path), 2), write(&tls(&path), 2)];
    let found = names(&path);
    let refused = write(&tls(&root.join("new")), 1);
    for mounted in [&path, &root] {
        let unmounted = std::process::Command::new("umount").arg(mounted).status().unwrap();
        assert!(unmounted.success());
    }
    assert_eq!(outcomes, [WHOLE, WHOLE, UNCHANGED]);
    assert_eq!(found, ["ca.pem", "cert.pem", "chain.pem", "key.pem"]);
    let expected = format!("cannot create {}/new: Read-only file system (os error 30)", root.display());
    assert_eq!(refused, Err(expected), "said once");
}

#[test]
fn on_a_full_disk_the_old_pair_stays_and_the_next_try_begins_with_the_room_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tls");
    std::fs::create_dir(&path).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "none"])
        .arg(&path)
        .output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("SKIP: no right to mount here");
        return;
    }
    let first = write(&tls(&path), 1);
    let old = pair(&path);
    let fill = std::fs::write(path.join("filler"), vec![0; 1 << 20]);
    let full = write(&tls(&path), 2);
    let (still, left) = (pair(&path), all_names(&path));
    std::fs::remove_file(path.join("filler")).unwrap();
    let again = write(&tls(&path), 2);
    let unmounted = std::process::Command::new("umount").arg(&path).status().unwrap();
    assert!(unmounted.success() && fill.is_err());
    assert_eq!((first, again), (WHOLE, WHOLE));
    let full = full.unwrap_err();
    assert!(full.ends_with("No space left on device (os error 28)"), "{full}");
    assert_eq!(still, old);
    assert_eq!(left, ["..1", "..data", "ca.pem", "cert.pem", "chain.pem", "filler", "key.pem"]);
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
    assert!(sshd.contains("HostKey \"/etc/ssh/ssh_host_rsa_key\"\n"), "{sshd}");
    assert!(
        sshd.contains(&format!("HostCertificate \"{}/ssh_host_rsa_key-cert.pub\"\n", path.display())),
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
    let ca = bundle().ssh_host[0].to_openssh();
    let own = format!("@cert-authority *.example.com {ca}\n@cert-authority *,!*.*,!*:* {ca}\n");
    assert_eq!(known, own);
    let hosts = vec!["*.corp.example.net".to_owned(), "10.0.0.*".to_owned()];
    write(&OutputConfig { hosts, ..output(OutputKind::OpensshUser, &path) }, 1).unwrap();
    let known = std::fs::read_to_string(path.join("known_hosts")).unwrap();
    assert_eq!(known, format!("{own}@cert-authority *.corp.example.net,10.0.0.* {ca}\n"));
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
    let error =
        write_output(&output, &Wanted::default(), &material, &Digests::new()).unwrap_err().to_string();
    assert_eq!(error, "the identity has no OpenSSH certificate: the cluster issued none for this token");
    write_identity(dir.path(), &material, None).expect("the identity directory does without");
}
