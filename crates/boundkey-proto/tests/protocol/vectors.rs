//! Files under `docs/vectors`: made here, compared, read back.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::{answers, bundles, completes, ids, proofs, requests, secrets, states};

/// Every file, as this code makes it.
fn all() -> Vec<(&'static str, Value)> {
    vec![
        ("answers.json", answers::file()),
        ("bundles.json", bundles::file()),
        ("completes.json", completes::file()),
        ("ids.json", ids::file()),
        ("proofs.json", proofs::file()),
        ("requests.json", requests::file()),
        ("secrets.json", secrets::file()),
        ("states.json", states::file()),
    ]
}

pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

fn writes() -> bool {
    std::env::var_os("BOUNDKEY_WRITE_VECTORS").is_some()
}

fn read(name: &str) -> Value {
    let path = path("vectors").join(name);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).expect("JSON")
}

/// The cases of a file as it stands in `docs/vectors` (or as it is being written there).
pub(crate) fn cases(name: &str) -> Vec<Value> {
    let file = if writes() {
        all().into_iter().find(|(made, _)| *made == name).expect("a file of ours").1
    } else {
        read(name)
    };
    let cases = file["cases"].as_array().expect("cases").clone();
    assert!(!cases.is_empty(), "{name} has no cases");
    cases
}

pub(crate) fn text<'a>(case: &'a Value, member: &str) -> &'a str {
    case[member].as_str().unwrap_or_else(|| panic!("{}: no text `{member}`", case["name"]))
}

/// A file's frame.
pub(crate) fn frame(about: &str, given: Value, cases: Vec<Value>) -> Value {
    let mut names: Vec<&str> = cases.iter().map(|case| text(case, "name")).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), cases.len(), "every case has a name of its own");
    json!({"about": about, "chapter": "docs/protocol.md", "given": given, "cases": cases})
}

#[test]
fn the_files_are_what_this_code_makes() {
    for (name, made) in all() {
        if writes() {
            let directory = path("vectors");
            std::fs::create_dir_all(&directory).expect("docs/vectors");
            let text = serde_json::to_string_pretty(&sorted(&made)).expect("JSON") + "\n";
            std::fs::write(directory.join(name), text).expect("docs/vectors is writable");
        } else {
            assert_eq!(read(name), made, "{name}: to be written anew by BOUNDKEY_WRITE_VECTORS=1");
        }
    }
}

/// The same files, checked by an implementation in another language that was written from the chapter.
#[test]
fn another_implementation_agrees_with_every_case() {
    if writes() {
        return;
    }
    let script = path("vectors").join("check.py");
    // The system's Python first: that is the one for which packages are installed.
    let pythons = ["/usr/bin/python3", "python3"].into_iter();
    let mut runs = pythons.filter_map(|python| std::process::Command::new(python).arg(&script).output().ok());
    let Some(output) = runs.find(|output| output.status.code() != Some(77)) else {
        println!("SKIP: python3 with the package cryptography is not installed");
        return;
    };
    let printed = String::from_utf8_lossy(&output.stdout);
    match output.status.code() {
        Some(0) => {}
        status => panic!("{status:?}\n{printed}{}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// Members in alphabetical order, whatever order this build of the JSON library keeps.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|a, b| a.0.cmp(b.0));
            Value::Object(members.into_iter().map(|(name, value)| (name.clone(), sorted(value))).collect())
        }
        Value::Array(entries) => Value::Array(entries.iter().map(sorted).collect()),
        other => other.clone(),
    }
}
