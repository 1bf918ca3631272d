//! Ctrl-C, termination and a terminal that is gone ask the run to stop; a second Ctrl-C ends it.
//!
//! Only Ctrl-C is a person who does not want to wait: a shell that loses its terminal passes the
//! hangup on to a process that has had it already, and schedulers repeat themselves.

use std::io::Write;
use std::time::Duration;

use rustix::process::Signal;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::sync::watch;

use super::failure::Exit;
use crate::process::{self, Family};
use crate::ui::log::Console;

/// Killed processes are waited for so long: one that hangs in the kernel ends later.
const DEATH: Duration = Duration::from_secs(5);

/// Waits for signals for as long as the run goes on.
pub async fn listen(stop: watch::Sender<bool>, mut console: Console) {
    let Some(mut heard) = EndSignals::new() else {
        tracing::warn!("signals can't be heard: Ctrl-C ends the run at once");
        return;
    };
    heard.first().await;
    // A terminal that is gone is no reason not to stop.
    let _ = writeln!(
        console,
        "stopping: what has finished is kept, what runs has its `resources.grace` to end; Ctrl-C \
         once more ends it at once"
    );
    stop.send_replace(true);
    if heard.interrupt.recv().await.is_none() {
        return;
    }
    // Nothing may go on beside the next run.
    Family::Mine.end(Some(DEATH));
    std::process::exit(Exit::Interrupted as i32);
}

/// The signals that ask for an end. While this lives none of them ends the process by itself.
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
