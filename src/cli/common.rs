//! The options that every subcommand accepts, before or after its name.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgAction, Args, ValueHint};

use crate::ui::Detail;

/// The common options.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Common options")]
pub struct Common {
    /// The store, which holds the results
    ///
    /// Default: cache/ in the nearest folder, starting at the workflow's and going up, that
    /// contains cache/store.json or cache/README.md; otherwise cache/ beside the workflow. You must
    /// have created or adopted the default store (`ribflow cache adopt`).
    #[arg(long, global = true, value_name = "DIR", env = "RIBFLOW_STORE")]
    #[arg(hide_env_values = true, value_hint = ValueHint::DirPath)]
    pub store: Option<PathBuf>,

    /// The folder for reports
    ///
    /// Each workflow's report goes to a subfolder with its name. Default: out/ beside the default
    /// store.
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,

    /// Number of cores for the whole run, at most 4096 [default: all]
    #[arg(long, global = true, value_name = "N", value_parser = threads)]
    pub threads: Option<NonZeroUsize>,

    /// Device for models: auto, cpu, cuda or cuda:N
    #[arg(long, global = true, value_name = "DEVICE", default_value = "auto")]
    pub device: Device,

    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,

    /// Print only warnings and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// Print more detail; -vv also logs internals (see RIBFLOW_LOG)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

/// More than any machine has: a typing error must not start a million threads.
const MOST_THREADS: usize = 4096;

fn threads(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse::<NonZeroUsize>() {
        Ok(count) if count.get() <= MOST_THREADS => Ok(count),
        _ => Err(format!("a number from 1 to {MOST_THREADS} is expected")),
    }
}

impl Common {
    /// The number of cores for the whole run.
    pub fn threads(&self) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.threads.map_or_else(all, NonZeroUsize::get)
    }

    pub fn detail(&self) -> Detail {
        match self {
            Self { quiet: true, .. } => Detail::Quiet,
            Self { verbose: 0, .. } => Detail::Normal,
            _ => Detail::Verbose,
        }
    }
}

/// The requested device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// A GPU if this build and this machine have one.
    #[default]
    Auto,
    Cpu,
    /// The GPU of this number.
    Cuda(usize),
}

impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda(number) => write!(formatter, "cuda:{number}"),
        }
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a device: expected auto, cpu, cuda or cuda:N");
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|number| number.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(wrong),
        }
    }
}
