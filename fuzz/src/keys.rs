use boundkey_keys::{
    MacKey, MasterKey, PrivateKey, PublicKey, Purpose, mac_jws_kid, sign_jws, sign_mac_jws, verify_jws,
    verify_mac_jws,
};

use crate::scene::{key, master};

/// The `typ` of the seeds.
pub const TYP: &str = "boundkey-join+jwt";

/// A compact JWS. Whatever verifies is, byte for byte, what signing its payload yields: there is one form.
pub fn jws(data: &[u8]) {
    let text = crate::text(data);
    let signer = key(1);
    if let Ok((proven, payload)) = verify_jws(text, TYP, signer.public_key()) {
        assert_eq!(proven.public_key(), signer.public_key());
        assert_eq!(sign_jws(&signer, TYP, &payload).ok().as_deref(), Some(text));
    }
    assert!(verify_jws(text, "another", signer.public_key()).is_err());
}

/// The same for the form that the cluster makes for itself.
pub fn mac_jws(data: &[u8]) {
    let text = crate::text(data);
    let kid = mac_jws_kid(text, TYP);
    let master = master();
    let derived = master.derive(Purpose::JoinState, master.current()).expect("the current epoch derives");
    let key = MacKey::new(&derived);
    if let Ok(payload) = verify_mac_jws(text, TYP, &key) {
        let kid = kid.expect("what verifies has a kid");
        assert_eq!(sign_mac_jws(&key, TYP, &kid, &payload), text);
    }
}

/// A line of authorized_keys.
pub fn openssh_public_key(data: &[u8]) {
    if let Ok(key) = PublicKey::from_openssh(crate::text(data)) {
        survives(&key);
    }
}

/// SubjectPublicKeyInfo: there is one form of each key.
pub fn spki(data: &[u8]) {
    if let Ok(key) = PublicKey::from_spki_der(data) {
        assert_eq!(key.to_spki_der().as_deref(), Some(data));
        survives(&key);
    }
}

fn survives(key: &PublicKey) {
    let line = key.to_openssh();
    let again = PublicKey::from_openssh(&line).expect("what was written is read");
    assert_eq!((&again, again.to_openssh(), again.thumbprint()), (key, line, key.thumbprint()));
    if let Some(spki) = key.to_spki_der() {
        assert_eq!(PublicKey::from_spki_der(&spki).as_ref(), Ok(key));
    }
}

/// A private key file: PEM with PKCS#8 or OpenSSH's form inside, or bare PKCS#8.
pub fn private_key(data: &[u8]) {
    for key in [PrivateKey::from_pem(data), PrivateKey::from_pkcs8_der(data)].into_iter().flatten() {
        let forms = [
            PrivateKey::from_pem(key.to_pkcs8_pem().as_bytes()),
            PrivateKey::from_pem(key.to_openssh_pem("a comment").as_bytes()),
            PrivateKey::from_pkcs8_der(&key.to_pkcs8_der()),
        ];
        for again in forms {
            let again = again.expect("what was written is read");
            assert_eq!(again.public_key(), key.public_key());
        }
        let signature = sign_jws(&key, TYP, b"payload").expect("a key that was read signs");
        assert!(verify_jws(&signature, TYP, key.public_key()).is_ok(), "the public half fits");
    }
}

/// The master key file.
pub fn master_key(data: &[u8]) {
    if let Ok(master) = MasterKey::from_json(data) {
        let again = MasterKey::from_json(&master.to_json()).expect("what was written is read");
        assert_eq!(again.fingerprint(), master.fingerprint());
        assert_eq!(again.current(), master.current());
        let sealed = master.seal(b"place", [1; 12], b"plain");
        assert!(again.open(b"place", &sealed).is_ok_and(|plain| *plain == b"plain"[..]));
    }
    let _ = crate::scene::master().open(b"place", data);
}
