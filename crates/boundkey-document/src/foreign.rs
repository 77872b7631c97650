//! Texts of other formats, named as such: what a YAML parser says of them helps nobody.

/// The format that a text surely is, if it is one that people mistake for YAML or JSON. Nothing that the readers of this
/// house accept is called foreign.
pub(crate) fn format(text: &str) -> Option<&'static str> {
    let mut lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    let first =
        lines.find(|line| !line.starts_with("//") && !line.starts_with("/*") && !line.starts_with('*'))?;
    let lower: String = first.chars().take(64).collect::<String>().to_ascii_lowercase();
    if lower.starts_with("<!doctype html") || lower.starts_with("<html") || lower.starts_with("<head") {
        return Some("HTML (a page instead of a file?)");
    }
    if lower
        .strip_prefix('<')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic() || "?!/".contains(c)))
    {
        return Some("XML");
    }
    if first.starts_with("-----BEGIN ") {
        return Some("PEM (a key or certificate)");
    }
    if is_hcl_block(first) {
        return Some("HCL (Terraform)");
    }
    if is_section(first) && lines.next().is_some_and(is_assignment) {
        return Some("TOML or INI");
    }
    is_assignment(first).then_some("`KEY = VALUE` lines (TOML, INI, HCL or an environment file)")
}

/// `resource "type" "name" {`
fn is_hcl_block(line: &str) -> bool {
    let Some(head) = line.strip_suffix('{').map(str::trim_end) else { return false };
    let mut words = head.split_whitespace();
    let word = |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    let quoted = |word: &str| word.len() > 1 && word.starts_with('"') && word.ends_with('"');
    words.next().is_some_and(|first| !first.is_empty() && word(first))
        && words.all(|next| word(next) || quoted(next))
}

/// `[section]`, which in YAML is a list of one text.
fn is_section(line: &str) -> bool {
    let inner = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.is_some_and(|name| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '[') && !name.contains([',', ':', '{'])
    })
}

/// `key = value`, which in YAML is one text.
fn is_assignment(line: &str) -> bool {
    line.split_once('=').is_some_and(|(key, value)| {
        let key = key.trim().trim_start_matches("export ");
        !key.is_empty()
            && key.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
            && !value.contains(": ")
    })
}

/// Whether a text is JSON but for comments in it: its parser stops at one.
pub(crate) fn is_commented_json(text: &str) -> bool {
    let start = text.trim_start();
    if !start.starts_with(['{', '[', '/']) {
        return false;
    }
    let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) else { return false };
    let line = text.split('\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let at = error.column().saturating_sub(1);
    line.as_bytes().get(at..).is_some_and(|rest| rest.starts_with(b"//") || rest.starts_with(b"/*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_formats_are_named() {
        for (text, name) in [
            ("<!DOCTYPE html>\n<html>", "HTML (a page instead of a file?)"),
            ("\n<HTML lang=en>", "HTML (a page instead of a file?)"),
            ("<?xml version=\"1.0\"?>", "XML"),
            ("<token/>", "XML"),
            ("-----BEGIN CERTIFICATE-----\n", "PEM (a key or certificate)"),
            ("# main.tf\nresource \"teleport_token\" \"example\" {\n  a = 1\n}\n", "HCL (Terraform)"),
            ("// main.tf\nterraform {\n", "HCL (Terraform)"),
            ("[server]\nlisten = 1\n", "TOML or INI"),
            ("[[token]]\nname = \"a\"\n", "TOML or INI"),
            ("; comment\n[server]\nlisten=1\n", "TOML or INI"),
            (
                "cluster_name = \"example.com\"\n",
                "`KEY = VALUE` lines (TOML, INI, HCL or an environment file)",
            ),
            ("export A=b\n", "`KEY = VALUE` lines (TOML, INI, HCL or an environment file)"),
        ] {
            assert_eq!(format(text), Some(name), "{text}");
        }
    }

    #[test]
    fn yaml_and_json_are_not_foreign() {
        for text in [
            "",
            "# only a comment\n",
            "kind: token\n",
            "--- # a = b\nkind: token\n",
            "{\n  \"kind\": \"token\"}\n",
            "{kind: token}",
            "[{\"kind\": \"token\"}]\n",
            "- kind: token\n",
            "kind: {\n}",
            "a=b: c\n",
            "[a]\n",
            "&x kind: token\n",
            "\"kind\": token\n",
            "%YAML 1.2\n---\nkind: token\n",
        ] {
            assert_eq!((format(text), is_commented_json(text)), (None, false), "{text}");
        }
    }

    #[test]
    fn comments_in_json_are_seen_wherever_a_value_or_key_may_stand() {
        for text in [
            "// hi\n{}",
            "{ // hi\n \"a\": 1}",
            "{\"a\": 1, /* hi */ \"b\": 2}",
            "{\"a\": /* hi */ 1}",
            "[1, // hi\n 2]",
            "{\"a\": 1} // hi",
        ] {
            assert!(is_commented_json(text), "{text}");
        }
        assert!(!is_commented_json("{a: http://example.com/x}"));
        assert!(!is_commented_json("{\"a\": \"// no comment\"}"));
    }
}
