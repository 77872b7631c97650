//! The one fuzzing binary: `BOUNDKEY_FUZZ_TARGET` names the function of the library that gets the bytes. One binary
//! for all targets because linking is what a fuzz build spends its time on.
#![no_main]

use std::sync::LazyLock;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("BOUNDKEY_FUZZ_TARGET").unwrap_or_default();
    match boundkey_fuzz::TARGETS.iter().find(|(candidate, _)| *candidate == name) {
        Some((_, target)) => *target,
        None => {
            let names: Vec<&str> = boundkey_fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
            eprintln!("BOUNDKEY_FUZZ_TARGET is `{name}`; it must be one of {}", names.join(", "));
            std::process::exit(2);
        }
    }
});

libfuzzer_sys::fuzz_target!(
    init: {
        LazyLock::force(&TARGET);
    },
    |data: &[u8]| TARGET(data)
);
