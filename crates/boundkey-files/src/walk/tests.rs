use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};

use super::*;
use crate::make_private;

const THEM: u32 = 65534;

/// A directory below the sticky `/tmp`, its path without links.
fn base() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    (dir, path)
}

fn me() -> Owners {
    Owners::of_process()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn may_give_away() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("SKIP: only root can give a file to another user");
    }
    root
}

fn refused<T>(outcome: Result<T, FileError>) -> String {
    match outcome {
        Ok(_) => panic!("it was not refused"),
        Err(error) => error.reason(),
    }
}

#[test]
fn our_own_links_lead_on_relative_absolute_and_upwards() {
    let (_dir, base) = base();
    fs::create_dir(base.join("real")).unwrap();
    fs::write(base.join("real/file"), "x").unwrap();
    symlink("real", base.join("relative")).unwrap();
    symlink(base.join("relative"), base.join("absolute")).unwrap();
    symlink("../absolute/file", base.join("real/again")).unwrap();
    let inode = fs::metadata(base.join("real")).unwrap().ino();
    for name in ["real", "relative", "absolute", "absolute/../real", "./relative", "relative/."] {
        let opened = open_directory(&base.join(name), &me()).unwrap();
        assert_eq!(rustix::fs::fstat(&opened).unwrap().st_ino, inode, "{name}");
    }
    open_file(&base.join("relative/again"), &me()).unwrap();
    let made = make_directory(&base.join("absolute/new/deep"), &me(), 0o755).unwrap();
    let found = fs::metadata(base.join("real/new/deep")).unwrap();
    assert_eq!(rustix::fs::fstat(&made).unwrap().st_ino, found.ino());

    symlink("loop", base.join("loop")).unwrap();
    let text = refused(open_file(&base.join("loop"), &me()));
    assert_eq!(
        text,
        format!("{}/loop leads through more than 32 symbolic links: name the place itself", base.display())
    );
}

#[test]
fn what_is_absent_or_of_another_kind_is_named() {
    let (_dir, base) = base();
    fs::write(base.join("file"), "x").unwrap();
    fs::create_dir(base.join("dir")).unwrap();
    let at = base.display();
    let absent = open_file(&base.join("none/file"), &me()).unwrap_err();
    assert!(absent.is_absent());
    assert_eq!(absent.to_string(), format!("cannot open {at}/none"));
    assert!(look_for_directory(&base.join("none/deep"), &me()).unwrap().is_none());
    assert_eq!(
        refused(open_file(&base.join("dir"), &me())),
        format!("{at}/dir is a directory, expected a plain file: move it away")
    );
    assert_eq!(
        refused(open_directory(&base.join("file/below"), &me())),
        format!("{at}/file is a file, expected a directory: move it away")
    );
    rustix::fs::mknodat(rustix::fs::CWD, base.join("pipe"), FileType::Fifo, 0o600.into(), 0).unwrap();
    assert_eq!(
        refused(open_file(&base.join("pipe"), &me())),
        format!("{at}/pipe is a device, pipe or socket, expected a plain file: move it away")
    );
}

#[test]
fn a_directory_or_file_that_others_may_write_is_refused_wherever_it_is_on_the_way() {
    let (_dir, base) = base();
    let (above, file) = (base.join("above it"), base.join("above it/file"));
    fs::create_dir(&above).unwrap();
    fs::write(&file, "x").unwrap();
    set_mode(&file, 0o644);
    let own = rustix::process::geteuid().as_raw();
    for (mode, chmod) in [(0o777, "go-w"), (0o775, "g-w"), (0o770, "g-w"), (0o2775, "g-w"), (0o757, "go-w")] {
        set_mode(&above, mode);
        let expected = format!(
            "the directory {0} can be changed by other users (owner {own}, mode {mode:04o}); allowed: writable by its \
             owner alone, or a directory with the sticky bit. Run `chmod {chmod} '{0}'`",
            above.display()
        );
        assert_eq!(refused(open_file(&file, &me())), expected);
        assert_eq!(refused(open_directory(&above, &me())), expected);
        assert!(look_for_directory(&above, &me()).unwrap().is_some(), "it can be made private");
    }
    for good in [0o700, 0o755, 0o1777, 0o3777] {
        set_mode(&above, good);
        open_file(&file, &me()).unwrap();
    }
    for mode in [0o666, 0o660, 0o602] {
        set_mode(&file, mode);
        let text = refused(open_file(&file, &me()));
        assert!(
            text.starts_with(&format!("the file {} can be changed by other users", file.display())),
            "{text}"
        );
    }
}

#[test]
fn an_access_list_that_lets_others_write_shows_in_the_mode() {
    let (_dir, base) = base();
    let file = base.join("file");
    fs::write(&file, "x").unwrap();
    set_mode(&file, 0o600);
    let listed = std::process::Command::new("setfacl").args(["-m", "u:65534:rw"]).arg(&file).output();
    match listed {
        Ok(output) if output.status.success() => {}
        other => return println!("SKIP: no access lists here: {other:?}"),
    }
    let text = refused(open_file(&file, &me()));
    assert!(text.contains("can be changed by other users"), "{text}");
}

#[test]
fn what_belongs_to_another_user_is_refused_with_whose_it_is_and_what_mends_it() {
    if !may_give_away() {
        return;
    }
    let (_dir, base) = base();
    fs::create_dir_all(base.join("theirs/below")).unwrap();
    fs::write(base.join("theirs/below/file"), "x").unwrap();
    let theirs = base.join("theirs");
    chown(&theirs, Some(THEM), None).unwrap();
    set_mode(&theirs, 0o700);
    let expected = format!(
        "the directory {0} belongs to user 65534 (mode 0700), who could change what is used here; allowed: root. If that \
         is a mistake, run `chown 0 {0}` as root; else name another place",
        theirs.display()
    );
    assert_eq!(refused(open_file(&theirs.join("below/file"), &me())), expected);
    assert_eq!(refused(make_directory(&theirs.join("new"), &me(), 0o700)), expected);
    assert!(!theirs.join("new").exists());
    // Named as one whose directories are good.
    open_file(&theirs.join("below/file"), &me().or(Some(THEM))).unwrap();
    assert_eq!(
        refused(open_file(&theirs.join("below/file"), &Owners::of(1000))),
        expected.replace("allowed: root", "allowed: root or user 1000").replace("chown 0", "chown 1000")
    );

    let file = base.join("file");
    fs::write(&file, "x").unwrap();
    chown(&file, Some(THEM), None).unwrap();
    let text = refused(open_file(&file, &me()));
    assert!(text.starts_with(&format!("the file {} belongs to user 65534", file.display())), "{text}");
}

#[test]
fn a_link_of_another_user_leads_nowhere_also_where_his_directories_are_good() {
    if !may_give_away() {
        return;
    }
    let (_dir, base) = base();
    fs::create_dir(base.join("real")).unwrap();
    fs::write(base.join("real/file"), "x").unwrap();
    symlink("real", base.join("theirs")).unwrap();
    lchown(base.join("theirs"), Some(THEM), None).unwrap();
    symlink("theirs", base.join("ours")).unwrap();
    for owners in [me(), me().or(Some(THEM))] {
        let text = refused(open_file(&base.join("ours/file"), &owners));
        let link = base.join("theirs");
        let expected = format!(
            "the symbolic link {0} belongs to user 65534 (mode 0777), who could change what is used here; allowed: root. \
             If that is a mistake, run `chown -h 0 {0}` as root; else name another place",
            link.display()
        );
        assert_eq!(text, expected);
        let made = refused(make_directory(&base.join("theirs/new"), &owners, 0o700));
        assert_eq!(made, expected);
    }
    assert!(!base.join("real/new").exists());
}

#[test]
fn what_is_ours_is_taken_from_others_but_a_file_that_anybody_wrote_is_not() {
    let (_dir, base) = base();
    let (dir, file) = (base.join("dir"), base.join("file"));
    fs::create_dir(&dir).unwrap();
    fs::write(&file, "x").unwrap();
    // What Kubernetes' fsGroup does, and its emptyDir.
    for loose in [0o2770, 0o2777, 0o755, 0o777] {
        set_mode(&dir, loose);
        let open = look_for_directory(&dir, &me()).unwrap().unwrap();
        assert_eq!(make_private(&open, &dir, 0o700).unwrap(), Some(loose));
        assert_eq!(make_private(&open, &dir, 0o700).unwrap(), None, "said once");
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o7777, 0o700);
    }
    set_mode(&dir, 0o2770);
    let open = look_for_directory(&dir, &me()).unwrap().unwrap();
    make_private(&open, &dir, 0o755).unwrap();
    assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o7777, 0o750, "never more than it was");
    set_mode(&dir, 0o1777);
    let text = refused(make_private(&open, &dir, 0o700));
    assert_eq!(
        text,
        format!("{} is a directory for everybody (mode 1777): name one below it", dir.display())
    );
    let open = File::open(&file).unwrap();
    for loose in [0o660, 0o644, 0o640] {
        set_mode(&file, loose);
        assert_eq!(make_private(&open, &file, 0o600).unwrap(), Some(loose));
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
    }
    set_mode(&file, 0o666);
    let text = refused(make_private(&open, &file, 0o600));
    assert!(text.contains("can be changed by other users"), "{text}");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o666);
}

#[test]
fn a_private_group_is_ours_again() {
    if !may_give_away() {
        return;
    }
    let (_dir, base) = base();
    chown(&base, None, Some(1000)).unwrap();
    set_mode(&base, 0o2770);
    let open = look_for_directory(&base, &me()).unwrap().unwrap();
    assert_eq!(make_private(&open, &base, 0o700).unwrap(), Some(0o2770));
    assert_eq!(fs::metadata(&base).unwrap().gid(), rustix::process::getegid().as_raw());
}

#[test]
fn our_own_descriptors_are_read_as_files() {
    let file = File::open("/dev/null").unwrap();
    use std::os::fd::AsRawFd as _;
    let path = PathBuf::from(format!("/dev/fd/{}", file.as_raw_fd()));
    open_file(&path, &me()).unwrap();
}

#[test]
fn looking_at_anybodys_file_follows_waits_and_reads_no_more_than_asked() {
    let (_dir, base) = base();
    let file = base.join("file");
    fs::write(&file, "12345").unwrap();
    assert_eq!(peek_file(&file, 5).unwrap(), b"12345");
    assert_eq!(peek_file(&file, 4).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    symlink(&file, base.join("link")).unwrap();
    assert!(peek_file(&base.join("link"), 5).is_err());
    rustix::fs::mknodat(rustix::fs::CWD, base.join("pipe"), FileType::Fifo, 0o600.into(), 0).unwrap();
    assert_eq!(peek_file(&base.join("pipe"), 5).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

/// The process of the test below: what it makes privately would change the modes of what other tests make.
#[test]
fn child_that_binds_a_socket() {
    let Some(path) = std::env::var_os("BOUNDKEY_TEST_SOCKET") else { return };
    rustix::process::umask(Mode::empty());
    drop(crate::made_privately(|| std::os::unix::net::UnixListener::bind(&path)).unwrap());
    fs::write(Path::new(&path).with_extension("after"), "x").unwrap();
}

#[test]
fn a_socket_is_its_owners_from_the_first_moment_whatever_the_umask() {
    let (_dir, base) = base();
    let socket = base.join("admin.sock");
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "walk::tests::child_that_binds_a_socket"])
        .env("BOUNDKEY_TEST_SOCKET", &socket)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o7777, 0o600);
    let after = fs::metadata(socket.with_extension("after")).unwrap();
    assert_eq!(after.mode() & 0o7777, 0o666, "the umask is as it was");
}
