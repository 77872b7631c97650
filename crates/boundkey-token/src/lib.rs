//! The resources that users write: token, bot and lock, as values that cannot be wrong.
//!
//! A file goes in as text; what comes out is checked, or every violation in it, each with path, line and column. The
//! crate does not store, compare or apply resources, knows no clock and no server: whether a named bot exists, or a
//! time has passed, is for others to judge. YAML itself is `boundkey-document`'s business.
//!
//! | kind | version | type | `spec` |
//! |---|---|---|---|
//! | `token` | `v2` | [`Token`] | `roles`, `join_method`, `bot_name`, `bound_keypair`, `certificates` |
//! | `TeleportProvisionToken` | `apiVersion: resources.teleport.dev/v2` | [`Token`] | the same |
//! | `bot` | `v1` | [`Bot`] | `logins`, `admin_role`, `token_prefix` |
//! | `lock` | `v2` | [`Lock`] | `target`, `message`, `expires` |
//!
//! What `get` prints (a list of resources too) can be read again: `status` is accepted and left out, and [`ResourceFile`]
//! says so once.
//!
//! ```
//! use boundkey_token::{Resource, read_resources};
//!
//! let resources = read_resources(b"
//! kind: token
//! version: v2
//! metadata:
//!   name: example-token
//! spec:
//!   roles: [Node]
//!   join_method: bound_keypair
//! ")?;
//! let [Resource::Token(token)] = resources.as_slice() else { panic!("one token") };
//! assert_eq!(token.spec.bound_keypair.recovery.limit, 1);
//!
//! let error = read_resources(b"kind: token\nversion: v2\nmetadata: {name: a}\nspec: {roles: [Nod]}\n").unwrap_err();
//! assert_eq!(error.lines("token.yaml"), [
//!     "token.yaml:4:1: spec.join_method: found nothing; allowed: bound_keypair",
//!     "token.yaml:4:16: spec.roles[0]: found `Nod`; allowed: Node, Proxy, App, Kube, Db, WindowsDesktop or Bot \
//!      (did you mean `Node`?)",
//! ]);
//! # Ok::<(), boundkey_token::ResourceError>(())
//! ```
//!
//! The chapter `docs/lifecycle.md` says what the fields mean.

mod bot;
mod lock;
mod metadata;
mod name;
mod names;
mod onboarding;
mod resource;
mod role;
mod token;

pub use bot::{AdminRole, Bot};
pub use boundkey_document::Violation;
pub use lock::{Lock, LockTarget};
pub use name::{NameError, ResourceName};
pub use names::{CertificateNames, NotAllowed, Principals, RequestedNames};
pub use resource::{
    MAX_RESOURCE_FILE, Resource, ResourceError, ResourceFile, check_resource, check_resources,
    read_resource_json, read_resources,
};
pub use role::{Role, RoleSet, UnknownRole};
pub use token::{
    BoundKeypairSpec, JoinMethod, Onboarding, Recovery, RecoveryMode, SpecSecret, Token, TokenSpec,
};
