use boundkey_ca::{AuthorityKey, ServerNames, X509Authority, inspect_leaf, inspect_ssh, spki_pin};

/// A certificate as a client receives it, and as a store returns a CA's.
pub fn certificate(data: &[u8]) {
    if let Ok(view) = inspect_leaf(data) {
        assert!(spki_pin(data).is_ok());
        assert!(view.serial.first() != Some(&0) || view.serial == [0]);
    }
    let Ok(key) = AuthorityKey::ed25519_from_seed(&[1; 32]) else { return };
    if let Ok(ca) = X509Authority::load(key, data.to_vec()) {
        assert_eq!(spki_pin(data), Ok(ca.pin()));
    }
}

/// An OpenSSH certificate line.
pub fn ssh_certificate(data: &[u8]) {
    let _ = inspect_ssh(crate::text(data));
}

/// Listen and public addresses, one a line.
pub fn server_names(data: &[u8]) {
    if let Ok(names) = ServerNames::new(crate::text(data).lines()) {
        assert!(names.dns_names().iter().all(|name| boundkey_ca::is_dns_name(name)));
        let texts: Vec<String> = names.ip_addresses().iter().map(ToString::to_string).collect();
        let all = names.dns_names().iter().chain(&texts).map(String::as_str);
        let again = ServerNames::new(all).expect("what was accepted is accepted");
        assert_eq!(again.dns_names(), names.dns_names());
        assert_eq!(again.ip_addresses(), names.ip_addresses());
    }
}
