//! The options that every subcommand takes, before or after its name.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgAction, Args, ValueHint};

use crate::ui::Detail;

/// Options of any subcommand.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Common options")]
pub struct Common {
    /// The store: where results are kept and found
    ///
    /// Default: cache/ in the nearest folder, from the workflow's own upwards, that holds
    /// cache/store.json or cache/README.md; else cache/ beside the workflow. The default store must
    /// be one that you made or adopted (`ribflow cache adopt`).
    #[arg(long, global = true, value_name = "DIR", env = "RIBFLOW_STORE")]
    #[arg(hide_env_values = true, value_hint = ValueHint::DirPath)]
    pub store: Option<PathBuf>,

    /// Where reports are written
    ///
    /// The report of a workflow goes to a folder of its name in there. Default: out/ beside the
    /// cache/ that is the default store.
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,

    /// Cores for the whole run [default: all]
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<NonZeroUsize>,

    /// Where models run: auto, cpu, cuda or cuda:N
    #[arg(long, global = true, value_name = "DEVICE", default_value = "auto")]
    pub device: Device,

    /// Print JSON, for scripts
    #[arg(long, global = true)]
    pub json: bool,

    /// Say only what went wrong
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// Say more; -vv also logs what happens inside (see RIBFLOW_LOG)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

impl Common {
    /// Cores for the whole run.
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

/// The device of a run, as asked for.
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
        let wrong = || format!("`{text}` is not a device: auto, cpu, cuda or cuda:N is expected");
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
