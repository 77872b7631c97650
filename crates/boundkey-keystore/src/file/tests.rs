use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};

use std::sync::RwLock;

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

/// Held while a process is started, and by who wants none to be.
static STARTING: RwLock<()> = RwLock::new(());

fn start(command: &mut std::process::Command) -> std::io::Result<std::process::Child> {
    let _alone = STARTING.write().unwrap();
    command.spawn()
}

/// A process that was just started holds every open file, and so the locks, for the moment until its exec is complete: a
/// lock that only we ourselves can hold is tried for again.
fn try_open(path: &Path) -> Result<FileKeystore, KeystoreError> {
    for _ in 0..200 {
        match FileKeystore::open(path) {
            Err(KeystoreError::Locked { pid, .. }) if pid == Some(std::process::id()) => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            other => return other,
        }
    }
    FileKeystore::open(path)
}

fn open(path: &Path) -> FileKeystore {
    try_open(path).unwrap()
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
fn what_a_platform_opened_to_others_is_private_again_and_said_once() {
    let (_root, path) = with_state();
    let (state, lock) = (path.join("state.json"), path.join("agent.lock"));
    let identity = path.join("identity");
    fs::create_dir(&identity).unwrap();
    fs::write(identity.join("key.pem"), "x").unwrap();
    // As Kubernetes does at each start of a pod with `fsGroup`.
    for (dir_mode, file_mode) in [(0o2770, 0o660), (0o2775, 0o664), (0o755, 0o644), (0o777, 0o600)] {
        // What is said once is not to be said to a try that found the lock taken.
        let _nobody_starts = STARTING.read().unwrap();
        drop(open(&path));
        set_mode(&path, dir_mode);
        set_mode(&state, file_mode);
        set_mode(&lock, file_mode);
        set_mode(&identity, dir_mode);
        set_mode(&identity.join("key.pem"), file_mode);
        let mut store = open(&path);
        let mut expected = vec![Tightened { path: path.clone(), mode: dir_mode }];
        if file_mode != 0o600 {
            expected.push(Tightened { path: state.clone(), mode: file_mode });
        }
        assert_eq!(store.tightened(), expected);
        assert_eq!([mode(&path), mode(&state)], [0o700, 0o600]);
        assert_eq!([mode(&lock), mode(&identity), mode(&identity.join("key.pem"))], [0o600, 0o700, 0o600]);
        assert_same(&store.load().unwrap(), &full_state());
        drop(store);
        assert_eq!(open(&path).tightened(), []);
    }
    // In the middle of a run too.
    let mut store = open(&path);
    set_mode(&state, 0o660);
    assert_same(&store.load().unwrap(), &full_state());
    assert_eq!(mode(&state), 0o600);
}

#[test]
fn looking_at_a_state_changes_no_mode() {
    let (_root, path) = with_state();
    set_mode(&path, 0o2770);
    set_mode(&path.join("state.json"), 0o660);
    assert_same(&FileKeystore::peek(&path).unwrap(), &full_state());
    assert_eq!([mode(&path), mode(&path.join("state.json"))], [0o2770, 0o660]);
}

#[test]
fn a_state_that_anybody_could_write_is_refused_with_what_mends_it() {
    let (_root, path) = with_state();
    let state = path.join("state.json");
    for loose in [0o602, 0o666] {
        set_mode(&state, loose);
        let owner = rustix::process::geteuid().as_raw();
        let expected = format!(
            "the file {0} can be changed by other users (owner {owner}, mode {loose:04o}); allowed: writable by its owner \
             alone. Run `chmod go-w {0}`",
            state.display()
        );
        assert_eq!(try_open(&path).unwrap_err().to_string(), expected);
        assert_eq!(FileKeystore::peek(&path).unwrap_err().to_string(), expected);
    }
    set_mode(&state, 0o600);
    assert_same(&open(&path).load().unwrap(), &full_state());
}

#[test]
fn a_directory_of_something_else_is_neither_used_nor_changed() {
    let (root, path) = directory();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("passwd"), "x").unwrap();
    set_mode(&path, 0o755);
    let error = try_open(&path).unwrap_err().to_string();
    let expected = format!(
        "{} is open to other users (mode 0755) and no data directory of an agent (it holds `passwd`): choose an empty or a \
         new one",
        path.display()
    );
    assert_eq!((error, mode(&path)), (expected, 0o755));
    fs::rename(path.join("passwd"), path.join("\u{1b}[2J\u{202e}")).unwrap();
    let error = try_open(&path).unwrap_err().to_string();
    assert!(error.contains("(it holds `\\u{1b}[2J\\u{202e}`)"), "{error}");
    let shared = root.path().join("shared");
    fs::create_dir(&shared).unwrap();
    set_mode(&shared, 0o1777);
    let error = try_open(&shared).unwrap_err().to_string();
    let expected =
        format!("{} is a directory for everybody (mode 1777): name one below it", shared.display());
    assert_eq!((error, mode(&shared)), (expected, 0o1777));
    // An empty volume is as good as a new directory.
    let empty = root.path().join("empty");
    fs::create_dir_all(empty.join("lost+found")).unwrap();
    set_mode(&empty, 0o777);
    assert_eq!(open(&empty).tightened(), [Tightened { path: empty, mode: 0o777 }]);
}

#[test]
fn a_second_agent_is_told_the_first_ones_process() {
    let (_root, path) = directory();
    let first = open(&path);
    let error = try_open(&path).unwrap_err();
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
    let error = try_open(&path).unwrap_err();
    assert!(matches!(error, KeystoreError::Locked { pid: None, .. }));
    assert!(error.to_string().contains("is locked by another agent: stop it"), "{error}");
}

#[test]
fn leftovers_have_the_name_that_is_removed() {
    let (_root, path) = directory();
    let mut store = open(&path);
    store.save(&AgentState::default()).unwrap();
    drop(store);
    // A process that dies between writing and renaming: the temporary file is kept as it is then.
    let beside = tempfile::Builder::new().prefix(".state.json.").suffix(".tmp").tempfile_in(&path).unwrap();
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
    let mut store = open(&path);
    fs::rename(&state, &elsewhere).unwrap();
    symlink(&elsewhere, &state).unwrap();
    let refused = |result: Result<(), KeystoreError>, kind: &str| {
        let error = result.unwrap_err();
        assert!(
            matches!(error, KeystoreError::File(FileError::Kind { found, .. }) if found == kind),
            "{error:?}"
        );
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
    refused(try_open(&path).map(drop), "a symbolic link");
    refused(try_open(&elsewhere).map(drop), "a file");
}

#[test]
fn a_pipe_as_state_is_refused_without_waiting_for_its_other_end() {
    let (_root, path) = directory();
    let mut store = open(&path);
    let state = path.join("state.json");
    rustix::fs::mknodat(rustix::fs::CWD, &state, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let error = store.load().unwrap_err();
    assert!(
        matches!(error, KeystoreError::File(FileError::Kind { found: "a device, pipe or socket", .. })),
        "{error:?}"
    );
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

/// The other process of the tests below: saves for ever, alternating between two states.
#[test]
fn child_that_saves_for_ever() {
    let Some(path) = std::env::var_os("BOUNDKEY_TEST_DATA_DIR") else { return };
    let mut store = open(Path::new(&path));
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
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "file::tests::child_that_saves_for_ever"])
            .env("BOUNDKEY_TEST_DATA_DIR", path)
            .stdout(std::process::Stdio::null());
        let mut child = Self(start(&mut command).unwrap());
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
    let error = try_open(&path).unwrap_err();
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

const THEM: u32 = 65534;

fn may_give_away() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("SKIP: only root can give a directory to another user");
    }
    root
}

/// The directory, a link and a directory on the way, and the state itself.
#[test]
fn what_another_user_could_exchange_is_refused_also_by_root() {
    if !may_give_away() {
        return;
    }
    let (root, path) = with_state();
    let base = root.path().canonicalize().unwrap();
    let refused = |data_dir: &Path, start: String| {
        let error = try_open(data_dir).unwrap_err().to_string();
        assert!(error.starts_with(&start), "{error}");
    };
    chown(&path, Some(THEM), None).unwrap();
    let whose = "belongs to user 65534 (mode 0700), who could change what is used here; allowed: root.";
    refused(&path, format!("the directory {} {whose}", path.display()));
    // Root may look at everybody's state.
    assert_same(&FileKeystore::peek(&path).unwrap(), &full_state());
    chown(&path, Some(0), None).unwrap();

    let link = base.join("link");
    symlink(&path, &link).unwrap();
    open(&link);
    std::os::unix::fs::lchown(&link, Some(THEM), None).unwrap();
    refused(&link, format!("the symbolic link {} belongs to user 65534", link.display()));

    let above = base.join("above");
    fs::create_dir(&above).unwrap();
    fs::rename(&path, above.join("data")).unwrap();
    set_mode(&above, 0o777);
    refused(&above.join("data"), format!("the directory {} can be changed by other users", above.display()));
    set_mode(&above, 0o1777);
    open(&above.join("data"));
    chown(&above, Some(THEM), None).unwrap();
    refused(&above.join("data"), format!("the directory {} belongs to user 65534", above.display()));
    chown(&above, Some(0), None).unwrap();

    let data = above.join("data");
    chown(data.join("state.json"), Some(THEM), None).unwrap();
    let error = open(&data).load().unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("the file {} belongs to user 65534", data.join("state.json").display())),
        "{error}"
    );
}

/// The process of the test below: runs as another user.
#[test]
fn child_that_looks_and_opens() {
    let Some(path) = std::env::var_os("BOUNDKEY_TEST_LOOK_AT") else { return };
    let path = Path::new(&path);
    let words = |error: KeystoreError| format!("{error}\n");
    let looked = FileKeystore::peek(path).map_or_else(words, |state| format!("token {:?}\n", state.token));
    let opened = FileKeystore::open(path).map_or_else(words, |_| "opened\n".to_owned());
    fs::write(std::env::var_os("BOUNDKEY_TEST_ANSWER").unwrap(), looked + &opened).unwrap();
}

/// What these users say of a data directory: looked at, then opened.
fn as_user(user: u32, group: u32, path: &Path, answer: &Path) -> String {
    use std::os::unix::process::CommandExt as _;
    // From a place that every user can reach.
    let program = answer.with_extension("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    set_mode(&program, 0o755);
    fs::write(answer, "").unwrap();
    chown(answer, Some(user), None).unwrap();
    let mut command = std::process::Command::new(&program);
    command
        .args(["--exact", "file::tests::child_that_looks_and_opens"])
        .env("BOUNDKEY_TEST_LOOK_AT", path)
        .env("BOUNDKEY_TEST_ANSWER", answer)
        .stdout(std::process::Stdio::null())
        .current_dir("/")
        .uid(user)
        .gid(group);
    // A child that another test forked while the copy was being written has it open for a moment longer.
    let busy = std::io::ErrorKind::ExecutableFileBusy;
    let started = (0..200).find_map(|_| match start(&mut command) {
        Err(error) if error.kind() == busy => {
            std::thread::sleep(std::time::Duration::from_millis(10));
            None
        }
        other => Some(other),
    });
    assert!(started.unwrap().unwrap().wait().unwrap().success());
    fs::read_to_string(answer).unwrap()
}

#[test]
fn another_user_is_told_who_may_look_and_nothing_that_would_stop_the_agent() {
    if !may_give_away() {
        return;
    }
    let (root, path) = with_state();
    set_mode(root.path(), 0o755);
    let said = as_user(1234, 1234, &path, &root.path().join("answer"));
    let expected = format!(
        "only root and the agent's own user may look at {}: run this as one of them, for instance `sudo boundkey-agent status`",
        path.display()
    );
    assert_eq!(said.lines().next(), Some(expected.as_str()), "{said}");
    assert!(!said.lines().next().unwrap().contains("chown"), "{said}");
}

/// How a volume comes with `runAsUser: 1234` and `fsGroup: 4321`: its root is root's and the group's.
#[test]
fn a_volume_that_kubernetes_gave_to_our_group_is_used_and_anybody_elses_is_not() {
    if !may_give_away() {
        return;
    }
    let (root, path) = directory();
    set_mode(root.path(), 0o755);
    fs::create_dir(&path).unwrap();
    chown(&path, None, Some(4321)).unwrap();
    let said = |mode| {
        set_mode(&path, mode);
        as_user(1234, 4321, &path, &root.path().join("answer")).lines().nth(1).unwrap().to_owned()
    };
    assert_eq!(said(0o2770), "opened");
    assert_eq!(said(0o2775), "opened", "a second time");
    let refused = format!("the directory {} can be changed by other users", path.display());
    for loose in [0o770, 0o2777] {
        let said = said(loose);
        assert!(said.starts_with(&refused), "{said}");
    }
    // Another group than ours.
    set_mode(&path, 0o2775);
    let said = as_user(1234, 1234, &path, &root.path().join("answer"));
    assert!(said.contains(&refused), "{said}");
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
    assert!(matches!(error, KeystoreError::File(FileError::DiskFull { .. })), "{error:?}");
    assert!(error.to_string().contains("the old content is untouched"), "{error}");
    assert_eq!(names(&path), ["agent.lock", "state.json"]);
    assert_same(&store.load().unwrap(), &full_state());
    // Not one free block: even a small state does not fit beside the old one.
    let mut filler = File::create(path.join("filler")).unwrap();
    while filler.write_all(&[0; 4096]).is_ok() {}
    let small = AgentState::default();
    assert!(matches!(store.save(&small), Err(KeystoreError::File(FileError::DiskFull { .. }))));
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
