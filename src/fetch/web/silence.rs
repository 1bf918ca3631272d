//! Limits the total time that a command waits for a server that has never responded, however many
//! requests it makes. A message soon names the server that the command is waiting for, even if a
//! response arrives slowly.
//!
//! The state of a server is shared within a process and passed to its child processes.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::fetch::pace::Limits;

/// A server that used up its time without a response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has not responded for {0} s and is not tried again")]
pub struct Silent(pub u64);

/// The state of a server in this command.
#[derive(Debug)]
pub struct Server {
    origin: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    answered: bool,
    /// Another process has found that it is silent.
    given_up: bool,
    /// Waiting requests, and the time since which there are any.
    waiting: Waiting,
    /// Responses that are expected or incomplete, since the last complete one.
    expected: Waiting,
    /// Bytes transferred since then.
    moved: u64,
    /// Whether a thread monitors the time.
    watched: bool,
    /// Whether the user has seen the message.
    reported: bool,
}

/// The total waiting time.
#[derive(Debug, Default)]
struct Waiting {
    count: usize,
    since: Option<Instant>,
    before: Duration,
}

impl Waiting {
    fn begin(&mut self) {
        self.count += 1;
        self.since.get_or_insert_with(Instant::now);
    }

    fn end(&mut self) {
        self.count -= 1;
        if self.count == 0
            && let Some(since) = self.since.take()
        {
            self.before += since.elapsed();
        }
    }

    fn spent(&self) -> Duration {
        let now = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        self.before + now
    }

    /// Restarts the measurement.
    fn begin_again(&mut self) {
        self.before = Duration::ZERO;
        self.since = self.since.map(|_| Instant::now());
    }
}

impl State {
    fn progress(&mut self) {
        self.expected.begin_again();
        self.moved = 0;
    }
}

/// A command's findings about servers, for its child processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    pub answered: Vec<String>,
    pub silent: Vec<String>,
}

type Servers = BTreeMap<String, Arc<Server>>;

fn known() -> MutexGuard<'static, Servers> {
    static KNOWN: Mutex<Servers> = Mutex::new(BTreeMap::new());
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The server at an origin (`https://host:port`) or another unique name.
pub fn of(origin: &str) -> Arc<Server> {
    let mut known = known();
    let new = || {
        Arc::new(Server {
            origin: origin.to_string(),
            state: Mutex::default(),
        })
    };
    known.entry(origin.to_string()).or_insert_with(new).clone()
}

/// The server of a URL.
pub fn of_url(url: &str) -> Arc<Server> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    of(&format!("{scheme}://{host}").to_ascii_lowercase())
}

/// The findings about all servers that were contacted.
pub fn verdicts(limits: &Limits) -> Verdicts {
    let mut verdicts = Verdicts::default();
    for (origin, server) in known().iter() {
        let state = server.state();
        match state.answered {
            true => verdicts.answered.push(origin.clone()),
            false if state.given_up || state.waiting.spent() >= limits.first => {
                verdicts.silent.push(origin.clone());
            }
            false => {}
        }
    }
    verdicts
}

/// Applies the findings of the parent process.
pub fn learn(verdicts: &Verdicts) {
    for origin in &verdicts.answered {
        of(origin).state().answered = true;
    }
    for origin in &verdicts.silent {
        of(origin).state().given_up = true;
    }
}

impl Server {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request begins.
    ///
    /// # Errors
    /// The server has used up its time.
    pub fn begin(self: &Arc<Self>, limits: &Limits) -> Result<Wait, Silent> {
        let mut state = self.state();
        let left = match state.answered {
            true => None,
            false => Some(limits.first.saturating_sub(state.waiting.spent())),
        };
        if !state.answered && (state.given_up || left.is_some_and(|left| left.is_zero())) {
            return Err(Silent(limits.first.as_secs()));
        }
        state.waiting.begin();
        drop(state);
        Ok(Wait {
            server: self.clone(),
            limits: left.map_or(*limits, |left| limits.within(left)),
            left,
            first: limits.first,
        })
    }

    /// Expects data until the value is dropped. If that takes long and too little data moves, the
    /// user gets a message.
    pub fn expect(self: &Arc<Self>, limits: &Limits) -> Expectation {
        let mut state = self.state();
        state.expected.begin();
        let is_new = !state.reported && !std::mem::replace(&mut state.watched, true);
        drop(state);
        if is_new {
            self.watch(limits);
        }
        Expectation {
            server: self.clone(),
            limits: *limits,
        }
    }

    /// Records that `bytes` bytes have moved. A server with the minimum rate is not silent.
    pub fn moved(&self, bytes: u64, limits: &Limits) {
        let mut state = self.state();
        state.moved += bytes;
        if state.moved >= limits.least_in(limits.notice) {
            state.progress();
        }
    }

    /// Whether the user has seen that the command is waiting for it.
    pub fn was_reported(&self) -> bool {
        self.state().reported
    }

    /// A response is complete.
    pub fn has_arrived(&self) {
        self.state().progress();
    }

    /// A response has begun, whatever its status.
    pub fn has_answered(&self) {
        self.state().answered = true;
    }

    pub fn answered(&self) -> bool {
        self.state().answered
    }

    /// Reports that the command is waiting, if that takes long.
    fn watch(self: &Arc<Self>, limits: &Limits) {
        let (server, limits) = (self.clone(), *limits);
        // If the thread can't be started, there is no message.
        let _ = std::thread::Builder::new()
            .name("ribflow-silence".to_string())
            .spawn(move || server.warn_of_silence(&limits));
    }

    fn warn_of_silence(&self, limits: &Limits) {
        let answered = loop {
            let rest = {
                let mut state = self.state();
                let rest = limits.notice.saturating_sub(state.expected.spent());
                if state.expected.count == 0 {
                    // The next request starts a new thread.
                    state.watched = false;
                    return;
                }
                if rest.is_zero() {
                    state.reported = true;
                    break state.answered;
                }
                rest
            };
            std::thread::sleep(rest);
        };
        let (origin, first) = (&self.origin, limits.first.as_secs());
        match answered {
            false => {
                tracing::warn!("{origin} has not responded yet; waiting up to {first} s");
            }
            true => tracing::warn!(
                "{origin} has not responded yet in full; waiting while at least {} KiB move in {} s",
                limits.least.div_ceil(1024),
                limits.window.as_secs()
            ),
        }
    }
}

/// A response, or the rest of one, that is expected.
#[derive(Debug)]
pub struct Expectation {
    server: Arc<Server>,
    limits: Limits,
}

impl Expectation {
    pub fn moved(&self, bytes: u64) {
        self.server.moved(bytes, &self.limits);
    }

    pub fn has_arrived(&self) {
        self.server.has_arrived();
    }
}

impl Drop for Expectation {
    fn drop(&mut self) {
        self.server.state().expected.end();
    }
}

/// The body of a response.
pub struct Arriving<R> {
    inner: R,
    expected: Expectation,
    broke: bool,
}

impl<R> Arriving<R> {
    pub fn new(inner: R, expected: Expectation) -> Self {
        Self {
            inner,
            expected,
            broke: false,
        }
    }
}

impl<R: Read> Read for Arriving<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer);
        match &read {
            Ok(count) => self.expected.moved(*count as u64),
            Err(_) => self.broke = true,
        }
        read
    }
}

impl<R> Drop for Arriving<R> {
    fn drop(&mut self) {
        // The rest is not needed: the response counts as complete.
        if !self.broke {
            self.expected.has_arrived();
        }
    }
}

/// A request that waits for its response.
#[derive(Debug)]
pub struct Wait {
    server: Arc<Server>,
    /// The time limit.
    pub limits: Limits,
    /// The remaining time of its server, if that has never responded.
    pub left: Option<Duration>,
    first: Duration,
}

impl Wait {
    pub fn answered(&self) {
        self.server.has_answered();
    }

    /// The verdict on a server that used up its time with this request.
    pub fn over(&self) -> Option<Silent> {
        let state = self.server.state();
        // Clocks and timers differ slightly.
        let over = state.waiting.spent() + Duration::from_millis(100) >= self.first;
        (!state.answered && over).then_some(Silent(self.first.as_secs()))
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.server.state().waiting.end();
    }
}
