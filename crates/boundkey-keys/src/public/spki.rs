//! SubjectPublicKeyInfo. Each accepted kind has exactly one DER head, so comparing it is the whole parser.

use super::{Material, ParseKeyError, PublicKey};

const ED25519: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const P256: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const P384: &[u8] = &[
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81,
    0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];

pub(super) fn parse(der: &[u8]) -> Result<PublicKey, ParseKeyError> {
    if let Some(raw) = der.strip_prefix(ED25519) {
        return PublicKey::from_checked_ed25519(raw.try_into().map_err(|_| ParseKeyError::Spki)?);
    }
    match (der.strip_prefix(P256), der.strip_prefix(P384)) {
        (Some(point), _) if point.len() == 65 => PublicKey::from_p256(point),
        (_, Some(point)) if point.len() == 97 => PublicKey::from_p384(point),
        _ => Err(ParseKeyError::Spki),
    }
}

pub(super) fn encode(material: &Material) -> Option<Vec<u8>> {
    match material {
        Material::Ed25519(key) => Some([ED25519, key].concat()),
        Material::P256(point) => Some([P256, point].concat()),
        Material::P384(point) => Some([P384, point].concat()),
        Material::Rsa(_) => None,
    }
}
