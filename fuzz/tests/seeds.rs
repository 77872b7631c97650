//! Every seed, whole, cut and damaged, through its target, on any toolchain. No target is without a seed.

use std::fs;
use std::path::Path;

#[test]
fn every_seed_passes_whole_cut_and_damaged() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for (name, target) in boundkey_fuzz::TARGETS {
        let mut count = 0;
        for file in fs::read_dir(root.join(name)).unwrap_or_else(|error| panic!("seeds of {name}: {error}")) {
            let seed = fs::read(file.expect("a directory is read").path()).expect("a seed is read");
            target(&seed);
            // About 200 variants of each, whatever its length; fewer where each is a dozen joins.
            let whole_joins = name.ends_with("_ceremony") || name.ends_with("_accepts_all");
            let places = if whole_joins { 5 } else { 100 };
            let step = seed.len() / places + 1;
            for place in (0..seed.len()).step_by(step) {
                target(&seed[..place]);
                let mut damaged = seed.clone();
                damaged[place] ^= 1 << (place % 8);
                target(&damaged);
            }
            count += 1;
        }
        assert!(count > 0, "{name} has no seed");
    }
}

#[test]
fn every_past_finding_passes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("crashes");
    for directory in fs::read_dir(root).into_iter().flatten() {
        let directory = directory.expect("a directory is read").path();
        let name = directory.file_name().and_then(|name| name.to_str()).expect("a plain name");
        let (_, target) = boundkey_fuzz::TARGETS
            .iter()
            .find(|(target, _)| *target == name)
            .unwrap_or_else(|| panic!("crashes/{name} is of no target"));
        for file in fs::read_dir(&directory).expect("the findings are there") {
            target(&fs::read(file.expect("a directory is read").path()).expect("a finding is read"));
        }
    }
}

#[test]
fn every_target_is_in_the_readme_and_every_seed_is_of_a_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).expect("the README is there");
    for (name, _) in boundkey_fuzz::TARGETS {
        assert!(readme.contains(&format!("`{name}`")), "{name} is not in the README");
    }
    for directory in fs::read_dir(root.join("seeds")).expect("the seeds are there") {
        let name = directory.expect("a directory is read").file_name();
        assert!(
            boundkey_fuzz::TARGETS.iter().any(|(target, _)| name == *target),
            "seeds of no target: {name:?}"
        );
    }
}

fn seed(target: &str, name: &str) -> Vec<u8> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target).join(name);
    fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// A seed that is refused at the first byte teaches a fuzzer nothing.
#[test]
fn the_seeds_reach_the_depth_they_are_for() {
    use boundkey_fuzz::scene::{CLUSTER, NOW, key, master};

    for name in ["small.yaml", "full.yaml", "several.yaml", "kubernetes.yaml"] {
        let read = boundkey_token::read_resources(&seed("token_document", name));
        assert!(read.is_ok(), "{name}: {read:?}");
    }
    for name in ["first-register.json", "confirm-renew.json", "confirm-rotate.json"] {
        let received =
            boundkey_proto::receive_complete(&seed("join_complete", name), CLUSTER, &master(), NOW)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(received.proven.current.is_some(), "{name}");
        assert_eq!(received.proven.new.is_some(), name.contains("rotate"));
        let valid = matches!(received.join_state, boundkey_lifecycle::StateEvidence::Valid(_));
        assert_eq!(valid, !name.contains("register"), "{name}");
    }
    let answer = boundkey_proto::read_answer(200, &seed("join_answer", "admitted")[2..]);
    let Ok(boundkey_proto::Answer::Join(boundkey_proto::JoinAnswer::Admitted(result))) = answer else {
        panic!("{answer:?}");
    };
    assert!(result.ca_bundle.verify(&[key(1).public_key().clone()]).is_ok());
    for name in ["ca.der", "host.der", "server.der"] {
        assert!(boundkey_ca::inspect_leaf(&seed("certificate", name)).is_ok(), "{name}");
    }
    for name in ["host", "user"] {
        let line = String::from_utf8(seed("ssh_certificate", name)).expect("a line of text");
        assert!(boundkey_ca::inspect_ssh(&line).is_ok(), "{name}");
    }
    for name in ["ed25519.pem", "ed25519.openssh", "p256.pem", "p256.openssh", "ed25519-v1.pem"] {
        let read = boundkey_keys::PrivateKey::from_pem(&seed("private_key", name));
        assert!(read.is_ok(), "{name}: {:?}", read.err());
    }
    for name in ["full.json", "empty.json"] {
        assert!(boundkey_keystore::AgentState::from_json(&seed("agent_state", name)).is_ok(), "{name}");
    }
    for name in ["host.yaml", "bot.yaml"] {
        let text = seed("agent_config", name);
        let read = boundkey_client::config::AgentConfig::parse(&text, name, Default::default());
        assert!(read.is_ok(), "{name}: {:?}", read.err());
    }
    for name in ["full.yaml", "small.yaml"] {
        assert_eq!(boundkey_fuzz::server_config_fault(&seed("server_config", name)), None, "{name}");
    }
}
