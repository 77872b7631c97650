//! Private groups: where every user has a group of its own, a umask of 002 opens nothing to anybody.

use std::fs::read_to_string;

/// Whether a user is the only one in a group, as far as the local files say. (Debian's sshd asks the same.)
pub(crate) fn is_private(group: u32, user: u32) -> bool {
    let read = |path| read_to_string(path).unwrap_or_default();
    is_alone(user, group, &read("/etc/passwd"), &read("/etc/group"))
}

/// A group that the files do not know may have members that a directory service knows.
fn is_alone(user: u32, group: u32, passwd: &str, groups: &str) -> bool {
    let fields = |line: &str| line.split(':').map(ToOwned::to_owned).collect::<Vec<_>>();
    let number = |line: &[String], at: usize| line.get(at).and_then(|text| text.parse::<u32>().ok());
    let users: Vec<Vec<String>> = passwd.lines().map(fields).collect();
    let mut of_it = users.iter().filter(|line| number(line, 3) == Some(group)).peekable();
    let by_default = of_it.peek().is_some() && of_it.all(|line| number(line, 2) == Some(user));
    let is_user = |name: &str| {
        let mut named =
            users.iter().filter(|line| line.first().is_some_and(|first| first == name)).peekable();
        named.peek().is_some() && named.all(|line| number(line, 2) == Some(user))
    };
    let mut named = groups.lines().map(fields).filter(|line| number(line, 2) == Some(group)).peekable();
    by_default
        && named.peek().is_some()
        && named.all(|line| {
            line.get(3).is_some_and(|members| members.split(',').filter(|name| !name.is_empty()).all(is_user))
        })
}

#[cfg(test)]
mod tests {
    use super::is_alone;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n\
                          ben:x:1001:1001::/home/ben:/bin/sh\ncy:x:1002:1001::/home/cy:/bin/sh\n";

    #[test]
    fn a_group_is_private_if_its_user_is_the_only_one_in_it() {
        let groups = "root:x:0:\nann:x:1000:\nben:x:1001:\nstaff:x:50:\n";
        assert!(is_alone(1000, 1000, PASSWD, groups));
        assert!(!is_alone(1001, 1001, PASSWD, groups), "cy has it too");
        assert!(!is_alone(1000, 50, PASSWD, groups), "nobody is in it, as far as the files say");
        assert!(!is_alone(1000, 0, PASSWD, groups), "root's");
        assert!(!is_alone(1000, 4711, PASSWD, groups), "unknown");
        for members in ["ben", "ann,ben", "stranger"] {
            let groups = format!("ann:x:1000:{members}\n");
            assert!(!is_alone(1000, 1000, PASSWD, &groups), "{members}");
        }
        assert!(is_alone(1000, 1000, PASSWD, "ann:x:1000:ann\n"));
        assert!(!is_alone(1000, 1000, PASSWD, "ann:x:1000\n"), "a damaged line says nothing");
        assert!(!is_alone(1000, 1000, "", "") && !is_alone(1000, 1000, PASSWD, ""));
    }
}
