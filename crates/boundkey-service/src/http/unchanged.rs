//! Answers that are the same for everybody: shared bytes, `ETag`, `If-None-Match` (RFC 9110, section 13.1.2).

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::pieces::Pieces;

/// The content, or 304 for who has it already. Who keeps a copy asks each time whether it is still the one.
pub(super) fn answer(
    content: &Arc<Pieces>,
    content_type: &'static str,
    asked: &HeaderMap,
) -> axum::response::Response {
    let known = has(asked, content.tag());
    let body = if known { Body::empty() } else { Body::new(content.reader()) };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::ETAG, content.tag().clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    response
}

/// Does the request say that it has what this tag names? A tag that is marked weak (`W/`) counts too.
fn has(asked: &HeaderMap, tag: &HeaderValue) -> bool {
    asked.get_all(header::IF_NONE_MATCH).iter().any(|field| names(field.as_bytes(), tag.as_bytes()))
}

/// `*`, or a list of quoted tags. What is neither ends the list.
fn names(mut list: &[u8], tag: &[u8]) -> bool {
    if list.trim_ascii() == b"*" {
        return true;
    }
    loop {
        list = list.trim_ascii_start();
        while let Some(rest) = list.strip_prefix(b",") {
            list = rest.trim_ascii_start();
        }
        list = list.strip_prefix(b"W/").unwrap_or(list);
        let Some(end) = list.strip_prefix(b"\"").and_then(|rest| rest.iter().position(|b| *b == b'"')) else {
            return false;
        };
        let (found, rest) = list.split_at(end + 2);
        if found == tag {
            return true;
        }
        list = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_tag_is_found_in_any_list_and_no_other_passes_for_it() {
        for list in [
            "\"a\"",
            "W/\"a\"",
            "*",
            " * ",
            "\"b\", \"a\"",
            "\"b\",W/\"a\"",
            ",, \"b, c\" ,\t\"a\"",
            "\"\",\"a\"",
        ] {
            assert!(names(list.as_bytes(), b"\"a\""), "{list}");
        }
        for list in [
            "",
            "a",
            "\"b\"",
            "\"a",
            "w/\"a\"",
            "\"b,\"a\"",
            "\"A\"",
            "*, \"b\"",
            "\"b\" x \"a\"",
            "\"W/\"a\"\"",
        ] {
            assert!(!names(list.as_bytes(), b"\"a\""), "{list}");
        }
    }
}
