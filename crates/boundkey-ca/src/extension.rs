//! The two private extensions: their names and their contents.

use x509_parser::asn1_rs::{FromDer, Oid, Sequence, ToDer, Utf8String};

use crate::CaError;

/// The digest that ties a leaf to the join that it was issued for: an OCTET STRING of 32 bytes, non-critical.
///
/// No registered arc is ours, so the name lies below `2.25`, where nobody registers anything. An UUID there
/// would be an arc of 128 bits, more than the encoder takes (64 bits an arc): the arc is the first 63 bits of
/// SHA-256("boundkey private extensions v1") instead, which no other software meets by chance. `.1` is the
/// result digest, `.2` are the roles.
pub const RESULT_EXTENSION_OID: &[u64] = &[2, 25, 7_197_691_530_067_396_504, 1];

/// The roles of a leaf: a SEQUENCE OF UTF8String, in the order given, non-critical. See [`RESULT_EXTENSION_OID`].
pub const ROLES_EXTENSION_OID: &[u64] = &[2, 25, 7_197_691_530_067_396_504, 2];

pub(crate) fn result_oid() -> Oid<'static> {
    Oid::from(RESULT_EXTENSION_OID).expect("the constant is an object identifier")
}

pub(crate) fn roles_oid() -> Oid<'static> {
    Oid::from(ROLES_EXTENSION_OID).expect("the constant is an object identifier")
}

pub(crate) fn encode_result(digest: &[u8; 32]) -> Vec<u8> {
    let mut out = vec![0x04, 32];
    out.extend_from_slice(digest);
    out
}

pub(crate) fn decode_result(der: &[u8]) -> Option<[u8; 32]> {
    der.strip_prefix(&[0x04, 32])?.try_into().ok()
}

pub(crate) fn encode_roles(roles: &[&str]) -> Result<Vec<u8>, CaError> {
    let strings = roles.iter().map(|role| Utf8String::new(role));
    Sequence::from_iter_to_der(strings).and_then(|sequence| sequence.to_der_vec()).map_err(CaError::encoding)
}

pub(crate) fn decode_roles(der: &[u8]) -> Option<Vec<String>> {
    let (rest, roles) = <Vec<Utf8String<'_>>>::from_der(der).ok()?;
    rest.is_empty().then(|| roles.into_iter().map(|role| role.string()).collect())
}

#[cfg(test)]
mod tests {
    use boundkey_keys::sha256;

    use super::*;

    #[test]
    fn the_arc_is_the_one_the_documentation_derives() {
        let digest = sha256(&[b"boundkey private extensions v1"]);
        let first: [u8; 8] = digest[..8].try_into().unwrap();
        let arc = u64::from_be_bytes(first) >> 1;
        assert_eq!(RESULT_EXTENSION_OID, [2, 25, arc, 1]);
        assert_eq!(ROLES_EXTENSION_OID, [2, 25, arc, 2]);
    }

    #[test]
    fn contents_survive_the_way_there_and_back() {
        assert_eq!(decode_result(&encode_result(&[7; 32])), Some([7; 32]));
        let roles = encode_roles(&["Node", "App"]).unwrap();
        assert_eq!(roles, b"\x30\x0b\x0c\x04Node\x0c\x03App");
        assert_eq!(decode_roles(&roles), Some(vec!["Node".to_owned(), "App".to_owned()]));
    }

    #[test]
    fn a_result_of_another_length_or_with_a_tail_is_not_read() {
        assert_eq!(decode_result(&[0x04, 31]), None);
        let mut long = encode_result(&[7; 32]);
        long.push(0);
        assert_eq!(decode_result(&long), None);
        assert_eq!(decode_roles(b"\x30\x00\x00"), None);
    }
}
