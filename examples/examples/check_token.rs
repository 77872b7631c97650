//! Checks a file of tokens, bots and locks: prints what they say, or every fault with its place.
//!
//!     cargo run -p examples --example check_token              # a sample with faults in it
//!     cargo run -p examples --example check_token token.yaml   # exit status 0 good, 1 faulty, 2 cannot be read
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what it does")]

use std::process::ExitCode;

use boundkey_token::{Resource, Token, read_resources};

const GOOD: &str = "\
kind: token
version: v2
metadata:
  name: web-1
  labels: {env: prod}
spec:
  roles: [Node, App]
  join_method: bound_keypair
  bound_keypair:
    onboarding:
      must_register_before: \"2031-01-01T00:00:00Z\"
    recovery:
      limit: 3
  certificates:
    dns_names: [\"*.example.com\"]
---
kind: bot
version: v1
metadata: {name: deployer}
spec: {logins: [deploy]}
";

const FAULTY: &str = "\
kind: token
version: v2
metadata:
  name: web 1
spec:
  roles: [Nod]
  join_method: bound_keypair
  bound_keypair:
    recovery:
      limit: 0
      mod: standard
";

fn main() -> ExitCode {
    let Some(file) = std::env::args().nth(1) else {
        println!("== a good file");
        check("good.yaml", GOOD.as_bytes());
        println!("== a faulty one");
        check("faulty.yaml", FAULTY.as_bytes());
        return ExitCode::SUCCESS;
    };
    match std::fs::read(&file) {
        Ok(text) if check(&file, &text) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("cannot read {file}: {error}");
            ExitCode::from(2)
        }
    }
}

/// Prints what the file says. Whether it is good.
#[expect(clippy::disallowed_methods, reason = "a program is an edge; some of its times may be past")]
fn check(file: &str, text: &[u8]) -> bool {
    match read_resources(text) {
        Ok(resources) => {
            let now = std::time::SystemTime::now();
            for resource in &resources {
                println!("{}/{} is good", resource.kind(), resource.name());
                if let Resource::Token(token) = resource {
                    describe(token);
                }
                for warning in resource.warnings(now.into()) {
                    println!("  warning: {warning}");
                }
            }
            true
        }
        Err(error) => {
            // All faults at once: FILE:LINE:COLUMN: PATH: found; allowed.
            for line in error.lines(file) {
                println!("{line}");
            }
            false
        }
    }
}

/// Checked values: a role is a role, a time is a time, defaults are in force.
fn describe(token: &Token) {
    let keypair = &token.spec.bound_keypair;
    println!("  roles: {}", token.spec.roles);
    println!("  recovery: {} in all, mode {}", keypair.recovery.limit, keypair.recovery.mode);
    match (&keypair.onboarding.initial_public_key, &keypair.onboarding.registration_secret) {
        (Some(key), _) => println!("  first join: with the key {key}"),
        (None, Some(_)) => println!("  first join: with the secret of this file"),
        (None, None) => println!("  first join: with a secret that the server generates"),
    }
    if let Some(deadline) = keypair.onboarding.must_register_before {
        println!("  first join: before {deadline}");
    }
}
