//! The heart of a process: a file in its folder in `tmp/` that a thread rewrites for as long as the
//! process lives. Every lease of the process is a hard link of it.
//!
//! Who finds a process dead removes its folder, the heart first. From then on the process can't take
//! or release a lease, nor name a file that it has in its folder: each of these renames or links
//! from there or to there. A process that was only suspended notices that.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::holder::{self, BEATS_AT, Holder};
use crate::fsx::calls::{self, File};
use crate::fsx::faults;
use crate::fsx::{self, DraftFolder, SHARED};

/// The name of a heart in the folder of its process.
pub(super) const HEART: &str = "heart";
/// An empty file whose time is that at which the process began.
pub(super) const BEGUN: &str = "begun";

/// A process beats this often while its lease lasts.
const BEATS: u32 = 6;

#[derive(Debug)]
pub(super) struct Heart {
    pub session: String,
    pub folder: PathBuf,
    file: PathBuf,
    state: Arc<State>,
    every: Duration,
    names: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Another process has found this one dead.
    lost: AtomicBool,
    /// The time of the last beat, in milliseconds since 1970.
    beaten: AtomicU64,
    /// Tests suspend a process so.
    #[cfg(test)]
    suspended: AtomicBool,
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Heart {
    /// Starts one in the folder `tmp`. After each beat, `look` looks after others, until it returns
    /// `false`.
    pub fn start(
        tmp: &Path,
        lasts: Duration,
        look: impl Fn() -> bool + Send + 'static,
    ) -> io::Result<Self> {
        fsx::make_folders(tmp)?;
        let folder = DraftFolder::new(tmp, &holder::prefix())?;
        // Other users of the store must be able to sweep it.
        fsx::open_as(folder.path(), tmp);
        let name = folder.path().file_name().unwrap_or_default();
        let session = name.to_string_lossy().into_owned();
        let file = folder.path().join(HEART);
        holder::begins(&session);
        let state = Arc::new(State::default());
        let heart = Self {
            session,
            folder: folder.path().to_path_buf(),
            file,
            state,
            every: lasts / BEATS,
            names: AtomicU64::new(0),
        };
        let text = Holder::this_process(&heart.session, lasts).to_text();
        write(&heart.file, text.as_bytes())?;
        write(&heart.folder.join(BEGUN), b"")?;
        heart.state.beaten.store(now(), Ordering::Relaxed);
        let (state, file) = (Arc::clone(&heart.state), heart.file.clone());
        std::thread::Builder::new()
            .name("heart".to_string())
            .spawn(move || beat(&state, &file, lasts / BEATS, look))?;
        // From here on the drop of the heart removes it.
        folder.keep();
        Ok(heart)
    }

    /// Gives the heart another name, which no file must have.
    pub fn link(&self, path: &Path) -> io::Result<()> {
        calls::hard_link(&self.file, path)
    }

    /// Removes the file at `path`, unless this process was found dead: the file goes through its
    /// folder.
    pub fn take(&self, path: &Path) -> io::Result<()> {
        self.take_if(path, |_| true)
    }

    /// As [`Heart::take`], if the file `is_meant`. A client of a file server may have shown an earlier
    /// file under that name: a rename is decided by the server.
    pub fn take_if(&self, path: &Path, is_meant: impl Fn(&Path) -> bool) -> io::Result<()> {
        let aside = self.folder.join(format!("gone-{}", self.number()));
        calls::rename(path, &aside)?;
        if !is_meant(&aside) {
            // Unless another process has it since: then its former holder may run beside it.
            let _ = calls::rename_new(&aside, path);
        }
        // What stays there is swept with the folder.
        let _ = calls::remove_file(&aside);
        Ok(())
    }

    /// A number that no other call returns.
    pub fn number(&self) -> u64 {
        self.names.fetch_add(1, Ordering::Relaxed)
    }

    /// The beats stop, as if the process were suspended.
    #[cfg(test)]
    pub fn suspend(&self) {
        self.state.suspended.store(true, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub fn resume(&self) {
        self.state.suspended.store(false, Ordering::Relaxed);
    }

    /// Whether the process was found dead, as far as it knows.
    pub fn is_lost(&self) -> bool {
        self.state.lost.load(Ordering::Relaxed)
    }

    /// Whether this process may have been suspended since its last beat. The clock only says when to
    /// look.
    pub fn is_late(&self) -> bool {
        let since = now().wrapping_sub(self.state.beaten.load(Ordering::Relaxed));
        // A test that counts calls counts none of these.
        u128::from(since) > 2 * self.every.as_millis() && !faults::armed()
    }

    /// Whether no other process can have found this one dead.
    pub fn is_beating(&self) -> bool {
        match self.is_late() {
            true => self.beats(),
            false => !self.is_lost(),
        }
    }

    /// Looks whether no other process has found this one dead.
    pub fn beats(&self) -> bool {
        if self.is_lost() {
            return false;
        }
        // Opened: an attribute may be cached.
        match File::open(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.state.lost.store(true, Ordering::Relaxed);
                false
            }
            // A disk that can't be read is no other process.
            _ => true,
        }
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        // The thread may be the one that drops it, so nothing waits for the thread.
        *self
            .state
            .stopped
            .lock()
            .unwrap_or_else(|held| held.into_inner()) = true;
        self.state.changed.notify_all();
        holder::ends(&self.session);
        // What can't be removed now is swept later by another process.
        let _ = fsx::remove_tree(&self.folder);
    }
}

fn beat(state: &State, file: &Path, every: Duration, look: impl Fn() -> bool) {
    let mut count = 0;
    let mut looks = true;
    loop {
        let stopped = state
            .stopped
            .lock()
            .unwrap_or_else(|held| held.into_inner());
        let waited = state
            .changed
            .wait_timeout_while(stopped, every, |stopped| !*stopped);
        let is_stopped = match waited {
            Ok((stopped, _)) => *stopped,
            Err(_) => true,
        };
        if is_stopped || state.lost.load(Ordering::Relaxed) {
            return;
        }
        #[cfg(test)]
        if state.suspended.load(Ordering::Relaxed) {
            continue;
        }
        // A test that counts calls counts none of these.
        if faults::armed() {
            continue;
        }
        count += 1;
        match write_beat(file, count) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                state.lost.store(true, Ordering::Relaxed);
            }
            Ok(()) => state.beaten.store(now(), Ordering::Relaxed),
            // The next beat may succeed; if none does, the lease is lost.
            Err(_) => {}
        }
        looks = looks && look();
    }
}

/// Milliseconds since 1970. This clock goes on while the host is suspended.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// In place, so that all links show it, and closed, so that a server has it.
fn write_beat(file: &Path, count: u64) -> io::Result<()> {
    let file = File::open_with(file, OpenOptions::new().write(true))?;
    file.write_all_at(holder::beats(count).as_bytes(), BEATS_AT)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.set_mode(SHARED)?;
    file.write_all(bytes)
}
