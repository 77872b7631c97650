use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::PathBuf;
use std::process::Command;

use crate::{FileError, Owners, look_for_directory, look_for_parent, make_directory, make_parent, open_file};

const USER: u32 = 1234;
const GROUP: u32 = 4321;

/// The process of the tests below: another user, or in a mount namespace of its own.
#[test]
fn child_that_reaches() {
    let Some(path) = std::env::var_os("BOUNDKEY_TEST_REACH") else { return };
    let path = PathBuf::from(path);
    let (using, looking) = (Owners::of_process(), Owners::looked_at_by_process());
    let said = match std::env::var("BOUNDKEY_TEST_HOW").unwrap().as_str() {
        "file" => open_file(&path, &using).map(drop),
        "directory" => make_directory(&path, &using, 0o755).map(drop),
        "output" => make_parent(&path, &using, 0o755)
            .map(drop)
            .and_then(|()| fs::create_dir_all(&path).map_err(|e| FileError::io("make", &path, e))),
        "look" => {
            look_for_parent(&path, &looking).and_then(|_| look_for_directory(&path, &looking)).map(drop)
        }
        other => panic!("{other}"),
    };
    println!("said {}", said.map_or_else(|error| error.reason(), |()| "good".to_owned()));
}

/// A tree that every user can reach.
struct Tree {
    _dir: tempfile::TempDir,
    base: PathBuf,
}

impl Tree {
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("SKIP: only root can become another user");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        let tree = Self { _dir: dir, base };
        // Mounted over, not copied: a copy that another test's child still has open cannot be started.
        fs::write(tree.at("program"), "").unwrap();
        set_mode(&tree.base, 0o755);
        Some(tree)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.base.join(name)
    }

    fn with(self, name: &str, user: u32, group: u32, mode: u32) -> Self {
        let path = self.at(name);
        if mode & 0o111 == 0 {
            fs::write(&path, "x").unwrap();
        } else {
            fs::create_dir(&path).unwrap();
        }
        chown(&path, Some(user), Some(group)).unwrap();
        set_mode(&path, mode);
        self
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.at(name)).unwrap().mode() & 0o7777
    }

    /// What this user says of a path after a script, in a container or not. Without mount namespaces nothing.
    fn say(&self, user: u32, container: bool, script: &str, how: &str, name: &str) -> Option<String> {
        let become_it =
            "exec setpriv --reuid \"$U\" --regid \"$U\" --groups \"$G\" \"$0\" --exact \"$1\" --nocapture";
        let output = Command::new("unshare")
            .args([
                "--mount",
                "sh",
                "-c",
                &format!("set -e; cd \"$T\"; mount --bind \"$E\" program; {script}; cd /; {become_it}"),
            ])
            .arg(self.at("program"))
            .arg("exceptions::tests::child_that_reaches")
            .env("BOUNDKEY_TEST_REACH", self.at(name))
            .env("BOUNDKEY_TEST_HOW", how)
            .env("T", &self.base)
            .env("E", std::env::current_exe().unwrap())
            .env("U", user.to_string())
            .env("G", GROUP.to_string())
            .env("container", if container { "test" } else { "" })
            .output();
        let Some(output) = output.ok().filter(|output| output.status.success()) else {
            println!("SKIP: no mount namespaces, or no setpriv");
            return None;
        };
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().find_map(|line| line.split_once("said ")).map(|(_, said)| said.to_owned())
    }
}

fn set_mode(path: &std::path::Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_kubernetes_opened_of_ours_is_taken_back_on_the_way_and_what_is_shared_on_purpose_is_not() {
    for user in [USER, 0] {
        let Some(tree) = Tree::new() else { return };
        let tree = tree
            .with("volume", 0, GROUP, 0o2775)
            .with("volume/a", user, GROUP, 0o2770)
            .with("volume/a/key", user, GROUP, 0o660)
            .with("volume/a/anybodys", user, GROUP, 0o666)
            .with("volume/plain", user, GROUP, 0o770)
            .with("volume/plain/key", user, GROUP, 0o600)
            .with("shared", user, GROUP + 1, 0o2775)
            .with("shared/key", user, GROUP, 0o600);
        let Some(outside) = tree.say(user, false, "true", "file", "volume/a/key") else { return };
        assert!(outside.contains("can be changed by other users"), "{outside}");
        assert_eq!((tree.mode("volume/a"), tree.mode("volume")), (0o2770, 0o2775), "nothing was changed");
        let say = |how, name| tree.say(user, true, "true", how, name).unwrap();
        assert_eq!(say("look", "volume/a/new"), "good");
        assert_eq!(tree.mode("volume/a"), 0o2770, "looked at");
        assert_eq!(say("file", "volume/a/key"), "good");
        assert_eq!(say("output", "volume/a/tls/web"), "good");
        assert_eq!((tree.mode("volume/a"), tree.mode("volume/a/key")), (0o2750, 0o640));
        // Root's is ours only for root.
        assert_eq!(tree.mode("volume"), if user == 0 { 0o2755 } else { 0o2775 });
        for refused in ["volume/a/anybodys", "volume/plain/key", "shared/key"] {
            let said = say("file", refused);
            assert!(said.contains("can be changed by other users"), "{refused}: {said}");
        }
        assert_eq!((tree.mode("shared"), tree.mode("volume/plain")), (0o2775, 0o770));
    }
}

#[test]
fn below_an_empty_volume_that_is_everybodys_only_our_own_is_used_and_only_in_a_container() {
    const VOLUME: &str =
        "mount -t tmpfs -o mode=0777 none volume; mkdir volume/theirs; chown 7 volume/theirs";
    let Some(tree) = Tree::new() else { return };
    let tree = tree.with("volume", 0, 0, 0o755);
    let say = |container, script: &str, how, name| tree.say(USER, container, script, how, name);
    let ours = format!("{VOLUME}; mkdir volume/ours; chown {USER} volume/ours");
    let Some(good) = say(true, &ours, "directory", "volume/ours/agent") else { return };
    assert_eq!(good, "good");
    for (script, how, name) in [
        (ours.as_str(), "output", "volume/ours"),
        (&ours, "look", "volume/ours"),
        (VOLUME, "output", "volume/new"),
        (VOLUME, "look", "volume/new"),
        (VOLUME, "directory", "volume/new"),
        (VOLUME, "output", "volume/new/web"),
        (&format!("{ours}; chmod g+s volume"), "output", "volume/ours/web"),
    ] {
        assert_eq!(say(true, script, how, name).unwrap(), "good", "{how} {name}");
    }
    let volume = format!("the directory {} can be changed by other users", tree.at("volume").display());
    let link = format!("{ours}; ln -s /etc volume/link");
    let file = format!("{VOLUME}; echo x > volume/key");
    for (container, script, how, name) in [
        (false, ours.as_str(), "directory", "volume/ours"),
        (true, VOLUME, "directory", "volume"),
        (true, VOLUME, "directory", "volume/theirs/x"),
        (true, VOLUME, "output", "volume/theirs"),
        (true, VOLUME, "look", "volume/theirs"),
        (true, &link, "directory", "volume/link"),
        (true, &file, "file", "volume/key"),
        (
            true,
            &format!("mkdir -p volume/ours; chown {USER} volume/ours; chmod 777 volume"),
            "directory",
            "volume/ours",
        ),
    ] {
        let said = say(container, script, how, name).unwrap();
        assert!(said.starts_with(&volume), "{how} {name}: {said}");
    }
}

#[test]
fn a_directory_that_may_be_entered_and_not_read_is_good_above_an_output() {
    let Some(tree) = Tree::new() else { return };
    let tree = tree.with("private", 0, GROUP, 0o710).with("private/out", USER, GROUP, 0o700);
    let Some(said) = tree.say(USER, false, "true", "output", "private/out") else { return };
    assert_eq!(said, "good");
}

#[test]
fn a_directory_of_somebody_outside_is_good_only_at_the_top_or_as_a_mount_point() {
    let Some(tree) = Tree::new() else { return };
    let tree = tree.with("theirs", 7, 7, 0o755).with("theirs/file", 0, 0, 0o600);
    // In a namespace of root alone user 7 is the overflow user.
    let reach = |script: &str| {
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-c", &format!("set -e; cd \"$T\"; mount --bind \"$E\" program; {script}; cd /; exec unshare --user --map-root-user \"$0\" --exact \"$1\" --nocapture")])
            .arg(tree.at("program"))
            .arg("exceptions::tests::child_that_reaches")
            .env("BOUNDKEY_TEST_REACH", tree.at("theirs/file"))
            .env("BOUNDKEY_TEST_HOW", "file")
            .env("T", &tree.base)
            .env("E", std::env::current_exe().unwrap())
            .output();
        let output = output.ok().filter(|output| output.status.success())?;
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().find_map(|line| line.split_once("said ")).map(|(_, said)| said.to_owned())
    };
    let (Some(deep), Some(mounted)) = (reach("true"), reach("mount --bind theirs theirs")) else {
        return println!("SKIP: no user namespaces here");
    };
    let start = format!("the directory {} belongs to user 65534", tree.at("theirs").display());
    assert!(deep.starts_with(&start), "{deep}");
    assert_eq!(mounted, "good");
}
