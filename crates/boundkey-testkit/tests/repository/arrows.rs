//! Holds the arrow table of `docs/architecture.md` against what `cargo metadata` says, and what may be built into what.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use super::root;

type Arrows = BTreeMap<String, BTreeSet<String>>;

fn written() -> Arrows {
    let page = std::fs::read_to_string(root().join("docs/architecture.md")).expect("docs/architecture.md");
    let table = page
        .split("<!-- arrows:")
        .nth(1)
        .and_then(|rest| rest.split("<!-- end of arrows -->").next())
        .expect("the marked table");
    table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| crate"))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let targets = cells[1].split(',').map(str::trim).filter(|name| !name.is_empty());
            (cells[0].to_owned(), targets.map(str::to_owned).collect())
        })
        .collect()
}

fn metadata() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

fn built() -> Arrows {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let ours: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    packages
        .iter()
        .map(|package| {
            let name = package["name"].as_str().expect("a name").to_owned();
            let dependencies = package["dependencies"].as_array().expect("dependencies");
            // `kind` is null for ordinary dependencies; tests may use more.
            let targets = dependencies
                .iter()
                .filter(|dependency| dependency["kind"].is_null())
                .filter_map(|dependency| dependency["name"].as_str())
                .filter(|name| ours.contains(name))
                .map(str::to_owned)
                .collect();
            (name, targets)
        })
        .collect()
}

#[test]
fn no_crate_depends_on_more_of_ours_than_the_table_allows() {
    let written = written();
    for (name, targets) in built() {
        let Some(allowed) = written.get(&name) else { panic!("{name} is missing from the arrow table") };
        let surplus: Vec<_> = targets.difference(allowed).collect();
        assert!(surplus.is_empty(), "{name} depends on {surplus:?}, which the arrow table does not allow");
    }
}

#[test]
fn the_table_names_no_crate_that_does_not_exist() {
    let built = built();
    for (name, targets) in written() {
        assert!(built.contains_key(&name), "the arrow table names {name}, which is no crate");
        for target in targets {
            assert!(built.contains_key(&target), "the arrow table names {target}, which is no crate");
        }
    }
}

#[test]
fn the_arrows_have_no_cycle() {
    let written = written();
    let mut done: BTreeSet<String> = BTreeSet::new();
    while done.len() < written.len() {
        let ready: Vec<String> = written
            .iter()
            .filter(|(name, targets)| !done.contains(*name) && targets.is_subset(&done))
            .map(|(name, _)| name.clone())
            .collect();
        assert!(
            !ready.is_empty(),
            "a cycle among {:?}",
            written.keys().filter(|name| !done.contains(*name)).collect::<Vec<_>>()
        );
        done.extend(ready);
    }
}

#[test]
fn serde_yaml_stays_in_boundkey_document() {
    for package in metadata()["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        let uses = package["dependencies"]
            .as_array()
            .expect("dependencies")
            .iter()
            .any(|d| d["name"] == "serde_yaml");
        assert_eq!(
            uses,
            name == "boundkey-document",
            "{name}: serde_yaml belongs in boundkey-document alone"
        );
    }
}

/// The feature that makes proofs without signatures, and signatures that always hold.
const TESTING: &str = "testing";

#[test]
fn nothing_but_tests_and_the_fuzz_workspace_can_take_signatures_for_granted() {
    for package in metadata()["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let enabled = dependency["features"].as_array().expect("features");
            let enables = dependency["name"] == "boundkey-keys" && enabled.iter().any(|f| f == TESTING);
            assert!(
                !enables || dependency["kind"] == "dev",
                "{name} enables `{TESTING}` of boundkey-keys outside its tests"
            );
        }
        for (feature, implied) in package["features"].as_object().expect("features") {
            for other in implied.as_array().expect("names").iter().filter_map(serde_json::Value::as_str) {
                let of_keys = other.starts_with("boundkey-keys") && other.ends_with(TESTING);
                let own = name == "boundkey-keys" && other == TESTING;
                assert!(!of_keys && !own, "the feature `{feature}` of {name} implies `{TESTING}`");
            }
        }
    }
    // What cargo makes of it, for every program and every crate that somebody may embed.
    let tree = |edges: &str| {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--workspace", "--offline", "--all-features", "--prefix", "none"])
            .args(["--exclude", "boundkey-keys", "--format", "{p} [{f}]", "--edges", edges])
            .current_dir(root())
            .output()
            .expect("cargo tree runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tree = String::from_utf8(output.stdout).expect("names");
        let keys = tree.lines().filter(|line| line.starts_with("boundkey-keys ")).map(str::to_owned);
        keys.collect::<BTreeSet<_>>()
    };
    let (products, with_tests) = (tree("normal,build"), tree("normal,build,dev"));
    assert!(!products.is_empty(), "the tree was read");
    assert!(products.iter().all(|line| !line.contains(TESTING)), "{products:?}");
    assert!(with_tests.iter().any(|line| line.contains(TESTING)), "tests have it: {with_tests:?}");
}
