//! Handles Ctrl-C, SIGTERM and SIGHUP: the first asks the run to stop, a second Ctrl-C kills it.
//!
//! Only Ctrl-C comes from a person who does not want to wait. A shell that loses its terminal
//! forwards the hangup to a process that already had it, and schedulers send signals repeatedly.

use std::io::Write;
use std::time::Duration;

use rustix::process::Signal;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::sync::watch;

use super::failure::Exit;
use crate::process::{self, Family};
use crate::ui::log::Console;

/// What becomes of the nodes that a process runs itself.
pub const NODES_END: &str =
    ", running nodes have their `resources.grace` to end; press Ctrl-C again to end them at once";

/// The time to wait for killed processes. One that hangs in the kernel ends later.
const DEATH: Duration = Duration::from_secs(5);

/// Waits for signals as long as the run lasts.
///
/// `meaning` says what becomes of nodes that run.
pub async fn listen(stop: watch::Sender<bool>, mut console: Console, meaning: &'static str) {
    let Some(mut heard) = EndSignals::new() else {
        tracing::warn!("can't install signal handlers: Ctrl-C ends the run at once");
        return;
    };
    heard.first().await;
    // Stop even if the terminal is gone.
    let _ = writeln!(console, "stopping: finished nodes are kept{meaning}");
    stop.send_replace(true);
    if heard.interrupt.recv().await.is_none() {
        return;
    }
    // No process may outlive this run and disturb the next one.
    Family::Mine.end(Some(DEATH));
    std::process::exit(i32::from(Exit::Interrupted.code()));
}

/// The termination signals. While this value lives, none of them ends the process directly.
struct EndSignals {
    interrupt: Signals,
    terminate: Signals,
    /// `None` under `nohup`.
    hangup: Option<Signals>,
}

impl EndSignals {
    fn new() -> Option<Self> {
        let hangup = match process::is_ignored(Signal::HUP) {
            true => None,
            false => Some(signal(SignalKind::hangup()).ok()?),
        };
        Some(Self {
            interrupt: signal(SignalKind::interrupt()).ok()?,
            terminate: signal(SignalKind::terminate()).ok()?,
            hangup,
        })
    }

    async fn first(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hangup => {}
        }
    }
}
