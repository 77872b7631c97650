//! Content that many read, each at its own pace: encoded once, handed out piece by piece, gone as a whole.

use std::fmt::{self, Write as _};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use axum::http::HeaderValue;
use boundkey_keys::sha256;
use hyper::body::{Body, Bytes, Frame, SizeHint};

/// Of a piece, in bytes: one record of TLS. Who does not read keeps no more than the few that are on their way to it.
pub(crate) const PIECE: usize = 16 * 1024;

/// Bytes in pieces of 16 KiB, each an allocation of its own, with the `ETag` that follows from them.
pub(crate) struct Pieces {
    pieces: Vec<Bytes>,
    bytes: usize,
    tag: HeaderValue,
}

impl Pieces {
    pub(crate) fn new(content: &[u8]) -> Arc<Self> {
        Self::of(content, content.chunks(PIECE).map(Bytes::copy_from_slice))
    }

    /// Of what is part of the program.
    pub(crate) fn fixed(content: &'static [u8]) -> Arc<Self> {
        Self::of(content, content.chunks(PIECE).map(Bytes::from_static))
    }

    fn of(content: &[u8], pieces: impl Iterator<Item = Bytes>) -> Arc<Self> {
        let mut tag = String::with_capacity(34);
        tag.push('"');
        for byte in &sha256(&[content])[..16] {
            let _: Result<(), fmt::Error> = write!(tag, "{byte:02x}");
        }
        tag.push('"');
        let tag = HeaderValue::from_str(&tag).expect("quoted hexadecimal digits are a header value");
        Arc::new(Self { pieces: pieces.collect(), bytes: content.len(), tag })
    }

    /// How many bytes it has.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A strong entity tag, quotes included: other bytes, another tag.
    pub(crate) fn tag(&self) -> &HeaderValue {
        &self.tag
    }

    /// A copy in one.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        self.pieces.concat()
    }

    /// A body that keeps none of it alive but the piece that is being sent.
    pub(crate) fn reader(self: &Arc<Self>) -> Reader {
        Reader { content: Arc::downgrade(self), next: 0, left: self.bytes }
    }
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pieces").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// A body that fails once its content is gone: the connection is cut, so that no short list passes for a whole one.
pub(crate) struct Reader {
    content: Weak<Pieces>,
    next: usize,
    left: usize,
}

/// The content was replaced while it was read.
#[derive(Debug, thiserror::Error)]
#[error("there is newer content; ask again")]
pub(crate) struct Replaced;

impl Body for Reader {
    type Data = Bytes;
    type Error = Replaced;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Replaced>>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(None);
        }
        let Some(content) = this.content.upgrade() else { return Poll::Ready(Some(Err(Replaced))) };
        let piece = content.pieces[this.next].clone();
        this.next += 1;
        this.left -= piece.len();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn content() -> Vec<u8> {
        (0..PIECE * 2 + 5).map(|n| u8::try_from(n % 251).unwrap()).collect()
    }

    #[tokio::test]
    async fn a_reader_gets_every_byte_and_says_before_how_many() {
        let content = content();
        let pieces = Pieces::new(&content);
        let reader = pieces.reader();
        assert_eq!(reader.size_hint().exact(), Some(content.len() as u64));
        assert_eq!(reader.collect().await.unwrap().to_bytes(), content);
        assert_eq!(pieces.to_vec(), content);
        assert!(Pieces::new(b"").reader().is_end_stream());
    }

    #[tokio::test]
    async fn a_reader_keeps_a_piece_and_fails_when_the_content_is_replaced() {
        let pieces = Pieces::new(&content());
        let gone = Arc::downgrade(&pieces);
        let mut reader = pieces.reader();
        let piece = reader.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(piece.len(), PIECE);
        drop(pieces);
        assert!(gone.upgrade().is_none(), "a reader keeps the content alive");
        assert!(reader.frame().await.unwrap().is_err(), "a short list must not pass for a whole one");
        assert!(!reader.is_end_stream());
    }

    #[test]
    fn the_tag_follows_from_the_bytes() {
        assert_eq!(Pieces::new(b"a").tag(), Pieces::fixed(b"a").tag());
        assert_ne!(Pieces::new(b"a").tag(), Pieces::new(b"b").tag());
        assert_eq!(Pieces::new(b"a").tag().len(), 34);
    }
}
