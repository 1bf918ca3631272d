//! Reads the body of a request in pieces and enforces a minimum rate.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::HeaderMap;
use axum::http::header::EXPECT;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

use super::Limits;

/// How much of a rejected body is read so that the client receives the error.
const MOST_LINGERING: u64 = 64 << 20;

/// Why a body was not received completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the upload was too slow and was aborted")]
    Slow,
    #[error("the upload was interrupted")]
    Off,
    #[error("the upload exceeds the limit of {0} bytes")]
    Large(u64),
}

/// The incoming body of a request.
pub struct RequestBody {
    stream: BodyDataStream,
    started: Instant,
    received: u64,
    most: u64,
    patience: Duration,
    slowest: u64,
}

impl RequestBody {
    /// A body with a limit of `most` bytes.
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
    pub async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        let earned = Duration::from_secs(self.received / self.slowest);
        let on_average = self.started + self.patience + earned;
        let now = Instant::now();
        if on_average < now {
            return Some(Err(BodyError::Slow));
        }
        let deadline = on_average.min(now + self.patience);
        let Ok(next) = timeout_at(deadline, self.stream.next()).await else {
            return Some(Err(BodyError::Slow));
        };
        match next? {
            Ok(piece) => {
                self.received += piece.len() as u64;
                match self.received > self.most {
                    true => Some(Err(BodyError::Large(self.most))),
                    false => Some(Ok(piece)),
                }
            }
            Err(_) => Some(Err(BodyError::Off)),
        }
    }

    /// Reads to the end and discards the content.
    pub async fn discard(&mut self) -> Result<(), BodyError> {
        while let Some(piece) = self.next().await {
            piece?;
        }
        Ok(())
    }

    /// The complete body, which must be small.
    pub async fn whole(&mut self) -> Result<Vec<u8>, BodyError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.next().await {
            bytes.extend_from_slice(&piece?);
        }
        Ok(bytes)
    }
}

/// Continues to read a rejected body in the background for a short time: a client that is
/// disconnected while it sends never sees the response. A client with `Expect: 100-continue` sends
/// nothing.
pub fn linger(headers: &HeaderMap, body: Body, limits: &Limits) {
    if headers.contains_key(EXPECT) {
        return;
    }
    let mut pieces = RequestBody::new(body, MOST_LINGERING, limits);
    tokio::spawn(async move {
        let _ = pieces.discard().await;
    });
}
