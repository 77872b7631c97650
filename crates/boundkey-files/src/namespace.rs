//! User namespaces: what belongs to somebody outside shows as the overflow user.

use std::fs::read_to_string;

/// Whether this is the overflow user in a namespace that has no such user itself: the owner is outside. It may be anybody
/// there, so only what whoever made the namespace put there is good: `/`, what is at the top, and mount points.
pub(crate) fn is_outside(owner: u32) -> bool {
    let read = |path| read_to_string(path).unwrap_or_default();
    read("/proc/sys/kernel/overflowuid").trim().parse() == Ok(owner)
        && is_unmapped(owner, &read("/proc/self/uid_map"))
}

/// Lines of `FIRST-INSIDE FIRST-OUTSIDE COUNT`. Without any nothing is known, and nothing is allowed by it.
fn is_unmapped(user: u32, map: &str) -> bool {
    let mut lines = map.lines().map(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u64>);
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(first)), Some(Ok(_)), Some(Ok(count))) => Some(first..first.saturating_add(count)),
            _ => None,
        }
    });
    let mut any = false;
    lines.all(|range| {
        any = true;
        range.is_some_and(|range| !range.contains(&u64::from(user)))
    }) && any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_outside_only_of_a_namespace_that_has_none_of_its_number() {
        assert!(is_unmapped(65534, "         0       1000          1\n"));
        assert!(is_unmapped(65534, "0 100000 65534\n"));
        assert!(!is_unmapped(65534, "0 100000 65536\n"), "it is one of its own");
        assert!(!is_unmapped(65534, "0 0 4294967295\n"), "no namespace at all");
        assert!(!is_unmapped(65534, "") && !is_unmapped(65534, "0 1000\n") && !is_unmapped(65534, "x\n"));
        assert!(!is_outside(0) && !is_outside(rustix::process::geteuid().as_raw()));
    }
}
