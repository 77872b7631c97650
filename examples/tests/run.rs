//! The examples as they were built, run to their ends.

use std::path::PathBuf;
use std::process::{Command, Output};

/// `target/PROFILE/deps/run-HASH` stands beside `target/PROFILE/examples/`.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    let profile =
        test.parent().and_then(|deps| deps.parent()).expect("tests are built in target/PROFILE/deps");
    let program = profile.join("examples").join(name);
    assert!(program.exists(), "{} is not built; `cargo test -p examples` builds it", program.display());
    program
}

fn run(name: &str, arguments: &[&str]) -> (Output, String) {
    let output = Command::new(example(name)).args(arguments).output().expect("an example starts");
    let printed = String::from_utf8(output.stdout.clone()).expect("examples print text");
    (output, printed)
}

#[track_caller]
fn assert_well(output: &Output) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    assert_eq!(errors, "");
}

#[test]
fn check_token_shows_facts_and_every_fault() {
    let (output, printed) = run("check_token", &[]);
    assert_well(&output);
    for wanted in ["token/web-1 is good", "roles: Node, App", "recovery: 3 in all, mode standard"] {
        assert!(printed.contains(wanted), "`{wanted}` is missing in\n{printed}");
    }
    let faults: Vec<&str> = printed.lines().filter(|line| line.starts_with("faulty.yaml:")).collect();
    let places: Vec<&str> = faults.iter().filter_map(|line| line.split(": ").next()).collect();
    let expected = ["faulty.yaml:4:9", "faulty.yaml:6:11", "faulty.yaml:10:14", "faulty.yaml:11:7"];
    assert_eq!(places, expected, "{printed}");
}

#[test]
fn check_token_ends_with_status_1_for_a_faulty_file_and_2_for_none() {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let (output, printed) = run("check_token", &[here]);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains("Cargo.toml:"), "{printed}");
    let (output, _) = run("check_token", &["/nonexistent/token.yaml"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn embedded_server_answers_its_own_route_and_the_services() {
    let (output, printed) = run("embedded_server", &[]);
    assert_well(&output);
    assert!(printed.contains(r#"GET /fleet: 200 {"ca_pins":["sha256:"#), "{printed}");
    assert!(printed.contains("GET /v1/webapi/find: 200 "), "{printed}");
    assert!(printed.ends_with("stopped\n"), "{printed}");
}

#[test]
fn embedded_agent_registers_renews_and_names_its_certificate() {
    let (output, printed) = run("embedded_agent", &[]);
    assert_well(&output);
    assert!(printed.starts_with("Registered; "), "{printed}");
    assert!(printed.contains("\nRenewed; "), "{printed}");
    for wanted in ["example-token.example.com", "spiffe://example.com/host/"] {
        assert!(printed.contains(wanted), "`{wanted}` is missing in\n{printed}");
    }
}
