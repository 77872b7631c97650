use boundkey_keys::DerivedKey;

/// The serials (and SSH nonce) of one join: a retry yields the same, two joins never share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serials {
    pub x509: [u8; 20],
    pub ssh: u64,
    pub ssh_nonce: [u8; 16],
}

/// HMAC over (uid, generation, instance, sequence, attempt, issued_at in microseconds) under the Serials key. x509: positive, first byte 0x01..0x7f.
pub fn derive_serials(
    key: &DerivedKey,
    uid: &[u8; 16],
    generation: u32,
    instance: &str,
    sequence: u64,
    attempt: &[u8; 16],
    issued_at_micros: i128,
) -> Serials {
    todo!()
}
