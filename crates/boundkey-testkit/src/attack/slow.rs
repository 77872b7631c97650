//! Who asks for large answers and does not read them.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::frames::{END_HEADERS, END_STREAM, HEADERS, PREFACE, block, frame, settings};
use super::http2::Peer;
use super::{Attack, Effort, Stage, Target, add, network};

/// How it is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stall {
    /// HTTP/1.1: nothing is read.
    Never,
    /// HTTP/1.1: a kibibyte a second, so that something always moves.
    Trickle,
    /// HTTP/2: eight streams, nothing is read.
    Streams,
    /// HTTP/2: eight streams whose windows are never opened; all else is answered, PINGs too.
    Windows,
}

impl Stall {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Never, Self::Trickle, Self::Streams, Self::Windows];
}

/// Readers who do not read.
#[derive(Debug, Clone)]
pub struct SlowReader {
    /// How.
    pub stall: Stall,
    /// Connections.
    pub readers: usize,
    /// They come from so many networks.
    pub networks: usize,
    /// Certificates in the lists that they ask for.
    pub revoked: usize,
}

/// Of the socket: what the kernels take is no memory of the process.
const BUFFER: Option<u32> = Some(4096);

#[async_trait(?Send)]
impl Attack for SlowReader {
    fn name(&self) -> String {
        let Self { stall, readers, networks, revoked } = self;
        format!("slow reader {stall:?}: {readers} from {networks} networks, {revoked} revoked")
    }

    fn arm(&mut self, stage: &mut Stage) {
        stage.revoke(self.revoked);
    }

    async fn run(&self, target: Target, effort: Rc<Effort>) {
        // Once it is read to its end: then the server has it made.
        if let Ok(mut reader) = target.http1(network(0)).await {
            let answer = reader.ask("GET", "/v1/crl", b"").await;
            effort.note.replace(
                answer.map_or_else(
                    |e| e.to_string(),
                    |(_, list)| format!("a list of {} KiB", list.len() >> 10),
                ),
            );
        }
        let mut readers = JoinSet::new();
        for number in 0..self.readers {
            let (target, effort) = (target.clone(), Rc::clone(&effort));
            let Self { stall, networks, .. } = *self;
            readers.spawn_local(async move {
                loop {
                    let one = read_slowly(&target, network(number % networks), stall, &effort);
                    // Where nothing is read an end is not seen either.
                    drop(timeout(Duration::from_secs(40), one).await);
                    add(&effort.ended, 1);
                    sleep(Duration::from_millis(100)).await;
                }
            });
        }
        effort.ready.set(true);
        std::future::pending::<()>().await;
    }
}

async fn read_slowly(
    target: &Target,
    from: std::net::IpAddr,
    stall: Stall,
    effort: &Effort,
) -> io::Result<()> {
    let http2 = matches!(stall, Stall::Streams | Stall::Windows);
    let mut stream = target.tls(from, http2, BUFFER).await?;
    add(&effort.connections, 1);
    if !http2 {
        stream.write_all(b"GET /v1/crl HTTP/1.1\r\nhost: x\r\n\r\n").await?;
        stream.flush().await?;
        add(&effort.requests, 1);
        let mut some = [0; 1024];
        loop {
            sleep(Duration::from_secs(1)).await;
            if stall == Stall::Trickle && stream.read(&mut some).await? == 0 {
                return Ok(());
            }
        }
    }
    let mut asked = [PREFACE, &settings(0)].concat();
    for stream in (1..16).step_by(2) {
        asked.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, &block("GET", "/v1/crl", &[])));
        add(&effort.requests, 1);
    }
    stream.write_all(&asked).await?;
    stream.flush().await?;
    match stall {
        Stall::Windows => Peer::new(stream).answer_pings().await,
        _ => std::future::pending().await,
    }
}
