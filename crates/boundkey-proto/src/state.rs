use boundkey_keys::MasterKey;
use boundkey_lifecycle::{StateClaims, StateEvidence};

/// The join state: HS256 JWS, `typ: boundkey-state+jwt`, `kid` = master epoch; deterministic.
/// `epoch`: of the first time this state was made is not kept: after a master rotation a retry is made with the current one.
pub fn seal_state(claims: &StateClaims, cluster: &str, master: &MasterKey) -> String {
    todo!()
}
pub fn open_state(text: &str, cluster: &str, master: &MasterKey) -> StateEvidence {
    todo!()
}
