//! boundkey-server
fn main() {}
