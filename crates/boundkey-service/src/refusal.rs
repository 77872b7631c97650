//! A request that is refused: what the peer is told (a problem), and what only the log is told.

use boundkey_proto::{Problem, ProblemViolation};
use boundkey_store::records::RecordError;
use boundkey_store::{CommitError, StoreError};

/// A refusal. Both routers answer it as `application/problem+json` with the correlation id filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What the peer is told.
    pub problem: Box<Problem>,
    /// What the log is told besides; may hold more than a peer should know, never a secret.
    pub cause: Option<String>,
}

impl Refusal {
    /// A refusal by HTTP status, stable code and a sentence that says what to do next.
    pub fn new(status: u16, code: &str, detail: impl Into<String>) -> Self {
        Self { problem: Box::new(Problem::new(status, code, detail)), cause: None }
    }

    /// 404 `not_found`.
    pub fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(404, "not_found", format!("{what} does not exist"))
    }

    /// Adds the seconds after which it makes sense to ask again (also sent as Retry-After).
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.problem.retry_after = Some(seconds);
        self
    }

    /// Adds what is wrong with the fields of the request.
    #[must_use]
    pub fn violations(mut self, violations: Vec<ProblemViolation>) -> Self {
        self.problem.violations = violations;
        self
    }

    /// Adds what the log is told besides.
    #[must_use]
    pub fn because(mut self, cause: impl std::fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// A message of the join protocol that is not understood.
    pub(crate) fn from_proto(error: &boundkey_proto::ProtoError) -> Self {
        Self { problem: Box::new(error.problem()), cause: Some(error.to_string()) }
    }

    /// 500 for what must not happen; the cause goes to the log alone.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        Self::new(
            500,
            "internal",
            "the server cannot answer this; its log has the cause under the correlation id",
        )
        .because(cause)
    }

    /// 503 for what may pass.
    pub fn unavailable(cause: impl std::fmt::Display) -> Self {
        Self::new(503, "unavailable", "the server's store does not answer; ask again")
            .retry_after(1)
            .because(cause)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}): {}", self.problem.code, self.problem.status, self.problem.detail)
    }
}

impl std::error::Error for Refusal {}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::unavailable(error)
    }
}

impl From<RecordError> for Refusal {
    fn from(error: RecordError) -> Self {
        Self::internal(error)
    }
}

impl From<CommitError> for Refusal {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict { .. } => Self::new(
                409,
                "conflict",
                "somebody else changed the same record at the same time; ask again",
            )
            .because(error),
            CommitError::Unknown(_) | CommitError::Store(_) => Self::unavailable(error),
        }
    }
}
