//! The protocol, held to `docs/protocol.md` and its vectors, which these tests make and check.
//!
//! `BOUNDKEY_WRITE_VECTORS=1 cargo test -p boundkey-proto --test protocol` writes `docs/vectors/*.json` anew; without
//! the variable the files must be what this code makes, to the value.

mod answers;
mod bundles;
mod chapter;
mod completes;
mod foreign;
mod ids;
mod limits;
mod proofs;
mod properties;
mod requests;
mod scene;
mod secrets;
mod states;
mod vectors;
mod words;
