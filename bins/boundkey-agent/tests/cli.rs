//! The command line, as a user meets it.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn agent(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_boundkey-agent"))
        .args(args)
        .env_remove("BOUNDKEY_REGISTRATION_SECRET")
        .env_remove("BOUNDKEY_STATIC_KEY")
        .env_remove("NOTIFY_SOCKET")
        .output()
        .expect("the agent runs")
}

/// Exit status, standard output, standard error.
fn run(args: &[&str]) -> (i32, String, String) {
    let output = agent(args);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is text");
    (output.status.code().expect("it exits"), text(output.stdout), text(output.stderr))
}

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

fn config(dir: &Path, lines: &str) -> PathBuf {
    let file = dir.join("agent.yaml");
    let text = format!(
        "agent:\n  data_dir: {}\n  join_params: {{token_name: t}}\n  server: 127.0.0.1:1\n{lines}",
        dir.join("data").display()
    );
    std::fs::write(&file, text).unwrap();
    file
}

#[test]
fn every_command_has_help_with_status_0_and_wrong_usage_has_status_2() {
    let commands: [&[&str]; 12] = [
        &[],
        &["start"],
        &["status"],
        &["keypair", "create"],
        &["configure"],
        &["check-config"],
        &["renew"],
        &["forget"],
        &["install", "systemd"],
        &["completions"],
        &["man"],
        &["keypair"],
    ];
    for command in commands {
        let args: Vec<&str> = command.iter().copied().chain(["--help"]).collect();
        let (status, out, _) = run(&args);
        assert_eq!(status, 0, "{command:?}");
        assert!(out.contains("Usage: boundkey-agent"), "{command:?}: {out}");
    }
    for usage in [
        &["nonsense"][..],
        &["start", "--nonsense"],
        &[],
        &["keypair", "create"],
        &["keypair", "create", "--static", "--storage", "x"],
        &["start", "--timeout", "soon"],
    ] {
        assert_eq!(run(usage).0, 2, "{usage:?}");
    }
    let (status, out, _) = run(&["--version"]);
    assert_eq!((status, out.as_str()), (0, concat!("boundkey-agent ", env!("CARGO_PKG_VERSION"), "\n")));
}

#[test]
fn a_key_in_storage_is_made_once_and_printed_ever_after() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let create = ["keypair", "create", "--storage", path(&data)];
    let (status, first, _) = run(&create);
    assert_eq!(status, 0);
    assert!(first.starts_with("ssh-ed25519 AAAA") && first.lines().count() == 1, "{first}");
    assert_eq!(run(&create).1, first);
    let (_, json, _) = run(&[&create[..], &["--format", "json"]].concat());
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json, serde_json::json!({"public_key": first.trim()}));
    let (status, second, _) = run(&[&create[..], &["--overwrite"]].concat());
    assert_eq!(status, 0);
    assert_ne!(second, first);
}

#[test]
fn a_static_key_is_printed_or_written_with_mode_0600() {
    use std::os::unix::fs::PermissionsExt as _;
    let (status, out, _) = run(&["keypair", "create", "--static", "--format", "json"]);
    assert_eq!(status, 0);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(json["private_key"].as_str().unwrap().starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
    assert!(json["public_key"].as_str().unwrap().starts_with("ssh-ed25519 "));

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ci.key");
    let create = ["keypair", "create", "--static", "--static-key-path", path(&file)];
    let (status, first, _) = run(&create);
    assert_eq!(status, 0);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(run(&create).1, first, "an existing key is kept");
    let public = first.lines().next().unwrap();
    assert_eq!(
        first,
        format!(
            "{public}

# The token, for `boundkeyctl create`; its bot is added by `boundkeyctl bots add example`.
# For hosts `roles: [Node]` without `bot_name`, and no bot:
kind: token
version: v2
metadata:
  name: example
spec:
  roles: [Bot]
  bot_name: example
  join_method: bound_keypair
  bound_keypair:
    onboarding:
      initial_public_key: \"{public}\"
    recovery:
      mode: insecure

# The agent's config; for hosts a line more, `ssh_service: {{enabled: true}}`:
version: v3
agent:
  proxy_server: SERVER:443
  # The server's CA pin, as `boundkeyctl status` prints it; without this line only the system's roots are trusted:
  ca_pins: [\"sha256:PIN\"]
  join_params:
    token_name: example
    method: bound_keypair
    bound_keypair:
      static_key_path: \"{}\"
",
            file.display()
        )
    );
    std::fs::write(&file, "something else").unwrap();
    let (status, _, err) = run(&create);
    assert_eq!(status, 1);
    assert!(
        err.contains("is there already and is no key that can be used (--overwrite replaces it)"),
        "{err}"
    );
    assert_eq!(run(&[&create[..], &["--overwrite"]].concat()).0, 0);
}

#[test]
fn a_configuration_from_flags_is_one_that_start_reads() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agent.yaml");
    let args = [
        "configure",
        "--server",
        "s.example:443",
        "--token",
        "t",
        "--role",
        "Node,db",
        "--data-dir",
        "/data",
        "--registration-secret-path",
        "/secret",
    ];
    let (status, out, _) = run(&args);
    assert_eq!(status, 0);
    assert_eq!(
        out,
        "version: v3\nagent:\n  data_dir: /data\n  join_params:\n    token_name: t\n    method: bound_keypair\n    \
         bound_keypair:\n      registration_secret_path: /secret\n  proxy_server: s.example:443\nssh_service:\n  enabled: \
         true\ndb_service:\n  enabled: true\n"
    );
    let write = [&args[..], &["-o", path(&file)]].concat();
    assert_eq!(run(&write), (0, format!("wrote {}\n", file.display()), String::new()));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), out);
    let (status, _, err) = run(&write);
    assert_eq!(
        (status, err),
        (1, format!("boundkey-agent: {} is there already: --overwrite replaces it\n", file.display()))
    );
    let (status, _, err) = run(&["configure", "--server", "s:1", "--token", "t", "--role", "king"]);
    assert_eq!(status, 1);
    assert!(
        err.contains("--role: found `king`; allowed: node, proxy, app, kube, db, windowsdesktop"),
        "{err}"
    );
    let (status, _, err) = run(&["configure", "--server", "s:1", "--token", "-t"]);
    assert_ne!(status, 0, "{err}");
}

#[test]
fn faults_of_a_configuration_come_all_at_once_with_status_1() {
    let dir = tempfile::tempdir().unwrap();
    let file = config(dir.path(), "ssh_servce: {}\noutputs: [{type: tsl, path: /o}]\n");
    let (status, out, err) = run(&["start", "-c", path(&file), "--oneshot"]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert_eq!(err.lines().count(), 2, "{err}");
    assert!(err.contains("agent.yaml:5:1: ssh_servce: found an unknown field"), "{err}");
    assert!(err.contains("(did you mean `tls`?)"), "{err}");
    assert!(!dir.path().join("data").exists(), "nothing was stored");
    let (status, _, err) = run(&["start", "-c", "/no/such/file"]);
    assert_eq!(
        (status, err.as_str()),
        (1, "boundkey-agent: cannot read /no/such/file: No such file or directory (os error 2)\n")
    );
}

#[test]
fn a_server_that_is_not_there_is_tried_until_the_time_is_up() {
    let dir = tempfile::tempdir().unwrap();
    let file = config(dir.path(), "");
    let (status, _, err) = run(&["start", "-c", path(&file), "--oneshot", "--timeout", "1s"]);
    assert_eq!(status, 1);
    assert!(err.contains("join failed"), "it was tried again: {err}");
    let last = err.lines().last().unwrap();
    assert!(last.starts_with("boundkey-agent: cannot connect to 127.0.0.1:1: "), "{last}");
    let (status, out, _) = run(&["status", "-c", path(&file)]);
    assert_eq!(status, 1);
    assert!(
        out.contains("this machine has not joined yet") && out.contains("cannot connect to 127.0.0.1:1"),
        "{out}"
    );
    let (status, out, _) = run(&["status", "-c", path(&file), "--format", "json"]);
    assert_eq!(status, 1);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["healthy"], false);
    assert_eq!(json["token"], "t");
}

#[test]
fn logs_can_be_json() {
    let dir = tempfile::tempdir().unwrap();
    let file = config(dir.path(), "");
    let (_, _, err) =
        run(&["start", "-c", path(&file), "--oneshot", "--timeout", "1s", "--log-format", "json"]);
    let first: serde_json::Value = serde_json::from_str(err.lines().next().unwrap()).unwrap();
    assert_eq!(first["message"], "join failed");
    assert_eq!(first["level"], "WARN");
    assert!(first["retry_in_seconds"].as_f64().is_some_and(|wait| wait > 0.0), "{first}");
}

#[test]
fn nobody_to_signal_and_nothing_to_forget_is_said_plainly() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (status, _, err) = run(&["renew", "--data-dir", path(&data)]);
    let expected = format!(
        "boundkey-agent: no agent is running on {}: start it with `boundkey-agent start`\n",
        data.display()
    );
    assert_eq!((status, err), (1, expected));
    let (status, out, _) = run(&["forget", "--data-dir", path(&data)]);
    assert_eq!((status, out), (0, format!("nothing to forget: there is no {}\n", data.display())));
    let (status, out, _) = run(&["status", "--data-dir", path(&data)]);
    assert_eq!(status, 1);
    assert!(out.contains("this machine has not joined yet"), "{out}");
    assert!(!data.exists(), "looking makes nothing");
}

#[test]
fn forgetting_removes_every_key() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    run(&["keypair", "create", "--storage", path(&data)]);
    assert!(data.join("state.json").exists());
    let (status, out, err) = run(&["forget", "--data-dir", path(&data)]);
    let expected = format!(
        "boundkey-agent: this wipes the keys in {0}; they are bound to no token yet, as far as this machine knows\nnothing was changed; \
         to do it all the same: boundkey-agent forget --data-dir {0} --yes\n",
        data.display()
    );
    assert_eq!((status, out.as_str(), err), (1, "", expected));
    assert!(data.join("state.json").exists());
    let (status, out, _) = run(&["forget", "--data-dir", path(&data), "--yes"]);
    assert_eq!((status, out), (0, format!("forgot the state in {}\n", data.display())));
    assert!(!data.join("state.json").exists());
    let (status, out, _) = run(&["forget", "--data-dir", path(&data)]);
    assert_eq!((status, out), (0, format!("nothing to forget in {}\n", data.display())));
}

#[test]
fn damaged_foreign_and_open_state_is_refused_with_what_mends_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let file = config(dir.path(), "");
    let data = dir.path().join("data");
    run(&["keypair", "create", "--storage", path(&data)]);
    let state = data.join("state.json");
    let whole = std::fs::read(&state).unwrap();
    let start = ["start", "-c", path(&file), "--oneshot", "--timeout", "1s"];

    let set_mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode(&state, 0o666);
    for command in [&start[..], &["status", "-c", path(&file)]] {
        let (status, _, err) = run(command);
        assert_eq!(status, 1);
        assert!(err.contains(&format!("Run `chmod go-w {}`", state.display())), "{err}");
    }
    // What a platform opened to a group is private again, and said once.
    set_mode(&data, 0o2770);
    set_mode(&state, 0o660);
    let told = "the agent's files were open to other users, and are private again";
    let (_, _, err) = run(&start);
    assert!(err.contains(told), "{err}");
    assert!(err.contains(&format!("{} 2770, {} 0660", data.display(), state.display())), "{err}");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!([mode(&data), mode(&state)], [0o700, 0o600]);
    let (_, _, err) = run(&start);
    assert!(!err.contains(told), "{err}");
    std::fs::write(&state, &whole).unwrap();

    // Whoever can change the configuration says what runs as root.
    set_mode(&file, 0o666);
    let (status, _, err) = run(&start);
    assert_eq!(status, 1);
    assert!(err.contains(&format!("the file {} can be changed by other users", file.display())), "{err}");
    set_mode(&file, 0o600);

    std::fs::write(&state, &whole[..whole.len() / 2]).unwrap();
    let (status, _, err) = run(&start);
    assert_eq!(status, 1);
    assert!(err.contains("state.json cannot be used"), "{err}");
    assert_eq!(std::fs::read(&state).unwrap(), &whole[..whole.len() / 2], "it is left as it is");

    let text = String::from_utf8(whole).unwrap();
    assert!(text.contains("\"machine\":null") || text.contains("\"machine\""), "{text}");
}

#[test]
fn the_systemd_unit_names_this_program_and_passes_the_checker() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("boundkey-agent.service");
    let (status, out, _) = run(&["install", "systemd", "-o", path(&file), "-c", "/etc/my config.yaml"]);
    assert_eq!((status, out), (0, format!("wrote {}\n", file.display())));
    let unit = std::fs::read_to_string(&file).unwrap();
    let exec =
        format!("ExecStart={} start -c \"/etc/my config.yaml\"\n", env!("CARGO_BIN_EXE_boundkey-agent"));
    assert!(unit.contains(&exec), "{unit}");
    assert!(unit.contains("Type=notify\n") && !unit.contains("@PROGRAM@"), "{unit}");
    let file_of = config(dir.path(), "outputs: [{type: tls, path: /opt/app/tls}]\n");
    let (_, out, _) = run(&["install", "systemd", "-c", path(&file_of)]);
    let paths = out.lines().find(|line| line.starts_with("ReadWritePaths=")).expect("it may write somewhere");
    assert!(paths.ends_with(&format!(" -/opt/app -{}", dir.path().join("data").display())), "{paths}");
    let check = Command::new("systemd-analyze")
        .args(["verify", "--recursive-errors=yes", "--man=no"])
        .arg(&file)
        .output();
    match check {
        Err(_) => println!("SKIP: systemd-analyze is not installed"),
        Ok(check) => {
            let said = String::from_utf8_lossy(&check.stderr);
            assert!(check.status.success() || said.contains("Failed to"), "{said}");
        }
    }
}

#[test]
fn completions_and_the_manual_page_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        let (status, out, _) = run(&["completions", shell]);
        assert_eq!(status, 0);
        assert!(out.contains("boundkey-agent") && out.contains("oneshot"), "{shell}");
    }
    let (status, out, _) = run(&["man"]);
    assert_eq!(status, 0);
    assert!(out.contains(".TH boundkey-agent 1"), "{out}");
}

#[test]
fn status_says_of_another_machines_state_what_start_says() {
    let dir = tempfile::tempdir().unwrap();
    let file = config(dir.path(), "");
    let data = dir.path().join("data");
    run(&["keypair", "create", "--storage", path(&data)]);
    let state = data.join("state.json");
    let text = std::fs::read_to_string(&state).unwrap();
    std::fs::write(&state, text.replace("\"machine\": null", "\"machine\": \"another\"")).unwrap();
    let start = ["start", "-c", path(&file), "--oneshot", "--timeout", "1s"];
    let (status, _, err) = run(&start);
    assert_eq!(status, 1);
    let Some(said) = err.find("state of another machine") else {
        println!("SKIP: this machine has no id that lasts");
        return;
    };
    let said = err[said..].trim();
    for way in ["`boundkey-agent forget`", "`--accept-machine`", "`machine_check: off`"] {
        assert!(said.contains(way), "{said}");
    }
    for place in [["-c", path(&file)], ["--data-dir", path(&data)]] {
        let (status, out, _) = run(&[&["status"], &place[..]].concat());
        assert_eq!(status, 1);
        assert!(out.starts_with("health         NOT HEALTHY\n") && out.contains(said), "{out}");
    }
    // No flag is needed in a unit.
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text + "machine_check: off\n").unwrap();
    let (_, _, err) = run(&start);
    assert!(!err.contains("state of another machine"), "{err}");
    let (_, out, _) = run(&["status", "-c", path(&file)]);
    assert!(!out.contains("state of another machine"), "{out}");
}

#[test]
fn a_configuration_is_checked_with_all_that_it_names_and_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let check = |file: &Path| run(&["check-config", "-c", path(file)]);
    let file = config(dir.path(), "");
    assert_eq!(check(&file), (0, format!("{}: ok\n", file.display()), String::new()));

    let (status, out, err) = check(&config(dir.path(), "ssh_servce: {}\noutputs: [{type: tsl, path: /o}]\n"));
    assert_eq!((status, out.as_str(), err.lines().count()), (1, "", 2), "{err}");

    let secret = dir.path().join("secret");
    let here = dir.path().display();
    std::fs::write(dir.path().join("ca.pem"), "no certificate\n").unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    std::fs::write(dir.path().join("rsa.pub"), "ssh-dss AAAA\n").unwrap();
    let text = format!(
        "agent:\n  data_dir: {here}/data\n  join_params:\n    token_name: t\n    bound_keypair: {{registration_secret_path: {}}}\n  \
         server: 127.0.0.1:1\n  ca_file: {here}/ca.pem\nssh_service: {{enabled: true}}\noutputs:\n\
         - {{type: tls, path: {here}/file, owner: no-such-user}}\n\
         - {{type: tls, path: {here}/two, group: no-such-group}}\n\
         - {{type: openssh_host, path: {here}/three, host_key: {here}/rsa}}\n",
        secret.display()
    );
    std::fs::write(&file, text).unwrap();
    let (status, out, err) = check(&file);
    assert_eq!((status, out.as_str()), (1, ""));
    let expected = [
        format!("cannot read `registration_secret_path` {}: No such file or directory", secret.display()),
        format!("`ca_file` {here}/ca.pem holds no PEM certificate"),
        "outputs[0]: this system has no user `no-such-user`".to_owned(),
        "outputs[1]: this system has no group `no-such-group`".to_owned(),
        format!("outputs[2].host_key: cannot use the host key {here}/rsa.pub"),
    ];
    assert_eq!(err.lines().count(), expected.len(), "{err}");
    for (line, expected) in err.lines().zip(&expected) {
        assert!(line.contains(expected.as_str()), "{line}\nis not\n{expected}");
    }
    assert!(!dir.path().join("data").exists() && !dir.path().join("two").exists(), "nothing was made");
}

#[test]
fn a_configuration_whose_places_start_would_refuse_is_not_good() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let here = dir.path().canonicalize().unwrap();
    let here = here.display();
    std::fs::create_dir_all(at("loose/sub")).unwrap();
    std::fs::create_dir(at("real")).unwrap();
    std::fs::write(at("file"), "").unwrap();
    std::os::unix::fs::symlink("real", at("link")).unwrap();
    std::fs::set_permissions(at("loose"), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let check = |data: &str, outputs: &str| {
        let text = format!(
            "agent:\n  data_dir: {here}/{data}\n  join_params: {{token_name: t}}\n  server: 127.0.0.1:1\noutputs: [{outputs}]\n"
        );
        std::fs::write(at("a.yaml"), text).unwrap();
        run(&["check-config", "-c", path(&at("a.yaml"))])
    };
    let loose = format!("the directory {here}/loose can be changed by other users");
    for (data, output, said) in [
        ("loose/agent", String::new(), format!("agent.data_dir: {loose}")),
        ("loose/sub/agent", String::new(), format!("agent.data_dir: {loose}")),
        ("file", String::new(), format!("agent.data_dir: {here}/file is a file, expected a directory")),
        ("data", format!("{{type: tls, path: {here}/loose/out}}"), format!("outputs[0].path: {loose}")),
        (
            "data",
            format!("{{type: tls, path: {here}/link}}"),
            format!("outputs[0].path: {here}/link is a symbolic link"),
        ),
        (
            "data",
            format!("{{type: tls, path: {here}/file}}"),
            format!("outputs[0].path: {here}/file is no directory"),
        ),
        (
            "data",
            format!("{{type: tls, path: {here}/file/out}}"),
            format!("outputs[0].path: {here}/file is a file"),
        ),
    ] {
        let (status, out, err) = check(data, &output);
        assert_eq!((status, out.as_str()), (1, ""), "{data} {output}");
        assert!(err.contains(&said), "{err}\nis not\n{said}");
    }
    let (status, _, err) =
        check("data", &format!("{{type: tls, path: {here}/new/deep/out}}, {{type: tls, path: {here}/real}}"));
    assert_eq!(status, 0, "{err}");
    assert!(!at("new").exists() && !at("data").exists(), "nothing was made");
}

#[test]
fn nothing_is_done_at_the_word_of_a_configuration_that_others_can_change() {
    let dir = tempfile::tempdir().unwrap();
    let file = config(dir.path(), "");
    let data = dir.path().join("data");
    assert_eq!(run(&["keypair", "create", "--storage", path(&data)]).0, 0);
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    for command in [&["forget", "--yes"][..], &["renew"]] {
        let (status, _, err) = run(&[command, &["-c", path(&file)]].concat());
        assert_eq!(status, 1, "{err}");
        assert!(err.contains("can be changed by other users") && err.contains("--data-dir"), "{err}");
    }
    assert!(data.join("state.json").exists());
    let (_, out, _) = run(&["status", "-c", path(&file)]);
    assert!(out.contains("has not joined yet"), "{out}");
    assert_eq!(run(&["forget", "--yes", "--data-dir", path(&data)]).0, 0);
    assert!(!data.join("state.json").exists());
}

#[test]
fn every_command_has_a_man_page_and_none_names_a_page_that_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man/man1");
    assert_eq!(run(&["man", path(&pages)]), (0, String::new(), String::new()));
    let made: Vec<String> = std::fs::read_dir(&pages)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for page in ["boundkey-agent.1", "boundkey-agent-start.1", "boundkey-agent-keypair-create.1"] {
        assert!(made.iter().any(|made| made == page), "{page}: {made:?}");
    }
    let start = std::fs::read_to_string(pages.join("boundkey-agent-start.1")).unwrap();
    for flag in ["oneshot", "timeout", "accept\\-machine", "config"] {
        assert!(start.contains(flag), "{flag}: {start}");
    }
    for page in &made {
        let text = std::fs::read_to_string(pages.join(page)).unwrap().replace("\\-", "-");
        for (before, _) in text.match_indices("(1)").map(|(at, _)| text.split_at(at)) {
            let name = before.rsplit(|c: char| c.is_whitespace() || c == '\\').next().unwrap();
            let name = name.strip_prefix("fB").unwrap_or(name);
            assert!(made.contains(&format!("{name}.1")), "{page} names {name}(1)");
        }
    }
    let (status, top, _) = run(&["man"]);
    assert_eq!(status, 0);
    assert_eq!(top, std::fs::read_to_string(pages.join("boundkey-agent.1")).unwrap());
}

#[test]
fn an_empty_variable_is_one_that_is_not_set() {
    let output = Command::new(env!("CARGO_BIN_EXE_boundkey-agent"))
        .args(["configure", "--server", "s:1", "--token", "t"])
        .env("BOUNDKEY_LOG", "")
        .env("BOUNDKEY_REGISTRATION_SECRET", "")
        .env("BOUNDKEY_STATIC_KEY", "")
        .env("NOTIFY_SOCKET", "")
        .output()
        .unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}
