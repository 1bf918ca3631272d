//! The body of a request, piece by piece, from a client that may be slow but not too slow.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::HeaderMap;
use axum::http::header::EXPECT;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

use super::Limits;

/// Of what nobody wants, so much is read so that the client hears why.
const MOST_LINGERING: u64 = 64 << 20;

/// Why a body did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("the upload was too slow and was ended")]
    Slow,
    #[error("the upload broke off")]
    Off,
    #[error("the upload is larger than the {0} bytes that are allowed here")]
    Large(u64),
}

/// A body as it comes.
pub struct Pieces {
    stream: BodyDataStream,
    started: Instant,
    received: u64,
    most: u64,
    patience: Duration,
    slowest: u64,
}

impl Pieces {
    /// The body, of which more than `most` bytes are too many.
    pub fn new(body: Body, most: u64, limits: &Limits) -> Self {
        Self {
            stream: body.into_data_stream(),
            started: Instant::now(),
            received: 0,
            most,
            patience: limits.patience,
            slowest: limits.slowest.max(1),
        }
    }

    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        let earned = Duration::from_secs(self.received / self.slowest);
        let on_average = self.started + self.patience + earned;
        let now = Instant::now();
        if on_average < now {
            return Some(Err(Broken::Slow));
        }
        let deadline = on_average.min(now + self.patience);
        let Ok(next) = timeout_at(deadline, self.stream.next()).await else {
            return Some(Err(Broken::Slow));
        };
        match next? {
            Ok(piece) => {
                self.received += piece.len() as u64;
                match self.received > self.most {
                    true => Some(Err(Broken::Large(self.most))),
                    false => Some(Ok(piece)),
                }
            }
            Err(_) => Some(Err(Broken::Off)),
        }
    }

    /// Reads to the end and keeps nothing.
    pub async fn discard(&mut self) -> Result<(), Broken> {
        while let Some(piece) = self.next().await {
            piece?;
        }
        Ok(())
    }

    /// All of it, which is small.
    pub async fn whole(&mut self) -> Result<Vec<u8>, Broken> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.next().await {
            bytes.extend_from_slice(&piece?);
        }
        Ok(bytes)
    }
}

/// Goes on reading a body that is refused, in the background and not for long: a client that is
/// cut off while it sends never sees the answer. One that waits for a word sends nothing.
pub fn linger(headers: &HeaderMap, body: Body, limits: &Limits) {
    if headers.contains_key(EXPECT) {
        return;
    }
    let mut pieces = Pieces::new(body, MOST_LINGERING, limits);
    tokio::spawn(async move {
        let _ = pieces.discard().await;
    });
}
