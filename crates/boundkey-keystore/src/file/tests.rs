use std::os::unix::fs::symlink;

use super::*;
use crate::conformance::{assert_same, full_state};

fn directory() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("data");
    (root, path)
}

fn with_state() -> (tempfile::TempDir, PathBuf) {
    let (root, path) = directory();
    open(&path).save(&full_state()).unwrap();
    (root, path)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn names(path: &Path) -> Vec<String> {
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(path).unwrap().map(name).collect();
    names.sort();
    names
}

/// Opens what another value of this process has just let go. A process that another test is about to start holds every
/// open file, and so the lock, for the moment between its fork and its exec.
fn open(path: &Path) -> FileKeystore {
    for _ in 0..1000 {
        match FileKeystore::open(path) {
            Err(KeystoreError::Locked { .. }) => std::thread::sleep(std::time::Duration::from_millis(2)),
            opened => return opened.unwrap(),
        }
    }
    panic!("{} stays locked", path.display())
}

#[test]
fn file_keystore_conforms() {
    let root = tempfile::tempdir().unwrap();
    let count = std::cell::Cell::new(0);
    crate::conformance::run(|| {
        count.set(count.get() + 1);
        Box::new(FileKeystore::open(&root.path().join(count.get().to_string())).unwrap())
    });
}

#[test]
fn the_state_survives_the_process_and_nothing_else_is_left() {
    let (_root, path) = with_state();
    assert_eq!(names(&path), ["agent.lock", "state.json"]);
    assert_same(&open(&path).load().unwrap(), &full_state());
    assert_same(&FileKeystore::peek(&path).unwrap(), &full_state());
}

#[test]
fn directory_and_files_are_private_from_the_start() {
    let (_root, path) = directory();
    let nested = path.join("a/b");
    FileKeystore::open(&nested).unwrap().save(&full_state()).unwrap();
    for made in [&path, &path.join("a"), &nested] {
        assert_eq!(mode(made), 0o700);
    }
    assert_eq!(mode(&nested.join("state.json")), 0o600);
    assert_eq!(mode(&nested.join("agent.lock")), 0o600);
}

#[test]
fn an_open_directory_or_file_is_refused_with_the_command_that_mends_it() {
    let (_root, path) = with_state();
    set_mode(&path, 0o750);
    let error = FileKeystore::open(&path).unwrap_err();
    assert!(matches!(error, KeystoreError::TooOpen { mode: 0o750, wanted: 0o700, .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&format!("chmod 700 {}`", path.display())) && text.contains("mode 0750"), "{text}");
    assert!(matches!(FileKeystore::peek(&path), Err(KeystoreError::TooOpen { .. })));
    set_mode(&path, 0o700);
    let state = path.join("state.json");
    for loose in [0o604, 0o640, 0o620, 0o666] {
        set_mode(&state, loose);
        let error = open(&path).load().unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("run `chmod 600 {}`", state.display())), "{text}");
        assert!(text.contains(&format!("mode {loose:04o}")), "{text}");
        assert!(matches!(FileKeystore::peek(&path), Err(KeystoreError::TooOpen { .. })));
    }
    // Doing as told mends it.
    set_mode(&state, 0o600);
    assert_same(&open(&path).load().unwrap(), &full_state());
}

#[test]
fn a_second_agent_is_told_the_first_ones_process() {
    let (_root, path) = directory();
    let first = open(&path);
    let error = FileKeystore::open(&path).unwrap_err();
    let own = std::process::id();
    assert!(matches!(error, KeystoreError::Locked { pid: Some(pid), .. } if pid == own), "{error:?}");
    assert!(error.to_string().contains(&format!("(process {own})")), "{error}");
    // `status` works all the same.
    assert_same(&FileKeystore::peek(&path).unwrap(), &AgentState::default());
    drop(first);
    open(&path);
}

#[test]
fn a_lock_file_without_a_holder_locks_nothing() {
    let (_root, path) = directory();
    drop(open(&path));
    fs::write(path.join("agent.lock"), "4194304\nleft by a crash\n").unwrap();
    let store = open(&path);
    let text = fs::read_to_string(path.join("agent.lock")).unwrap();
    assert_eq!(text, format!("{}\n", std::process::id()));
    drop(store);
}

#[test]
fn a_lock_without_a_number_is_still_a_lock() {
    let (_root, path) = directory();
    let _store = open(&path);
    fs::write(path.join("agent.lock"), "who knows").unwrap();
    let error = FileKeystore::open(&path).unwrap_err();
    assert!(matches!(error, KeystoreError::Locked { pid: None, .. }));
    assert!(error.to_string().contains("is locked by another agent: stop it"), "{error}");
}

#[test]
fn leftovers_of_a_crash_are_removed_and_nothing_else() {
    let (_root, path) = with_state();
    for name in [".state.json.Ab12cd.tmp", ".status.json.Zz09yy.tmp", ".static.key.aaaaaa.tmp"] {
        fs::write(path.join(name), "x").unwrap();
    }
    let others = [
        ".identity.x.tmp",
        "..aaaaaa.tmp",
        ".aaaaaa.tmp",
        "notes",
        "state.json.Ab12cd.tmp",
        "state.json.bak",
    ];
    for name in others {
        fs::write(path.join(name), "x").unwrap();
    }
    let mut store = open(&path);
    assert_same(&store.load().unwrap(), &full_state());
    let mut kept: Vec<&str> = others.into_iter().chain(["agent.lock", "state.json"]).collect();
    kept.sort_unstable();
    assert_eq!(names(&path), kept);
}

#[test]
fn leftovers_have_the_name_that_is_removed() {
    let (_root, path) = directory();
    let mut store = open(&path);
    store.save(&AgentState::default()).unwrap();
    drop(store);
    // A process that dies between writing and renaming: the temporary file is kept as it is then.
    let beside = tempfile::Builder::new().prefix(".state.json.").suffix(LEFTOVER).tempfile_in(&path).unwrap();
    beside.keep().unwrap();
    assert_eq!(names(&path).len(), 3);
    open(&path);
    assert_eq!(names(&path), ["agent.lock", "state.json"]);
}

#[test]
fn links_and_other_things_in_place_of_files_are_refused() {
    let (root, path) = with_state();
    let (state, lock) = (path.join("state.json"), path.join("agent.lock"));
    let elsewhere = root.path().join("elsewhere");
    fs::rename(&state, &elsewhere).unwrap();
    symlink(&elsewhere, &state).unwrap();
    let mut store = open(&path);
    let refused = |result: Result<(), KeystoreError>, kind: &str| {
        let error = result.unwrap_err();
        assert!(matches!(error, KeystoreError::WrongKind { found, .. } if found == kind), "{error:?}");
    };
    refused(store.load().map(drop), "a symbolic link");
    refused(store.save(&AgentState::default()), "a symbolic link");
    refused(FileKeystore::peek(&path).map(drop), "a symbolic link");
    assert!(fs::read(&elsewhere).unwrap().len() > 1000, "what the link points to is untouched");
    fs::remove_file(&state).unwrap();
    fs::create_dir(&state).unwrap();
    refused(store.load().map(drop), "a directory");
    refused(store.save(&AgentState::default()), "a directory");
    drop(store);
    fs::remove_file(&lock).unwrap();
    symlink(&elsewhere, &lock).unwrap();
    refused(FileKeystore::open(&path).map(drop), "a symbolic link");
    refused(FileKeystore::open(&elsewhere).map(drop), "a file");
}

#[test]
fn a_pipe_as_state_is_refused_without_waiting_for_its_other_end() {
    let (_root, path) = directory();
    let mut store = open(&path);
    let state = path.join("state.json");
    rustix::fs::mknodat(rustix::fs::CWD, &state, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let error = store.load().unwrap_err();
    assert!(matches!(error, KeystoreError::WrongKind { found: "a device, pipe or socket", .. }), "{error:?}");
}

#[test]
fn a_damaged_state_is_an_error_and_never_a_fresh_start() {
    let (_root, path) = with_state();
    let state = path.join("state.json");
    let whole = fs::read(&state).unwrap();
    for (content, expected) in [
        (&whole[..0], "it is empty"),
        (&whole[..whole.len() / 2], "it is cut at line"),
        (&b"[Unit]\nDescription=x"[..], "it is not an agent's state"),
        (&b"{\"kind\":\"boundkey-agent-state\",\"version\":2}"[..], "its version is 2"),
        (&vec![b' '; MAX_BYTES + 5][..], "allowed: 1048576"),
    ] {
        fs::write(&state, content).unwrap();
        let error = open(&path).load().unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains(expected), "{source}");
        assert_eq!(error.to_string(), format!("{} cannot be used", state.display()));
        assert_eq!(fs::read(&state).unwrap(), content, "and it is left as it was");
    }
}

#[test]
fn peeking_at_nothing_makes_nothing() {
    let (root, path) = directory();
    assert_same(&FileKeystore::peek(&path).unwrap(), &AgentState::default());
    assert_eq!(names(root.path()), Vec::<String>::new());
}

#[test]
fn a_failing_write_leaves_the_old_state_and_no_file() {
    let (_root, path) = with_state();
    let mut store = open(&path);
    let before = names(&path);
    // A directory in the way makes the rename fail, after everything was written.
    let target = path.join("busy");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("x"), "x").unwrap();
    assert!(matches!(write_atomically(&target, b"new", 0o600), Err(KeystoreError::Io { .. })));
    fs::remove_dir_all(&target).unwrap();
    assert_eq!(names(&path), before);
    assert_same(&store.load().unwrap(), &full_state());
    let missing = write_atomically(&path.join("none/state.json"), b"new", 0o600).unwrap_err();
    assert!(missing.to_string().contains("cannot write"), "{missing}");
}

#[test]
fn a_written_file_has_exactly_the_mode_asked_for() {
    let (_root, path) = directory();
    fs::create_dir(&path).unwrap();
    let file = path.join("file");
    for wanted in [0o600, 0o640, 0o644, 0o400] {
        write_atomically(&file, b"content", wanted).unwrap();
        assert_eq!(mode(&file), wanted);
        assert_eq!(fs::read(&file).unwrap(), b"content");
    }
    assert_eq!(names(&path), ["file"]);
}

/// The other process of the tests below: saves for ever, alternating between two states.
#[test]
fn child_that_saves_for_ever() {
    let Some(path) = std::env::var_os("BOUNDKEY_TEST_DATA_DIR") else { return };
    let mut store = FileKeystore::open(Path::new(&path)).unwrap();
    let small = AgentState { token: Some("small".to_owned()), ..AgentState::default() };
    loop {
        store.save(&full_state()).unwrap();
        store.save(&small).unwrap();
    }
}

/// Ended when it is dropped, so also when a test fails.
struct Child(std::process::Child);

impl Child {
    /// Returns once it has saved.
    fn start(path: &Path) -> Self {
        let before = fs::metadata(path.join("state.json")).map(|found| found.ino()).ok();
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "file::tests::child_that_saves_for_ever"])
            .env("BOUNDKEY_TEST_DATA_DIR", path)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut child = Self(child);
        while fs::metadata(path.join("state.json")).map(|found| found.ino()).ok() == before {
            assert_eq!(child.0.try_wait().unwrap(), None, "the other process ended");
            std::thread::yield_now();
        }
        child
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_agent_killed_at_any_moment_leaves_a_whole_state_and_no_lock() {
    let (_root, path) = with_state();
    let mut leftovers = 0;
    for _ in 0..20 {
        // SIGKILL, in the middle of whatever it is doing.
        drop(Child::start(&path));
        leftovers += usize::from(names(&path).len() > 2);
        let seen = open(&path).load().unwrap();
        match seen.token.as_deref() {
            Some("small") => assert!(seen.pending.is_none()),
            _ => assert_same(&seen, &full_state()),
        }
        assert_eq!(names(&path), ["agent.lock", "state.json"]);
    }
    println!("{leftovers} of 20 left a temporary file");
}

#[test]
fn another_process_is_named_by_its_id() {
    let (_root, path) = with_state();
    let child = Child::start(&path);
    let error = FileKeystore::open(&path).unwrap_err();
    let id = child.0.id();
    assert!(matches!(error, KeystoreError::Locked { pid: Some(pid), .. } if pid == id), "{error:?}");
    drop(child);
    open(&path);
}

/// Readers beside a writer see one whole state or the other.
#[test]
fn readers_never_see_half_a_state() {
    let (_root, path) = with_state();
    let mut store = open(&path);
    let small = AgentState { token: Some("small".to_owned()), ..AgentState::default() };
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            for _ in 0..200 {
                let seen = FileKeystore::peek(&path).unwrap();
                assert!(matches!(seen.token.as_deref(), Some("small" | "example-token")));
                assert_eq!(seen.pending.is_some(), seen.token.as_deref() == Some("example-token"));
            }
        });
        while !reader.is_finished() {
            store.save(&small).unwrap();
            store.save(&full_state()).unwrap();
        }
        reader.join().unwrap();
    });
}

#[test]
fn another_users_directory_is_refused() {
    let (_root, path) = with_state();
    if !rustix::process::geteuid().is_root() {
        println!("SKIP: only root can give a directory to another user");
        return;
    }
    // Root may look into everybody's state; that a user cannot is checked by the owner it would need.
    std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
    FileKeystore::peek(&path).unwrap();
    let found = fs::metadata(&path).unwrap();
    let error = owned_by(&path, &found, 1000).unwrap_err();
    assert!(matches!(error, KeystoreError::OtherOwner { owner: 12345, user: 1000, .. }), "{error:?}");
    assert!(error.to_string().contains("chown 1000"), "{error}");
}

/// A file system of 64 KiB of its own; unmounted again on drop.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir(at).unwrap();
        let options = "size=64k,mode=0700";
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "boundkey-test"])
            .arg(at)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(at.to_owned())),
            Ok(output) => {
                println!("SKIP: no tmpfs: {}", String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            Err(error) => {
                println!("SKIP: no mount: {error}");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_leaves_the_old_state() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("disk");
    let Some(_disk) = SmallDisk::mount(&path) else { return };
    let mut store = open(&path);
    store.save(&full_state()).unwrap();
    // Larger than what is left: writing itself fails.
    let large = AgentState { ca_bundle: Some("x".repeat(100 * 1024)), ..full_state() };
    let error = store.save(&large).unwrap_err();
    assert!(matches!(error, KeystoreError::DiskFull { .. }), "{error:?}");
    assert!(error.to_string().contains("the old content is untouched"), "{error}");
    assert_eq!(names(&path), ["agent.lock", "state.json"]);
    assert_same(&store.load().unwrap(), &full_state());
    // Not one free block: even a small state does not fit beside the old one.
    let mut filler = File::create(path.join("filler")).unwrap();
    while filler.write_all(&[0; 4096]).is_ok() {}
    let small = AgentState::default();
    assert!(matches!(store.save(&small), Err(KeystoreError::DiskFull { .. })));
    assert_same(&store.load().unwrap(), &full_state());
    // An agent that starts on the full disk still gets its lock and its state.
    drop(store);
    let mut store = open(&path);
    assert_same(&store.load().unwrap(), &full_state());
    // And with room again it goes on. (A file that is only removed may hold its room for some milliseconds more.)
    filler.set_len(0).unwrap();
    fs::remove_file(path.join("filler")).unwrap();
    store.save(&small).unwrap();
    assert_same(&store.load().unwrap(), &small);
}
