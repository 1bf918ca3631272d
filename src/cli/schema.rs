//! `ribflow schema`: prints the JSON Schema of workflow files, for editors.

use std::io::Write;

use clap::Args;

use super::call::Call;
use super::failure::{Exit, Failure};
use crate::{stages, workflow};

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow schema > ribflow.schema.json

Editors validate and complete workflow files whose first line is
`# yaml-language-server: $schema=ribflow.schema.json`.";

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
