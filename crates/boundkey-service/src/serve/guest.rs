//! A connection that is watched while it is served: its bytes, its requests and its answers say how far it is.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::progress::{Patience, Phase, Progress, Verdict};

/// A connection, as all its parts share it.
#[derive(Debug, Clone)]
pub(super) struct Guest(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    progress: Mutex<Progress>,
    /// Its place is given to somebody else.
    dismissed: Notify,
}

impl Guest {
    /// One that was given its place now.
    pub(super) fn new(now: Instant) -> Self {
        let progress = Mutex::new(Progress::new(now));
        Self(Arc::new(Inner { progress, dismissed: Notify::new() }))
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.0.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Progress::waiting_since`].
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.progress().waiting_since()
    }

    /// Ends it.
    pub(super) fn dismiss(&self) {
        self.0.dismissed.notify_one();
    }

    /// Waits until the connection has to retire or to end.
    pub(super) async fn verdict(&self, patience: &Patience) -> Verdict {
        loop {
            let verdict = self.progress().judge(Instant::now(), patience);
            let Verdict::Until(next) = verdict else { return verdict };
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = self.0.dismissed.notified() => return Verdict::End("its place is given to another"),
            }
        }
    }
}

/// A request from its head until the last byte of its answer was taken by the transport below.
#[derive(Debug)]
pub(super) struct UnderWay {
    guest: Guest,
    phase: Mutex<Phase>,
}

impl UnderWay {
    pub(super) fn new(guest: &Guest, phase: Phase) -> Arc<Self> {
        guest.progress().step(None, Some(phase), Instant::now());
        Arc::new(Self { guest: guest.clone(), phase: Mutex::new(phase) })
    }

    fn go_on(&self, to: Phase) {
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        if *phase < to {
            self.guest.progress().step(Some(*phase), Some(to), Instant::now());
            *phase = to;
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let phase = *self.phase.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.guest.progress().step(Some(phase), None, Instant::now());
    }
}

/// The body of a request: once it is whole, the server is at work.
pub(super) struct Arriving {
    body: Incoming,
    under_way: Arc<UnderWay>,
}

impl Arriving {
    pub(super) fn new(body: Incoming, under_way: Arc<UnderWay>) -> Self {
        if body.is_end_stream() {
            under_way.go_on(Phase::Working);
        }
        Self { body, under_way }
    }
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            self.under_way.guest.progress().body(data.len());
        }
        if frame.is_none() || self.body.is_end_stream() {
            self.under_way.go_on(Phase::Working);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer. HTTP/2 asks for it long before the peer may have it, so each piece of it keeps the request under
/// way for as long as anybody has the piece.
pub(super) struct Leaving {
    body: Body,
    under_way: Arc<UnderWay>,
}

impl Leaving {
    pub(super) fn new(body: Body, under_way: Arc<UnderWay>) -> Self {
        under_way.go_on(Phase::Leaving);
        Self { body, under_way }
    }
}

struct Piece {
    bytes: Bytes,
    _under_way: Arc<UnderWay>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for Leaving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| {
                frame.map_data(|bytes| Bytes::from_owner(Piece { bytes, _under_way: self.under_way.clone() }))
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The socket below everything, TLS too.
pub(super) struct Wire<S> {
    stream: S,
    guest: Guest,
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S, guest: &Guest) -> Self {
        Self { stream, guest: guest.clone() }
    }

    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(bytes)) => self.guest.progress().wrote(*bytes, Instant::now()),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.guest.progress().stuck(true, Instant::now()),
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        match self.guest.progress().read(buffer.filled().len() - before) {
            true => Poll::Ready(Ok(())),
            false => Poll::Ready(Err(io::Error::other("it sends more than belongs to its requests"))),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Whoever is above comes here only once it has nothing left to write.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.guest.progress().stuck(false, Instant::now());
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
