//! The little DER that key files need: definite, minimal lengths, nothing left over.

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OID: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;

/// Reads values one after another from a slice; it copies nothing.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next value's tag, without reading it.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The content of the next value if it has this tag and a well-formed length.
    pub(crate) fn read(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (&found, rest) = self.0.split_first()?;
        if found != tag {
            return None;
        }
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81 => {
                let (&length, rest) = rest.split_first()?;
                (usize::from(length).checked_sub(0x80)? + 0x80, rest)
            }
            0x82 => {
                let (length, rest) = rest.split_at_checked(2)?;
                let length = usize::from(length[0]) << 8 | usize::from(length[1]);
                (length.checked_sub(0x100)? + 0x100, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(content)
    }
}

/// The content of the only value in `bytes`.
pub(crate) fn only(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let mut reader = Reader::new(bytes);
    let content = reader.read(tag)?;
    reader.is_empty().then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_must_be_minimal_and_definite() {
        assert_eq!(only(&[4, 1, 9], OCTET_STRING), Some(&[9][..]));
        assert_eq!(only(&[4, 0x81, 1, 9], OCTET_STRING), None);
        assert_eq!(only(&[4, 0x82, 0, 1, 9], OCTET_STRING), None);
        assert_eq!(only(&[4, 0x80, 9, 0, 0], OCTET_STRING), None);
        let mut long = vec![4, 0x81, 0x80];
        long.extend([7; 128]);
        assert_eq!(only(&long, OCTET_STRING), Some(&[7; 128][..]));
        let mut longer = vec![4, 0x82, 1, 0];
        longer.extend([7; 256]);
        assert_eq!(only(&longer, OCTET_STRING), Some(&[7; 256][..]));
    }

    #[test]
    fn a_cut_or_lengthened_value_is_refused() {
        assert_eq!(only(&[4, 2, 9], OCTET_STRING), None);
        assert_eq!(only(&[4, 1, 9, 0], OCTET_STRING), None);
        assert_eq!(only(&[], OCTET_STRING), None);
        assert_eq!(only(&[4], OCTET_STRING), None);
    }
}
