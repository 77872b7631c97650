use std::os::unix::fs::MetadataExt as _;

use super::*;

fn names(path: &Path) -> Vec<String> {
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(path).unwrap().map(name).collect();
    names.sort();
    names
}

#[test]
fn a_failing_write_leaves_the_old_content_and_no_file() {
    let root = tempfile::tempdir().unwrap();
    // A directory in the way makes the rename fail, after everything was written.
    let target = root.path().join("busy");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("x"), "x").unwrap();
    assert!(matches!(write_atomically(&target, b"new", 0o600), Err(FileError::Io { .. })));
    assert_eq!(names(root.path()), ["busy"]);
    assert_eq!(fs::read_to_string(target.join("x")).unwrap(), "x");
    let missing = write_atomically(&root.path().join("none/file"), b"new", 0o600).unwrap_err();
    assert_eq!(missing.to_string(), format!("cannot write {}/none/file", root.path().display()));
}

#[test]
fn a_written_file_has_exactly_the_mode_asked_for() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    for wanted in [0o600, 0o640, 0o644, 0o400] {
        write_atomically(&file, b"content", wanted).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, wanted);
        assert_eq!(fs::read(&file).unwrap(), b"content");
    }
    assert_eq!(names(root.path()), ["file"]);
}

#[test]
fn leftovers_of_a_crash_are_removed_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    for name in [".state.json.Ab12cd.tmp", ".status.json.Zz09yy.tmp", ".static.key.aaaaaa.tmp"] {
        fs::write(root.path().join(name), "x").unwrap();
    }
    let others = [
        "..aaaaaa.tmp",
        ".aaaaaa.tmp",
        ".identity.x.tmp",
        "notes",
        "state.json.Ab12cd.tmp",
        "state.json.bak",
    ];
    for name in others {
        fs::write(root.path().join(name), "x").unwrap();
    }
    remove_leftovers(root.path()).unwrap();
    assert_eq!(names(root.path()), others);
}
