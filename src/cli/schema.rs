//! `ribflow schema`: what a workflow file may say, for editors.

use std::io::Write;

use super::failure::{Exit, Failure};
use crate::{stages, workflow};

pub fn run(output: &mut dyn Write) -> Result<Exit, Failure> {
    let schema = workflow::schema(stages::registry().kinds());
    serde_json::to_writer_pretty(&mut *output, &schema)?;
    writeln!(output)?;
    Ok(Exit::Done)
}
