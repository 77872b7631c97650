//! The Debian packages that the tests with real components need.

use std::process::Command;

use anyhow::{Result, bail};

use crate::process::{find, run};

/// (program, package): present means the program is found.
const PROGRAMS: &[(&str, &str)] = &[
    ("openssl", "openssl"),
    ("ssh-keygen", "openssh-client"),
    ("sshd", "openssh-server"),
    ("curl", "curl"),
    ("faketime", "faketime"),
    ("fiu-run", "fiu-utils"),
    ("nginx", "nginx-light"),
    ("setfacl", "acl"),
    ("strace", "strace"),
];

/// The check of the protocol's vectors in another language: the system's Python with this package.
const PYTHON_PACKAGE: &str = "python3-cryptography";

fn missing() -> Vec<&'static str> {
    let mut missing: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| find(program).is_none()).map(|(_, package)| *package).collect();
    let imports = Command::new("/usr/bin/python3").args(["-c", "import cryptography"]).output();
    if !imports.is_ok_and(|output| output.status.success()) {
        missing.push(PYTHON_PACKAGE);
    }
    missing
}

/// Installs what is missing when run as root; otherwise names it.
pub(crate) fn ensure() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!("apt-get install -y --no-install-recommends {}", missing.join(" "));
    let root = std::process::Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    if !root || find("apt-get").is_none() {
        bail!("packages are missing for the tests with real components; install them first: {by_hand}");
    }
    println!("xtask: installing {}", missing.join(", "));
    run(Command::new("apt-get").args(["-o", "DPkg::Lock::Timeout=180", "-qq", "update"]))?;
    run(Command::new("apt-get")
        .args(["-o", "DPkg::Lock::Timeout=180", "-qq", "install", "-y", "--no-install-recommends"])
        .args(&missing)
        .env("DEBIAN_FRONTEND", "noninteractive"))
}
