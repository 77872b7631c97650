use zeroize::Zeroizing;

/// A registration secret: wiped, never shown by Debug, compared in constant time (PartialEq). Cloning is explicit.
pub struct Secret(Zeroizing<String>);
impl Secret {
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
    /// 32 bytes as 43 base64url characters: the generated form.
    pub fn generated(bytes: [u8; 32]) -> Self {
        todo!()
    }
    pub fn expose(&self) -> &str {
        &self.0
    }
    pub fn is_generated_form(&self) -> bool {
        todo!()
    }
    pub fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }
}
impl PartialEq for Secret {
    fn eq(&self, o: &Self) -> bool {
        todo!()
    }
}
impl Eq for Secret {}
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The key of `secret_proof`: HKDF for generated secrets, PBKDF2 (600,000 rounds) first for any other.
/// Salt: cluster || 0 || token name; label "boundkey secret v1".
pub fn secret_proof_key(secret: &Secret, cluster: &str, token: &str) -> Zeroizing<[u8; 32]> {
    todo!()
}
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    todo!()
}
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    todo!()
}
