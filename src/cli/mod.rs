//! The command line: one file per subcommand; parses, calls, prints.

pub mod arguments;
mod completions;
pub mod failure;
mod graph;
mod load;
pub mod places;
mod schema;
mod validate;

use std::ffi::OsString;
use std::io::{BufWriter, Write};
use std::process::ExitCode;

use clap::Parser;

use self::arguments::{Arguments, Command};
use self::failure::{Exit, Failure};
use crate::ui::log::{self, Console};
use crate::ui::paint::Paint;

/// Runs the command that the process's arguments name.
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    match Arguments::try_parse_from(&words) {
        Ok(arguments) => execute(&arguments).into(),
        Err(error) => refuse(&error, &words).into(),
    }
}

fn execute(arguments: &Arguments) -> Exit {
    let common = &arguments.common;
    let console = Console::default();
    let filter = std::env::var("RIBFLOW_LOG").ok();
    let color = Paint::for_stderr().color;
    log::start(&console, filter.as_deref(), common.verbose, color);
    let mut output = BufWriter::new(std::io::stdout());
    let result = dispatch(arguments, &mut output);
    // What was printed before a failure comes before its message.
    let result = output.flush().map_err(Failure::Output).and(result);
    match result {
        Ok(exit) => exit,
        Err(failure) => {
            failure.report(common.json);
            failure.exit()
        }
    }
}

fn dispatch(arguments: &Arguments, output: &mut dyn Write) -> Result<Exit, Failure> {
    let common = &arguments.common;
    match &arguments.command {
        Command::Validate(arguments) => validate::run(arguments, common, output),
        Command::Graph(arguments) => graph::run(arguments, common, output),
        Command::Schema(_) => schema::run(output),
        Command::Completions(arguments) => completions::run(arguments, output),
    }
}

/// Help and version, or arguments that clap refuses.
fn refuse(error: &clap::Error, words: &[OsString]) -> Exit {
    if !error.use_stderr() {
        // A reader that closes the pipe has seen enough of the help.
        let _ = error.print();
        return Exit::Done;
    }
    if words.iter().any(|word| word == "--json") {
        in_words(&error.to_string()).report(true);
    } else {
        let _ = error.print();
    }
    Exit::Wrong
}

/// The parts of clap's message that matter to a script: what is wrong, and its tip.
fn in_words(text: &str) -> Failure {
    let is_end = |line: &&str| line.starts_with("Usage:") || line.starts_with("For more");
    let lines = text.lines().map(str::trim).take_while(|line| !is_end(line));
    let (tips, message): (Vec<&str>, Vec<&str>) = lines
        .filter(|line| !line.is_empty())
        .partition(|line| line.starts_with("tip: "));
    let message = message.join(" ");
    let failure = Failure::usage("command-line", message.trim_start_matches("error: "));
    match tips.first() {
        Some(tip) => failure.hint(tip.trim_start_matches("tip: ")),
        None => failure,
    }
}
