//! The command line: one file for each subcommand, which holds its arguments and its help, calls the
//! library and prints.
//!
//! It owns arguments, messages and exit codes. It computes no result, and nothing imports it.
//!
//! ```text
//! typed        arguments habits                                       the list of subcommands; `ribflow --help`; words of other programs
//! shared       call common target amounts                             what subcommands are called with; options that many take
//! from words   load places admission stores projects                  to a graph, to a store; whose store it is; where workflows are
//! remotes      sharing transfer write_back refusals                   remotes of a command; what they accepted and refused
//! in a run     shared_run unchanged shells pins accepting interrupts  remotes during a run; a run with nothing to do; checks; signals
//! records      standing recompute                                     withdrawn records and other outcomes; recomputed samples
//! permissions  commands allow                                         command stages of others
//! shown        cost missing again failure                             costs; missing data; commands in hints; errors and exit codes
//! subcommands  every other file                                       `ribflow NAME`; `cache` is a folder of its own
//! ```

mod accepting;
mod admission;
mod again;
mod allow;
mod amounts;
pub mod arguments;
mod bench;
mod bundle;
mod cache;
mod call;
mod commands;
pub mod common;
mod completions;
mod cost;
mod data;
mod export;
pub mod failure;
mod get;
mod graph;
mod habits;
mod import;
mod interrupts;
mod key;
mod kinds;
mod load;
mod lock;
mod missing;
mod models;
mod pins;
pub mod places;
mod plan;
mod projects;
mod pull;
mod push;
mod recompute;
pub mod refusals;
mod remote;
mod revoke;
mod ro_crate;
mod run;
mod schema;
mod serve;
mod shared_run;
mod sharing;
mod shells;
mod standing;
mod status;
mod stores;
mod target;
mod transfer;
mod trust;
mod unchanged;
mod validate;
mod verify;
mod why;
mod worker;
mod write_back;

use std::ffi::OsString;
use std::io::{BufWriter, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use self::arguments::Arguments;
use self::call::Call;
use self::failure::{Exit, Failure};
use crate::diag::secrets;
use crate::isa;
use crate::process;
use crate::ui::log::{self, Console};
use crate::ui::paint::Paint;
use crate::ui::streams;

/// Runs the command that the process's arguments name.
pub fn main() -> ExitCode {
    // Before anything that has code for several instruction sets.
    let held = isa::hold();
    process::fail_beyond_file_limit();
    let words: Vec<OsString> = std::env::args_os().collect();
    match Arguments::try_parse_from(&words) {
        Ok(arguments) => match held {
            Ok(()) => execute(&arguments),
            Err(error) => {
                let failure = Failure::usage("isa", error.to_string());
                failure.report(arguments.common.json);
                failure.exit().into()
            }
        },
        Err(error) => refuse(&habits::with_tip(error), &words).into(),
    }
}

fn execute(arguments: &Arguments) -> ExitCode {
    let common = &arguments.common;
    let console = Console::default();
    secrets::keep_environment();
    let filter = std::env::var("RIBFLOW_LOG").ok();
    let color = Paint::for_stderr().color;
    log::start(&console, filter.as_deref(), common.verbose, color);
    let mut output = BufWriter::new(streams::stdout(common.json));
    let call = Call {
        common,
        console: &console,
        program: Arguments::command,
    };
    let result = arguments.command.run(&call, &mut output);
    // What was printed before a failure comes before its message.
    let result = output.flush().map_err(Failure::Output).and(result);
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.report(common.json);
            failure.exit().into()
        }
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
