//! The command line: one file for each subcommand, which defines its arguments and help, calls the
//! library and prints.
//!
//! It owns arguments, messages and exit codes. It computes no result, and nothing imports it.
//!
//! ```text
//! arguments    arguments foreign_options                                        the list of subcommands, `ribflow --help`; tips for options of other programs
//! shared       call common target amounts                                       what subcommands are called with; options that many of them take
//! loading      load own_files locations admission stores workflow_files         workflow to graph; where stores and reports are; store ownership
//! remotes      sharing transfer write_back refusals                             remotes of a command; accepted and refused records
//! runs         shared_run no_op_check shells unpinned_checkpoints interrupts    remotes during a run; the fast path; checks before a run; signals
//! workers      executor join machines                                           where nodes run; a worker that joins; where nodes ran
//! records      record_standing older_versions recompute                         revoked and conflicting records; records of older versions; recomputed samples
//! permissions  command_permissions allow                                        `command` stages of imported workflows
//! output       cost missing invocation failure                                  costs; missing data; commands in hints; errors and exit codes
//! subcommands  every other file                                                 `ribflow NAME`; `cache` is a folder of its own
//! ```

mod admission;
mod allow;
mod amounts;
pub mod arguments;
mod bench;
mod bundle;
mod cache;
mod call;
mod command_permissions;
pub mod common;
mod completions;
mod cost;
mod data;
mod executor;
mod export;
pub mod failure;
mod foreign_options;
mod get;
mod graph;
mod import;
mod interrupts;
mod invocation;
mod join;
mod key;
mod kinds;
mod load;
pub mod locations;
mod lock;
mod logs;
mod machines;
mod missing;
mod models;
mod no_op_check;
mod older_versions;
mod own_files;
mod plan;
mod pull;
mod push;
mod recompute;
mod record_standing;
pub mod refusals;
mod remote;
mod revoke;
mod ro_crate;
mod run;
mod schema;
mod serve;
mod shared_run;
mod sharing;
mod shell;
mod shells;
mod slurm;
mod stats;
mod status;
mod stores;
mod target;
mod trace;
mod transfer;
mod trust;
mod unpinned_checkpoints;
mod validate;
mod verify;
mod why;
mod worker;
mod workflow_files;
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

/// Runs the command that the process's arguments select.
pub fn main() -> ExitCode {
    // Must come before any code that selects an instruction set.
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
        Err(error) => refuse(&foreign_options::with_tip(error), &words).into(),
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
    // Flush, so that earlier output comes before the error message.
    let result = output.flush().map_err(Failure::Output).and(result);
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.report(common.json);
            failure.exit().into()
        }
    }
}

/// Prints help and version, and reports arguments that clap rejects.
fn refuse(error: &clap::Error, words: &[OsString]) -> Exit {
    if !error.use_stderr() {
        // Ignore a closed pipe: `ribflow --help | head`.
        let _ = error.print();
        return Exit::Done;
    }
    if words.iter().any(|word| word == "--json") {
        clap_failure(&error.to_string()).report(true);
    } else {
        let _ = error.print();
    }
    Exit::Wrong
}

/// The parts of clap's message that matter to a script: the error and its tip.
fn clap_failure(text: &str) -> Failure {
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
