//! Caps connections and drops idle clients.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::Limits;

/// A listener with limits.
pub struct Listening {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    /// The number of permits.
    connections: usize,
    patience: Duration,
    slowest: u64,
    open: Vec<Weak<State>>,
}

/// The interval between searches for an idle connection to close.
const EVICTION: Duration = Duration::from_millis(100);

impl Listening {
    pub fn new(listener: TcpListener, limits: &Limits) -> Self {
        Self {
            listener,
            permits: Arc::new(Semaphore::new(limits.connections)),
            connections: limits.connections,
            patience: limits.patience,
            slowest: limits.slowest,
            open: Vec::new(),
        }
    }
}

impl Listening {
    /// A permit for one connection. If all are taken, closes the connection that has been idle
    /// longest: a client that never sends a request must not block another.
    async fn permit(&mut self) -> Option<OwnedSemaphorePermit> {
        loop {
            if let Ok(permit) = self.permits.clone().try_acquire_owned() {
                return Some(permit);
            }
            self.evict();
            let free = self.permits.clone().acquire_owned();
            // Busy connections may become idle soon, so search again. The semaphore is never
            // closed; a connection without a permit would only exceed the limit by one.
            if let Ok(permit) = tokio::time::timeout(EVICTION, free).await {
                return permit.ok();
            }
        }
    }

    /// Notes a connection. Those that were closed are forgotten once they outnumber the permits.
    fn note(&mut self, connection: &Connection) {
        if self.open.len() >= self.connections.saturating_mul(2) {
            self.forget_closed();
        }
        self.open.push(Arc::downgrade(&connection.0));
    }

    fn forget_closed(&mut self) {
        self.open.retain(|state| state.strong_count() > 0);
    }

    fn evict(&mut self) {
        self.forget_closed();
        let open = self.open.iter().filter_map(Weak::upgrade).map(Connection);
        let waiting = open.filter_map(|one| Some((one.deadline(Duration::ZERO)?, one)));
        if let Some((_, oldest)) = waiting.min_by_key(|(since, _)| *since) {
            oldest.evict();
        }
    }
}

impl Listener for Listening {
    type Io = Guarded;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guarded, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    // Only an optimisation.
                    let _ = stream.set_nodelay(true);
                    let permit = self.permit().await;
                    let pace = Pace::new(self.patience, self.slowest);
                    let guarded = Guarded::new(stream, pace, permit);
                    self.note(&guarded.connection);
                    return (guarded, address);
                }
                Err(error) => {
                    tracing::warn!("can't accept a connection: {error}");
                    // Most likely there are no free file descriptors; some will be free soon.
                    sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The state of a connection, updated by the request handlers.
#[derive(Clone, Debug)]
pub struct Connection(Arc<State>);

#[derive(Debug)]
struct State {
    start: Instant,
    /// Whether a request is being handled; the handler monitors its body.
    busy: AtomicBool,
    /// The time of the last send, in milliseconds after `start`.
    sent: AtomicU64,
    /// Whether to close it: it is idle and another client needs its permit.
    evicted: AtomicBool,
    /// The task that waits for its next bytes.
    reader: AtomicWaker,
}

impl Connection {
    fn new() -> Self {
        Self(Arc::new(State {
            start: Instant::now(),
            busy: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            evicted: AtomicBool::new(false),
            reader: AtomicWaker::new(),
        }))
    }

    fn evict(&self) {
        self.0.evicted.store(true, Ordering::Relaxed);
        self.0.reader.wake();
    }

    /// Marks the connection as busy for the lifetime of the result.
    pub fn busy(&self) -> Busy {
        self.0.busy.store(true, Ordering::Relaxed);
        // Its request arrived in time after all.
        self.0.evicted.store(false, Ordering::Relaxed);
        Busy(self.clone())
    }

    fn has_sent(&self) {
        let elapsed = self.0.start.elapsed().as_millis();
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
        self.0.sent.store(elapsed, Ordering::Relaxed);
    }

    /// The deadline of the next request; `None` while one is being handled.
    fn deadline(&self, patience: Duration) -> Option<Instant> {
        let sent = Duration::from_millis(self.0.sent.load(Ordering::Relaxed));
        let busy = self.0.busy.load(Ordering::Relaxed);
        (!busy).then(|| self.0.start + sent + patience)
    }
}

impl Connected<IncomingStream<'_, Listening>> for Connection {
    fn connect_info(stream: IncomingStream<'_, Listening>) -> Self {
        stream.io().connection.clone()
    }
}

/// See [`Connection::busy`].
pub struct Busy(Connection);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.has_sent();
        self.0.0.busy.store(false, Ordering::Relaxed);
    }
}

/// The rate at which a client receives. Only time in which sending was blocked counts: reading a
/// file here is not the client's delay.
#[derive(Debug)]
struct Pace {
    patience: Duration,
    /// Bytes that the client must receive within `patience`.
    least: u64,
    /// The time since which sending is blocked.
    stalled: Option<Instant>,
    /// The blocked time and the bytes received since the last interval that was fast enough.
    waited: Duration,
    taken: u64,
}

impl Pace {
    fn new(patience: Duration, slowest: u64) -> Self {
        Self {
            patience,
            least: slowest.saturating_mul(patience.as_secs().max(1)).max(1),
            stalled: None,
            waited: Duration::ZERO,
            taken: 0,
        }
    }

    fn sent(&mut self, bytes: usize, now: Instant) {
        if let Some(since) = self.stalled.take() {
            self.waited += now - since;
        }
        self.taken = self.taken.saturating_add(bytes as u64);
        if self.taken >= self.least {
            self.waited = Duration::ZERO;
            self.taken = 0;
        }
    }

    /// The deadline for a client that receives nothing right now.
    fn deadline(&mut self, now: Instant) -> Instant {
        let since = *self.stalled.get_or_insert(now);
        since + self.patience.saturating_sub(self.waited)
    }
}

/// A stream that fails if its client is too slow. The headers of a request must arrive within
/// `patience`, however the bytes are spread. Responses must be received at the minimum rate: a
/// client that takes a byte now and then would otherwise hold a connection forever.
pub struct Guarded {
    stream: TcpStream,
    connection: Connection,
    pace: Pace,
    reading: Pin<Box<Sleep>>,
    writing: Pin<Box<Sleep>>,
    /// How many bytes of [`HTTP_2`] the client has sent; `None`: it has sent something else.
    preface: Option<usize>,
    _permit: Option<OwnedSemaphorePermit>,
}

/// What a connection of HTTP/2 begins with, and no request of HTTP/1. Another dependency enables HTTP/2
/// in `hyper`, so `axum::serve` would take it; but the limits here are for one request at a time on a
/// connection.
const HTTP_2: &[u8] = b"PRI ";

impl Guarded {
    fn new(stream: TcpStream, pace: Pace, permit: Option<OwnedSemaphorePermit>) -> Self {
        let now = Instant::now();
        Self {
            stream,
            connection: Connection::new(),
            pace,
            reading: Box::pin(sleep_until(now)),
            writing: Box::pin(sleep_until(now)),
            preface: Some(0),
            _permit: permit,
        }
    }

    /// Whether the first bytes, of which `bytes` are the next, are those of HTTP/2.
    fn is_http_2(&mut self, bytes: &[u8]) -> bool {
        let Some(seen) = self.preface else {
            return false;
        };
        let wanted = &HTTP_2[seen..];
        let length = wanted.len().min(bytes.len());
        self.preface = (bytes[..length] == wanted[..length]).then_some(seen + length);
        self.preface == Some(HTTP_2.len())
    }

    /// Checks the result of a send against the deadline.
    fn sending(
        &mut self,
        context: &mut Context<'_>,
        send: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = send(Pin::new(&mut self.stream), context) {
            self.pace
                .sent(*result.as_ref().unwrap_or(&0), Instant::now());
            self.connection.has_sent();
            return Poll::Ready(result);
        }
        let deadline = self.pace.deadline(Instant::now());
        self.writing.as_mut().reset(deadline);
        ready!(self.writing.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.connection.0.reader.register(context.waker());
        let evicted = &self.connection.0.evicted;
        if evicted.load(Ordering::Relaxed) && !self.connection.0.busy.load(Ordering::Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let deadline = self.connection.deadline(self.pace.patience);
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let filled = buffer.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut self.stream).poll_read(context, buffer) {
            return Poll::Ready(match self.is_http_2(&buffer.filled()[filled..]) {
                true => Err(io::ErrorKind::InvalidData.into()),
                false => result,
            });
        }
        let Some(deadline) = deadline else {
            return Poll::Pending;
        };
        self.reading.as_mut().reset(deadline);
        ready!(self.reading.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.sending(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.sending(context, |stream, context| {
            stream.poll_write_vectored(context, slices)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn closed_connections_are_forgotten() {
        let limits = Limits {
            connections: 4,
            ..Limits::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut listening = Listening::new(listener, &limits);
        for count in 0..100 {
            let client = TcpStream::connect(address).await.unwrap();
            let (guarded, _) = listening.accept().await;
            assert!(listening.open.len() <= 8, "{count}");
            drop((guarded, client));
        }
    }

    #[test]
    fn a_client_below_the_minimum_rate_is_dropped() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::new(Duration::from_secs(30), 1024);
        // One byte every ten seconds: the third wait is the last.
        for begin in [0, 10, 20] {
            assert_eq!(pace.deadline(after(begin)), after(30));
            pace.sent(1, after(begin + 10));
        }
        assert_eq!(pace.deadline(after(30)), after(30));

        // The minimum rate, in one piece every ten seconds: never dropped.
        let mut pace = Pace::new(Duration::from_secs(30), 1024);
        for begin in (0..600).step_by(10) {
            assert!(pace.deadline(after(begin)) > after(begin + 9), "{begin}");
            pace.sent(10 * 1024, after(begin + 10));
        }

        // Time in which this side had nothing to send does not count.
        let mut pace = Pace::new(Duration::from_secs(30), 1024);
        pace.sent(1, after(1000));
        assert_eq!(pace.deadline(after(2000)), after(2030));
    }
}
