//! `ribflow completions SHELL`

use std::io::Write;

use clap::Args;

use super::call::Call;
use super::failure::{Exit, Failure};

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow completions bash > ~/.local/share/bash-completion/completions/ribflow
  ribflow completions zsh > ~/.zfunc/_ribflow
  ribflow completions fish > ~/.config/fish/completions/ribflow.fish";

/// Generate shell completions
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionsArguments {
    pub shell: clap_complete::Shell,
}

pub fn run(
    arguments: &CompletionsArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    // Buffer it: the generator panics if a write fails.
    let mut script = Vec::new();
    let mut command = (call.program)();
    clap_complete::generate(arguments.shell, &mut command, "ribflow", &mut script);
    output.write_all(&script)?;
    Ok(Exit::Done)
}
