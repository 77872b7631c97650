//! `explain` ends with what is to be done, in every state; and what it names is done here, and helps.

use std::collections::BTreeSet;

use boundkey_lifecycle::LifecycleState;
use serde_json::{Value, json};

use super::token;
use crate::tests::fixture::{Fixture, Machine};

async fn explain(fixture: &Fixture) -> Value {
    fixture.post("/v1/tokens/web/explain", json!({})).await.ok()
}

/// Carries out a command of `boundkeyctl`, as its own code would.
async fn type_in(fixture: &Fixture, command: &str, machine: &mut Machine) {
    let words: Vec<&str> = command.split(' ').collect();
    match words.as_slice() {
        ["boundkeyctl", "edit", path] => {
            let (kind, name) = path.split_once('/').unwrap();
            let path = format!("/v1/{kind}s/{name}");
            let mut resource = fixture.get(&path).await.ok();
            // What the text asks for: later times.
            resource["metadata"].as_object_mut().unwrap().remove("expires");
            if kind == "token" {
                let onboarding = &mut resource["spec"]["bound_keypair"]["onboarding"];
                onboarding.as_object_mut().unwrap().remove("must_register_before");
            }
            fixture.put(&path, &resource, &[]).await.ok();
        }
        ["boundkeyctl", "bots", "add", name] => {
            let bot = json!({ "kind": "bot", "version": "v1", "metadata": { "name": name } });
            fixture.create(false, vec![bot]).await.ok();
        }
        ["boundkeyctl", "rm", path] => {
            let id = path.strip_prefix("lock/").expect("nothing but a lock is ever removed");
            fixture.delete(&format!("/v1/locks/{id}")).await.ok();
        }
        ["boundkeyctl", "bound-keypair", verb @ ("resync" | "grant-recovery"), "web"] => {
            fixture.post(&format!("/v1/tokens/web/{verb}"), json!({})).await.ok();
        }
        ["boundkeyctl", "get", "token/web", "--with-secrets"] => {
            let shown = fixture.get("/v1/tokens/web?secrets=true").await.ok();
            let secret = shown["status"]["bound_keypair"]["registration_secret"].as_str().unwrap();
            machine.secret = Some(boundkey_keys::Secret::new(secret.to_owned()));
        }
        _ => panic!("what is this: {command}"),
    }
}

/// How a scene of a state is made: from a machine that has registered, unless it is said otherwise.
struct Scene {
    state: &'static str,
    commands: usize,
    make: fn(&Fixture, &mut Machine),
}

fn lock_by_hand(fixture: &Fixture) {
    fixture.apply("kind: lock\nversion: v2\nmetadata: {name: hand}\nspec: {target: {join_token: web}}\n");
}

fn respec(fixture: &Fixture, metadata: &str, more: &str) {
    fixture.apply(&format!(
        "kind: token\nversion: v2\nmetadata: {{name: web{metadata}}}\nspec:\n  roles: [Node]\n  join_method: bound_keypair\n{more}"
    ));
}

fn later(fixture: &Fixture, days: i64) {
    fixture.clock.advance(time::Duration::days(days));
}

fn register(fixture: &Fixture, machine: &mut Machine) {
    machine.join(fixture).expect("registers");
}

fn clone_seen(fixture: &Fixture, machine: &mut Machine) {
    machine.copy().join(fixture).expect("a copy's first join");
    machine.join(fixture).expect_err("two hold the key");
}

fn to_insecure(fixture: &Fixture, machine: &mut Machine) {
    respec(fixture, "", "  bound_keypair: {recovery: {mode: insecure}}\n");
    machine.join(fixture).expect("makes it a shared one");
}

fn verb(fixture: &Fixture, name: &str) {
    let context = fixture.service.own_context();
    let request = boundkey_api::VerbRequest::default();
    let done = crate::admin::carry_out_verb(&fixture.service, &context, "web", name, &request);
    crate::tests::fixture::now(done).expect(name);
}

#[rustfmt::skip]
fn scenes() -> Vec<Scene> {
    let scene = |state, commands, make| Scene { state, commands, make };
    vec![
        scene("pending", 1, |_, m| m.secret = None),
        scene("registration_expired", 2, |f, m| {
            m.secret = None;
            respec(f, "", "  bound_keypair: {onboarding: {must_register_before: \"2020-01-01T00:00:00Z\"}}\n");
        }),
        scene("bound", 0, register),
        scene("rotation_due", 0, |f, m| { register(f, m); verb(f, "rotate"); }),
        scene("overdue", 0, |f, m| { register(f, m); later(f, 3); }),
        scene("overdue", 0, |f, m| { register(f, m); verb(f, "grant-recovery"); later(f, 90); }),
        scene("no_recoveries_left", 1, |f, m| { register(f, m); later(f, 90); }),
        scene("no_recoveries_left", 1, |f, m| { register(f, m); verb(f, "revoke"); }),
        scene("shared", 0, to_shared),
        scene("shared", 0, |f, m| { to_shared(f, m); respec(f, "", ""); }),
        scene("expired", 1, |f, m| { register(f, m); respec(f, ", expires: 2020-01-01T00:00:00Z", ""); }),
        scene("expired", 3, |f, m| {
            register(f, m); respec(f, ", expires: 2020-01-01T00:00:00Z", ""); lock_by_hand(f); later(f, 90);
        }),
        scene("locked", 1, |f, m| { register(f, m); lock_by_hand(f); }),
        scene("locked", 2, |f, m| { register(f, m); lock_by_hand(f); later(f, 90); }),
        scene("locked", 1, |f, m| { register(f, m); clone_seen(f, m); }),
        scene("locked", 1, |f, m| { register(f, m); clone_seen(f, m); later(f, 90); }),
        scene("locked", 2, |f, m| { register(f, m); clone_seen(f, m); lock_by_hand(f); }),
        scene("locked", 3, |f, m| {
            m.secret = None;
            lock_by_hand(f);
            respec(f, "", "  bound_keypair: {onboarding: {must_register_before: \"2020-01-01T00:00:00Z\"}}\n");
        }),
    ]
}

fn to_shared(fixture: &Fixture, machine: &mut Machine) {
    register(fixture, machine);
    to_insecure(fixture, machine);
}

/// A round of commands may be followed by another, as when a lifted lock leaves a token that waits for its machine.
async fn follow(fixture: &Fixture, machine: &mut Machine, shown: &str) -> usize {
    let mut typed = 0;
    for _ in 0..3 {
        let step = explain(fixture).await["next_step"].clone();
        let text = step["text"].as_str().unwrap();
        let commands = step["commands"].as_array().unwrap();
        assert!(!text.is_empty(), "{shown}");
        if commands.is_empty() {
            assert!(text.starts_with("nothing is to be done: "), "{shown}: {text}");
            return typed;
        }
        for command in commands {
            let command = command.as_str().unwrap();
            let plain = |c: char| c.is_ascii_alphanumeric() || " -_./".contains(c);
            assert!(command.chars().all(plain), "{shown}: a shell takes it as it is: {command}");
            for verb in ["reset", "revoke", "rm token", "rm bot", "forget"] {
                assert!(!command.contains(verb), "{shown}: {command}");
            }
            type_in(fixture, command, machine).await;
            typed += 1;
        }
        if machine.secret.is_some() {
            return typed;
        }
    }
    panic!("{shown}: there is no end of steps");
}

#[tokio::test]
async fn in_every_state_the_step_that_is_named_lets_the_machine_in() {
    let mut seen = BTreeSet::from(["bot_missing"]);
    for scene in scenes() {
        let fixture = Fixture::new();
        fixture.node_token("web", "");
        let mut machine = Machine::new("web", 1, Some(fixture.generated_secret("web")));
        (scene.make)(&fixture, &mut machine);
        assert_eq!(explain(&fixture).await["state"], scene.state);
        let typed = follow(&fixture, &mut machine, scene.state).await;
        assert_eq!(typed, scene.commands, "{}", scene.state);
        machine.join(&fixture).unwrap_or_else(|problem| panic!("{}: {problem:?}", scene.state));
        seen.insert(scene.state);
    }
    let all: BTreeSet<&str> = LifecycleState::ALL.iter().map(|state| state.as_str()).collect();
    assert_eq!(seen, all);
}

#[tokio::test]
async fn a_bot_that_is_not_there_is_added_or_given_a_later_expiry() {
    for expired in [false, true] {
        let fixture = Fixture::new();
        let bot = |expires: &str| format!("kind: bot\nversion: v1\nmetadata: {{name: ci{expires}}}\n");
        let mut web = token("web", json!({}));
        web["spec"]["roles"] = json!(["Bot"]);
        web["spec"]["bot_name"] = json!("ci");
        fixture.apply(&bot(""));
        fixture.create(false, vec![web]).await.ok();
        let mut machine = Machine::new("web", 1, Some(fixture.generated_secret("web")));
        machine.roles = boundkey_token::RoleSet::new([boundkey_token::Role::Bot]);
        machine.join(&fixture).expect("registers");
        match expired {
            true => fixture.apply(&bot(", expires: 2020-01-01T00:00:00Z")),
            false => drop(fixture.delete("/v1/bots/ci?confirm=true").await.ok()),
        }
        assert_eq!(explain(&fixture).await["state"], "bot_missing");
        assert_eq!(machine.join(&fixture).unwrap_err().code, "bot_not_found");
        assert_eq!(follow(&fixture, &mut machine, "bot_missing").await, 1);
        machine.join(&fixture).expect("its bot is back");
    }
}
