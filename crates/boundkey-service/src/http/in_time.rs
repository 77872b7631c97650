//! A body has to arrive in time, whichever route takes it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Request;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

/// Whether a body came too late. Whoever reads it gets an error then, of whatever kind; the answer is 408.
#[derive(Debug, Clone, Default)]
pub(super) struct Lateness(Arc<AtomicBool>);

impl Lateness {
    pub(super) fn is_late(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The same request, with so much time for its body from now on.
pub(super) fn within(time: Duration, request: Request<Body>) -> (Request<Body>, Lateness) {
    let lateness = Lateness::default();
    if request.body().is_end_stream() {
        return (request, lateness);
    }
    let (end, late) = (Instant::now() + time, lateness.clone());
    let request = request.map(|body| Body::new(InTime { body, end, timer: None, late }));
    (request, lateness)
}

struct InTime {
    body: Body,
    end: Instant,
    /// Made when there is something to wait for.
    timer: Option<Pin<Box<Sleep>>>,
    late: Lateness,
}

impl HttpBody for InTime {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let end = self.end;
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.late.0.store(true, Ordering::Relaxed);
        Poll::Ready(Some(Err(axum::Error::new(std::io::Error::from(std::io::ErrorKind::TimedOut)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
