//! The documentation names tests and files that exist.

use std::collections::BTreeSet;

use super::{files, root};

fn read(path: &std::path::Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Names of all functions that follow a test attribute (also within `proptest!`), anywhere in the repository.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in files(&["crates", "bins", "examples", "fuzz"], "rs") {
        let mut is_test = false;
        for line in read(&path).lines().map(str::trim) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if let Some(name) = function(line) {
                if is_test {
                    names.insert(name.to_owned());
                }
                is_test = false;
            }
        }
    }
    names
}

fn function(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("pub ").unwrap_or(line);
    let rest = rest.strip_prefix("async ").unwrap_or(rest).strip_prefix("fn ")?;
    rest.split(['(', '<']).next()
}

/// What stands between back quotes in a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The last cell of a row.
fn last_cell(row: &str) -> &str {
    row.trim_end().trim_end_matches('|').rsplit('|').next().unwrap_or_default()
}

#[test]
fn every_promise_of_the_threat_model_is_held_by_a_test_that_exists() {
    let tests = tests();
    let page = read(&root().join("docs/threat-model.md"));
    let mut promises = 0;
    let mut in_table = false;
    for line in page.lines() {
        if line.starts_with("| promise |") {
            in_table = true;
            continue;
        }
        in_table &= line.starts_with('|');
        if !in_table || line.starts_with("|---") {
            continue;
        }
        promises += 1;
        let mut named = quoted(last_cell(line)).peekable();
        assert!(named.peek().is_some(), "no test holds: {line}");
        for name in named {
            assert!(
                tests.contains(name),
                "docs/threat-model.md names the test `{name}`, which does not exist"
            );
        }
    }
    assert!(promises > 30, "{promises} promises were found; has the form of the tables changed?");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut pages = files(&["docs", "crates", "bins", "examples", "fuzz"], "md");
    pages.push(root().join("README.md"));
    for page in pages {
        let text = read(&page);
        let folder = page.parent().expect("a file stands in a folder");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            if path.is_empty() || link.contains("://") || link.contains(' ') {
                continue;
            }
            assert!(folder.join(path).exists(), "{} links to {link}, which does not exist", page.display());
        }
    }
}
