//! Certificates as other implementations see them, and the rules that none of them may break.

#![expect(clippy::unwrap_used, reason = "helpers outside test functions fail their test")]
#![expect(clippy::print_stdout, reason = "a test says why it was skipped")]

mod common;
mod determinism;
mod lints;
mod openssl;
mod path;
mod ssh_keygen;
