//! The resources that users write: token, bot, lock; checked values, every violation at once.
#![allow(missing_docs, unused_variables, clippy::todo, reason = "skeleton")]
mod bot;
mod lock;
mod name;
mod names;
mod role;
mod token;

pub use bot::{AdminRole, Bot};
pub use boundkey_document::Violation;
pub use lock::{Lock, LockTarget};
pub use name::{NameError, ResourceName};
pub use names::{CertificateNames, RequestedNames};
pub use role::{Role, RoleSet, UnknownRole};
pub use token::{
    BoundKeypairSpec, JoinMethod, Onboarding, Recovery, RecoveryMode, Secretish, Token, TokenSpec,
};

use boundkey_document::{Document, SyntaxError};

/// One resource of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    Token(Token),
    Bot(Bot),
    Lock(Lock),
}

/// Why a file of resources is refused: its syntax, or every violation in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    #[error("{} violations", .0.len())]
    Violations(Vec<Violation>),
}

/// A file as an administrator writes it: YAML or JSON, several documents, also the guide's Kubernetes manifest.
pub fn read_resources(text: &[u8]) -> Result<Vec<Resource>, ResourceError> {
    todo!()
}
/// One resource as JSON from the network.
pub fn read_resource_json(text: &[u8]) -> Result<Resource, ResourceError> {
    todo!()
}
/// One document.
pub fn check_resource(document: &Document) -> Result<Resource, Vec<Violation>> {
    todo!()
}
