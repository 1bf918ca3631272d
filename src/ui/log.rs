//! Where log lines go: to standard error, between the lines of the progress bars, if there are any.
//! No line shows a secret, whichever library words it.

use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

use indicatif::MultiProgress;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::streams::stderr_text;
use crate::diag::secrets;
use crate::diag::terminal::cleaned;

/// Standard error, shared with the progress bars of a live display.
#[derive(Clone, Default)]
pub struct Console {
    bars: Arc<OnceLock<MultiProgress>>,
}

impl Console {
    /// From now on lines are written above `bars`.
    pub fn share_with(&self, bars: &MultiProgress) {
        // A second display would be a mistake, but a harmless one: the first keeps the console.
        let _ = self.bars.set(bars.clone());
    }
}

impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        // An event comes as a whole, so no secret is split.
        let text = String::from_utf8_lossy(bytes);
        let text = secrets::masked(&text);
        let text = cleaned(&text, stderr_text());
        let write = || io::stderr().write_all(text.as_bytes());
        match self.bars.get() {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for Console {
    type Writer = Console;

    fn make_writer(&'a self) -> Console {
        self.clone()
    }
}

/// Starts logging. `filter` is what `RIBFLOW_LOG` holds, in the form of tracing's directives
/// (`debug`, `ribflow::store=trace`); without one, `verbose` decides: warnings, `-v` also
/// information, `-vv` everything.
pub fn start(console: &Console, filter: Option<&str>, verbose: u8, color: bool) {
    let builder = tracing_subscriber::fmt()
        .with_writer(console.clone())
        // They would go to the same place by `eprintln!`, which panics where it is full.
        .log_internal_errors(false)
        .with_ansi(color)
        .with_target(filter.is_some() || verbose > 1);
    // A subscriber that is already there (a test's) stays.
    let _ = match filter {
        Some(directives) => builder
            .with_env_filter(without_wires(EnvFilter::new(directives)))
            .try_init(),
        None => builder
            .with_max_level(level(verbose))
            .without_time()
            .try_init(),
    };
}

/// Without the libraries' dumps of what goes over a connection, in which no secret can be found:
/// it is cut into rows of bytes.
fn without_wires(filter: EnvFilter) -> EnvFilter {
    const WIRES: [&str; 2] = ["ureq_proto=info", "reqwest::connect::verbose=off"];
    let directives = WIRES.iter().filter_map(|directive| directive.parse().ok());
    directives.fold(filter, EnvFilter::add_directive)
}

fn level(verbose: u8) -> LevelFilter {
    match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    }
}
