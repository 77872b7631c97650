use std::path::PathBuf;
use std::time::Duration;

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// A duration as users write it: whole numbers with units `s`, `m`, `h`, `d` or `w`, also together (`1h30m`). Bare `0`
/// is zero.
///
/// ```
/// use boundkey_document::{format_duration, parse_duration};
/// use std::time::Duration;
/// assert_eq!(parse_duration("15m"), Some(Duration::from_secs(900)));
/// assert_eq!(parse_duration("1h30m"), Some(Duration::from_secs(5400)));
/// assert_eq!(parse_duration("15"), None);
/// assert_eq!(format_duration(Duration::from_secs(7 * 86_400)), "7d");
/// ```
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut total: u64 = 0;
    let mut rest = text;
    let mut smaller_than = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let count: u64 = rest[..digits].parse().ok()?;
        let unit = match rest.as_bytes()[digits] {
            b's' => 1,
            b'm' => 60,
            b'h' => 3_600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        if unit >= smaller_than {
            return None;
        }
        smaller_than = unit;
        total = total.checked_add(count.checked_mul(unit)?)?;
        rest = &rest[digits + 1..];
    }
    (smaller_than != u64::MAX).then(|| Duration::from_secs(total))
}

/// A duration in the form that [`parse_duration`] reads, in the largest unit that fits (days from three on). Parts of
/// a second are dropped.
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        s if s >= 3 * 86_400 && s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s > 0 && s % 3_600 == 0 => format!("{}h", s / 3_600),
        s if s > 0 && s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

/// A path as users write it in a file or, where a directory is made, in an argument: what only a shell or a service manager
/// replaces is refused, for otherwise a directory of that very name would be made.
///
/// ```
/// use boundkey_document::parse_path;
/// assert_eq!(parse_path("/srv/boundkey"), Ok("/srv/boundkey".into()));
/// for bad in ["~/boundkey", "~root", "${STATE_DIRECTORY}/x", "$HOME/x", "$(pwd)/x", "%h/x", "a\nb"] {
///     assert!(parse_path(bad).is_err(), "{bad}");
/// }
/// assert!(parse_path("a~b$5").is_ok());
/// ```
///
/// # Errors
/// What is allowed.
pub fn parse_path(text: &str) -> Result<PathBuf, &'static str> {
    let variable = text.match_indices('$').any(|(at, _)| {
        text[at + 1..].starts_with(|c: char| c == '{' || c == '(' || c == '_' || c.is_ascii_alphabetic())
    });
    let specifier = text.strip_prefix('%').is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_alphabetic())
            && matches!(rest.as_bytes().get(1), None | Some(b'/'))
    });
    if text.starts_with('~') {
        Err(
            "the path written out, such as /home/NAME/boundkey: `~` is not replaced here (`./~` for a file of that name)",
        )
    } else if variable || specifier {
        Err("the path written out: variables are not replaced here")
    } else if text.contains(char::is_control) {
        Err("a path without control characters")
    } else {
        Ok(PathBuf::from(text))
    }
}

/// An RFC 3339 time, any offset, as UTC.
pub fn parse_time(text: &str) -> Option<OffsetDateTime> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?.checked_to_offset(UtcOffset::UTC)?;
    // RFC 3339 has no other years, so no other time could be printed again.
    (0..=9999).contains(&time.year()).then_some(time)
}

/// A time as RFC 3339 in UTC (`2025-01-01T00:00:00Z`).
pub fn format_time(time: OffsetDateTime) -> String {
    time.checked_to_offset(UtcOffset::UTC)
        .and_then(|utc| utc.format(&Rfc3339).ok())
        .unwrap_or_else(|| String::from("9999-12-31T23:59:59Z"))
}
