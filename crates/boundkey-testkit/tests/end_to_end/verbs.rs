//! Every verb of an administrator: what it prints, that it may be repeated, and what the machine's next join comes to.

use std::process::Command;

use boundkey_testkit::{Agent, Cluster, binary, find, run, wait_for};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::{facts, node_token};

/// Nothing was left to do, and what the next join comes to is said all the same.
#[track_caller]
fn nothing_left(said: &str) {
    assert!(said.starts_with("nothing was left to do for token/web; next join: "), "{said}");
}

/// A host that has joined, with a token that allows so many recoveries.
fn joined(purpose: &str, limit: u32) -> (Cluster, Agent) {
    let cluster = Cluster::start(purpose);
    cluster.create(&(node_token("web") + &format!("  bound_keypair: {{recovery: {{limit: {limit}}}}}\n")));
    let agent = cluster.agent("web");
    agent.oneshot().success();
    (cluster, agent)
}

/// A verb on the token `web`; standard output. What is refused is not accepted, and what cuts a machine off is confirmed.
fn verb(cluster: &Cluster, words: &[&str]) -> String {
    let mut words = words.to_vec();
    words.insert(1, "web");
    if ["revoke", "reset"].contains(&words[0]) {
        words.push("--yes");
    }
    words.insert(0, "bound-keypair");
    let ran = cluster.ctl(&words);
    assert_eq!(ran.stderr, "", "{words:?}");
    ran.success()
}

/// A join that is refused, with this code.
#[track_caller]
fn refused(agent: &Agent, code: &str) {
    let said = agent.oneshot().failure();
    assert!(said.contains(&format!("{code}: ")), "{code}: {said}");
}

fn json(printed: &str) -> Value {
    serde_json::from_str(printed).expect("JSON")
}

fn time_of(value: &Value) -> OffsetDateTime {
    OffsetDateTime::parse(value.as_str().expect("a time"), &Rfc3339).expect("RFC 3339")
}

/// Whether OpenSSL finds this certificate revoked; none where there is no OpenSSL.
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn revoked(cluster: &Cluster, ca: &str, certificate: &std::path::Path) -> Option<bool> {
    let Some(openssl) = find("openssl") else {
        println!("SKIP: openssl is not installed, so it is not asked whether a certificate is revoked");
        return None;
    };
    let (root, der, list) = (cluster.path("ca.pem"), cluster.path("list.der"), cluster.path("list.pem"));
    std::fs::write(&root, cluster.ctl(&["ca", "export", "--type", ca]).success()).expect("written");
    cluster.ctl(&["crl", "--ca", ca, "--out", &der.display().to_string()]).success();
    run(Command::new(&openssl).args(["crl", "-inform", "DER", "-in"]).arg(&der).arg("-out").arg(&list))
        .success();
    let mut verify = Command::new(&openssl);
    verify.args(["verify", "-crl_check", "-CAfile"]).arg(&root).arg("-CRLfile").arg(&list).arg(certificate);
    let verified = run(&mut verify);
    let said = verified.stdout + &verified.stderr;
    let revoked = said.contains("certificate revoked");
    assert_eq!(verified.code == Some(0), !revoked, "{said}");
    Some(revoked)
}

#[test]
fn grant_recovery_lets_a_machine_in_that_has_used_up_its_recoveries() {
    let (cluster, agent) = joined("grant", 1);
    verb(&cluster, &["revoke"]);
    refused(&agent, "recovery_limit_reached");
    assert_eq!(
        verb(&cluster, &["grant-recovery"]),
        "token/web may recover once more; next join: recovers; one recovery is used\n"
    );
    nothing_left(&verb(&cluster, &["grant-recovery"]));
    agent.oneshot().success();
    assert_eq!(
        (&facts(&cluster, "web")["recovery_count"], &facts(&cluster, "web")["granted_limit"]),
        (&2.into(), &2.into())
    );
    assert_eq!(
        cluster.token("web")["spec"]["bound_keypair"]["recovery"]["limit"],
        1,
        "the spec is the user's"
    );
    verb(&cluster, &["revoke"]);
    refused(&agent, "recovery_limit_reached");

    let said = verb(&cluster, &["grant-recovery", "--count", "2"]);
    assert!(said.starts_with("token/web may recover 2 more times; next join: recovers"), "{said}");
    nothing_left(&verb(&cluster, &["grant-recovery", "--count", "2"]));
    for count in 3..=4 {
        agent.oneshot().success();
        assert_eq!(facts(&cluster, "web")["recovery_count"], count);
        verb(&cluster, &["revoke"]);
    }
    refused(&agent, "recovery_limit_reached");
}

#[test]
fn rotate_at_a_time_that_has_passed_makes_a_new_key_and_a_later_one_waits() {
    let (cluster, agent) = joined("rotate-at", 1);
    let key = || facts(&cluster, "web")["bound_public_key"].clone();
    let first = key();
    let said = verb(&cluster, &["rotate", "--at", "2999-01-31T12:00:00Z"]);
    assert!(said.starts_with("token/web rotates its key at the first join after 2999-01-31"), "{said}");
    nothing_left(&verb(&cluster, &["rotate", "--at", "2999-01-31T12:00:00Z"]));
    agent.oneshot().success();
    assert_eq!(key(), first, "it is not time yet");
    assert_eq!(facts(&cluster, "web")["rotate_requested_at"], "2999-01-31T12:00:00Z");

    let said = verb(&cluster, &["rotate", "--at", "2001-01-31T13:00:00+01:00"]);
    assert!(said.starts_with("token/web rotates its key at the first join after 2001-01-31"), "{said}");
    nothing_left(&verb(&cluster, &["rotate", "--at", "2001-01-31T13:00:00+01:00"]));
    nothing_left(&verb(&cluster, &["request-rotation"]));
    let due = cluster.ctl(&["tokens", "ls", "--state", "rotation_due"]).success();
    assert!(due.contains("web"), "{due}");
    agent.oneshot().success();
    let second = key();
    assert_ne!(second, first);
    assert_eq!(facts(&cluster, "web").get("rotate_requested_at"), None);
    agent.oneshot().success();
    assert_eq!(key(), second, "once");
    assert_eq!(facts(&cluster, "web")["recovery_count"], 1);
}

/// A copy was used, and the machine's join has locked the token.
fn locked_for_a_copy(purpose: &str) -> (Cluster, Agent, Agent) {
    let (cluster, agent) = joined(purpose, 1);
    let copy = agent.copy("copy");
    copy.oneshot().success();
    refused(&agent, "clone_detected");
    (cluster, agent, copy)
}

const TAKEN_BACK: &str = "the next live join with the bound key of token/web is taken back; next join: renews; no \
                          recovery is used";

#[test]
fn resync_takes_the_machine_back_and_its_key_changes_unless_it_is_to_be_kept() {
    for (more, changes) in [(&[][..], true), (&["--ttl", "15m", "--keep-key"], false)] {
        let (cluster, agent, copy) = locked_for_a_copy(if changes { "resync" } else { "resync-keep" });
        let before = facts(&cluster, "web")["bound_public_key"].clone();
        let words = [&["resync"], more].concat();
        let said = verb(&cluster, &words);
        assert!(said.starts_with(TAKEN_BACK), "{said}");
        assert_eq!(cluster.ctl(&["get", "locks", "--format", "json"]).success(), "[]\n");
        let until = facts(&cluster, "web")["resync_until"].clone();
        assert_eq!(verb(&cluster, &words), said, "once more: for as long again");
        assert!(time_of(&facts(&cluster, "web")["resync_until"]) > time_of(&until));
        agent.oneshot().success();
        let after = facts(&cluster, "web");
        assert_eq!(after["bound_public_key"] != before, changes, "{words:?}");
        assert_eq!((after.get("resync_until"), &after["recovery_count"]), (None, &1.into()));
        // With the old key or the kept one: a copy never gets in, and is found out.
        refused(&copy, "clone_detected");
    }
}

#[test]
fn a_resync_grant_that_has_run_out_takes_nobody_back() {
    let (cluster, agent, _) = locked_for_a_copy("resync-ttl");
    assert!(verb(&cluster, &["resync", "--ttl", "1s"]).starts_with(TAKEN_BACK));
    let explained = || verb(&cluster, &["explain"]);
    wait_for("the grant to run out", || !explained().contains("a resync grant is open"));
    refused(&agent, "clone_detected");
    verb(&cluster, &["resync", "--ttl", "1h"]);
    assert!(explained().contains("a resync grant is open"), "{}", explained());
    agent.oneshot().success();
}

#[test]
fn revoke_takes_a_bots_certificates_and_its_next_join_is_a_recovery() {
    let cluster = Cluster::start("revoke");
    cluster.create(&format!(
        "kind: bot\nversion: v1\nmetadata: {{name: ci}}\n---\n{}  bot_name: ci\n  bound_keypair: {{recovery: {{limit: 2}}}}\n",
        node_token("web").replace("Node", "Bot")
    ));
    let agent = cluster.agent_with("web", "");
    agent.oneshot().success();
    let first = facts(&cluster, "web")["bound_bot_instance_id"].clone();
    let old = cluster.path("old.pem");
    std::fs::copy(agent.identity("cert.pem"), &old).expect("a certificate");
    assert_ne!(revoked(&cluster, "bot", &old), Some(true));
    assert_eq!(
        verb(&cluster, &["revoke"]),
        "the certificates of token/web are revoked; next join: recovers; one recovery is used\n"
    );
    nothing_left(&verb(&cluster, &["revoke"]));
    assert_ne!(revoked(&cluster, "bot", &old), Some(false));
    agent.oneshot().success();
    let recovered = facts(&cluster, "web");
    assert_eq!(recovered["recovery_count"], 2);
    assert_ne!(recovered["bound_bot_instance_id"], first);
    assert_ne!(revoked(&cluster, "bot", &agent.identity("cert.pem")), Some(true));
    assert_ne!(revoked(&cluster, "bot", &old), Some(false));
}

#[test]
fn reset_with_secrets_gives_in_every_form_the_secret_that_registers_the_machine_again() {
    let (cluster, agent) = joined("reset-secrets", 1);
    let old = cluster.path("old.pem");
    std::fs::copy(agent.identity("cert.pem"), &old).expect("a certificate");
    let mut before = agent;
    let mut keys = vec![facts(&cluster, "web")["bound_public_key"].clone()];
    for format in ["text", "json", "yaml"] {
        let said = verb(&cluster, &["reset", "--with-secrets", "--format", format]);
        let secret = match format {
            "text" => {
                let (told, secret) = said.split_once("\nregistration secret: ").expect("two lines");
                assert!(told.starts_with("token/web is unbound and all it was issued is revoked"), "{told}");
                secret.trim_end().to_owned()
            }
            "json" => {
                let answer = json(&said);
                assert_eq!(answer["changed"], true, "{said}");
                answer["registration_secret"].as_str().expect("a secret").to_owned()
            }
            _ => {
                assert!(said.contains("changed: true\n"), "{said}");
                let (_, secret) = said.split_once("registration_secret: ").expect("a field");
                secret.lines().next().expect("a value").trim_matches('"').to_owned()
            }
        };
        assert_eq!(facts(&cluster, "web")["bound_public_key"], "");
        refused(&before, "denied");
        let kept = before.command(&["forget"]).failure();
        assert!(
            kept.contains("(token web)") && kept.contains("whose certificates are valid until "),
            "{kept}"
        );
        assert!(kept.contains("boundkey-agent forget ") && kept.contains(" --yes"), "{kept}");
        before.command(&["forget", "--yes"]).success();
        before = Agent::write(
            &cluster,
            "web",
            &format!("registration_secret_value: {secret}"),
            "ssh_service: {enabled: true}\n",
        );
        before.oneshot().success();
        let bound = facts(&cluster, "web");
        assert_eq!(bound["recovery_count"], 1, "counted anew");
        keys.push(bound["bound_public_key"].clone());
        assert_ne!(keys[keys.len() - 1], keys[keys.len() - 2]);
    }
    assert_ne!(revoked(&cluster, "host", &old), Some(false));
    assert_ne!(revoked(&cluster, "host", &before.identity("cert.pem")), Some(true));

    // Repeated it makes another secret; unasked it tells none.
    for format in ["text", "json", "yaml"] {
        let said = verb(&cluster, &["reset", "--format", format]);
        let secret = facts(&cluster, "web")["registration_secret"].clone();
        assert!(!said.contains(secret.as_str().expect("a secret")), "{said}");
        assert!(
            !said.contains("registration_secret:") && !said.contains("\"registration_secret\""),
            "{said}"
        );
    }
}

#[test]
fn explain_says_the_same_in_every_form_and_what_it_says_comes_true() {
    let cluster = Cluster::start("explain");
    cluster.create(&node_token("web"));
    let explained = |state: &str, next_join: &str| {
        let answer = json(&verb(&cluster, &["explain", "--format", "json"]));
        assert_eq!(answer["state"], state);
        let next = answer["next_join"].as_str().expect("a sentence");
        assert!(next.contains(next_join), "{next}");
        let reasons = answer["reasons"].as_array().expect("a list");
        assert!(!reasons.is_empty(), "{answer}");
        let text = verb(&cluster, &["explain"]);
        assert!(text.starts_with(&format!("state: {state}\nnext join: {next}\n  because ")), "{text}");
        let step = &answer["next_step"];
        let mut last = format!("next step: {}\n", step["text"].as_str().expect("a sentence"));
        for command in step["commands"].as_array().expect("a list") {
            last.push_str(&format!("  {}\n", command.as_str().expect("a command")));
        }
        assert!(text.ends_with(&last), "{text}");
        let yaml = verb(&cluster, &["explain", "--format", "yaml"]);
        assert!(yaml.contains(&format!("state: {state}\n")) && yaml.contains("reasons:\n- "), "{yaml}");
        for reason in reasons {
            let reason = reason.as_str().expect("a sentence");
            assert!(text.contains(&format!("  because {reason}\n")), "{reason}: {text}");
            assert!(yaml.contains(reason), "{reason}: {yaml}");
        }
    };
    explained("pending", "registers");
    let agent = cluster.agent("web");
    agent.oneshot().success();
    explained("bound", "renews");
    verb(&cluster, &["rotate"]);
    explained("rotation_due", "with a new key");
    agent.oneshot().success();
    verb(&cluster, &["revoke"]);
    explained("no_recoveries_left", "refused");
    refused(&agent, "recovery_limit_reached");
    verb(&cluster, &["grant-recovery"]);
    explained("overdue", "recovers");
    agent.oneshot().success();
    cluster.ctl(&["lock", "--token", "web", "--yes"]).success();
    explained("locked", "refused");
    refused(&agent, "locked");
}

/// A host `web` and a bot `ci`, both joined.
fn host_and_bot(purpose: &str) -> (Cluster, Agent, Agent) {
    let (cluster, host) = joined(purpose, 3);
    cluster.ctl(&["bots", "add", "ci", "--with-token"]).success();
    let bot = cluster.agent_with("ci", "");
    bot.oneshot().success();
    (cluster, host, bot)
}

fn id_of(cluster: &Cluster, token: &str) -> String {
    let facts = facts(cluster, token);
    let id = if token == "web" { &facts["bound_host_id"] } else { &facts["bound_bot_instance_id"] };
    id.as_str().expect("an id").to_owned()
}

#[test]
fn a_lock_of_each_kind_keeps_its_target_out_and_nobody_else_until_it_is_removed() {
    let (cluster, host, bot) = host_and_bot("locks");
    let (host_id, instance_id) = (id_of(&cluster, "web"), id_of(&cluster, "ci"));
    for (option, target, field) in [
        ("--token", "web", "join_token"),
        ("--join-token", "ci", "join_token"),
        ("--host", &host_id, "server_id"),
        ("--server-id", &host_id, "server_id"),
        ("--bot", "ci", "user"),
        ("--user", "ci", "user"),
        ("--bot-instance", &instance_id, "bot_instance_id"),
        ("--bot-instance-id", &instance_id, "bot_instance_id"),
    ] {
        let (locked, free) = if [&host_id, "web"].contains(&target) { (&host, &bot) } else { (&bot, &host) };
        let message = format!("stolen {field}");
        let set = cluster.ctl(&["lock", option, target, "--message", &message, "--ttl", "1h", "--yes"]);
        assert_eq!(set.stderr, "", "{option}: somebody is there");
        let set = set.success();
        let lock = set.split(' ').next().expect("its name");
        assert!(set.contains("; next join: refused: a lock stands; it is lifted by: "), "{set}");
        assert!(set.ends_with(&format!("boundkeyctl rm {lock}\n")), "{set}");
        let shown = json(&cluster.ctl(&["get", lock, "--format", "json"]).success());
        assert_eq!(shown["spec"]["target"], serde_json::json!({ field: target }));
        assert_eq!(shown["spec"]["message"], message);
        let life = time_of(&shown["spec"]["expires"]) - time_of(&shown["status"]["created_at"]);
        assert_eq!(life, time::Duration::hours(1));
        let said = locked.oneshot().failure();
        assert!(
            said.contains("locked: ") && !said.contains("stolen"),
            "why is the administrators' own: {said}"
        );
        free.oneshot().success();

        assert_eq!(cluster.ctl(&["rm", lock]).success(), format!("{lock} removed\n"));
        locked.oneshot().success();
        let again = cluster.ctl(&["rm", lock]).failure();
        assert!(again.contains(&format!("{lock} does not exist")), "{again}");
    }
    assert_eq!(cluster.ctl(&["get", "locks", "--format", "json"]).success(), "[]\n");
    assert_eq!(
        (id_of(&cluster, "web"), id_of(&cluster, "ci")),
        (host_id, instance_id),
        "who was locked is the same"
    );
}

#[test]
fn a_host_lock_lets_the_host_in_again_when_its_time_is_over() {
    let (cluster, agent) = joined("lock-ttl", 1);
    let host = id_of(&cluster, "web");
    let lock = json(&cluster.ctl(&["lock", "--host", &host, "--ttl", "3s", "-y", "-o", "json"]).success());
    wait_for("the lock to end", || match agent.oneshot() {
        ran if ran.code == Some(0) => true,
        ran => {
            let said = ran.failure();
            assert!(said.contains("locked: "), "{said}");
            false
        }
    });
    // By the server's clock, which gave both times.
    let admitted = time_of(&facts(&cluster, "web")["last_joined_at"]);
    assert!(admitted >= time_of(&lock["spec"]["expires"]), "{admitted}: {lock}");
    assert_eq!(cluster.ctl(&["get", "locks", "--format", "json"]).success(), "[]\n");
    assert_eq!(facts(&cluster, "web")["recovery_count"], 1, "a lock alone costs no recovery");
}

#[test]
fn a_lock_with_revoke_takes_the_certificates_too_and_the_join_after_it_is_a_recovery() {
    let (cluster, host, bot) = host_and_bot("lock-revoke");
    cluster.ctl(&["bound-keypair", "grant-recovery", "ci", "--count", "2"]).success();
    for (option, target, token, ca) in [
        ("--host", id_of(&cluster, "web"), "web", "host"),
        ("--token", "web".to_owned(), "web", "host"),
        ("--bot-instance", id_of(&cluster, "ci"), "ci", "bot"),
        ("--bot", "ci".to_owned(), "ci", "bot"),
    ] {
        let agent = if token == "web" { &host } else { &bot };
        let before = facts(&cluster, token)["recovery_count"].as_u64().expect("a number");
        let held = cluster.path("held.pem");
        std::fs::copy(agent.identity("cert.pem"), &held).expect("a certificate");
        assert_ne!(revoked(&cluster, ca, &held), Some(true), "{option}");
        let lock =
            json(&cluster.ctl(&["lock", option, &target, "--revoke", "--yes", "--format", "json"]).success());
        assert_ne!(revoked(&cluster, ca, &held), Some(false), "{option}");
        refused(agent, "locked");
        let id = lock["metadata"]["name"].as_str().expect("an id");
        cluster.ctl(&["rm", &format!("lock/{id}")]).success();
        assert_ne!(revoked(&cluster, ca, &held), Some(false), "{option}: what was revoked stays so");
        agent.oneshot().success();
        assert_eq!(facts(&cluster, token)["recovery_count"], before + 1, "{option}");
        assert_ne!(revoked(&cluster, ca, &agent.identity("cert.pem")), Some(true), "{option}");
    }
}

#[test]
fn rm_with_revoke_removes_a_bound_token_and_takes_its_certificates() {
    let (cluster, agent) = joined("rm-revoke", 3);
    assert_ne!(revoked(&cluster, "host", &agent.identity("cert.pem")), Some(true));
    let unsure = cluster.ctl(&["rm", "token/web"]).failure();
    assert!(
        unsure.contains("cuts off ")
            && unsure.contains("boundkeyctl --data-dir ")
            && unsure.contains("rm token/web --yes"),
        "{unsure}"
    );
    assert_eq!(
        cluster.ctl(&["rm", "token/web", "--revoke", "--yes"]).success(),
        "token/web removed; its certificates are revoked at once; next join: refused: there is no such token\n"
    );
    assert_ne!(revoked(&cluster, "host", &agent.identity("cert.pem")), Some(false));
    refused(&agent, "denied");
    let again = cluster.ctl(&["rm", "token/web", "--revoke"]).failure();
    assert!(again.contains("token/web does not exist"), "{again}");

    // A token of the same name is another one: the old state opens nothing.
    cluster.create(&node_token("web"));
    refused(&agent, "denied");
    assert_eq!(facts(&cluster, "web")["bound_public_key"], "");
}

#[test]
fn a_verb_on_nothing_or_with_an_impossible_option_is_refused_and_changes_nothing() {
    let (cluster, agent) = joined("verbs-refused", 1);
    let before = cluster.token("web");
    for name in ["grant-recovery", "rotate", "resync", "revoke", "reset", "explain"] {
        let said = cluster.ctl(&["bound-keypair", name, "wbe"]).failure();
        assert!(said.contains("token/wbe does not exist"), "{name}: {said}");
    }
    let none = cluster.ctl(&["bound-keypair", "grant-recovery", "web", "--count", "0"]).failure();
    assert!(none.contains("count is 0; allowed: 1 or more"), "{none}");
    for wrong in [
        &["bound-keypair", "rotate", "web", "--at", "tomorrow"][..],
        &["bound-keypair", "resync", "web", "--ttl", "soon"],
        &["bound-keypair", "grant-recovery", "web", "--count", "-1"],
        &["lock", "--token", "web", "--host", "id"],
        &["lock", "--message", "whom?"],
        &["bound-keypair", "explain"],
    ] {
        let mut command = Command::new(binary("boundkeyctl"));
        let ran = run(command.arg("--data-dir").arg(cluster.data_dir()).args(wrong));
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{wrong:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("error: "), "{wrong:?}: {}", ran.stderr);
    }
    assert_eq!(cluster.token("web"), before);
    agent.oneshot().success();
}
