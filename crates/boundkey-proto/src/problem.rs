use serde::{Deserialize, Serialize};

/// RFC 9457 `application/problem+json`; also the errors of the administration API (then with `violations`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    #[serde(rename = "type", default = "about_blank")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    /// Stable, snake case.
    pub code: String,
    /// A human sentence: what to do next.
    pub detail: String,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<ProblemViolation>,
}
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemViolation {
    pub path: String,
    pub found: String,
    pub allowed: String,
}
fn about_blank() -> String {
    "about:blank".to_owned()
}
impl Problem {
    /// A final denial (4xx other than 408, 425, 429), or something to try again?
    pub fn is_final(&self) -> bool {
        todo!()
    }
}
