use serde_json::Value;

/// YAML in the guide's style: keys in the order of the value's map (sorted), two spaces, lists not indented below their
/// key, `{}`, `[]` and `""` for what is empty, double quotes where a text could be read as something else.
///
/// ```
/// let value = serde_json::json!({"roles": ["Node"], "onboarding": {}, "key": "", "recovery": {"limit": 1}});
/// assert_eq!(
///     boundkey_document::to_yaml(&value),
///     "key: \"\"\nonboarding: {}\nrecovery:\n  limit: 1\nroles:\n- Node\n"
/// );
/// ```
pub fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(entries) if !entries.is_empty() => block(&mut out, value, 0),
        Value::Array(items) if !items.is_empty() => block(&mut out, value, 0),
        scalar => {
            out.push_str(&inline(scalar));
            out.push('\n');
        }
    }
    out
}

/// A mapping or list that is not empty; the cursor stands where its first line begins.
fn block(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(entries) => {
            for (position, (key, value)) in entries.iter().enumerate() {
                pad(out, position, indent);
                out.push_str(&text(key));
                out.push(':');
                match value {
                    Value::Object(inner) if !inner.is_empty() => {
                        out.push('\n');
                        out.push_str(&" ".repeat(indent + 2));
                        block(out, value, indent + 2);
                    }
                    Value::Array(inner) if !inner.is_empty() => {
                        out.push('\n');
                        out.push_str(&" ".repeat(indent));
                        block(out, value, indent);
                    }
                    other => end_line(out, &format!(" {}", inline(other))),
                }
            }
        }
        Value::Array(items) => {
            for (position, item) in items.iter().enumerate() {
                pad(out, position, indent);
                out.push_str("- ");
                match item {
                    Value::Object(inner) if !inner.is_empty() => block(out, item, indent + 2),
                    Value::Array(inner) if !inner.is_empty() => block(out, item, indent + 2),
                    other => end_line(out, &inline(other)),
                }
            }
        }
        other => end_line(out, &inline(other)),
    }
}

/// Every line but the first, which the caller has begun.
fn pad(out: &mut String, position: usize, indent: usize) {
    if position > 0 {
        out.push_str(&" ".repeat(indent));
    }
}

fn end_line(out: &mut String, end: &str) {
    out.push_str(end);
    out.push('\n');
}

fn inline(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(string) => text(string),
        Value::Array(_) => "[]".to_owned(),
        Value::Object(_) => "{}".to_owned(),
    }
}

fn text(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { double_quoted(text) }
}

/// Whether YAML 1.1 and 1.2 readers alike take it for a text when it stands without quotes.
fn is_plain(text: &str) -> bool {
    let Some(first) = text.chars().next() else { return false };
    let letter_first = first.is_ascii_alphabetic() || "_/".contains(first);
    (letter_first || first.is_ascii_digit() && !is_like_a_number(text))
        && text.chars().all(|c| c.is_ascii_alphanumeric() || " _-./+=:@,#()".contains(c))
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !is_word_of_yaml(text)
}

/// Whether a text that begins with a digit may be a number, a date, or a number to the base 60.
fn is_like_a_number(text: &str) -> bool {
    let digits_only = text.bytes().all(|byte| byte.is_ascii_digit() || b"._:+- ".contains(&byte));
    let no_letter = digits_only && text.bytes().filter(|byte| *byte == b'.').count() < 2;
    let with_base = ["0x", "0X", "0o", "0O", "0b", "0B"].iter().any(|prefix| text.starts_with(prefix));
    let date = text.len() > 4
        && text.bytes().take(4).all(|byte| byte.is_ascii_digit())
        && text.as_bytes()[4] == b'-';
    no_letter || with_base || date || text.replace('_', "").parse::<f64>().is_ok()
}

fn is_word_of_yaml(text: &str) -> bool {
    const WORDS: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// JSON's quoting is YAML's double quoting, but for the characters that YAML calls unprintable.
fn double_quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            ' '..='~' => out.push(character),
            other if other.is_alphanumeric() && (other as u32) < 0xfff0 => out.push(other),
            other if (other as u32) <= 0xffff => out.push_str(&format!("\\u{:04X}", other as u32)),
            other => out.push_str(&format!("\\U{:08X}", other as u32)),
        }
    }
    out.push('"');
    out
}
