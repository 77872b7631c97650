//! The server as an attacker sees it, from whatever network of loopback he wants to come.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::cluster::Cluster;

/// As long as an attacker waits for a connection, before he tries another.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where to, and by which CA.
#[derive(Clone)]
pub struct Target {
    address: SocketAddr,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

/// The first address of a network (/24) of loopback. Network 0 is not that of honest machines, 127.0.0.
pub fn network(number: usize) -> IpAddr {
    let number = (number + 256) % 65_000;
    let byte = |n: usize| u8::try_from(n & 0xff).unwrap_or(u8::MAX);
    IpAddr::V4(Ipv4Addr::new(127, byte(number >> 8), byte(number), 1))
}

impl Target {
    /// The server of this cluster.
    ///
    /// # Panics
    /// If it does not say what its CA is.
    pub fn of(cluster: &Cluster) -> Self {
        let pem = cluster.ctl(&["ca", "export", "--type", "tls"]).success();
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            roots.add(certificate.expect("a certificate")).expect("a CA");
        }
        let roots = Arc::new(roots);
        let config = |protocol: &[u8]| {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let mut config = ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(&[&rustls::version::TLS13])
                .expect("TLS 1.3")
                .with_root_certificates(Arc::clone(&roots))
                .with_no_client_auth();
            config.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(config)
        };
        let address = cluster.address().parse().expect("an address");
        Self { address, http1: config(b"http/1.1"), http2: config(b"h2") }
    }

    /// A TCP connection from this address; a small `buffer` lets the server feel early that nobody reads.
    ///
    /// # Errors
    /// The system's, or that it takes too long.
    pub async fn tcp(&self, from: IpAddr, buffer: Option<u32>) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        if let Some(size) = buffer {
            socket.set_recv_buffer_size(size)?;
        }
        socket.bind(SocketAddr::new(from, 0))?;
        timeout(PATIENCE, socket.connect(self.address)).await.map_err(late)?
    }

    /// TLS on such a connection, for HTTP/1.1 or HTTP/2.
    ///
    /// # Errors
    /// As [`Target::tcp`], or no TLS.
    pub async fn tls(
        &self,
        from: IpAddr,
        http2: bool,
        buffer: Option<u32>,
    ) -> io::Result<TlsStream<TcpStream>> {
        let stream = self.tcp(from, buffer).await?;
        let _ = stream.set_nodelay(true);
        let config = if http2 { &self.http2 } else { &self.http1 };
        let name = ServerName::IpAddress(self.address.ip().into());
        let handshake = TlsConnector::from(Arc::clone(config)).connect(name, stream);
        timeout(PATIENCE, handshake).await.map_err(late)?
    }

    /// A connection on which requests are asked and answers read.
    ///
    /// # Errors
    /// As [`Target::tls`].
    pub async fn http1(&self, from: IpAddr) -> io::Result<Http1> {
        Ok(Http1 { stream: self.tls(from, false, None).await?, held: Vec::new() })
    }
}

fn late(_: tokio::time::error::Elapsed) -> io::Error {
    io::ErrorKind::TimedOut.into()
}

/// HTTP/1.1 in as few bytes as it takes: answers need a `content-length`.
pub struct Http1 {
    stream: TlsStream<TcpStream>,
    held: Vec<u8>,
}

impl Http1 {
    /// One request and its answer: status and body.
    ///
    /// # Errors
    /// The connection's, or an answer that is not understood.
    pub async fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.stream.write_all(&request).await?;
        loop {
            if let Some(answer) = self.take_answer()? {
                return Ok(answer);
            }
            if self.stream.read_buf(&mut self.held).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn take_answer(&mut self) -> io::Result<Option<(u16, Vec<u8>)>> {
        let Some(end) = self.held.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return Ok(None) };
        let head = String::from_utf8_lossy(&self.held[..end]).to_ascii_lowercase();
        let number = |text: Option<&str>| text.and_then(|text| text.trim().parse::<usize>().ok());
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let status = number(head.split(' ').nth(1)).and_then(|status| u16::try_from(status).ok());
        let (Some(status), Some(length)) = (status, number(length)) else {
            return Err(io::Error::other(format!("not understood: {head}")));
        };
        if self.held.len() < end + 4 + length {
            return Ok(None);
        }
        let rest = self.held.split_off(end + 4 + length);
        let answer = std::mem::replace(&mut self.held, rest).split_off(end + 4);
        Ok(Some((status, answer)))
    }
}
