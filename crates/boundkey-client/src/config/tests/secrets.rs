//! Secrets and keys, from every source.

use super::*;

fn in_environment(text: &str, secret: Option<&str>, key: Option<&str>) -> Result<AgentConfig, ConfigError> {
    let variable = |text: Option<&str>| text.map(|text| Secret::new(text.to_owned()));
    let environment = Environment {
        registration_secret: variable(secret),
        static_key: variable(key),
        ..Environment::default()
    };
    AgentConfig::parse(text.as_bytes(), "agent.yaml", environment)
}

#[test]
fn secrets_come_from_the_environment_too_and_never_from_two_places() {
    let config = in_environment(&with(""), Some("hush"), None).unwrap();
    assert!(matches!(config.credential, Credential::Secret(SecretSource::Given(_))));
    let config = in_environment(&with(""), None, Some("a2V5\n")).unwrap();
    let Credential::StaticKey(StaticKeySource::Given(bytes)) = &config.credential else { panic!("a key") };
    assert_eq!(bytes.as_slice(), b"key");

    let error = in_environment(&with(""), None, Some("%%%")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "BOUNDKEY_STATIC_KEY: found a value that is not base64 (not shown); allowed: base64 of the key file's bytes, as \
         `base64 -w0 KEY_FILE` prints it"
    );
    let error = in_environment(GUIDE, Some("hush"), None).unwrap_err().to_string();
    assert!(
        error
            .contains("registration_secret_value: found a second source beside BOUNDKEY_REGISTRATION_SECRET"),
        "{error}"
    );
    let error = in_environment(&with(""), Some("hush"), Some("a2V5")).unwrap_err().to_string();
    assert!(
        error.contains("found both BOUNDKEY_REGISTRATION_SECRET and BOUNDKEY_STATIC_KEY in the environment"),
        "{error}"
    );
    assert!(!error.contains("hush"), "secrets are never shown");
}

#[test]
fn nothing_of_a_secret_is_shown_by_debug() {
    let config = parse(GUIDE).unwrap();
    assert!(!format!("{config:?}").contains("secret value"), "{config:?}");
    let config = in_environment(&with(""), None, Some("a2V5")).unwrap();
    assert!(format!("{config:?}").contains("StaticKey(Given(..))"), "{config:?}");
}

/// What each source makes of the same text: a YAML scalar in every style, a file, the environment.
fn from_every_source(text: &str) -> Vec<(&'static str, Result<String, String>)> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    std::fs::write(&file, text).unwrap();
    let yaml = |scalar: String| {
        let section = format!("    bound_keypair:\n      registration_secret_value: {scalar}\n");
        parse(&format!("agent:\n  server: s:1\n  join_params:\n    token_name: t\n{section}"))
    };
    let block = |mark: &str| yaml(format!("{mark}\n        {}", text.trim_end_matches(['\r', '\n'])));
    let by_file = with("").replace(
        "token_name: t",
        &format!("token_name: t, bound_keypair: {{registration_secret_path: {}}}", file.display()),
    );
    [
        ("quoted", yaml(serde_json::Value::from(text).to_string())),
        ("|", block("|")),
        ("|-", block("|-")),
        (">", block(">")),
        ("file", parse(&by_file)),
        ("variable", in_environment(&with(""), Some(text), None)),
    ]
    .into_iter()
    .map(|(source, config)| {
        let credential = config.map(|config| config.credential);
        let Ok(Credential::Secret(secret)) = credential else { panic!("{source}: {credential:?}") };
        let read = secret.read().map(|secret| secret.expose().to_owned());
        (source, read.map_err(|error| error.to_string()))
    })
    .collect()
}

#[test]
fn a_secret_is_cleaned_alike_from_every_source() {
    for text in [
        "correct horse battery",
        "correct horse battery\n",
        "correct horse battery \r\n",
        "correct horse battery\t",
    ] {
        for (source, read) in from_every_source(text) {
            assert_eq!(read.as_deref(), Ok("correct horse battery"), "{source}: {text:?}");
        }
    }
    let plain = with("").replace(
        "{token_name: t}",
        "\n    token_name: t\n    bound_keypair: \n      registration_secret_value: correct horse battery  ",
    );
    let Credential::Secret(secret) = parse(&plain).unwrap().credential else { panic!("a secret") };
    assert_eq!(secret.read().unwrap().expose(), "correct horse battery");
}

#[test]
fn what_is_no_secret_is_named_with_its_source_and_never_shown() {
    for (text, found) in [
        ("\"correct horse battery\"", "a secret with quotes round it; leave the quotes out"),
        (
            "secret: correct horse",
            "a name before the secret, as in `key: value` or `KEY=value`; leave the name out",
        ),
        ("<the secret>", "a placeholder, where the secret itself should stand"),
        ("REPLACE_ME", "a placeholder, where the secret itself should stand"),
        ("/run/secrets/boundkey", "a file's name, where the secret itself should stand"),
        ("${SECRET}", "a variable or template that was not filled in"),
        (
            "QUFFQ0F3UUZCZ2NJQ1FvTERBME9EeEFSRWhNVUZSWVhHQmthR3h3ZEhoOA==",
            "base64 of the secret or of a key; give the text that it stands for (`base64 -d`)",
        ),
    ] {
        for (source, read) in from_every_source(text) {
            let error = read.unwrap_err();
            let (place, rest) = error.split_once(" holds ").unwrap_or_else(|| panic!("{source}: {error}"));
            assert_eq!(rest, format!("{found}; allowed: the registration secret on one line"), "{source}");
            let expected = match source {
                "file" => "`registration_secret_path` /",
                "variable" => "BOUNDKEY_REGISTRATION_SECRET",
                _ => "agent.yaml:6:34: `registration_secret_value`",
            };
            assert!(place.starts_with(expected), "{source}: {place}");
        }
    }
    let config = in_environment(&with(""), Some(" \n"), None).unwrap();
    let Credential::Secret(secret) = config.credential else { panic!("a secret") };
    assert_eq!(
        secret.read().unwrap_err().to_string(),
        "BOUNDKEY_REGISTRATION_SECRET holds nothing; allowed: the registration secret on one line"
    );
}

#[test]
fn a_secret_file_holds_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    let source = SecretSource::File(file.clone());
    let say = |content: &[u8]| {
        std::fs::write(&file, content).unwrap();
        source.read().map(|s| s.expose().to_owned()).map_err(|e| e.to_string())
    };
    let shown = file.display();
    assert_eq!(
        source.read().unwrap_err().to_string(),
        format!("cannot read `registration_secret_path` {shown}: No such file or directory (os error 2)")
    );
    assert_eq!(say(b"\xef\xbb\xbfhush\r\n"), Ok("hush".to_owned()));
    for (content, found) in [
        (&b" \n"[..], "nothing"),
        (b"a\nb\n", "more than one line"),
        (&[0xff, 0xfe], "bytes that are no text"),
        (b"\xff\xfeh\0u\0s\0h\0", "UTF-16 text; allowed: UTF-8"),
    ] {
        let expected = format!(
            "`registration_secret_path` {shown} holds {found}; allowed: the registration secret on one line"
        );
        assert_eq!(say(content), Err(expected));
    }
    let expected =
        format!("`registration_secret_path` {shown} holds more than 64 KiB; allowed: a secret or a key");
    assert_eq!(say(&vec![b'a'; 70_000]), Err(expected));
}

#[test]
fn a_static_key_in_the_environment_says_what_it_is_instead() {
    let pem = PrivateKey::ed25519_from_seed(&[7; 32]).to_openssh_pem("boundkey");
    for (value, found) in [
        (pem.as_str(), "a private key as it stands in its file (not shown)"),
        ("\"a2V5\"", "a value with quotes round it; leave the quotes out"),
        ("/etc/boundkey/ci.key", "a file's name, where the value itself should stand"),
        ("${KEY}", "a variable or template that was not filled in"),
    ] {
        let error = in_environment(&with(""), None, Some(value)).unwrap_err().to_string();
        let allowed = "allowed: base64 of the key file's bytes, as `base64 -w0 KEY_FILE` prints it";
        assert_eq!(error, format!("BOUNDKEY_STATIC_KEY: found {found}; {allowed}"));
    }
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem.as_bytes());
    for value in [format!("\u{feff}{encoded}\r\n"), format!(" {} \n {}", &encoded[..8], &encoded[8..])] {
        let config = in_environment(&with(""), None, Some(&value)).unwrap();
        let Credential::StaticKey(key) = config.credential else { panic!("a key") };
        key.read().unwrap();
    }
}

#[test]
fn paths_that_only_a_shell_understands_are_refused() {
    let tilde = "allowed: the path written out, such as /home/NAME/boundkey: `~` is not replaced here (`./~` for a file of \
                 that name)";
    let variable = "allowed: the path written out: variables are not replaced here";
    let config = "agent:
  server: s:1
  data_dir: ~/state
  ca_file: $HOME/ca.pem
  join_params:
    token_name: t
    bound_keypair: {registration_secret_path: \"${CREDENTIALS_DIRECTORY}/secret\", static_key_path: ~ci/key}
ssh_service: {enabled: true}
outputs:
- {type: openssh_host, path: ~/tls, host_key: \"$(pwd)/key\"}
";
    assert_eq!(
        faults(config),
        [
            format!("agent.yaml:3:13: agent.data_dir: found `~/state`; {tilde}"),
            format!("agent.yaml:4:12: agent.ca_file: found `$HOME/ca.pem`; {variable}"),
            format!(
                "agent.yaml:7:47: agent.join_params.bound_keypair.registration_secret_path: found \
                 `${{CREDENTIALS_DIRECTORY}}/secret`; {variable}"
            ),
            format!(
                "agent.yaml:7:99: agent.join_params.bound_keypair.static_key_path: found `~ci/key`; {tilde}"
            ),
            format!("agent.yaml:10:30: outputs[0].path: found `~/tls`; {tilde}"),
            format!("agent.yaml:10:47: outputs[0].host_key: found `$(pwd)/key`; {variable}"),
        ]
    );
}
