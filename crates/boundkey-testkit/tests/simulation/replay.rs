//! What is printed of a broken promise is enough to see it again.

use std::process::{Command, Output};

use boundkey_testkit::sim::{Replay, Sabotage, Scenario};

fn simulate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_simulate")).args(arguments).output().expect("simulate")
}

fn printed(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// Runs what follows `replay with: cargo xtask simulate` or stands in the JSON.
fn again(command: &str) -> Output {
    let arguments = command.trim().strip_prefix("cargo xtask simulate ").expect("a command of ours");
    simulate(&arguments.split(' ').collect::<Vec<_>>())
}

#[test]
fn the_command_that_a_failure_prints_fails_again_at_the_same_step() {
    let output = simulate(&["--worlds", "9", "--seed", "2", "--sabotage", "events-lost"]);
    assert_eq!(output.status.code(), Some(1));
    let text = printed(&output);
    let told = text.lines().next().expect("a first line");
    assert!(told.starts_with("small world, seed 2, after step ") && told.contains("audit event"), "{told}");
    let commands: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("replay with: ")).collect();
    let [whole, shrunk] = commands[..] else { panic!("{text}") };
    assert_eq!(whole, "cargo xtask simulate --replay 2 --sabotage events-lost --trace");
    let output = again(whole);
    assert_eq!((output.status.code(), printed(&output).lines().last()), (Some(1), Some(told)));
    let output = again(shrunk);
    assert_eq!(output.status.code(), Some(1));
    assert!(printed(&output).contains("small world, seed 2, after step 0 of "), "{}", printed(&output));
}

#[test]
fn as_json_a_failure_names_its_world_and_the_shrunk_scenario() {
    let output = simulate(&["--worlds", "9", "--seed", "5", "--sabotage", "locks-hidden", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON alone");
    let seed = json["seed"].as_u64().expect("a seed");
    assert_eq!(json["kind"], "small");
    assert_eq!(json["replay"], format!("cargo xtask simulate --replay {seed} --sabotage locks-hidden"));
    let how = Replay { traced: false, sabotage: Some(Sabotage::StoreHidesLocks) };
    let failure = Scenario::small(seed).run(how).expect_err("it fails again");
    assert_eq!(
        (json["fault"].as_str(), json["step"].as_u64()),
        (Some(&*failure.fault), Some(failure.step as u64))
    );
    let shrunk = &json["shrunk"];
    let shortest: Scenario = shrunk["scenario"].as_str().expect("a text").parse().expect("a scenario");
    assert!(shortest.steps.len() < failure.scenario.steps.len(), "{shortest}");
    assert_eq!(shrunk["fault"].as_str(), Some(&*shortest.run(how).expect_err("it fails").fault));
}

#[test]
fn a_big_world_is_replayed_as_a_big_one() {
    let output = simulate(&["--replay", "big:5", "--sabotage", "events-lost", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON alone");
    assert_eq!((&json["kind"], &json["seed"], &json["tokens"]), (&"big".into(), &5.into(), &2000.into()));
    assert_eq!(json["replay"], "cargo xtask simulate --replay big:5 --sabotage events-lost");
    assert!(json["shrunk"]["tokens"].as_u64() < Some(2000), "{json}");
}

#[test]
fn a_panic_is_told_with_its_message_and_place() {
    let how = Replay { traced: true, sabotage: Some(Sabotage::StorePanics) };
    let failure = Scenario::small(2).run(how).expect_err("the store panics");
    assert!(failure.fault.starts_with("panicked at ") && failure.fault.ends_with(": a panic on purpose"));
    assert!(failure.fault.contains("edges.rs:"), "{}", failure.fault);
    assert!(!failure.trace.is_empty(), "what led to it is told as well");
}

#[test]
fn the_name_of_a_world_makes_the_same_one_again() {
    for scenario in [Scenario::small(7), Scenario::big(7)] {
        let name = scenario.name().expect("its seed gives all of it");
        assert_eq!(Scenario::named(&name), Some(scenario));
    }
    assert_eq!(Scenario::named("small:7"), Some(Scenario::small(7)));
    let mut shorter = Scenario::big(7);
    shorter.steps.pop();
    assert_eq!(shorter.name(), None);
    for name in ["", "big", "big:", "big:x", "huge:7", "big 7", "7.txt"] {
        assert_eq!(Scenario::named(name), None, "`{name}`");
    }
}

#[test]
fn what_is_neither_a_world_nor_a_file_is_refused() {
    let output = simulate(&["--replay", "big:many"]);
    assert_eq!(output.status.code(), Some(2));
    let fault = String::from_utf8(output.stderr).expect("text");
    assert!(fault.starts_with("simulate: big:many: no SEED, no big:SEED, and as a file: "), "{fault}");
}

#[test]
fn every_rule_that_can_be_broken_has_a_name() {
    for rule in [
        Sabotage::StoreDropsLocks,
        Sabotage::StoreHidesLocks,
        Sabotage::StoreIgnoresConditions,
        Sabotage::StoreLosesEvents,
        Sabotage::StoreLosesCountedRows,
        Sabotage::ClientForgetsItsAttempt,
        Sabotage::StorePanics,
    ] {
        assert_eq!(rule.to_string().parse(), Ok(rule));
        let help = printed(&simulate(&["--help"]));
        assert!(help.contains(&rule.to_string()), "{rule} is not in the help");
    }
}
