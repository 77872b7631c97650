//! The administrator's commands that other chapters do not show.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use boundkey_testkit::{Cluster, Running, binary, find, run, wait_for};

use crate::{facts, node_token};

#[test]
fn revoked_certificates_are_on_the_lists_that_others_read() {
    let cluster = Cluster::start("lists");
    cluster.create(&node_token("web"));
    let agent = cluster.agent("web");
    agent.oneshot().success();
    let (crl, krl) = (cluster.path("host.crl"), cluster.path("revoked_keys"));
    let fetch = || {
        cluster.ctl(&["crl", "--out", &crl.display().to_string()]).success();
        cluster.ctl(&["krl", "--out", &krl.display().to_string()]).success();
    };
    let listed = || {
        let openssl = find("openssl")?;
        let list =
            run(Command::new(&openssl).args(["crl", "-inform", "DER", "-noout", "-text", "-in"]).arg(&crl));
        let serial = run(Command::new(&openssl)
            .args(["x509", "-noout", "-serial", "-in"])
            .arg(agent.identity("cert.pem")));
        let serial = serial.success().trim().trim_start_matches("serial=").to_owned();
        Some(list.success().contains(&format!("Serial Number: {serial}")))
    };
    let refused = || {
        let query = run(Command::new(find("ssh-keygen")?)
            .args(["-Q", "-f"])
            .arg(&krl)
            .arg(agent.identity("ssh_host_ed25519_key-cert.pub")));
        assert!(query.stderr.is_empty(), "{}", query.stderr);
        Some(query.code != Some(0) && query.stdout.contains("REVOKED"))
    };
    fetch();
    let before = (listed(), refused());
    cluster.ctl(&["bound-keypair", "revoke", "web", "--yes"]).success();
    fetch();
    let after = (listed(), refused());
    for (what, before, after) in [("openssl", before.0, after.0), ("ssh-keygen", before.1, after.1)] {
        match (before, after) {
            (Some(before), Some(after)) => assert!(!before && after, "{what}: {before} {after}"),
            _ => println!("SKIP: {what} is not installed, so it is not asked"),
        }
    }
}

/// An editor that does one thing.
fn editor(cluster: &Cluster, script: &str) -> String {
    let file = cluster.path("editor");
    std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("a file can be written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o700))
        .expect("it can be made executable");
    file.display().to_string()
}

fn edit(cluster: &Cluster, script: &str) -> Command {
    let mut command = Command::new(binary("boundkeyctl"));
    command.arg("--data-dir").arg(cluster.data_dir()).args(["edit", "token/web"]);
    command.env("VISUAL", editor(cluster, script)).env("TMPDIR", cluster.path(""));
    command
}

#[test]
fn edit_changes_what_was_shown_and_loses_no_text() {
    let cluster = Cluster::start("edit");
    cluster.create(&node_token("web"));
    let left = run(&mut edit(&cluster, "exit 0")).success();
    assert_eq!(left, "token/web unchanged\n");

    let changed = run(&mut edit(&cluster, "sed -i 's/limit: 1/limit: 5/' \"$1\"")).success();
    assert_eq!(changed, "token/web updated\n");
    assert_eq!(cluster.token("web")["spec"]["bound_keypair"]["recovery"]["limit"], 5);

    let faulty = run(&mut edit(&cluster, "sed -i 's/limit: 5/limit: 0/' \"$1\"")).failure();
    assert!(faulty.contains("spec.bound_keypair.recovery.limit: found the number 0"), "{faulty}");
    let kept = faulty
        .split("your text is kept in ")
        .nth(1)
        .and_then(|rest| rest.split(": ").next())
        .expect("a path");
    assert!(std::fs::read_to_string(kept).expect("it is there").contains("limit: 0"));

    // Somebody else changes the token while the editor is open.
    let meanwhile = node_token("web").replace("spec:", "  labels: {by: another}\nspec:");
    std::fs::write(cluster.path("meanwhile.yaml"), meanwhile).expect("a file can be written");
    let script = format!(
        "{} --data-dir {} create -f {} && sed -i 's/limit: 5/limit: 6/' \"$1\"",
        binary("boundkeyctl").display(),
        cluster.data_dir().display(),
        cluster.path("meanwhile.yaml").display()
    );
    let stale = run(&mut edit(&cluster, &script)).failure();
    assert!(stale.contains("your text is kept in") && stale.contains("was changed since"), "{stale}");
    assert_eq!(cluster.token("web")["metadata"]["labels"]["by"], "another");

    let gave_up = run(&mut edit(&cluster, "exit 3")).failure();
    assert!(gave_up.contains("nothing was changed"), "{gave_up}");
}

#[test]
fn a_watch_prints_events_as_they_happen() {
    let cluster = Cluster::start("watch");
    let mut command = Command::new(binary("boundkeyctl"));
    command
        .arg("--data-dir")
        .arg(cluster.data_dir())
        .args(["events", "watch", "--since", "1h", "--format", "json"]);
    let mut watch = Running::start(&mut command, cluster.path("watch.log"));
    for name in ["one", "two"] {
        cluster.create(&node_token(name));
        wait_for("the event", || watch.printed().contains(&format!(r#""token":"{name}""#)));
    }
    let codes: Vec<String> = watch
        .printed()
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).expect("one event a line")["code"].to_string()
        })
        .collect();
    assert_eq!(codes, [r#""token_created""#, r#""token_created""#]);
    watch.kill();
}

#[test]
fn a_bot_is_added_with_its_token_and_locked_out_again() {
    let cluster = Cluster::start("bots");
    let added = cluster.ctl(&["bots", "add", "ci", "--logins", "deploy", "--with-token"]).success();
    assert!(added.contains("bot/ci created") && added.contains("token/ci created"), "{added}");
    let agent = cluster.agent_with("ci", "");
    agent.oneshot().success();
    let mistyped = cluster.ctl(&["lock", "--bot", "cl"]);
    assert!(mistyped.stderr.contains("there is no bot `cl`"), "{}", mistyped.stderr);
    mistyped.success();
    let locked = cluster.ctl(&["lock", "--bot", "ci", "--message", "leaked", "--yes", "--format", "json"]);
    assert_eq!(locked.stderr, "");
    let locked = locked.success();
    let lock: serde_json::Value = serde_json::from_str(&locked).expect("JSON");
    let refused = agent.oneshot().failure();
    assert!(refused.contains("locked") && !refused.contains("leaked"), "{refused}");
    let id = lock["metadata"]["name"].as_str().expect("an id");
    cluster.ctl(&["rm", &format!("lock/{id}")]).success();
    agent.oneshot().success();
}

#[test]
fn a_bound_token_is_removed_only_with_a_word_more() {
    let cluster = Cluster::start("rm");
    cluster.create(&node_token("web"));
    cluster.agent("web").oneshot().success();
    let refused = cluster.ctl(&["rm", "token/web"]).failure();
    assert!(refused.contains("joined last at ") && refused.contains("rm token/web --yes"), "{refused}");
    assert_eq!(facts(&cluster, "web")["recovery_count"], 1);
    cluster.ctl(&["rm", "token/web", "--yes"]).success();
    assert!(cluster.ctl(&["get", "token/web"]).failure().contains("token/web does not exist"));
    assert_eq!(cluster.ctl(&["get", "tokens", "--format", "json"]).success(), "[]\n");
}

/// What the server answers and what is shown of it are told apart only by the real pair of them.
#[test]
fn the_question_names_each_machine_on_a_line_of_its_own() {
    let cluster = Cluster::start("question");
    let names: Vec<String> = (1..=22).map(|number| format!("ci-{number:02}")).collect();
    let mut resources = "kind: bot\nversion: v1\nmetadata: {name: ci}\n".to_owned();
    for name in &names {
        resources.push_str(&format!(
            "---\nkind: token\nversion: v2\nmetadata: {{name: {name}}}\nspec: {{roles: [Bot], bot_name: ci, join_method: bound_keypair}}\n"
        ));
    }
    cluster.create(&resources);
    for name in &names {
        cluster.agent_with(name, "").oneshot().success();
    }
    let said = cluster.ctl(&["bots", "rm", "ci"]).failure();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 23, "{said}");
    assert!(
        lines[0].starts_with(
            "boundkeyctl: `bots rm ci` cuts off 22 machines of 22 tokens, of which one joined at "
        ),
        "{said}"
    );
    assert!(lines[0].ends_with("Z:"), "{said}");
    for (line, name) in lines[1..21].iter().zip(&names) {
        assert!(
            line.starts_with("  ") && line.contains(&format!("token {name}, bot ci), joined last at ")),
            "{line}"
        );
        assert!(line.ends_with("next join: refused: the token's bot is not there"), "{line}");
    }
    assert_eq!(lines[21], "  and 2 more machines", "{said}");
    assert!(lines[22].starts_with("nothing was changed; to do it all the same: boundkeyctl "), "{said}");

    let said = cluster.ctl(&["bound-keypair", "reset", "ci-01"]).failure();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].starts_with("boundkeyctl: `bound-keypair reset ci-01` cuts off "), "{said}");
    assert!(
        lines[0].ends_with("next join: only with the new registration secret: its key is unbound"),
        "{said}"
    );
    cluster.ctl(&["bots", "rm", "ci", "--yes"]).success();
}
