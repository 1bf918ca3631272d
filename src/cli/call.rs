//! The arguments of a subcommand's `run`, the macro that declares subcommands, and the program itself.

use std::path::PathBuf;

use super::common::Common;
use super::failure::Failure;
use crate::ui::log::Console;

/// What every subcommand receives besides its own arguments.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub common: &'a Common,
    pub console: &'a Console,
    /// The whole command line, for completions.
    pub program: fn() -> clap::Command,
}

/// Declares the subcommands of a command, one line each: its arguments, whose file holds its help,
/// and the function that runs it.
macro_rules! subcommands {
    ($list:ident { $($name:ident($arguments:ty) => $run:path,)* }) => {
        #[derive(Clone, Debug, clap::Subcommand)]
        pub enum $list {
            $($name($arguments),)*
        }

        impl $list {
            pub fn run(
                &self,
                call: &$crate::cli::call::Call,
                output: &mut dyn std::io::Write,
            ) -> Result<$crate::cli::failure::Exit, $crate::cli::failure::Failure> {
                match self {
                    $(Self::$name(arguments) => $run(arguments, call, output),)*
                }
            }
        }
    };
}

pub(super) use subcommands;

/// The path of this program.
pub fn program() -> Result<PathBuf, Failure> {
    std::env::current_exe()
        .map_err(|error| Failure::failed(format!("can't find the path of this program: {error}")))
}
