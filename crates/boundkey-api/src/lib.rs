//! Administration messages: what the server's REST routes take and answer, shared by service and client.
//!
//! These are plain values for JSON, checked by serde alone: requests refuse unknown members, answers tolerate them, so
//! that a client may be older than its server. Resources themselves (`kind: token`, `bot`, `lock`) travel as JSON values
//! and are checked by `boundkey-token`, on both sides. The crate knows no HTTP; routes, statuses and problems are in the
//! server's `/v1/openapi.json`.
//!
//! | route | takes | answers |
//! |---|---|---|
//! | `POST /v1/apply` | [`ApplyRequest`] | [`ApplyAnswer`] |
//! | `GET /v1/tokens?view=summary` | | [`Page`] of [`TokenSummary`] |
//! | `POST /v1/tokens/NAME/VERB` | [`VerbRequest`] | [`VerbAnswer`], [`ExplainAnswer`] |
//! | `GET /v1/nodes` | | [`Page`] of [`Node`] |
//! | `POST /v1/locks` | [`LockRequest`] | [`LockAnswer`] |
//! | `DELETE /v1/{tokens|bots|locks}/NAME` | | [`Removed`] |
//! | `GET /v1/events` | | [`Page`] of [`Event`] |
//! | `GET /v1/status` | | [`ServerStatus`] |
//! | `GET /v1/webapi/find` | | [`Find`] |
//!
//! ```
//! use boundkey_api::{Node, Page};
//!
//! let page: Page<Node> = serde_json::from_str(
//!     r#"{"items": [{"token": "web", "host_id": "id", "hostname": "web-1", "roles": ["Node"], "version": "0.1.0",
//!         "last_joined_at": "2026-11-23T12:00:00Z"}]}"#,
//! )?;
//! assert_eq!(page.items[0].hostname, "web-1");
//! assert!(page.next.is_none());
//! # Ok::<(), serde_json::Error>(())
//! ```

mod answers;
mod listings;
mod requests;
mod words;

pub use answers::{
    Applied, ApplyAnswer, BeingListed, ExplainAnswer, Find, LockAnswer, NextStep, Removed, ServerStatus,
    VerbAnswer,
};
pub use listings::{Event, Node, Page, TokenSummary};
pub use requests::{ApplyRequest, LockRequest, MAX_CHOSEN_SECRETS, VerbRequest};
pub use words::{EVENT_CODES, TOKEN_STATES};
