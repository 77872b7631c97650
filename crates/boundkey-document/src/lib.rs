//! YAML or JSON text as a positioned tree, and the reader that collects every violation in it.
//!
//! This crate is the one home of `serde_yaml`: no type of it appears in a public signature. It knows syntax, places
//! and types, and nothing about what a document means: that is for the crates that read resources and configs. It
//! opens no file, reads no clock and sends nothing anywhere.
//!
//! ```text
//!   text --parse_yaml--> Document { Node tree, places on demand }
//!        --parse_json-->     |
//!                            v
//!                         Fields  --text, integer, word, mapping, list, ...-->  checked values
//!                            |
//!                            v
//!                         Faults  --into_violations-->  [Violation { path, place, found, allowed }]
//! ```
//!
//! A reader asks for every key that it knows, as if nothing could go wrong, and looks at the faults once, at the end:
//!
//! ```
//! use boundkey_document::{Faults, Fields, Violation, parse_yaml};
//!
//! struct Config { listen: String, workers: u32 }
//!
//! fn read(text: &str) -> Result<Config, Vec<Violation>> {
//!     let documents = parse_yaml(text.as_bytes()).expect("the text is well formed");
//!     let faults = Faults::new(&documents[0]);
//!     let mut top = Fields::root(&faults);
//!     let listen = top.required_text("listen");
//!     let mut pool = top.section("pool");
//!     let workers = pool.integer("workers", 1..=64);
//!     pool.finish();
//!     top.finish();
//!     faults.finish(listen.map(|listen| Config { listen: listen.to_owned(), workers: workers.unwrap_or(4) }))
//! }
//!
//! let config = read("listen: 127.0.0.1:3443\n").unwrap();
//! assert_eq!((config.listen.as_str(), config.workers), ("127.0.0.1:3443", 4));
//!
//! let faults = read("listn: 127.0.0.1:3443\npool:\n  workers: many\n").err().unwrap();
//! let shown: Vec<String> = faults.iter().map(|fault| fault.in_source("server.yaml").to_string()).collect();
//! assert_eq!(shown, [
//!     "server.yaml:1:1: listen: found nothing; allowed: text",
//!     "server.yaml:1:1: listn: found an unknown field; allowed: listen, pool (did you mean `listen`?)",
//!     "server.yaml:3:12: pool.workers: found `many`; allowed: a whole number from 1 to 64",
//! ]);
//! ```
//!
//! The chapter `docs/architecture.md` shows where the crate stands among the others.

mod document;
mod emit;
mod error;
mod fields;
mod foreign;
mod item;
mod json;
mod path;
mod pieces;
mod tree;
mod values;
mod violation;
mod words;
mod yaml;

pub use document::{Document, Place};
pub use emit::to_yaml;
pub use error::{SyntaxError, SyntaxProblem};
pub use fields::Fields;
pub use item::Item;
pub use json::parse_json;
pub use path::Path;
pub use pieces::each_document;
pub use tree::Node;
pub use values::{format_duration, format_time, parse_duration, parse_path, parse_time};
pub use violation::{Faults, Violation, ViolationIn};
pub use words::{either, nearest, quoted};
pub use yaml::parse_yaml;

/// The longest YAML text that is read, in bytes. (The YAML scanner is slow on hostile input; see also the nesting limit.)
pub const MAX_YAML_BYTES: usize = 256 * 1024;
/// How deep lists and mappings may nest.
pub const MAX_DEPTH: usize = 64;
/// The longest single text, in bytes.
pub const MAX_TEXT_BYTES: usize = 64 * 1024;
/// How many violations are reported of one file, at most.
pub const MAX_VIOLATIONS: usize = 50;
