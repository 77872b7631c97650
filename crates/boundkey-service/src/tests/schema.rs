//! Holds answers against the served description: the part of JSON Schema that it uses.

use serde_json::Value;

/// The served description.
pub(super) fn document() -> Value {
    serde_json::from_str(include_str!("../openapi.json")).expect("JSON")
}

/// What is wrong with an answer, by the description of its operation; nothing if all is well.
pub(super) fn faults(method: &str, path: &str, status: u16, content_type: &str, body: &[u8]) -> Vec<String> {
    let document = document();
    let shown = format!("{method} {path}: {status}");
    let Some(operation) = operation(&document, method, path) else {
        return match status {
            404 | 405 => Vec::new(),
            _ => vec![format!("{shown}: not described")],
        };
    };
    let responses = &operation["responses"];
    let response = match &responses[status.to_string()] {
        Value::Null if status >= 400 => resolve(&document, &responses["default"]),
        Value::Null => return vec![format!("{shown}: this status is not described")],
        response => resolve(&document, response),
    };
    let media = content_type.split(';').next().unwrap_or_default();
    let content = &response["content"][media];
    if content.is_null() {
        return vec![format!("{shown}: {content_type} is not described")];
    }
    if !media.ends_with("json") {
        return Vec::new();
    }
    let mut faults = Vec::new();
    match serde_json::from_slice(body) {
        Ok(value) => check(&document, &content["schema"], &value, &shown, &mut faults),
        Err(error) => faults.push(format!("{shown}: {error}")),
    }
    faults
}

/// Concrete paths win over templates.
fn operation<'d>(document: &'d Value, method: &str, path: &str) -> Option<&'d Value> {
    let path = path.split('?').next().unwrap_or_default();
    let paths = document["paths"].as_object().expect("paths");
    let mut fitting: Vec<(&String, &Value)> =
        paths.iter().filter(|(template, _)| fits(template, path)).collect();
    fitting.sort_by_key(|(template, _)| template.matches('{').count());
    let (_, item) = fitting.first()?;
    item.get(method.to_lowercase())
}

fn fits(template: &str, path: &str) -> bool {
    let (wanted, found): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
    wanted.len() == found.len() && wanted.iter().zip(&found).all(|(w, f)| w.starts_with('{') || w == f)
}

fn resolve<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).expect("a reference that resolves"),
        None => value,
    }
}

fn check(document: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    let schema = resolve(document, schema);
    let mut fault = |text: String| faults.push(format!("{at}: {text}"));
    if let Some(constant) = schema.get("const")
        && constant != value
    {
        fault(format!("{value} is not {constant}"));
    }
    if let Some(Value::Array(allowed)) = schema.get("enum")
        && !allowed.contains(value)
    {
        fault(format!("{value} is none of {allowed:?}"));
    }
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !types.is_empty() && !types.iter().any(|kind| is(kind, value)) {
        return fault(format!("{value} is not of type {types:?}"));
    }
    let number = |key| schema.get(key).and_then(Value::as_i64);
    if let Some(found) = value.as_i64()
        && (number("minimum").is_some_and(|least| found < least)
            || number("maximum").is_some_and(|most| found > most))
    {
        fault(format!("{found} is out of its bounds"));
    }
    if let Some(Value::Array(kinds)) = schema.get("oneOf") {
        let fitting = kinds.iter().filter(|kind| {
            let mut inner = Vec::new();
            check(document, kind, value, at, &mut inner);
            inner.is_empty()
        });
        let fitting = fitting.count();
        if fitting != 1 {
            fault(format!("{value} fits {fitting} of the schemas of oneOf"));
        }
    }
    if let Value::Array(items) = value
        && let Some(inner) = schema.get("items")
    {
        for (index, item) in items.iter().enumerate() {
            check(document, inner, item, &format!("{at}[{index}]"), faults);
        }
    }
    if let Value::Object(members) = value {
        check_members(document, schema, members, at, faults);
    }
}

fn check_members(
    document: &Value,
    schema: &Value,
    members: &serde_json::Map<String, Value>,
    at: &str,
    faults: &mut Vec<String>,
) {
    let required = schema.get("required").and_then(Value::as_array);
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        if !members.contains_key(name) {
            faults.push(format!("{at}: {name} is missing"));
        }
    }
    for (name, member) in members {
        let inner = schema.get("properties").and_then(|properties| properties.get(name));
        match inner.or_else(|| schema.get("additionalProperties").filter(|other| other.is_object())) {
            Some(inner) => check(document, inner, member, &format!("{at}.{name}"), faults),
            // Not even where more is allowed: what is sent is to be described.
            None if schema.get("properties").is_some() => {
                faults.push(format!("{at}: {name} is not described"))
            }
            None => {}
        }
    }
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the description uses a type that this check does not know: {other}"),
    }
}
