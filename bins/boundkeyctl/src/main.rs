//! boundkeyctl
fn main() {}
