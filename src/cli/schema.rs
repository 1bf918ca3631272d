//! `ribflow schema`: what a workflow file may say, for editors.

use std::io::Write;

use clap::Args;

use super::call::Call;
use super::failure::{Exit, Failure};
use crate::{stages, workflow};

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow schema > ribflow.schema.json

With `# yaml-language-server: $schema=ribflow.schema.json` in its first line, an editor checks and
completes a workflow file.";

/// Print the JSON Schema of workflow files
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SchemaArguments {}

pub fn run(_: &SchemaArguments, _: &Call, output: &mut dyn Write) -> Result<Exit, Failure> {
    let schema = workflow::schema(stages::registry().kinds());
    serde_json::to_writer_pretty(&mut *output, &schema)?;
    writeln!(output)?;
    Ok(Exit::Done)
}
