use super::*;

#[cfg(feature = "conformance")]
#[test]
fn file_keystore_conforms() {
    let root = tempfile::tempdir().unwrap();
    let count = std::cell::Cell::new(0);
    crate::conformance::run(|| {
        count.set(count.get() + 1);
        Box::new(FileKeystore::open(&root.path().join(count.get().to_string())).unwrap())
    });
}
