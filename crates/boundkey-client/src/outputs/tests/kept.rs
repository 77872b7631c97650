//! What was put on an output, and what became of it beside the agent.

use super::*;

#[test]
fn what_an_administrator_put_on_the_files_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tls");
    let (output, mut known) = (tls(&path), Digests::new());
    write_knowing(&output, 1, &mut known).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o751)).unwrap();
    std::fs::set_permissions(path.join("key.pem"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let (user, group) = if is_root() { (4321, 1234) } else { owner_of(&path) };
    std::os::unix::fs::chown(path.join("key.pem"), Some(user), Some(group)).unwrap();
    let label = rustix::fs::setxattr(
        path.join("key.pem"),
        "user.boundkey.test",
        b"kept",
        rustix::fs::XattrFlags::empty(),
    );
    for seed in [1, 2, 3] {
        let outcome = write_knowing(&output, seed, &mut known).unwrap();
        assert_eq!(outcome.warnings, Vec::<String>::new());
        assert_eq!(
            (mode(&path), mode(&path.join("key.pem")), mode(&path.join("cert.pem"))),
            (0o751, 0o640, 0o600)
        );
        assert_eq!(owner_of(&path.join("key.pem")), (user, group));
        if label.is_ok() {
            let mut value = [0u8; 16];
            let length = rustix::fs::getxattr(path.join("key.pem"), "user.boundkey.test", &mut value[..]);
            assert_eq!(&value[..length.unwrap()], b"kept");
        }
    }
    if label.is_err() {
        println!("SKIP: this file system keeps no extended attributes");
    }
}

fn owner_of(path: &Path) -> (u32, u32) {
    let found = std::fs::metadata(path).unwrap();
    (found.uid(), found.gid())
}

#[test]
fn a_file_that_somebody_else_put_there_hands_on_neither_owner_nor_mode() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tls");
    let (output, mut known) = (tls(&path), Digests::new());
    write_knowing(&output, 1, &mut known).unwrap();
    std::fs::remove_file(path.join("key.pem")).unwrap();
    std::fs::write(path.join("key.pem"), "mine").unwrap();
    std::fs::write(path.join("..data/key.pem"), "mine").unwrap();
    std::fs::set_permissions(path.join("..data/key.pem"), std::fs::Permissions::from_mode(0o666)).unwrap();
    write_knowing(&output, 2, &mut known).unwrap();
    assert_eq!(mode(&path.join("key.pem")), 0o600);
}

#[test]
fn two_agents_in_one_directory_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tls");
    let (mut one, mut other) = (Digests::new(), Digests::new());
    assert_eq!(write_knowing(&tls(&path), 1, &mut one).unwrap().warnings, Vec::<String>::new());
    write_knowing(&tls(&path), 2, &mut other).unwrap();
    let warnings = write_knowing(&tls(&path), 3, &mut one).unwrap().warnings;
    assert!(warnings[0].ends_with("do two agents share the directory?"), "{warnings:?}");
}

#[test]
fn an_output_that_was_copied_with_its_links_followed_is_an_output_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tls");
    write(&tls(&path), 1).unwrap();
    let copy = dir.path().join("copy");
    let copied = std::process::Command::new("cp").arg("-rL").args([&path, &copy]).status().unwrap();
    assert!(copied.success());
    assert_eq!(write(&tls(&copy), 2), WHOLE);
    assert_eq!(pair(&copy).0, pair_of(2));
    assert_eq!(write(&tls(&copy), 3), WHOLE);
    assert_eq!(names(&copy), ["ca.pem", "cert.pem", "chain.pem", "key.pem"]);
}

/// The key of an identity, as it is written.
fn pair_of(seed: u8) -> Vec<u8> {
    identity(seed, "host").tls_key.to_pkcs8_pem().as_bytes().to_vec()
}

#[test]
fn plain_files_that_stood_there_are_replaced_all_at_once_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tls");
    std::fs::create_dir(&path).unwrap();
    for name in ["cert.pem", "key.pem"] {
        std::fs::write(path.join(name), format!("old {name}")).unwrap();
    }
    assert_eq!(write(&tls(&path), 1), WHOLE);
    assert_eq!(pair(&path).0, pair_of(1));
    let old = |name: &str| std::fs::read_to_string(path.join("..1").join(name)).unwrap();
    assert_eq!((old("cert.pem"), old("key.pem")), ("old cert.pem".to_owned(), "old key.pem".to_owned()));
}

#[test]
fn an_access_control_list_lets_its_users_read_the_next_version_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tls");
    let (mut output, mut known) = (tls(&path), Digests::new());
    write_knowing(&output, 1, &mut known).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        std::process::Command::new(program).args(arguments).arg(&path).output()
    };
    if !run("setfacl", &["-R", "-m", "u:4321:rX"]).is_ok_and(|done| done.status.success()) {
        println!("SKIP: no setfacl here, or a file system without access control lists");
        return;
    }
    for mode in [None, Some(0o600), Some(0o640)] {
        output.access.mode = mode;
        for seed in [2, 3, 3] {
            write_knowing(&output, seed, &mut known).unwrap();
            let listed = std::process::Command::new("getfacl")
                .args(["-n", "-p"])
                .args([&path, &path.join("key.pem"), &path.join("cert.pem")])
                .output()
                .unwrap();
            let listed = String::from_utf8(listed.stdout).unwrap();
            assert_eq!(listed.matches("user:4321:r-x\n").count(), 1, "the directory: {listed}");
            assert_eq!(listed.matches("user:4321:r--\n").count(), 2, "the files: {listed}");
            assert!(!listed.contains("#effective:---"), "{listed}");
        }
        assert_eq!(write_knowing(&output, 3, &mut known).map(|outcome| outcome.written), UNCHANGED);
    }
}
