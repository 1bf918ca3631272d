//! Logging to standard error, above the progress bars if there are any. Secrets are masked in every
//! line, whichever library logs it.

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
    /// Writes lines above `bars` from now on.
    pub fn share_with(&self, bars: &MultiProgress) {
        // A second display would be a harmless mistake: the first one keeps the console.
        let _ = self.bars.set(bars.clone());
    }
}

impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        // An event arrives in one write, so no secret is split.
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

/// Starts logging. `filter` is the value of `RIBFLOW_LOG`, in the syntax of tracing's directives
/// (`debug`, `ribflow::store=trace`). Without it, `verbose` sets the level: warnings by default,
/// info with `-v`, everything with `-vv`.
pub fn start(console: &Console, filter: Option<&str>, verbose: u8, color: bool) {
    let builder = tracing_subscriber::fmt()
        .with_writer(console.clone())
        // tracing would report them with `eprintln!`, which panics if the write fails.
        .log_internal_errors(false)
        .with_ansi(color)
        .with_target(filter.is_some() || verbose > 1);
    // Keep an existing subscriber (of a test).
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

/// Disables the libraries' dumps of network traffic. Secrets in them can't be masked, because the
/// dumps are split into rows of bytes.
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
