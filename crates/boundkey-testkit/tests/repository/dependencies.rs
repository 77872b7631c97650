//! Holds what the workspace is built from against `deny.toml`: licences, crates that are banned, sources.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use toml_edit::DocumentMut;

use super::root;

struct Package {
    name: String,
    licence: String,
}

/// What is built here, tests included. (The lock file also names what features that nobody asks for would bring.)
fn packages() -> Vec<Package> {
    let tree =
        ["tree", "--workspace", "--offline", "--prefix", "none", "--format", "{p}|{l}", "--edges", "all"];
    let output =
        Command::new(env!("CARGO")).args(tree).current_dir(root()).output().expect("cargo tree runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).expect("names");
    let packages: Vec<Package> = tree
        .lines()
        .filter_map(|line| line.split_once('|'))
        .map(|(package, licence)| Package {
            name: package.split(' ').next().unwrap_or_default().to_owned(),
            licence: licence.trim_end_matches(" (*)").to_owned(),
        })
        .collect();
    assert!(packages.iter().any(|package| package.name == "ring"), "the tree was read");
    packages
}

fn rules() -> DocumentMut {
    let text = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    text.parse().expect("TOML")
}

/// `(MIT OR Apache-2.0) AND Unicode-3.0`; older crates write `MIT/Apache-2.0`. `AND` binds closer than `OR`.
fn is_allowed(licence: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = licence.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    either(&words, &mut at, allowed) && at == words.len()
}

fn either(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut holds = all(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        holds |= all(words, at, allowed);
    }
    holds
}

fn all(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut holds = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        holds &= one(words, at, allowed);
    }
    holds
}

fn one(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let word = words.get(*at).copied().unwrap_or_default();
    *at += 1;
    if word == "(" {
        let holds = either(words, at, allowed);
        *at += 1;
        return holds;
    }
    // An exception is a licence of its own.
    if words.get(*at) == Some(&"WITH") {
        let name = format!("{word} WITH {}", words.get(*at + 1).copied().unwrap_or_default());
        *at += 2;
        return allowed.contains(&name);
    }
    allowed.contains(word)
}

#[test]
fn every_licence_is_one_that_is_allowed() {
    let rules = rules();
    let allowed = rules["licenses"]["allow"].as_array().expect("a list");
    let allowed: BTreeSet<String> = allowed.iter().filter_map(|v| v.as_str()).map(str::to_owned).collect();
    let refused: BTreeMap<String, String> = packages()
        .into_iter()
        .filter(|package| !is_allowed(&package.licence, &allowed))
        .map(|package| (package.name, package.licence))
        .collect();
    assert!(refused.is_empty(), "allowed by deny.toml: {allowed:?}; not allowed: {refused:?}");

    for (licence, holds) in [
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("MIT AND GPL-3.0 OR ISC", true),
        ("(MIT OR GPL-3.0) AND GPL-2.0", false),
        ("GPL-2.0 WITH Classpath-exception-2.0", false),
        ("GPL-3.0/MIT", true),
        ("MIT)", false),
        ("", false),
    ] {
        assert_eq!(is_allowed(licence, &allowed), holds, "{licence}");
    }
}

#[test]
fn nothing_that_is_banned_is_built_in() {
    let rules = rules();
    let banned = rules["bans"]["deny"].as_array().expect("a list");
    let banned: BTreeSet<&str> =
        banned.iter().filter_map(|ban| ban.as_inline_table()?.get("crate")?.as_str()).collect();
    assert!(banned.contains("aws-lc-sys") && banned.contains("rsa"), "{banned:?}");
    let found: Vec<String> =
        packages().into_iter().map(|p| p.name).filter(|name| banned.contains(name.as_str())).collect();
    assert!(found.is_empty(), "banned by deny.toml: {found:?}; `cargo tree -i NAME` says who wants it");
}

#[test]
fn everything_comes_from_the_one_registry() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock");
    let sources: BTreeSet<&str> = lock.lines().filter(|line| line.starts_with("source = ")).collect();
    assert!(
        sources.len() == 1 && sources.iter().all(|s| s.starts_with("source = \"registry+")),
        "{sources:?}"
    );
}
