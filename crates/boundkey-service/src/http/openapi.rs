//! `GET /v1/openapi.json`: the description of every route, written by hand.

use std::sync::{Arc, LazyLock};

use axum::http::HeaderMap;
use axum::response::Response;

use super::unchanged;
use crate::pieces::Pieces;

const DOCUMENT: &str = include_str!("../openapi.json");

pub(super) async fn document(asked: HeaderMap) -> Response {
    static PIECES: LazyLock<Arc<Pieces>> = LazyLock::new(|| Pieces::fixed(DOCUMENT.as_bytes()));
    unchanged::answer(&PIECES, "application/json", &asked)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use boundkey_lifecycle::{Code, LifecycleState};
    use serde_json::Value;

    use super::DOCUMENT;
    use crate::http::routes::Routes;

    fn document() -> Value {
        serde_json::from_str(DOCUMENT).expect("the document is JSON")
    }

    fn listed(routes: &Routes) -> BTreeSet<String> {
        routes.listed().iter().map(|(method, path)| format!("{method} {path}")).collect()
    }

    /// `GET /path` of every operation that has one of these tags.
    fn described(tags: &[&str]) -> BTreeSet<String> {
        let document = document();
        let paths = document["paths"].as_object().expect("paths");
        let operations = paths.iter().flat_map(|(path, item)| {
            let item = item.as_object().expect("an object");
            item.iter()
                .filter(|(key, _)| *key != "parameters")
                .map(move |(method, value)| (path, method, value))
        });
        operations
            .filter(|(path, method, operation)| {
                let found = operation["tags"].as_array().expect("tags");
                assert_eq!(found.len(), 1, "{method} {path} has one tag");
                tags.iter().any(|tag| found[0] == *tag)
            })
            .map(|(path, method, _)| format!("{} {path}", method.to_uppercase()))
            .collect()
    }

    #[test]
    fn every_route_is_described_and_every_description_is_a_route() {
        assert_eq!(listed(&crate::http::public_routes()), described(&["join", "public"]));
        assert_eq!(listed(&crate::admin::routes()), described(&["administration"]));
    }

    #[test]
    fn every_reference_leads_somewhere_and_nothing_is_left_over() {
        let document = document();
        let mut wanted = BTreeSet::new();
        references(&document, &mut wanted);
        for reference in &wanted {
            let pointer = reference.strip_prefix('#').expect("a reference within the document");
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
        for (kind, components) in document["components"].as_object().expect("components") {
            for name in components.as_object().expect("an object").keys() {
                let reference = format!("#/components/{kind}/{name}");
                assert!(wanted.contains(&reference), "nothing refers to {reference}");
            }
        }
    }

    fn references(value: &Value, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    into.insert(reference.clone());
                }
                members.values().for_each(|member| references(member, into));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, into)),
            _ => {}
        }
    }

    #[test]
    fn parameters_of_a_path_are_those_in_its_braces() {
        let document = document();
        for (path, item) in document["paths"].as_object().expect("paths") {
            let in_braces: BTreeSet<&str> =
                path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
            let item = item.as_object().expect("an object");
            for (method, operation) in item.iter().filter(|(key, _)| *key != "parameters") {
                let lists = [item.get("parameters"), operation.get("parameters")];
                let declared: BTreeSet<&str> = lists
                    .into_iter()
                    .flatten()
                    .flat_map(|list| list.as_array().expect("a list"))
                    .map(|parameter| match parameter["$ref"].as_str() {
                        Some(reference) => document.pointer(&reference[1..]).expect("it resolves"),
                        None => parameter,
                    })
                    .filter(|parameter| parameter["in"] == "path")
                    .map(|parameter| parameter["name"].as_str().expect("a name"))
                    .collect();
                assert_eq!(declared, in_braces, "{method} {path}");
            }
        }
    }

    fn words(schema: &str) -> BTreeSet<String> {
        let document = document();
        let words = document["components"]["schemas"][schema]["enum"].as_array().expect("an enumeration");
        words.iter().map(|word| word.as_str().expect("a word").to_owned()).collect()
    }

    #[test]
    fn codes_and_states_are_all_listed() {
        let states: BTreeSet<String> = LifecycleState::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(words("TokenState"), states);
        let codes = words("ProblemCode");
        let never_told = [Code::TokenNotFound, Code::WrongSecret, Code::SecretRequired];
        for code in Code::ALL {
            assert_eq!(codes.contains(code.as_str()), !never_told.contains(code), "{code}");
        }
    }

    #[test]
    fn operations_have_ids_of_their_own() {
        let document = document();
        let mut ids = BTreeSet::new();
        for item in document["paths"].as_object().expect("paths").values() {
            for (key, operation) in item.as_object().expect("an object") {
                if key != "parameters" {
                    let id = operation["operationId"].as_str().expect("an id");
                    assert!(ids.insert(id.to_owned()), "{id} stands twice");
                }
            }
        }
    }
}
