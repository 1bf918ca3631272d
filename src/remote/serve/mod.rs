//! `ribflow serve`: a store over HTTP, for a lab without a bucket. docs/protocol.md specifies it.
//!
//! Nothing that arrives is used unverified. An upload becomes visible only if its digest is the one
//! in its name; a record must fit its key, and a signature its record and signer. Withheld and
//! damaged files are never sent. It serves the store's files, and does not know how clients use
//! them.

mod access;
mod answers;
mod body;
mod connection;
mod inline_cache;
mod ranges;
mod reading;
mod routes;
mod target;
mod trials;
mod upload;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use self::connection::{Connection, Listening};
use crate::digest::Digest;
use crate::fsx::{Beneath, Stamp};
use crate::store::{Recent, Store};

pub use access::{Access, TokenError, tokens};

/// The limits of a server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Concurrent connections; further ones wait.
    pub connections: usize,
    /// How long a client may take to send the headers of a request, or pause within a transfer.
    pub patience: Duration,
    /// The minimum rate in bytes per second for uploads (after `patience`) and for downloads.
    pub slowest: u64,
    /// The size limit of an uploaded blob, uncompressed.
    pub blob: u64,
    /// How long transfers may continue after the server was asked to stop.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            patience: Duration::from_secs(30),
            slowest: 1 << 10,
            blob: 16 << 30,
            grace: Duration::from_secs(10),
        }
    }
}

/// The number of blobs or records of which a server remembers something.
const MOST_REMEMBERED: usize = 1 << 18;

/// The state that all request handlers share.
struct Shared {
    store: Arc<Store>,
    /// Its folder. Links in it are neither served nor written through.
    below: Beneath,
    access: Access,
    limits: Limits,
    /// Compressed blobs that were verified, with their stamps at that time.
    compressed: Mutex<Recent<Digest, Stamp>>,
    trials: trials::Trials,
    inline: inline_cache::InlineCache,
}

/// A bound server that does not accept requests yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    /// Binds `address` (`HOST:PORT`; port 0 chooses a free one).
    pub async fn bind(
        store: Arc<Store>,
        address: &str,
        access: Access,
        limits: Limits,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let below = Beneath::open(store.root())?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            shared: Arc::new(Shared {
                store,
                below,
                access,
                limits,
                compressed: Mutex::new(Recent::new(MOST_REMEMBERED)),
                trials: trials::Trials::default(),
                inline: inline_cache::InlineCache::default(),
            }),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves requests until `stop` completes, then lets transfers finish for a limited time.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let limits = self.shared.limits;
        let listening = Listening::new(self.listener, &limits);
        // One function parses every path literally; a router would decode it first.
        let router = Router::new()
            .fallback(routes::answer)
            .with_state(self.shared);
        let service = router.into_make_service_with_connect_info::<Connection>();
        let (stopping, stopped) = oneshot::channel();
        let serving = axum::serve(listening, service).with_graceful_shutdown(async move {
            stop.await;
            // Sending fails if all transfers have ended.
            let _ = stopping.send(());
        });
        let late = async {
            let sent = stopped.await;
            if sent.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(limits.grace).await;
        };
        tokio::select! {
            result = serving => result,
            () = late => {
                tracing::warn!("transfers that did not finish in time were aborted");
                Ok(())
            }
        }
    }
}
