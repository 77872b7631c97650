//! Which machine this is: a hash for the state file, and the facts that go into a join.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use boundkey_proto::MachineFacts;
use boundkey_token::RoleSet;
use rustix::fs::{AtFlags, CWD, StatxFlags};

/// Ids that many machines share: they say nothing.
const SHARED_IDS: [&str; 3] = [
    // Whonix and Kicksecure give it to everybody on purpose, and hardening guides repeat it.
    "b08dfa6083e7567a1921a715000001fb",
    // The MD5 sum of nothing: what `md5sum < /dev/null` leaves.
    "d41d8cd98f00b204e9800998ecf8427e",
    // Of examples.
    "0123456789abcdef0123456789abcdef",
];
/// SHA-256 of a label and the machine's id, base64url. None where there is no id that lasts: nothing can be compared then.
///
/// | found | taken for |
/// |---|---|
/// | `/etc/machine-id` on a disk | the machine's id |
/// | a mount over it, a file in memory, the same as `/run/machine-id` | an id of this boot: none |
/// | empty, `uninitialized`, one digit repeated, an id that many share | none |
/// | no such file | as above for `/var/lib/dbus/machine-id` |
/// | a container | none |
pub fn machine_hash() -> Option<String> {
    if boundkey_files::in_container() { None } else { hash_below(Path::new("/")) }
}

/// The same for a system whose root is here.
fn hash_below(root: &Path) -> Option<String> {
    if boundkey_files::is_container_root(root) {
        return None;
    }
    // Where systemd keeps an id, its word counts, whatever it says: ids of two sources cannot be compared.
    let places = ["etc/machine-id", "var/lib/dbus/machine-id"].map(|place| root.join(place));
    let file = places.iter().find(|place| place.symlink_metadata().is_ok())?;
    let id = read_id(file)?;
    if read_id(&root.join("run/machine-id")).as_ref() == Some(&id) || is_of_this_boot(file) {
        return None;
    }
    let hash = boundkey_keys::sha256(&[b"boundkey machine v1\0", id.as_bytes()]);
    Some(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(hash))
}

/// An id that can be one machine's. An image that was never booted says `uninitialized`.
fn read_id(file: &Path) -> Option<String> {
    let id = std::fs::read_to_string(file).ok()?.trim().to_ascii_lowercase();
    let first = id.chars().next()?;
    let is_id = id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
    let says_nothing = id.chars().all(|c| c == first) || SHARED_IDS.contains(&id.as_str());
    (is_id && !says_nothing).then_some(id)
}

/// Over a read-only `/etc`, systemd mounts a fresh id at each boot; systems that live in memory make one anew.
fn is_of_this_boot(file: &Path) -> bool {
    let Ok(file) = file.canonicalize() else { return true };
    let Some(above) = file.parent() else { return true };
    let mount = |path: &Path| {
        let found = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
        (found.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(found.stx_mnt_id)
    };
    let mounted_over = match (mount(&file), mount(above)) {
        (Some(file), Some(above)) => file != above,
        // A kernel before 5.8.
        _ => device(&file) != device(above),
    };
    mounted_over || is_in_memory(&file)
}

fn device(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).ok().map(|found| found.dev())
}

fn is_in_memory(file: &Path) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    const OVERLAY: u64 = 0x794c_7630;
    let kind = |path: &Path| {
        // The width of the field differs between machines; the number itself has 32 bits.
        rustix::fs::statfs(path).ok().map(|found| found.f_type as u64 & 0xffff_ffff)
    };
    let in_memory = |path: &Path| matches!(kind(path), Some(TMPFS | RAMFS));
    if kind(file) != Some(OVERLAY) {
        return in_memory(file);
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // What cannot be looked at lies below what was mounted over it at the boot: `overlayroot` keeps it in memory.
    upper_directory(&mounts, file).is_some_and(|upper| kind(&upper).is_none() || in_memory(&upper))
}

/// Where an overlay keeps what is written: `upperdir` of the mount that the file lies in.
fn upper_directory(mounts: &str, file: &Path) -> Option<PathBuf> {
    let (_, line) = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4).map(|at| (unescaped(at), line)))
        .filter(|(at, _)| file.starts_with(at))
        // Of two at one place the later one lies above.
        .max_by_key(|(at, _)| at.as_os_str().len())?;
    let options = line.split(' ').next_back()?;
    options.split(',').find_map(|option| option.strip_prefix("upperdir=")).map(unescaped)
}

/// The kernel writes blanks, commas and the like as a backslash and three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let (mut bytes, mut left) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, rest)) = left.split_first() {
        let escaped = (*first == b'\\')
            .then(|| rest.first_chunk::<3>())
            .flatten()
            .filter(|digits| digits.iter().all(|digit| (b'0'..=b'7').contains(digit)))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(escaped.unwrap_or(*first));
        left = if escaped.is_some() { &rest[3..] } else { rest };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// The state was made on another machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "state of another machine: it would pass for a clone of that machine. Run `boundkey-agent forget` to enrol this one \
     anew. If the disk was moved here and the other machine is gone, start once with `--accept-machine`; where machine ids \
     do not last, set `machine_check: off` in the configuration"
)]
pub struct OtherMachine;

/// What is to be stored as the state's machine.
///
/// # Errors
/// [`OtherMachine`] if the state names another machine and the operator did not accept this one.
pub fn check_machine(
    stored: Option<&str>,
    here: Option<&str>,
    accept: bool,
) -> Result<Option<String>, OtherMachine> {
    match (stored, here) {
        (Some(stored), Some(here)) if stored != here && !accept => Err(OtherMachine),
        // A machine without an id that lasts keeps the state's: nothing can be compared.
        (Some(stored), None) => Ok(Some(stored.to_owned())),
        (_, here) => Ok(here.map(ToOwned::to_owned)),
    }
}

/// What the agent says of its machine, cut so that all of it stays well under 1 KiB; no more than it must if the rest is to
/// stay at home.
pub fn machine_facts(version: &str, roles: &RoleSet, all: bool) -> MachineFacts {
    if !all {
        return MachineFacts { version: cut(version), roles: roles.clone(), ..MachineFacts::default() };
    }
    let uname = rustix::system::uname();
    MachineFacts {
        hostname: cut(&uname.nodename().to_string_lossy()),
        os: cut(&os_name().unwrap_or_else(|| uname.sysname().to_string_lossy().into_owned())),
        arch: cut(std::env::consts::ARCH),
        version: cut(version),
        roles: roles.clone(),
    }
}

fn os_name() -> Option<String> {
    let text = std::fs::read_to_string("/etc/os-release").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    let name = line.trim().trim_matches(['"', '\'']);
    (!name.is_empty()).then(|| name.to_owned())
}

/// Of a fact, in bytes: four of them and the roles stay below the 1024 that a request may hold.
const MOST: usize = 240;

/// What may be shown anywhere, cut.
fn cut(text: &str) -> String {
    let mut text = boundkey_text::clean(text, 128);
    text.truncate(text.floor_char_boundary(MOST));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_of_another_machine_is_refused_unless_accepted() {
        assert_eq!(check_machine(Some("a"), Some("b"), false), Err(OtherMachine));
        assert_eq!(check_machine(Some("a"), Some("b"), true), Ok(Some("b".to_owned())));
        assert_eq!(check_machine(Some("a"), Some("a"), false), Ok(Some("a".to_owned())));
    }

    #[test]
    fn a_machine_without_an_id_is_not_taken_for_another() {
        assert_eq!(check_machine(Some("a"), None, false), Ok(Some("a".to_owned())));
        assert_eq!(check_machine(None, None, false), Ok(None));
        assert_eq!(check_machine(None, Some("b"), false), Ok(Some("b".to_owned())));
    }

    #[test]
    fn facts_may_be_shown_anywhere_and_are_cut() {
        assert_eq!(cut("a\u{1b}[0mb\u{202e}\n"), "a\\u{1b}[0mb\\u{202e}\\n");
        assert_eq!(cut(&"x".repeat(1000)), "x".repeat(128) + "...");
        assert_eq!(cut(&"東".repeat(1000)), "東".repeat(80));
    }

    const ID: &str = "3d1219c7c4c5404aaa1f6d2a48adfda4";

    /// A system of its own, on a disk: temporary directories may lie in memory.
    struct System(tempfile::TempDir);

    impl System {
        fn new() -> Self {
            let disk = std::env::current_exe().unwrap().parent().unwrap().to_owned();
            let system = Self(tempfile::tempdir_in(disk).unwrap());
            for dir in ["etc", "run/systemd", "run/host", "var/lib/dbus", "data"] {
                std::fs::create_dir_all(system.path(dir)).unwrap();
            }
            system
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn with(self, name: &str, content: &str) -> Self {
            std::fs::write(self.path(name), content).unwrap();
            self
        }

        fn hash(&self) -> Option<String> {
            hash_below(self.0.path())
        }
    }

    #[test]
    fn an_id_on_a_disk_is_the_machines() {
        let hash = System::new().with("etc/machine-id", ID).hash();
        assert_eq!(hash.as_ref().map(String::len), Some(43));
        let same = [format!("{ID}\n"), ID.to_uppercase()];
        for text in &same {
            assert_eq!(System::new().with("etc/machine-id", text).hash(), hash, "{text}");
        }
        assert_eq!(System::new().with("var/lib/dbus/machine-id", ID).hash(), hash, "without systemd");
        assert_ne!(System::new().with("etc/machine-id", &ID.replace('3', "4")).hash(), hash);
        let linked = System::new().with("data/machine-id", ID);
        std::os::unix::fs::symlink("../data/machine-id", linked.path("etc/machine-id")).unwrap();
        std::os::unix::fs::symlink("/etc/machine-id", linked.path("var/lib/dbus/machine-id")).unwrap();
        assert_eq!(linked.hash(), hash);
    }

    #[test]
    fn what_many_machines_share_or_none_has_is_no_id() {
        let none = [
            "",
            "\n",
            "uninitialized\n",
            "00000000000000000000000000000000\n",
            "ffffffffffffffffffffffffffffffff",
            "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF",
            "0123456789ABCDEF0123456789abcdef\n",
            "b08dfa6083e7567a1921a715000001fb\n",
            "d41d8cd98f00b204e9800998ecf8427e\n",
            "3d1219c7-c4c5-404a-aa1f-6d2a48adfda4",
            "3d1219c7c4c5404aaa1f6d2a48adfda",
        ];
        for text in none {
            let system = System::new().with("etc/machine-id", text).with("var/lib/dbus/machine-id", ID);
            assert_eq!(system.hash(), None, "{text}");
        }
        assert_eq!(System::new().hash(), None);
    }

    #[test]
    fn an_id_of_this_boot_is_no_id() {
        let system = System::new().with("etc/machine-id", ID).with("run/machine-id", &format!("{ID}\n"));
        assert_eq!(system.hash(), None);
        let other = ID.replace('3', "4");
        assert!(System::new().with("etc/machine-id", ID).with("run/machine-id", &other).hash().is_some());
        let dangling = System::new().with("var/lib/dbus/machine-id", ID);
        std::os::unix::fs::symlink("/nowhere/machine-id", dangling.path("etc/machine-id")).unwrap();
        assert_eq!(dangling.hash(), None);
    }

    #[test]
    fn within_a_container_there_is_no_id() {
        for mark in ["run/systemd/container", "run/.containerenv", "run/host/container-manager"] {
            assert_eq!(System::new().with("etc/machine-id", ID).with(mark, "").hash(), None, "{mark}");
        }
    }

    /// The process of the test below: in a mount namespace of its own.
    #[test]
    fn child_that_tells_the_hash() {
        let Some(root) = std::env::var_os("BOUNDKEY_TEST_ROOT") else { return };
        println!("hash {:?}", hash_below(Path::new(&root)));
    }

    #[test]
    fn an_id_that_is_mounted_over_or_lies_in_memory_is_no_id() {
        let system = System::new().with("etc/machine-id", ID).with("data/fresh", &ID.replace('3', "4"));
        let child = std::env::current_exe().unwrap();
        let tell = |mount: &str| {
            let script = format!(
                "set -e; cd \"$BOUNDKEY_TEST_ROOT\"; {mount}; exec \"$0\" --exact \"$1\" --nocapture"
            );
            let output = std::process::Command::new("unshare")
                .args(["--mount", "sh", "-c", &script])
                .arg(&child)
                .arg("machine::tests::child_that_tells_the_hash")
                .env("BOUNDKEY_TEST_ROOT", system.0.path())
                .output();
            let output = output.ok().filter(|output| output.status.success())?;
            let text = String::from_utf8(output.stdout).unwrap();
            text.lines().find(|line| line.contains("hash ")).map(|line| line.contains("hash Some"))
        };
        if tell("mount -t tmpfs none data") != Some(true) {
            println!("SKIP: no mount namespaces here");
            return;
        }
        for (mount, what) in [
            ("mount --bind data/fresh etc/machine-id", "a mount over the file"),
            ("mount --bind etc/machine-id etc/machine-id", "a mount of the same file system"),
            ("cp etc/machine-id data; mount -t tmpfs none etc; cp data/machine-id etc", "memory"),
            (
                "mount -t tmpfs none data; mkdir data/u data/w; mount -t overlay -o \
                 lowerdir=etc,upperdir=$PWD/data/u,workdir=$PWD/data/w none etc",
                "an overlay that is written in memory",
            ),
            (
                "mkdir -p data/over/u data/over/w; mount -t overlay -o \
                 lowerdir=etc,upperdir=$PWD/data/over/u,workdir=$PWD/data/over/w none etc; mount -t tmpfs none data",
                "an overlay whose upper directory is hidden",
            ),
        ] {
            match tell(mount) {
                Some(found) => assert!(!found, "{what}"),
                None => println!("SKIP: cannot make {what}"),
            }
        }
    }

    #[test]
    fn an_overlays_upper_directory_is_that_of_the_mount_in_which_the_file_lies() {
        let mounts = "1 0 0:1 / / rw - overlay root rw,lowerdir=/l,upperdir=/run/all,workdir=/w\n\
                      2 1 0:2 / /etc rw - overlay etc rw,upperdir=/run/etc,workdir=/w\n\
                      3 1 0:3 / /etcetera rw - ext4 /dev/sda rw\n";
        let upper = |file| upper_directory(mounts, Path::new(file));
        assert_eq!(upper("/etc/machine-id"), Some("/run/etc".into()));
        assert_eq!(upper("/var/lib/dbus/machine-id"), Some("/run/all".into()));
        assert_eq!(upper("/etcetera/x"), None);
        let blanks = "1 0 0:1 / / rw - overlay root rw,lowerdir=/l,upperdir=/my\\040disk\\054/x,workdir=/w\n\
                      2 1 0:2 / /a\\040b rw - overlay b rw,upperdir=/c\\134d\\9,workdir=/w\n";
        let upper = |file| upper_directory(blanks, Path::new(file));
        assert_eq!(upper("/etc/machine-id"), Some("/my disk,/x".into()));
        assert_eq!(upper("/a b/machine-id"), Some("/c\\d\\9".into()));
    }

    #[test]
    fn facts_that_stay_at_home_are_empty() {
        let roles = RoleSet::new([boundkey_token::Role::Node]);
        let facts = machine_facts("1.0", &roles, false);
        assert_eq!(facts, MachineFacts { version: "1.0".to_owned(), roles, ..MachineFacts::default() });
    }
}
