//! Retries transient failures of a remote, and gives up on one that is down: sharing must never
//! wait long for another lab's server.

use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::transport::{Content, Created, Part, Remote, RemoteError};
use crate::digest::Digest;

/// The retry policy for a remote.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Retries after a transient failure.
    pub retries: u32,
    /// The pause before the first retry; it doubles each time.
    pub pause: Duration,
    /// The remote is down after this many consecutive calls that failed despite retries.
    pub failures: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            retries: 3,
            pause: Duration::from_millis(250),
            failures: 3,
        }
    }
}

/// A remote with a retry policy.
pub struct Patient {
    remote: Box<dyn Remote>,
    patience: Patience,
    /// Consecutive failed calls.
    failed: AtomicU32,
    /// Consecutive responses that are not those of a store.
    strange: AtomicU32,
}

impl Patient {
    pub fn new(remote: Box<dyn Remote>, patience: Patience) -> Self {
        Self {
            remote,
            patience,
            failed: AtomicU32::new(0),
            strange: AtomicU32::new(0),
        }
    }

    /// Whether the remote is down: then every call fails immediately.
    pub fn is_down(&self) -> bool {
        let most = self.patience.failures;
        [&self.failed, &self.strange]
            .iter()
            .any(|count| count.load(Ordering::Relaxed) >= most)
    }

    fn call<T>(
        &self,
        mut attempt: impl FnMut(&dyn Remote) -> Result<T, RemoteError>,
    ) -> Result<T, RemoteError> {
        let mut pause = self.patience.pause;
        let mut left = self.patience.retries;
        loop {
            if self.is_down() {
                return Err(RemoteError::Transient {
                    remote: self.shown().to_string(),
                    why: "too many failures; not tried again".to_string(),
                });
            }
            match attempt(&*self.remote) {
                Err(error @ RemoteError::Silent { .. }) => {
                    self.failed
                        .fetch_max(self.patience.failures, Ordering::Relaxed);
                    return Err(error);
                }
                Err(error) if error.is_passing() && left > 0 => {
                    left -= 1;
                    std::thread::sleep(pause);
                    pause = pause.saturating_mul(2);
                }
                Err(error) if error.is_passing() => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    return Err(error);
                }
                Err(error @ RemoteError::NoStore { .. }) => {
                    self.strange.fetch_add(1, Ordering::Relaxed);
                    return Err(error);
                }
                result => {
                    // Any response resets the count of failures. A remote that is down stays down.
                    if !self.is_down() {
                        self.failed.store(0, Ordering::Relaxed);
                        self.strange.store(0, Ordering::Relaxed);
                    }
                    return result;
                }
            }
        }
    }
}

impl Remote for Patient {
    fn shown(&self) -> &str {
        self.remote.shown()
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, RemoteError> {
        self.call(|remote| remote.list(folder))
    }

    fn sizes(&self, names: &[String]) -> Result<Vec<Option<u64>>, RemoteError> {
        self.call(|remote| remote.sizes(names))
    }

    fn intact(&self, name: &str, digest: &Digest) -> Result<Option<bool>, RemoteError> {
        self.call(|remote| remote.intact(name, digest))
    }

    /// Resumes an interrupted transfer.
    fn get(&self, name: &str, part: Part, into: &mut dyn Write) -> Result<u64, RemoteError> {
        let mut counted = Counted { into, bytes: 0 };
        self.call(|remote| {
            let rest = Part {
                from: part.from + counted.bytes,
                most: part.most.saturating_sub(counted.bytes),
            };
            match rest.most {
                0 => Ok(0),
                _ => remote.get(name, rest, &mut counted),
            }
        })?;
        Ok(counted.bytes)
    }

    fn put(&self, name: &str, content: Content) -> Result<(), RemoteError> {
        self.call(|remote| remote.put(name, content))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, RemoteError> {
        self.call(|remote| remote.create(name, bytes))
    }

    fn remove(&self, name: &str) -> Result<(), RemoteError> {
        self.call(|remote| remote.remove(name))
    }
}

/// Counts received bytes, and accepts no more than requested.
struct Counted<'a> {
    into: &'a mut dyn Write,
    bytes: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.into.write(bytes)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.into.flush()
    }
}
