//! `ribflow serve`: a store over HTTP, for a lab without a bucket. docs/protocol.md specifies it.
//!
//! Nothing that arrives is used unverified. An upload becomes visible only if its digest is the one in
//! its name; a record must fit its key, and a signature its record and signer. Withheld and damaged
//! files are never sent. It knows the store's files, not what a client does with them.

mod access;
mod answers;
mod connection;
mod pieces;
mod ranges;
mod reading;
mod routes;
mod target;
mod trials;
mod upload;
mod withheld;

use std::collections::HashMap;
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
use crate::store::Store;

pub use access::{Access, TokenError, tokens};

/// What a server puts up with.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; further ones wait.
    pub connections: usize,
    /// How long a client may take for a request's head, or do nothing in the middle of a transfer.
    pub patience: Duration,
    /// Bytes a second that an upload must come with once the patience is over, and that an answer
    /// must be taken with.
    pub slowest: u64,
    /// Bytes of an uploaded blob, plain.
    pub blob: u64,
    /// How long transfers go on after the server was told to stop.
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

/// What every request is answered from.
struct Shared {
    store: Arc<Store>,
    /// Its folder: what is a link in there is not handed out, and not written to.
    below: Beneath,
    access: Access,
    limits: Limits,
    /// Compressed blobs that have been found whole, with the stamp they had.
    compressed: Mutex<HashMap<Digest, Stamp>>,
    trials: trials::Trials,
    inline: withheld::Inline,
}

/// A server that has its address and answers nobody yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    /// Takes `address` (`HOST:PORT`; port 0 is any free one).
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
                compressed: Mutex::default(),
                trials: trials::Trials::default(),
                inline: withheld::Inline::default(),
            }),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` is done, then finishes what is under way, for a while.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let limits = self.shared.limits;
        let listening = Listening::new(self.listener, &limits);
        // One place reads every path, letter for letter; a router would decode it first.
        let router = Router::new()
            .fallback(routes::answer)
            .with_state(self.shared);
        let service = router.into_make_service_with_connect_info::<Connection>();
        let (stopping, stopped) = oneshot::channel();
        let serving = axum::serve(listening, service).with_graceful_shutdown(async move {
            stop.await;
            // Nobody listens once everything has ended.
            let _ = stopping.send(());
        });
        let late = async {
            let told = stopped.await;
            if told.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(limits.grace).await;
        };
        tokio::select! {
            result = serving => result,
            () = late => {
                tracing::warn!("transfers that did not end in time were broken off");
                Ok(())
            }
        }
    }
}
