//! `ribflow export …`: writes a workflow and its results to one file or folder.

use std::io::Write;

use clap::Args;

use super::call::{Call, subcommands};
use super::failure::{Exit, Failure};
use super::{bundle, ro_crate};

/// Export a workflow and its results
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
