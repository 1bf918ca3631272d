//! `ribflow completions SHELL`

use std::io::Write;

use clap::CommandFactory;

use super::arguments::{Arguments, CompletionsArguments};
use super::failure::{Exit, Failure};

pub fn run(arguments: &CompletionsArguments, output: &mut dyn Write) -> Result<Exit, Failure> {
    // Into memory first: the generator panics where it can't write.
    let mut script = Vec::new();
    let mut command = Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "ribflow", &mut script);
    output.write_all(&script)?;
    Ok(Exit::Done)
}
