//! Servers that have not answered anything: each costs a command only so much time in all, however
//! much is asked of it, and the user is told soon what is waited for.
//!
//! What is known of a server is known to all of a process, and passed on to the processes that it
//! starts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::pace::Limits;

/// A server that has used up its time without an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has not answered anything for {0} s and is not asked again")]
pub struct Silent(pub u64);

/// What is known of a server in this command.
#[derive(Debug)]
pub struct Server {
    origin: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    answered: bool,
    told: bool,
    /// Somebody else has found out that it is silent.
    given_up: bool,
    /// Requests that wait, and since when there are any.
    waiting: usize,
    since: Option<Instant>,
    spent: Duration,
}

impl State {
    fn spent(&self) -> Duration {
        let now = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        self.spent + now
    }
}

/// What a command has found out about servers, for the processes that it starts.
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

/// The server at an origin (`https://host:port`), or at another name that only it has.
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

/// The server that a URL is of.
pub fn of_url(url: &str) -> Arc<Server> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    of(&format!("{scheme}://{host}").to_ascii_lowercase())
}

/// What is known of all servers that were asked.
pub fn verdicts(limits: &Limits) -> Verdicts {
    let mut verdicts = Verdicts::default();
    for (origin, server) in known().iter() {
        let state = server.state();
        match state.answered {
            true => verdicts.answered.push(origin.clone()),
            false if state.given_up || state.spent() >= limits.first => {
                verdicts.silent.push(origin.clone());
            }
            false => {}
        }
    }
    verdicts
}

/// Takes over what the process that started this one has found out.
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
            false => Some(limits.first.saturating_sub(state.spent())),
        };
        if !state.answered && (state.given_up || left.is_some_and(|left| left.is_zero())) {
            return Err(Silent(limits.first.as_secs()));
        }
        state.waiting += 1;
        state.since.get_or_insert_with(Instant::now);
        let watched = left.is_some() && !std::mem::replace(&mut state.told, true);
        drop(state);
        if watched {
            self.watch(limits);
        }
        Ok(Wait {
            server: self.clone(),
            limits: left.map_or(*limits, |left| limits.within(left)),
            left,
            first: limits.first,
        })
    }

    /// An answer has begun, whatever it says.
    pub fn has_answered(&self) {
        self.state().answered = true;
    }

    pub fn answered(&self) -> bool {
        self.state().answered
    }

    /// Says what is waited for, if that takes long.
    fn watch(self: &Arc<Self>, limits: &Limits) {
        let (server, limits) = (self.clone(), *limits);
        let told = move || {
            loop {
                let spent = {
                    let mut state = server.state();
                    if state.answered {
                        return;
                    }
                    if state.waiting == 0 {
                        // It failed at once; the next request watches again.
                        state.told = false;
                        return;
                    }
                    state.spent()
                };
                match limits.notice.checked_sub(spent) {
                    Some(rest) if !rest.is_zero() => std::thread::sleep(rest),
                    _ => break,
                }
            }
            tracing::warn!(
                "{} has not answered yet; it is waited for up to {} s",
                server.origin,
                limits.first.as_secs()
            );
        };
        // Without a thread for it, nothing is told.
        let _ = std::thread::Builder::new()
            .name("ribflow-silence".to_string())
            .spawn(told);
    }
}

/// A request that waits for its answer.
#[derive(Debug)]
pub struct Wait {
    server: Arc<Server>,
    /// The time that it has.
    pub limits: Limits,
    /// All of the time that its server has left, where that has not answered anything.
    pub left: Option<Duration>,
    first: Duration,
}

impl Wait {
    pub fn answered(&self) {
        self.server.has_answered();
    }

    /// The verdict on a server that has used up its time with this request.
    pub fn over(&self) -> Option<Silent> {
        let state = self.server.state();
        // Clocks and timers differ by a little.
        let over = state.spent() + Duration::from_millis(100) >= self.first;
        (!state.answered && over).then_some(Silent(self.first.as_secs()))
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut state = self.server.state();
        state.waiting -= 1;
        if state.waiting == 0
            && let Some(since) = state.since.take()
        {
            state.spent += since.elapsed();
        }
    }
}
