//! A TCP proxy that cuts a connection at an exact byte.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// Which of the two streams is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// What the client sends.
    ToServer,
    /// What the server answers.
    ToClient,
}

/// Between clients and one server on loopback. It forwards everything, but for the one connection that it was told to
/// cut.
pub struct Proxy {
    address: String,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// For the next connection: it ends when so many bytes have passed in this direction.
    cut: Option<(Direction, u64)>,
    /// Of the last connection.
    to_server: u64,
    to_client: u64,
    /// How much had been answered when the client last sent something.
    answered_before: u64,
}

impl Proxy {
    /// Listens on a port of its own. Its threads end with the process.
    ///
    /// # Panics
    /// If there is no port.
    pub fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let (server, of_thread) = (server.to_owned(), Arc::clone(&shared));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                // Without a server the client finds a closed connection, as it would without us.
                if let Ok(upstream) = TcpStream::connect(&server) {
                    relay(client, upstream, &of_thread);
                }
            }
        });
        Self { address, shared }
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Cuts the next connection after so many bytes.
    pub fn cut_next(&self, direction: Direction, bytes: u64) {
        lock(&self.shared).cut = Some((direction, bytes));
    }

    /// How many bytes have passed on the last connection.
    pub fn passed(&self, direction: Direction) -> u64 {
        let shared = lock(&self.shared);
        match direction {
            Direction::ToServer => shared.to_server,
            Direction::ToClient => shared.to_client,
        }
    }

    /// How many bytes the server had answered when the client last sent something: what follows is the last answer.
    pub fn last_answer_from(&self) -> u64 {
        lock(&self.shared).answered_before
    }
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn relay(client: TcpStream, server: TcpStream, shared: &Arc<Mutex<Shared>>) {
    let cut = {
        let mut state = lock(shared);
        let cut = state.cut.take();
        *state = Shared::default();
        cut
    };
    let limit = |direction| cut.filter(|(of, _)| *of == direction).map(|(_, bytes)| bytes);
    for (direction, from, to) in
        [(Direction::ToServer, &client, &server), (Direction::ToClient, &server, &client)]
    {
        let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
        drop(to.set_nodelay(true));
        let (limit, shared) = (limit(direction), Arc::clone(shared));
        std::thread::spawn(move || {
            forward(from, to, direction, limit, &shared);
        });
    }
}

/// Until one of the two ends, or as many bytes have passed as may. Both streams end then, in both directions.
fn forward(
    mut from: TcpStream,
    mut to: TcpStream,
    direction: Direction,
    limit: Option<u64>,
    shared: &Mutex<Shared>,
) {
    let mut buffer = [0; 16 * 1024];
    let mut left = limit.unwrap_or(u64::MAX);
    while left > 0 {
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = match from.read(&mut buffer[..room]) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        {
            let mut shared = lock(shared);
            match direction {
                Direction::ToServer => {
                    shared.to_server += read as u64;
                    shared.answered_before = shared.to_client;
                }
                Direction::ToClient => shared.to_client += read as u64,
            }
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
        left -= read as u64;
    }
    for stream in [from, to] {
        // It may have ended already.
        drop(stream.shutdown(Shutdown::Both));
    }
}
