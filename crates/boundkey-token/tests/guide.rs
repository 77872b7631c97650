//! The guide's files go in as they stand, and come out in the guide's style.

use boundkey_document::to_yaml;
use boundkey_token::{
    BoundKeypairSpec, CertificateNames, JoinMethod, Recovery, RecoveryMode, Resource, Role, RoleSet, Token,
    TokenSpec, read_resource_json, read_resources,
};

const TOKEN: &str = include_str!("files/guide-token.yaml");
const KUBERNETES: &str = include_str!("files/guide-kubernetes.yaml");
const GET: &str = include_str!("files/guide-get.yaml");

fn one(text: &str) -> Token {
    match read_resources(text.as_bytes()) {
        Ok(mut resources) if resources.len() == 1 => match resources.remove(0) {
            Resource::Token(token) => token,
            other => panic!("{other:?}"),
        },
        Ok(resources) => panic!("{resources:?}"),
        Err(error) => panic!("{error}"),
    }
}

fn example() -> Token {
    Token {
        name: "example-token".parse().expect("a name"),
        labels: [].into(),
        expires: None,
        revision: None,
        spec: TokenSpec {
            roles: RoleSet::new([Role::Node]),
            join_method: JoinMethod::BoundKeypair,
            bot_name: None,
            bound_keypair: BoundKeypairSpec::default(),
            certificates: CertificateNames::default(),
        },
    }
}

#[test]
fn the_guides_token_is_read_with_empty_texts_as_unset() {
    assert_eq!(one(TOKEN), example());
    assert_eq!(one(TOKEN).spec.bound_keypair.recovery, Recovery { limit: 1, mode: RecoveryMode::Standard });
    assert_eq!(one(TOKEN).warnings(time::OffsetDateTime::UNIX_EPOCH), Vec::<String>::new());
}

#[test]
fn the_guides_kubernetes_manifest_is_read_as_the_same_token() {
    let mut labelled = example();
    labelled.labels.insert("teleport.dev/origin".into(), "dynamic".into());
    assert_eq!(one(KUBERNETES), labelled);
    assert_eq!(labelled.to_json(false)["kind"], "token");
}

#[test]
fn a_token_prints_as_the_guides_get_does_but_for_its_status() {
    let printed = to_yaml(&one(TOKEN).to_json(true));
    let (spec, rest) = GET.split_once("status:\n").unwrap();
    assert_eq!(printed, format!("{spec}{}", &rest[rest.find("version:").unwrap()..]));
}

#[test]
fn what_the_guides_get_prints_can_be_applied_again() {
    assert_eq!(one(GET), example());
}

#[test]
fn the_defaults_need_not_be_written() {
    let short = "kind: token\nversion: v2\nmetadata: {name: example-token}\n\
                 spec: {roles: [Node], join_method: bound_keypair}\n";
    assert_eq!(one(short), example());
}

#[test]
fn json_and_lists_and_several_documents_are_read() {
    let json = example().to_json(true);
    assert_eq!(read_resource_json(json.to_string().as_bytes()), Ok(Resource::Token(example())));
    assert_eq!(one(&json.to_string()), example());
    assert_eq!(one(&format!("{json:#}")), example());

    let mut other = example();
    other.name = "other".parse().unwrap();
    let both = vec![Resource::Token(example()), Resource::Token(other.clone())];
    let list = serde_json::json!([example().to_json(true), other.to_json(true)]);
    assert_eq!(read_resources(list.to_string().as_bytes()), Ok(both.clone()));
    assert_eq!(read_resources(to_yaml(&list).as_bytes()), Ok(both.clone()));
    let documents = format!("---\n{TOKEN}---\n# nothing here\n---\n{}", to_yaml(&other.to_json(true)));
    assert_eq!(read_resources(documents.as_bytes()), Ok(both));
    assert_eq!(read_resources(b"[]"), Ok(vec![]));
}

#[test]
fn every_field_is_printed_in_one_form_and_kept() {
    let text = "\
kind: token
version: v2
metadata:
  name: full
  labels: {team: web, \"example.com/zone\": \"1\"}
  expires: 2030-06-01T12:00:00.25+02:00
  revision: \"7\"
spec:
  roles: [node, DB, windowsdesktop, KUBE, App, proxy]
  join_method: bound_keypair
  bound_keypair:
    onboarding:
      registration_secret: correct horse battery
      must_register_before: \"2029-01-01T00:00:00Z\"
    recovery: {limit: 3, mode: relaxed}
    rotate_after: 2028-01-01T00:00:00-05:00
  certificates:
    dns_names: [\"*.web.example.com\", db.example.com]
    ip_addresses: [10.1.0.0/16, 10.0.0.1, \"fd00::/8\"]
    principals: [web, \"web@example.com\"]
    max_ttl: 72h
status: {anything: [goes, here]}
";
    let expected = "\
kind: token
metadata:
  expires: \"2030-06-01T10:00:00.25Z\"
  labels:
    example.com/zone: \"1\"
    team: web
  name: full
  revision: \"7\"
spec:
  bound_keypair:
    onboarding:
      must_register_before: \"2029-01-01T00:00:00Z\"
      registration_secret: correct horse battery
    recovery:
      limit: 3
      mode: relaxed
    rotate_after: \"2028-01-01T05:00:00Z\"
  certificates:
    dns_names:
    - \"*.web.example.com\"
    - db.example.com
    ip_addresses:
    - 10.1.0.0/16
    - 10.0.0.1/32
    - fd00::/8
    max_ttl: 3d
    principals:
    - web
    - web@example.com
  join_method: bound_keypair
  roles:
  - Node
  - Db
  - WindowsDesktop
  - Kube
  - App
  - Proxy
version: v2
";
    let token = one(text);
    assert_eq!(to_yaml(&token.to_json(true)), expected);
    assert_eq!(one(expected), token);
    assert!(!to_yaml(&token.to_json(false)).contains("registration_secret"));
    assert!(!format!("{token:?}").contains("horse"));
}

#[test]
fn a_key_keeps_its_value_and_loses_its_comment() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHfdphyxZNkxxnXhL4wDTBdwgg9pYaIrNoB/4Nkzs24i";
    let text = |key: &str| {
        format!(
            "kind: token\nversion: v2\nmetadata: {{name: keyed}}\nspec:\n  roles: [Bot]\n  bot_name: ci\n  \
             join_method: bound_keypair\n  bound_keypair:\n    onboarding: {{initial_public_key: \"{key}\"}}\n"
        )
    };
    let token = one(&text(&format!("{key} me@host")));
    assert_eq!(token, one(&text(key)));
    assert_eq!(token.to_json(false)["spec"]["bound_keypair"]["onboarding"]["initial_public_key"], key);
    assert_eq!(token.spec.bot_name.as_ref().unwrap().as_str(), "ci");
}
