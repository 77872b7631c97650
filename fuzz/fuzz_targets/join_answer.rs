#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| boundkey_fuzz::join_answer(data));
