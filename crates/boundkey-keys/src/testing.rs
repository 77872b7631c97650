//! For fuzzing only, under the feature `testing`: checks that hold for every signature and tag.
//!
//! A changed byte inside anything signed is refused at its signature, so whatever lies behind is never reached by chance.
//! With [`AcceptEverything`] it is. The forms are still checked: header, `typ`, `alg`, `kid` and base64.

use std::cell::Cell;
use std::marker::PhantomData;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// While one is held, every signature and every tag of a JWS holds on this thread; on no other one.
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct AcceptEverything {
    /// It belongs to the thread that made it.
    here: PhantomData<*const ()>,
}

impl AcceptEverything {
    /// From now on, until the last one of this thread is dropped.
    pub fn on_this_thread() -> Self {
        HELD.set(HELD.get() + 1);
        Self { here: PhantomData }
    }
}

impl Drop for AcceptEverything {
    fn drop(&mut self) {
        HELD.set(HELD.get() - 1);
    }
}

pub(crate) fn accepts_everything() -> bool {
    HELD.get() > 0
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;
    use crate::{
        Epoch, JwsError, MacKey, MasterKey, PrivateKey, Purpose, sign_jws, sign_mac_jws, verify_jws,
        verify_mac_jws,
    };

    const TYP: &str = "test+jwt";

    fn mac_key() -> MacKey {
        let epoch = Epoch { master: 1, epoch: 1 };
        MacKey::new(&MasterKey::new(1, [7; 32]).derive(Purpose::Challenge, epoch).expect("an epoch in force"))
    }

    /// The same header under another payload, with a signature of three bytes.
    fn forged(genuine: &str) -> String {
        let header = genuine.split('.').next().expect("a header");
        format!("{header}.{}.AAAA", URL_SAFE_NO_PAD.encode("forged"))
    }

    #[test]
    fn everything_holds_while_the_guard_is_held_and_not_a_moment_longer() {
        let key = PrivateKey::ed25519_from_seed(&[1; 32]);
        let signed = forged(&sign_jws(&key, TYP, b"genuine").expect("it signs"));
        let tagged = forged(&sign_mac_jws(&mac_key(), TYP, "1.1", b"genuine"));
        let both = || {
            let signed = verify_jws(&signed, TYP, key.public_key()).map(|(_, payload)| payload);
            (signed, verify_mac_jws(&tagged, TYP, &mac_key()))
        };
        let refused = (Err(JwsError::Signature), Err(JwsError::Signature));
        let accepted = (Ok(b"forged".to_vec()), Ok(b"forged".to_vec()));
        assert_eq!(both(), refused);
        let outer = AcceptEverything::on_this_thread();
        let inner = AcceptEverything::on_this_thread();
        assert_eq!(both(), accepted);
        drop(inner);
        assert_eq!(both(), accepted, "the outer one is still held");
        let elsewhere = std::thread::scope(|scope| scope.spawn(both).join());
        assert_eq!(elsewhere.expect("no panic"), refused, "another thread");
        drop(outer);
        assert_eq!(both(), refused);
    }

    #[test]
    fn the_form_is_checked_all_the_same() {
        let (key, other) = (PrivateKey::ed25519_from_seed(&[1; 32]), PrivateKey::ed25519_from_seed(&[2; 32]));
        let signed = sign_jws(&key, TYP, b"{}").expect("it signs");
        let _all = AcceptEverything::on_this_thread();
        assert!(matches!(verify_jws(&signed, "other+jwt", key.public_key()), Err(JwsError::Typ { .. })));
        assert!(matches!(verify_jws(&signed, TYP, other.public_key()), Err(JwsError::OtherKey { .. })));
        assert!(matches!(verify_mac_jws(&signed, TYP, &mac_key()), Err(JwsError::Alg { .. })));
        let padded = format!("{signed}=");
        assert!(matches!(verify_jws(&padded, TYP, key.public_key()), Err(JwsError::Base64 { .. })));
    }
}
