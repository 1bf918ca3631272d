//! The guard of a process group: a shell that leads the group and waits for the end of a pipe that
//! only this process holds open. However this process dies, even by SIGKILL, the guard kills the
//! group.
//!
//! A guard that nothing was left with serves the next line, too: starting it costs as much as
//! starting a short line.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::process::{self, OwnedChild};

/// The script of the guard: `0` is its own group, whose other signals it survives. It prints a line
/// once it is ready, so that no signal arrives too early.
const SCRIPT: &str = "trap '' HUP INT QUIT TERM; echo; read -r _; kill -9 0";

/// The guard that the next line takes.
static KEPT: Mutex<Option<Guard>> = Mutex::new(None);

pub(super) struct Guard {
    /// Its standard input holds the pipe open.
    process: Child,
    /// The process still has to be waited for.
    _known: OwnedChild,
}

impl Guard {
    /// A guard that was kept and is alive, else a new one.
    pub fn take() -> io::Result<Self> {
        let kept = KEPT.lock().unwrap_or_else(|held| held.into_inner()).take();
        let alive = kept.and_then(|mut guard| guard.is_alive().then_some(guard));
        alive.map_or_else(Self::start, Ok)
    }

    /// The group that it leads.
    pub fn group(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// Keeps it for the next line. Its group must have no other member.
    pub fn keep(self) {
        let mut kept = KEPT.lock().unwrap_or_else(|held| held.into_inner());
        // Another line of this process may have kept its own: then this one ends.
        *kept = Some(self);
    }

    /// Starts a guard on the thread that keeps them, so that the children of the thread of a line
    /// are that line and what it has left ([`process::has_no_child`]). Returns once the guard ignores
    /// the signals that its group may receive.
    fn start() -> io::Result<Self> {
        static STARTER: OnceLock<Option<Sender<Sender<io::Result<Guard>>>>> = OnceLock::new();
        let gone = || io::Error::other("the thread that starts guards is not there");
        let starter = STARTER.get_or_init(|| {
            let (sender, requests) = channel::<Sender<io::Result<Self>>>();
            let serve = move || {
                for answer in requests {
                    let _ = answer.send(Self::start_here());
                }
            };
            let thread = std::thread::Builder::new().name("guards".to_string());
            thread.spawn(serve).ok().map(|_| sender)
        });
        let (answer, started) = channel();
        let starter = starter.as_ref().ok_or_else(gone)?;
        starter.send(answer).map_err(|_| gone())?;
        started.recv().map_err(|_| gone())?
    }

    fn start_here() -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SCRIPT])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0);
        let (mut process, known) = process::start(|| command.spawn(), |child| Some(child.id()))?;
        if let Some(mut output) = process.stdout.take() {
            let mut ready = [0];
            output.read_exact(&mut ready)?;
        }
        Ok(Self {
            process,
            _known: known,
        })
    }

    /// The line may have killed its own group.
    fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }
}

impl Drop for Guard {
    /// Kills the group. The guard is reaped last, so that the number of the group is not another's.
    fn drop(&mut self) {
        if self.is_alive() {
            let _ = kill_process_group(self.group(), Signal::KILL);
        }
        let _ = self.process.wait();
    }
}
