//! The request R: decoded once, strictly, and held to its bounds.

use boundkey_keys::{Algorithm, PublicKey};
use boundkey_lifecycle::MachineFacts;
use boundkey_text::{clean, is_plain};
use boundkey_token::{RequestedNames, Role};
use serde::Deserialize;

use crate::encoding::{decode, encode, read_object};
use crate::limits::{
    MAX_FACT, MAX_FACTS, MAX_JOIN_STATE, MAX_NAME, MAX_NAMES, MAX_TTL_SECONDS, MIN_TTL_SECONDS,
};
use crate::{PROTOCOL_VERSION, ProtoError, Request, server};

impl Request {
    /// R as it is sent: unpadded base64url of this JSON. It is made once for each message and hashed as it is.
    pub fn encode(&self) -> String {
        encode(&serde_json::to_vec(self).expect("a request of strings and integers is always JSON"))
    }

    /// R as it was received.
    ///
    /// # Errors
    ///
    /// [`ProtoError::UnsupportedVersion`], [`ProtoError::NotUnderstood`], or [`ProtoError::MalformedRequest`] that names the
    /// member.
    pub fn decode(text: &str) -> Result<Self, ProtoError> {
        let json = decode(text).ok_or(ProtoError::MalformedRequest {
            member: "request",
            found: "something else".to_owned(),
            allowed: "unpadded base64url in its canonical form",
        })?;
        let request: Self = read_object(&json).map_err(|error| not_understood(&json, &error))?;
        if request.version != PROTOCOL_VERSION {
            return Err(ProtoError::UnsupportedVersion { found: request.version });
        }
        request.check()?;
        Ok(request)
    }

    /// Holds every member to its bounds; the client runs it too, so that a fault is named before anything is sent.
    pub(crate) fn check(&self) -> Result<(), ProtoError> {
        if self.roles.is_empty() {
            return Err(malformed("roles", "no role".to_owned(), "1 to 8 roles, each once"));
        }
        self.check_keys()?;
        check_names(&self.names)?;
        check_facts(&self.facts)?;
        if let Some(ttl) = self.ttl_seconds
            && !(MIN_TTL_SECONDS..=MAX_TTL_SECONDS).contains(&ttl)
        {
            return Err(malformed("ttl_seconds", ttl.to_string(), "60 to 31622400 (366 days)"));
        }
        if let Some(state) = &self.join_state
            && state.len() > MAX_JOIN_STATE
        {
            return Err(malformed("join_state", format!("{} bytes", state.len()), "at most 8192 bytes"));
        }
        Ok(())
    }

    fn check_keys(&self) -> Result<(), ProtoError> {
        let not_rsa = [
            ("new_key", self.new_key.as_ref()),
            ("tls_key", Some(&self.tls_key)),
            ("ssh_key", self.ssh_key.as_ref()),
        ];
        for (member, key) in not_rsa {
            if key.is_some_and(|key| key.algorithm() == Algorithm::Rsa) {
                return Err(malformed(member, "an RSA key".to_owned(), "an Ed25519 or ECDSA key"));
            }
        }
        if self.new_key.as_ref() == Some(&self.bound_key) {
            return Err(malformed("new_key", "the bound key".to_owned(), "another key than `bound_key`"));
        }
        Ok(())
    }

    /// What is to be certified (keys, names, roles, lifetime), so that a retry for anything else gets no certificates.
    pub(crate) fn certified(&self) -> [u8; 32] {
        let mut input = b"boundkey certified v1\0".to_vec();
        input.extend(self.tls_key.thumbprint().0);
        key(&mut input, self.ssh_key.as_ref());
        let RequestedNames { dns_names, ip_addresses, principals } = &self.names;
        list(&mut input, dns_names.iter().map(String::as_bytes));
        let addresses: Vec<String> = ip_addresses.iter().map(ToString::to_string).collect();
        list(&mut input, addresses.iter().map(String::as_bytes));
        list(&mut input, principals.iter().map(String::as_bytes));
        let mut roles: Vec<&str> = self.roles.iter().map(Role::as_str).collect();
        roles.sort_unstable();
        list(&mut input, roles.iter().map(|role| role.as_bytes()));
        // 0 is out of range, so it stands for "none asked for".
        input.extend(self.ttl_seconds.unwrap_or(0).to_be_bytes());
        boundkey_keys::sha256(&[&input])
    }
}

/// A request of a later version may have members that this one lacks: then the version is what to complain about.
fn not_understood(json: &[u8], error: &serde_json::Error) -> ProtoError {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    match read_object(json) {
        Ok(Version { version }) if version != PROTOCOL_VERSION => {
            ProtoError::UnsupportedVersion { found: version }
        }
        _ => server::not_understood("request", error),
    }
}

fn check_names(names: &RequestedNames) -> Result<(), ProtoError> {
    let lengths = [
        ("names.dns_names", names.dns_names.len()),
        ("names.ip_addresses", names.ip_addresses.len()),
        ("names.principals", names.principals.len()),
    ];
    for (member, length) in lengths {
        if length > MAX_NAMES {
            return Err(malformed(member, format!("{length} entries"), "at most 64 entries"));
        }
    }
    for (member, list) in [("names.dns_names", &names.dns_names), ("names.principals", &names.principals)] {
        for name in list {
            if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(is_plain) {
                let found = format!("`{}`", clean(name, 64));
                return Err(malformed(
                    member,
                    found,
                    "names of 1 to 253 bytes without control or invisible characters",
                ));
            }
        }
    }
    Ok(())
}

fn check_facts(facts: &MachineFacts) -> Result<(), ProtoError> {
    let texts = [
        ("facts.hostname", &facts.hostname),
        ("facts.os", &facts.os),
        ("facts.arch", &facts.arch),
        ("facts.version", &facts.version),
    ];
    let mut sum: usize = facts.roles.iter().map(|role| role.as_str().len()).sum();
    for (member, text) in texts {
        if text.len() > MAX_FACT || !text.chars().all(is_plain) {
            let found = format!("`{}`", clean(text, 64));
            return Err(malformed(
                member,
                found,
                "at most 256 bytes without control or invisible characters",
            ));
        }
        sum += text.len();
    }
    if sum > MAX_FACTS {
        return Err(malformed("facts", format!("{sum} bytes"), "at most 1024 bytes together"));
    }
    Ok(())
}

fn malformed(member: &'static str, found: String, allowed: &'static str) -> ProtoError {
    ProtoError::MalformedRequest { member, found, allowed }
}

fn key(input: &mut Vec<u8>, key: Option<&PublicKey>) {
    match key {
        None => input.push(0),
        Some(key) => {
            input.push(1);
            input.extend(key.thumbprint().0);
        }
    }
}

/// Counts and lengths first, so that the framing is injective; bodies are far below 4 GiB.
fn list<'a>(input: &mut Vec<u8>, entries: impl ExactSizeIterator<Item = &'a [u8]>) {
    input.extend((entries.len() as u32).to_be_bytes());
    for entry in entries {
        input.extend((entry.len() as u32).to_be_bytes());
        input.extend(entry);
    }
}
