//! Ctrl-C and termination: the first time the run is asked to stop, the second time it is not.

use std::io::Write;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::failure::Exit;
use crate::ui::log::Console;

/// Waits for signals for as long as the run goes on.
pub async fn listen(stop: watch::Sender<bool>, mut console: Console) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        tracing::warn!("signals can't be heard: Ctrl-C ends the run at once");
        return;
    };
    next(&mut interrupt, &mut terminate).await;
    // A terminal that is gone is no reason not to stop.
    let _ = writeln!(
        console,
        "stopping: what has finished is kept; once more to stop at once"
    );
    stop.send_replace(true);
    next(&mut interrupt, &mut terminate).await;
    // Workers notice that this process is gone and end as well.
    std::process::exit(Exit::Interrupted as i32);
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
