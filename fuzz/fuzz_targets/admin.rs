//! Bytes that somebody sends to the admin port: nothing panics, every connection ends, and nothing acts for a foreign host.
#![no_main]

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use libfuzzer_sys::fuzz_target;
use tokio_util::sync::CancellationToken;
use tyk_pump::{
    admin::{self, Actions, AdminSettings, Refused},
    config::AdminAccess,
    delivery::{replay::Replayed, status::StatusBoard},
};

static ACTED: AtomicU64 = AtomicU64::new(0);

struct Counting;

#[async_trait::async_trait]
impl Actions for Counting {
    async fn accept_refusals(&self, pump: &str) -> Result<(), Refused> {
        ACTED.fetch_add(1, SeqCst);
        Err(Refused::UnknownPump(pump.to_owned()))
    }

    async fn replay(&self, _: Option<&str>, _: usize) -> anyhow::Result<Replayed> {
        ACTED.fetch_add(1, SeqCst);
        anyhow::bail!("nothing to replay")
    }
}

fn server() -> SocketAddr {
    static SERVER: OnceLock<(tokio::runtime::Runtime, SocketAddr)> = OnceLock::new();
    let start = || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let settings = AdminSettings {
            name: "health".to_owned(),
            port: 0,
            profiler: false,
            compat: false,
            access: AdminAccess::default(),
        };
        let port = runtime.block_on(async {
            let bound = admin::bind(&settings).unwrap();
            let port = bound.port();
            let board = Arc::new(StatusBoard::new("fuzz".to_owned()));
            tokio::spawn(admin::serve(bound, board, Arc::new(Counting), CancellationToken::new()));
            port
        });
        (runtime, SocketAddr::from(([127, 0, 0, 1], port)))
    };
    SERVER.get_or_init(start).1
}

fuzz_target!(|bytes: &[u8]| {
    let before = ACTED.load(SeqCst);
    let mut connection = TcpStream::connect(server()).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    // It may hang up on what is no request.
    let _ = connection.write_all(bytes);
    let _ = connection.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    if let Err(error) = connection.read_to_end(&mut answer) {
        assert!(
            error.kind() != std::io::ErrorKind::WouldBlock,
            "the connection does not end"
        );
    }
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let own = ["localhost", "127.0.0.1", "[::1]"]
        .iter()
        .any(|name| text.contains(name));
    assert!(own || ACTED.load(SeqCst) == before, "it acted for a foreign host");
});
