//! HTTP/2 by hand: frames that no honest library sends.

/// What a client says first.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// One frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// SETTINGS with the window that each stream of the server's starts with.
pub(super) fn settings(window: u32) -> Vec<u8> {
    const INITIAL_WINDOW_SIZE: u8 = 4;
    let mut payload = vec![0, INITIAL_WINDOW_SIZE];
    payload.extend(window.to_be_bytes());
    frame(SETTINGS, 0, 0, &payload)
}

/// The header block of a request, without compression.
pub(super) fn block(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    const METHOD: u8 = 2;
    const PATH: u8 = 4;
    const AUTHORITY: u8 = 1;
    const HTTPS: u8 = 0x87;
    let mut bytes = vec![HTTPS];
    for (name, value) in [(METHOD, method), (PATH, path), (AUTHORITY, "x")] {
        bytes.push(name);
        text(&mut bytes, value);
    }
    for (name, value) in more {
        bytes.push(0);
        text(&mut bytes, name);
        text(&mut bytes, value);
    }
    bytes
}

/// A string of HPACK: its length in a prefix of seven bits, then its bytes.
fn text(bytes: &mut Vec<u8>, value: &str) {
    match u8::try_from(value.len()) {
        Ok(length) if length < 127 => bytes.push(length),
        _ => {
            bytes.push(127);
            let mut rest = value.len() - 127;
            while rest >= 128 {
                bytes.push(0x80 | u8::try_from(rest & 0x7f).unwrap_or(0));
                rest >>= 7;
            }
            bytes.push(u8::try_from(rest).unwrap_or(0));
        }
    }
    bytes.extend(value.as_bytes());
}
