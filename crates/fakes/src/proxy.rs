//! A TCP proxy in front of a database: it stalls, refuses, and cuts connections at chosen moments.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
};

/// A moment at which a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cut {
    /// What the client says then.
    pub when: &'static [u8],
    /// Whether the server hears and answers it; the client never sees the answer.
    pub delivered: bool,
}

impl Cut {
    /// When the client says `when`, which the server hears or not.
    pub const fn new(when: &'static [u8], delivered: bool) -> Cut {
        Cut { when, delivered }
    }
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    Open,
    Shut,
    Stalled,
    /// Cuts at this moment and is shut then.
    CutsAt(Cut),
    /// Cuts every connection at this moment, and takes the next one: number of cuts that are left.
    CutsEvery(Cut, u32),
    /// Cuts at the first of so many moments, and so on; how many there were.
    CutsOneIn(Cut, u32, u32),
}

/// The proxy; it ends when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    task: AbortHandle,
}

struct State {
    mode: watch::Sender<Mode>,
    connections: Mutex<Vec<AbortHandle>>,
}

impl State {
    fn connections(&self) -> MutexGuard<'_, Vec<AbortHandle>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut_all(&self) {
        for connection in self.connections().drain(..) {
            connection.abort();
        }
    }
}

impl Proxy {
    /// Listens on a free port in front of `server` (host and port).
    pub async fn start(server: String) -> std::io::Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            mode: watch::Sender::new(Mode::Open),
            connections: Mutex::default(),
        });
        let accepting = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if matches!(*accepting.mode.borrow(), Mode::Shut) {
                    continue;
                }
                let task = tokio::spawn(serve(client, server.clone(), accepting.clone()));
                accepting.connections().push(task.abort_handle());
            }
        });
        Ok(Proxy {
            address,
            state,
            task: task.abort_handle(),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts every connection and refuses new ones.
    pub fn shut(&self) {
        self.state.mode.send_replace(Mode::Shut);
        self.state.cut_all();
    }

    /// Nothing passes until it is opened again.
    pub fn stall(&self) {
        self.state.mode.send_replace(Mode::Stalled);
    }

    /// Everything passes.
    pub fn open(&self) {
        self.state.mode.send_replace(Mode::Open);
    }

    /// Cuts the next connection that reaches this moment, and is shut then.
    pub fn cut_at(&self, cut: Cut) {
        self.state.mode.send_replace(Mode::CutsAt(cut));
    }

    /// Cuts the next `times` connections that reach this moment, each once.
    pub fn cut_times(&self, cut: Cut, times: u32) {
        self.state.mode.send_replace(Mode::CutsEvery(cut, times));
    }

    /// Cuts at one of `every` such moments, the first one among them.
    pub fn cut_one_in(&self, every: u32, cut: Cut) {
        self.state.mode.send_replace(Mode::CutsOneIn(cut, every.max(1), 0));
    }

    /// How many moments [`Proxy::cut_one_in`] has seen, with and without a cut.
    pub fn moments(&self) -> u32 {
        match *self.state.mode.borrow() {
            Mode::CutsOneIn(_, _, moments) => moments,
            _ => 0,
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.state.cut_all();
    }
}

async fn serve(client: TcpStream, server: String, state: Arc<State>) -> Option<()> {
    let server = TcpStream::connect(server).await.ok()?;
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (doomed, mut is_doomed) = watch::channel(false);
    let mut directions = JoinSet::new();
    let answers = state.clone();
    directions.spawn(async move {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let len = from_server.read(&mut buffer).await.ok().filter(|&len| len > 0)?;
            if *is_doomed.borrow_and_update() {
                return Some(());
            }
            wait_until_open(&answers).await;
            to_client.write_all(buffer.get(..len)?).await.ok()?;
        }
    });
    directions.spawn(async move {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let len = from_client.read(&mut buffer).await.ok().filter(|&len| len > 0)?;
            wait_until_open(&state).await;
            let bytes = buffer.get(..len)?;
            if let Some(cut) = reached(&state, bytes) {
                if !cut.delivered {
                    return Some(());
                }
                doomed.send_replace(true);
            }
            to_server.write_all(bytes).await.ok()?;
        }
    });
    // The end of one direction is the end of both.
    directions.join_next().await;
    None
}

async fn wait_until_open(state: &State) {
    let mut mode = state.mode.subscribe();
    let _ = mode.wait_for(|mode| !matches!(mode, Mode::Stalled)).await;
}

/// The cut that these bytes trigger, once.
fn reached(state: &State, bytes: &[u8]) -> Option<Cut> {
    let mut found = None;
    state.mode.send_if_modified(|mode| {
        let (cut, next) = match *mode {
            Mode::CutsAt(cut) => (cut, Mode::Shut),
            Mode::CutsEvery(cut, left) if left > 0 => (cut, Mode::CutsEvery(cut, left - 1)),
            Mode::CutsOneIn(cut, every, moments) => (cut, Mode::CutsOneIn(cut, every, moments + 1)),
            _ => return false,
        };
        let reached = bytes.windows(cut.when.len()).any(|part| part == cut.when);
        if reached {
            let spared = matches!(*mode, Mode::CutsOneIn(_, every, moments) if moments % every != 0);
            found = (!spared).then_some(cut);
            *mode = next;
        }
        reached
    });
    found
}
