//! `ribflow export …`: a workflow with its results, in one file or folder.

use std::io::Write;

use clap::Args;

use super::call::{Call, subcommands};
use super::failure::{Exit, Failure};
use super::{bundle, ro_crate};

/// Write a workflow with its results as one file
#[derive(Clone, Debug, Args)]
pub struct ExportArguments {
    #[command(subcommand)]
    pub command: ExportCommand,
}

subcommands! {
    ExportCommand {
        Bundle(bundle::BundleArguments) => bundle::export,
        RoCrate(ro_crate::CrateArguments) => ro_crate::export,
    }
}

pub fn run(
    arguments: &ExportArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    arguments.command.run(call, output)
}
