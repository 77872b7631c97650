use std::fmt;

use boundkey_text::clean;
use serde::{Deserialize, Deserializer, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A refusal: RFC 9457 `application/problem+json`; also the errors of the administration API (then with `violations`).
///
/// Clients ignore members that they do not know, as the RFC demands. Whoever reads one gets texts that may be shown
/// anywhere: on one line each, without control or invisible characters, cut at a length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `about:blank`: what it is, `code` says.
    #[serde(rename = "type", default = "about_blank", deserialize_with = "word")]
    pub kind: String,
    /// The phrase of the HTTP status.
    #[serde(deserialize_with = "word")]
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Stable, snake case; the whole list is in `docs/protocol.md`.
    #[serde(deserialize_with = "word")]
    pub code: String,
    /// A human sentence: what was found and what to do next.
    #[serde(deserialize_with = "sentence")]
    pub detail: String,
    /// Seconds, as in the header `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// Also in the server's log and audit entry.
    #[serde(default, deserialize_with = "word_or_none", skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Every fault of a resource that was applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<ProblemViolation>,
    /// What is to be confirmed, where the code is `confirmation_required`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<Confirmation>,
}

/// Whom an administrator's request would cut off. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// Sent as `confirm=TAG`, it stands for this answer: the request is carried out if it still hits the same machines in
    /// the same way. `confirm=true` carries it out whomever it hits.
    #[serde(deserialize_with = "word")]
    pub tag: String,
    /// How many machines are hit.
    pub machines: u64,
    /// Who they are, by token: the first 20 of them.
    pub affected: Vec<Affected>,
}

/// The machine behind a token (or the machines, if it is shared) that a request would cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Affected {
    /// The token.
    #[serde(deserialize_with = "sentence")]
    pub token: String,
    /// How many of its machines are hit; see [`Affected::COUNTED`].
    pub machines: u64,
    /// The host's or bot instance's id.
    #[serde(default, deserialize_with = "sentence_or_none", skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// As the machine said at its last join.
    #[serde(default, deserialize_with = "sentence_or_none", skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The token's bot.
    #[serde(default, deserialize_with = "sentence_or_none", skip_serializing_if = "Option::is_none")]
    pub bot: Option<String>,
    /// The last admitted join.
    #[serde(with = "time::serde::rfc3339::option", default, skip_serializing_if = "Option::is_none")]
    pub last_joined_at: Option<OffsetDateTime>,
    /// What would happen to it: a sentence.
    #[serde(deserialize_with = "sentence")]
    pub consequence: String,
}

impl Affected {
    /// So many machines of one token are counted: one more stands for any number above it.
    pub const COUNTED: u64 = 1000;
}

/// Who it is: a part of a sentence, to which [`Affected::consequence`] belongs.
impl fmt::Display for Affected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = &self.token;
        let bot = self.bot.as_ref().map(|bot| format!(", bot {bot}")).unwrap_or_default();
        match (self.machines, &self.identity, &self.hostname) {
            (1, Some(id), Some(hostname)) => write!(f, "{hostname} ({id}, token {token}{bot})")?,
            (1, Some(id), None) => write!(f, "{id} (token {token}{bot})")?,
            (1, None, _) => write!(f, "the machine of token {token}{bot}")?,
            (many, ..) if many > Self::COUNTED => {
                write!(f, "more than {} machines that share token {token}{bot}", Self::COUNTED)?;
            }
            (many, ..) => write!(f, "{many} machines that share token {token}{bot}")?,
        }
        let whole = |at: OffsetDateTime| at.replace_nanosecond(0).unwrap_or(at);
        match self.last_joined_at.and_then(|at| whole(at).format(&Rfc3339).ok()) {
            Some(at) => write!(f, ", joined last at {at}"),
            None => Ok(()),
        }
    }
}

/// One fault of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemViolation {
    /// Where: a field path such as `spec.roles`.
    #[serde(deserialize_with = "sentence")]
    pub path: String,
    /// What was found there.
    #[serde(deserialize_with = "sentence")]
    pub found: String,
    /// What is allowed there.
    #[serde(deserialize_with = "sentence")]
    pub allowed: String,
}

/// Characters of a code, a title, an id.
const WORD: usize = 64;
/// Characters of a sentence.
const SENTENCE: usize = 2048;

fn word<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    String::deserialize(from).map(|text| clean(&text, WORD))
}

fn word_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let text: Option<String> = Option::deserialize(from)?;
    Ok(text.map(|text| clean(&text, WORD)))
}

fn sentence_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let text: Option<String> = Option::deserialize(from)?;
    Ok(text.map(|text| clean(&text, SENTENCE)))
}

fn sentence<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    String::deserialize(from).map(|text| clean(&text, SENTENCE))
}

fn about_blank() -> String {
    "about:blank".to_owned()
}

/// Codes with a final-looking status after which a client simply begins again.
const BEGIN_AGAIN: &[&str] = &["challenge_expired", "challenge_not_yet_valid"];

impl Problem {
    /// A problem with the title that belongs to its status.
    pub fn new(status: u16, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: about_blank(),
            title: title(status).to_owned(),
            status,
            code: code.to_owned(),
            detail: detail.into(),
            retry_after: None,
            correlation_id: None,
            violations: Vec::new(),
            confirmation: None,
        }
    }

    /// A final denial (4xx other than 408, 425, 429 and an outlived challenge), or something to try again soon?
    ///
    /// Final or not, the attempt stays pending: it ends with a stored result only.
    pub fn is_final(&self) -> bool {
        (400..500).contains(&self.status)
            && !matches!(self.status, 408 | 425 | 429)
            && !BEGIN_AGAIN.contains(&self.code.as_str())
    }
}

fn title(status: u16) -> &'static str {
    match status {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        501..600 => "Server Error",
        _ => "Bad Request",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_hundreds_are_final_except_those_that_time_cures() {
        let expected = [
            (400, "malformed_request", true),
            (400, "challenge_invalid", true),
            (400, "challenge_expired", false),
            (400, "challenge_not_yet_valid", false),
            (403, "denied", true),
            (403, "locked", true),
            (408, "x", false),
            (413, "body_too_large", true),
            (425, "x", false),
            (429, "x", false),
            (500, "internal", false),
            (503, "overloaded", false),
        ];
        for (status, code, is_final) in expected {
            assert_eq!(Problem::new(status, code, "").is_final(), is_final, "{status} {code}");
        }
    }

    #[test]
    fn what_a_problem_says_is_safe_to_show_once_it_is_read() {
        let hostile = "\u{1b}]0;title\u{7}\u{1b}[2J\nFAKE LINE\u{202e}\u{2028}\u{200b}".to_owned()
            + &"x".repeat(60_000);
        let mut problem = Problem::new(403, &hostile, hostile.clone());
        (problem.title, problem.kind) = (hostile.clone(), hostile.clone());
        problem.correlation_id = Some(hostile.clone());
        let violation = ProblemViolation { path: hostile.clone(), found: hostile.clone(), allowed: hostile };
        problem.violations.push(violation);
        let read: Problem = serde_json::from_str(&serde_json::to_string(&problem).unwrap()).unwrap();
        let violation = &read.violations[0];
        let words = [&read.kind, &read.title, &read.code, read.correlation_id.as_ref().unwrap()];
        let sentences = [&read.detail, &violation.path, &violation.found, &violation.allowed];
        for (text, most) in words.map(|word| (word, 1000)).into_iter().chain(sentences.map(|s| (s, 3000))) {
            assert!(text.starts_with("\\u{1b}]0;title\\u{7}\\u{1b}[2J\\nFAKE LINE\\u{202e}"), "{text}");
            assert!(text.len() < most && text.chars().all(boundkey_text::is_plain), "{text}");
        }
    }

    #[test]
    fn a_problem_reads_back_and_unknown_members_are_ignored() {
        let mut problem = Problem::new(503, "overloaded", "the server is busy: try again later");
        problem.retry_after = Some(7);
        problem.correlation_id = Some("c-1".to_owned());
        let text = serde_json::to_string(&problem).unwrap();
        assert_eq!(
            text,
            r#"{"type":"about:blank","title":"Service Unavailable","status":503,"code":"overloaded","detail":"the server is busy: try again later","retry_after":7,"correlation_id":"c-1"}"#
        );
        assert_eq!(serde_json::from_str::<Problem>(&text).unwrap(), problem);
        let extended = text.replace(r#""retry_after""#, r#""balance":30,"retry_after""#);
        assert_eq!(serde_json::from_str::<Problem>(&extended).unwrap(), problem);
    }
}
