//! Containers: there, a platform opens volumes to a group or to everybody, and a machine id is an image's.

use std::path::Path;

/// Left by those who run a program in a container.
const MARKS: [&str; 3] = ["run/systemd/container", "run/.containerenv", "run/host/container-manager"];
/// Docker's mark alone says little: it stays on a disk image that was made from a container.
const WEAK_MARK: &str = ".dockerenv";
/// What such programs set for what they run, and Kubernetes for each container of a pod.
const VARIABLES: [&str; 2] = ["container", "KUBERNETES_SERVICE_HOST"];
/// The first process namespace of a kernel: whoever is in another one is in a container.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";
const OVERLAY: u64 = 0x794c_7630;

/// Whether this process runs in a container, also in one with the host's processes (`--pid=host`).
pub fn in_container() -> bool {
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok();
    namespace.is_some_and(|name| name != Path::new(FIRST_PID_NAMESPACE))
        || VARIABLES.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
        || is_container_root(Path::new("/"))
}

/// Whether a system whose root is here is a container's, by the marks that were left in it.
pub fn is_container_root(root: &Path) -> bool {
    MARKS.iter().any(|mark| root.join(mark).exists()) || root.join(WEAK_MARK).exists() && is_overlay(root)
}

fn is_overlay(path: &Path) -> bool {
    // The width of the field differs between machines; the number itself has 32 bits.
    rustix::fs::statfs(path).is_ok_and(|found| found.f_type as u64 & 0xffff_ffff == OVERLAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_makes_a_root_a_containers_and_dockers_only_on_an_overlay() {
        for (mark, container) in MARKS.iter().map(|mark| (*mark, true)).chain([(WEAK_MARK, false)]) {
            let root = tempfile::tempdir().unwrap();
            assert!(!is_container_root(root.path()));
            let mark = root.path().join(mark);
            std::fs::create_dir_all(mark.parent().unwrap()).unwrap();
            std::fs::write(&mark, "").unwrap();
            let expected = container || is_overlay(root.path());
            assert_eq!(is_container_root(root.path()), expected, "{}", mark.display());
        }
    }

    /// The process of the test below: in a mount namespace of its own.
    #[test]
    fn child_that_knows_a_container() {
        let Some(root) = std::env::var_os("BOUNDKEY_TEST_ROOT") else { return };
        println!("container {}", is_container_root(Path::new(&root)));
    }

    #[test]
    fn an_overlay_with_dockers_mark_is_a_container_whose_processes_are_the_hosts() {
        let dir = tempfile::tempdir().unwrap();
        let script = "set -e; mount -t tmpfs none \"$0\"; cd \"$0\"; mkdir l u w root; \
                      mount -t overlay -o lowerdir=l,upperdir=u,workdir=w none root; $3; \
                      BOUNDKEY_TEST_ROOT=\"$0/root\" exec \"$1\" --exact \"$2\" --nocapture";
        let tell = |before: &str| {
            let output = std::process::Command::new("unshare")
                .args(["--mount", "sh", "-c", script])
                .arg(dir.path())
                .arg(std::env::current_exe().unwrap())
                .args(["container::tests::child_that_knows_a_container", before])
                .output();
            let output = output.ok().filter(|output| output.status.success())?;
            Some(String::from_utf8(output.stdout).unwrap().contains("container true"))
        };
        match (tell("true"), tell("touch root/.dockerenv")) {
            (Some(bare), Some(marked)) => assert_eq!((bare, marked), (false, true)),
            _ => println!("SKIP: no overlays in mount namespaces here"),
        }
    }
}
