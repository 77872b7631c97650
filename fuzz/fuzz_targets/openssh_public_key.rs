#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| boundkey_fuzz::openssh_public_key(data));
