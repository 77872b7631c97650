//! Which machine this is: a hash for the state file, and the facts that go into a join.

use std::path::Path;

use base64::Engine as _;
use boundkey_proto::MachineFacts;
use boundkey_token::RoleSet;

/// The files that hold a machine's id, in the order in which they are tried.
const ID_FILES: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/// SHA-256 of a label and the machine's id, base64url; None where the machine has no id (a container, mostly).
pub fn machine_hash() -> Option<String> {
    ID_FILES.iter().find_map(|file| hash_of_file(Path::new(file)))
}

fn hash_of_file(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let id = text.trim();
    // An image that was never booted says `uninitialized`: no id of a machine.
    if id.len() != 32 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let hash = boundkey_keys::sha256(&[b"boundkey machine v1\0", id.as_bytes()]);
    Some(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(hash))
}

/// The state was made on another machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "state of another machine: it would pass for a clone of that machine. Run `boundkey-agent forget` to enrol this one \
     anew, or start once with `--accept-machine` if the disk was moved and the other machine is gone"
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
        // A machine that lost its id (or a container) keeps the state's: nothing can be compared.
        (Some(stored), None) => Ok(Some(stored.to_owned())),
        (_, here) => Ok(here.map(ToOwned::to_owned)),
    }
}

/// What the agent says of its machine, cut so that all of it stays well under 1 KiB.
pub fn machine_facts(version: &str, roles: &RoleSet) -> MachineFacts {
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

/// At most 128 characters, without control characters.
fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(128).collect()
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
    fn facts_hold_no_control_characters_and_are_cut() {
        assert_eq!(cut("a\u{1b}[0mb\n"), "a[0mb");
        assert_eq!(cut(&"x".repeat(1000)).len(), 128);
    }

    #[test]
    fn an_uninitialised_machine_id_is_no_id() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("machine-id");
        std::fs::write(&file, "uninitialized\n").unwrap();
        assert_eq!(hash_of_file(&file), None);
        std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
        assert_eq!(hash_of_file(&file).map(|h| h.len()), Some(43));
    }
}
