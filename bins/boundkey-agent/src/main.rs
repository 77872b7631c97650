//! boundkey-agent
fn main() {}
