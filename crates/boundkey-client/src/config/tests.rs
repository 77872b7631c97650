use std::path::{Path, PathBuf};
use std::time::Duration;

use boundkey_keys::Secret;

use super::*;

mod secrets;

/// The guide's file, as it stands.
const GUIDE: &str = "\
# /etc/teleport.yaml
version: v3
teleport:
  join_params:
    token_name: example-token
    method: bound_keypair
    bound_keypair:
      registration_secret_value: <secret value here>

      # Alternatively, specify a path to a file containing the registration
      # secret.
      # registration_secret_path: /path/to/secret
  proxy_server: teleport.example.com:443
ssh_service:
  enabled: true
auth_service:
  enabled: false
proxy_service:
  enabled: false
";

fn parse(text: &str) -> Result<AgentConfig, ConfigError> {
    AgentConfig::parse(text.as_bytes(), "agent.yaml", Environment::default())
}

fn faults(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(_) => Vec::new(),
        Err(error) => error.to_string().lines().map(ToOwned::to_owned).collect(),
    }
}

/// A good configuration with these lines after it.
fn with(lines: &str) -> String {
    format!("agent:\n  join_params: {{token_name: t}}\n  server: s:1\n{lines}")
}

#[test]
fn the_guides_file_works_as_it_stands() {
    let config = parse(GUIDE).unwrap();
    assert_eq!(config.data_dir, Path::new("/var/lib/boundkey"));
    assert_eq!(config.token.as_str(), "example-token");
    assert_eq!(config.server.to_string(), "teleport.example.com:443");
    assert_eq!(config.trust, TrustConfig::System);
    assert_eq!(config.roles.iter().map(|r| r.to_string()).collect::<Vec<_>>(), ["Node"]);
    // Nobody filled in the secret: a machine that is bound needs none, and any other is told.
    let Credential::Secret(source) = &config.credential else { panic!("a secret") };
    assert_eq!(
        source.read().unwrap_err().to_string(),
        "agent.yaml:8:34: `registration_secret_value` holds a placeholder, where the secret itself should stand; allowed: \
         the registration secret on one line"
    );
}

#[test]
fn everything_can_be_set() {
    let pin = format!("sha256:{}", "ab".repeat(32));
    let config = parse(&format!(
        "version: v3
agent:
  data_dir: /data
  join_params:
    token_name: t
    method: bound_keypair
    bound_keypair: {{static_key_path: /key}}
  auth_server: https://[::1]:3443
  ca_pins: [\"{pin}\"]
ssh_service: {{enabled: \"yes\"}}
app_service: {{enabled: true}}
db_service: {{enabled: true}}
kubernetes_service: {{enabled: true}}
windows_desktop_service: {{enabled: true}}
certificates: {{dns_names: [a.example], ip_addresses: [\"10.0.0.1\"], principals: [a], ttl: 2h}}
outputs:
- {{type: tls, path: /out/tls, owner: www, group: \"33\", mode: \"0640\", reload: \"true\", reuse_key: true}}
- {{type: openssh_host, path: /out/ssh, host_key: /etc/ssh/key, hosts: [\"*.Corp.example\", 10.0.0.?]}}
"
    ))
    .unwrap();
    assert_eq!(config.server.to_string(), "[::1]:3443");
    assert_eq!(config.trust, TrustConfig::Pins(vec![pin.parse().unwrap()]));
    let roles: Vec<_> = config.roles.iter().map(|r| r.to_string()).collect();
    assert_eq!(roles, ["Node", "App", "Kube", "Db", "WindowsDesktop"]);
    assert_eq!(config.names.dns_names, ["a.example"]);
    assert_eq!(config.ttl, Some(Duration::from_secs(7200)));
    assert_eq!(
        config.outputs[0],
        OutputConfig {
            kind: OutputKind::Tls { reuse_key: true },
            path: "/out/tls".into(),
            access: FileAccess {
                owner: Some("www".to_owned()),
                group: Some("33".to_owned()),
                mode: Some(0o640)
            },
            reload: Some("true".to_owned()),
            hosts: Vec::new(),
        }
    );
    let host_key = Some(PathBuf::from("/etc/ssh/key"));
    assert_eq!(config.outputs[1].kind, OutputKind::OpensshHost { host_key });
    assert_eq!(config.outputs[1].hosts, ["*.corp.example", "10.0.0.?"]);
}

#[test]
fn no_service_means_a_bot() {
    let config = parse(&with("outputs: [{type: openssh_user, path: /home/ci/.ssh/boundkey}]\n")).unwrap();
    assert!(config.roles.is_bot());
    assert!(matches!(config.credential, Credential::StoredKey));
}

#[test]
fn every_fault_is_named_with_its_place_and_what_is_allowed() {
    let table: &[(&str, &[&str])] = &[
        (
            "{}\n",
            &[
                "agent.yaml:1:1: agent.join_params.token_name: found nothing; allowed: the name of a token: a letter or digit, \
             then up to 252 letters, digits, dots, underscores or dashes",
                "agent.yaml:1:1: agent.proxy_server: found nothing; allowed: HOST:PORT, for example server.example.com:443 or [fe80::1%eth0]:443",
            ],
        ),
        (
            "version: v2\nagent:\n  join_params:\n    token_nam: t\n    method: token\n  server: s:1\n",
            &[
                "agent.yaml:1:10: version: found `v2`; allowed: v3",
                "agent.yaml:3:3: agent.join_params.token_name: found nothing; allowed: the name of a token: a letter or digit, \
             then up to 252 letters, digits, dots, underscores or dashes",
                "agent.yaml:4:5: agent.join_params.token_nam: found an unknown field; allowed: token_name, method, \
             bound_keypair (did you mean `token_name`?)",
                "agent.yaml:5:13: agent.join_params.method: found `token`; allowed: bound_keypair",
            ],
        ),
        (
            "agent:\n  join_params: {token_name: t}\n  server: s:1\n  proxy_server: p:1\nteleport: {}\n",
            &[
                "agent.yaml:3:3: agent.server: found a second name of `proxy_server`, which is set too; allowed: one of the two",
                "agent.yaml:5:1: teleport: found a second name of `agent`, which is set too; allowed: one of the two",
            ],
        ),
        (
            "agent:\n  join_params: {token_name: -t}\n  server: s:x\n",
            &[
                "agent.yaml:2:29: agent.join_params.token_name: found `-t`; allowed: the name of a token: a letter or digit, \
             then up to 252 letters, digits, dots, underscores or dashes",
                "agent.yaml:3:11: agent.server: found `s:x`; allowed: HOST:PORT, for example server.example.com:443 or [fe80::1%eth0]:443",
            ],
        ),
        (
            "agent:\n  join_params:\n    token_name: t\n    bound_keypair:\n      registration_secret_value: hush\n      \
          registration_secret_path: /a\n      static_key_path: /b\n  server: s:1\n",
            &[
                "agent.yaml:6:33: agent.join_params.bound_keypair.registration_secret_path: found a second source beside \
             registration_secret_value; allowed: one of registration_secret_value, registration_secret_path, \
             static_key_path, BOUNDKEY_REGISTRATION_SECRET and BOUNDKEY_STATIC_KEY",
                "agent.yaml:7:24: agent.join_params.bound_keypair.static_key_path: found a second source beside \
             registration_secret_value; allowed: one of registration_secret_value, registration_secret_path, \
             static_key_path, BOUNDKEY_REGISTRATION_SECRET and BOUNDKEY_STATIC_KEY",
            ],
        ),
        (
            "agent:\n  join_params: {token_name: t, bound_keypair: {registration_secret_value: 12345}}\n  server: s:1\n",
            &[
                "agent.yaml:2:75: agent.join_params.bound_keypair.registration_secret_value: found a number (not shown); \
             allowed: text (put it in quotes)",
            ],
        ),
        (
            "agent:\n  join_params: {token_name: t}\n  server: s:1\n  ca_pins: [\"sha256:00\"]\n  ca_file: /ca\n",
            &[
                "agent.yaml:4:13: agent.ca_pins[0]: found `sha256:00`; allowed: `sha256:` and 64 hexadecimal digits, as the \
             server prints it",
                "agent.yaml:5:12: agent.ca_file: found a second way to know the server beside ca_pins; allowed: one of the two",
            ],
        ),
    ];
    let wrong: Vec<_> =
        table.iter().map(|(text, expected)| (faults(text), expected)).filter(|(f, e)| f != *e).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_fault_below_the_agent_is_named_too() {
    let table: &[(&str, &str)] = &[
        (
            "auth_service: {enabled: true}\n",
            "agent.yaml:4:25: auth_service.enabled: found true; allowed: false: this is an agent, the cluster's server is `boundkey-server`",
        ),
        (
            "ssh_service: {enabled: maybe}\n",
            "agent.yaml:4:24: ssh_service.enabled: found `maybe`; allowed: true or false",
        ),
        (
            "ssh_service: {labels: {}}\n",
            "agent.yaml:4:15: ssh_service.labels: found an unknown field; allowed: enabled",
        ),
        (
            "ssh_servce: {enabled: true}\n",
            "agent.yaml:4:1: ssh_servce: found an unknown field; allowed: version, agent, teleport, machine_check, facts, ssh_service, proxy_service, app_service, kubernetes_service, db_service, windows_desktop_service, auth_service, certificates, outputs (did you mean `ssh_service`?)",
        ),
        (
            "certificates: {dns_names: [\"*.example\"]}\n",
            "agent.yaml:4:28: certificates.dns_names[0]: found `*.example`; allowed: a DNS name without wildcard",
        ),
        (
            "certificates: {ip_addresses: [10.0.0.0/8]}\n",
            "agent.yaml:4:31: certificates.ip_addresses[0]: found `10.0.0.0/8`; allowed: an IP address",
        ),
        (
            "certificates: {principals: [\"a,b\"]}\n",
            "agent.yaml:4:29: certificates.principals[0]: found `a,b`; allowed: a name without blanks, commas and wildcards",
        ),
        (
            "certificates: {ttl: 10s}\n",
            "agent.yaml:4:21: certificates.ttl: found `10s`; allowed: a duration such as 30s, 15m, 24h or 7d, from 1m to 366d",
        ),
        ("outputs: {}\n", "agent.yaml:4:10: outputs: found a mapping; allowed: a list"),
        (
            "outputs: [{path: /out}]\n",
            "agent.yaml:4:11: outputs[0].type: found nothing; allowed: tls, openssh_host or openssh_user",
        ),
        (
            "outputs: [{type: tls}]\n",
            "agent.yaml:4:11: outputs[0].path: found nothing; allowed: the absolute path of a directory, without control characters",
        ),
        (
            "outputs: [{type: tsl, path: /out}]\n",
            "agent.yaml:4:18: outputs[0].type: found `tsl`; allowed: tls, openssh_host or openssh_user (did you mean `tls`?)",
        ),
        (
            "outputs: [{type: tls, path: out}]\n",
            "agent.yaml:4:29: outputs[0].path: found `out`; allowed: the absolute path of a directory, without control characters",
        ),
        (
            "outputs: [{type: tls, path: /}]\n",
            "agent.yaml:4:29: outputs[0].path: found `/`; allowed: the absolute path of a directory, without control characters",
        ),
        (
            "outputs: [{type: tls, path: /out, mode: 0644}]\n",
            "agent.yaml:4:41: outputs[0].mode: found `0644`; allowed: \"0600\", \"0640\", \"0400\" or \"0440\" (in quotes; the files hold a private key)",
        ),
        (
            "outputs: [{type: tls, path: /out, mode: 640}]\n",
            "agent.yaml:4:41: outputs[0].mode: found the number 640; allowed: \"0600\", \"0640\", \"0400\" or \"0440\" (in quotes; the files hold a private key)",
        ),
        (
            "outputs: [{type: openssh_user, path: /out, reuse_key: true}]\n",
            "agent.yaml:4:44: outputs[0].reuse_key: found an unknown field; allowed: type, path, owner, group, mode, reload, hosts",
        ),
        (
            "  data_dir: '/data/\"quoted\"'\n",
            "agent.yaml:4:13: agent.data_dir: found `/data/\"quoted\"`; allowed: a path without control characters, `\"`, `\\`, `*`, `?` and `[`",
        ),
        (
            "outputs: [{type: openssh_user, path: /out, hosts: [\"*\"]}]\n",
            "agent.yaml:4:52: outputs[0].hosts[0]: found `*`; allowed: a pattern of known_hosts: letters, digits, `.`, `-`, `_`, `:`, `*` and `?`, for example *.corp.example.net",
        ),
        (
            "outputs: [{type: tls, path: /out, reload: \" \"}]\n",
            "agent.yaml:4:43: outputs[0].reload: found ` `; allowed: a command for sh, such as systemctl reload nginx",
        ),
        (
            "ssh_service: {enabled: true}\noutputs: [{type: openssh_host, path: '/out/\"quoted\"'}]\n",
            "agent.yaml:5:38: outputs[0].path: found `/out/\"quoted\"`; allowed: an absolute path that sshd_config can hold: without control characters, `\"`, `\\`, `*`, `?` and `[`",
        ),
        (
            "ssh_service: {enabled: true}\noutputs: [{type: openssh_host, path: /out, host_key: key}]\n",
            "agent.yaml:5:54: outputs[0].host_key: found `key`; allowed: an absolute path that sshd_config can hold: without control characters, `\"`, `\\`, `*`, `?` and `[`",
        ),
        (
            "outputs: [{type: openssh_host, path: /out}]\n",
            "agent.yaml:4:18: outputs[0].type: found `openssh_host` in a bot's configuration; allowed: tls or openssh_user (enable ssh_service for a host)",
        ),
        (
            "ssh_service: {enabled: true}\noutputs: [{type: openssh_user, path: /out}]\n",
            "agent.yaml:5:18: outputs[0].type: found `openssh_user` in a host's configuration; allowed: tls or openssh_host (a bot has no service enabled)",
        ),
        (
            "outputs: [{type: tls, path: /out}, {type: tls, path: /out/in}]\n",
            "agent.yaml:4:36: outputs[1]: found the path /out/in; allowed: a directory apart from the other outputs (/out)",
        ),
        (
            "outputs: [{type: tls, path: /var/lib}]\n",
            "agent.yaml:4:11: outputs[0]: found the path /var/lib; allowed: a directory apart from data_dir (/var/lib/boundkey)",
        ),
        (
            "ssh_service: {enabled: true}\noutputs: [{type: openssh_host, path: /a}, {type: openssh_host, path: /b}]\n",
            "agent.yaml:5:43: outputs[1]: found a second openssh_host output; allowed: one: a join certifies one host key",
        ),
    ];
    let found = table.iter().map(|(lines, expected)| (faults(&with(lines)), vec![(*expected).to_owned()]));
    let wrong: Vec<_> = found.filter(|(found, expected)| found != expected).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn syntax_errors_say_the_line() {
    let cases = [
        ("agent:\n\tserver: s\n", "agent.yaml: line 2"),
        ("agent: {}\nagent: {}\n", "agent.yaml: line 2"),
        ("", "agent.yaml: line 1"),
        ("a: 1\n---\nb: 2\n", "agent.yaml: found 2 YAML documents; allowed: one"),
    ];
    for (text, start) in cases {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.starts_with(start), "{error}");
    }
}

fn of(lines: &str) -> Result<AgentConfig, ConfigError> {
    let text = format!("agent:\n  join_params: {{token_name: web-1}}\n  server: s.example.com\n{lines}");
    AgentConfig::parse(text.as_bytes(), "agent.yaml", Environment::default())
}

#[test]
fn the_machine_check_and_the_facts_are_on_unless_they_are_turned_off() {
    let read = |lines: &str| of(lines).map(|config| (config.machine_check, config.facts));
    assert_eq!(read(""), Ok((true, true)));
    assert_eq!(read("machine_check: on\nfacts: all\n"), Ok((true, true)));
    assert_eq!(read("machine_check: off\nfacts: none\n"), Ok((false, false)));
    assert_eq!(read("  machine_check: \"off\"\n"), Ok((false, true)), "in the agent's section too");
    assert_eq!(read("machine_check: false\n"), Ok((false, true)));
    let error = read("machine_check: never\nfacts: some\n").unwrap_err().to_string();
    assert!(error.contains("machine_check: found") && error.contains("facts: found"), "{error}");
}

#[test]
fn a_configuration_that_others_can_change_is_refused_and_may_still_be_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("boundkey.yaml");
    std::fs::write(&file, "agent:\n  join_params: {token_name: web-1}\n  server: s.example.com\n").unwrap();
    let set_mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    let load = || AgentConfig::load(&file, Environment::default()).map(drop).map_err(|e| e.to_string());
    for good in [0o600, 0o640, 0o644] {
        set_mode(good);
        assert_eq!(load(), Ok(()));
    }
    for loose in [0o666, 0o660, 0o602] {
        set_mode(loose);
        let error = load().unwrap_err();
        let start = format!("cannot read {0}: the file {0} can be changed by other users", file.display());
        assert!(error.starts_with(&start), "{error}");
        assert!(error.contains("w /"), "{error}");
        AgentConfig::look_at(&file).unwrap();
    }
}

#[test]
fn a_secret_a_key_and_a_ca_file_that_others_can_change_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "secret").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o620)).unwrap();
    let outcomes = [
        SecretSource::File(file.clone()).read().map(drop).map_err(|e| e.to_string()),
        StaticKeySource::File(file.clone()).read().map(drop).map_err(|e| e.to_string()),
        TrustConfig::CaFile(file.clone()).load().map(drop).map_err(|e| e.to_string()),
    ];
    for outcome in outcomes {
        let error = outcome.unwrap_err();
        let reason = format!("the file {} can be changed by other users", file.display());
        assert!(error.contains(&reason), "{error}");
    }
}

#[test]
fn pins_and_paths_in_block_scalars_lose_their_line_end() {
    let pin = format!("sha256:{}", "ab".repeat(32));
    let config = parse(&format!(
        "agent:\n  join_params: {{token_name: t}}\n  server: s:1\n  data_dir: |\n    /data\n  ca_pins:\n  - |\n    {pin}\n"
    ));
    let config = config.unwrap();
    assert_eq!(config.data_dir, Path::new("/data"));
    assert_eq!(config.trust, TrustConfig::Pins(vec![pin.parse().unwrap()]));
}
