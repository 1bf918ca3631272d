//! `ribflow logs FILE NODE`: shows what a node printed.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::time::Duration;

use clap::Args;

use super::call::Call;
use super::failure::{Exit, Failure};
use super::load;
use super::locations::Locations;
use super::stores;
use super::target::{TargetArguments, WorkflowArguments};
use crate::engine::journal::{self, NodeLog, WorkflowIdentity};
use crate::stages;
use crate::ui::text::printable;

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow logs grid.yaml 'tuned[method=mine,seed=0]'      what it printed when it last ran
  ribflow logs grid.yaml 'tuned[method=mine,seed=0]' -f   follow it while it runs
  ribflow logs grid.yaml prepare --tail 20                the last 20 lines

The folder of a command that failed stays until the next run of the workflow: the error message of
the run, and `ribflow status`, name it.";

/// The pause between two looks at a growing log.
const PAUSE: Duration = Duration::from_millis(200);

/// Show what a node printed
///
/// Shows the log of the last run in which the node was executed. A node that was reused has no new
/// log.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LogsArguments {
    #[command(flatten)]
    pub workflow: WorkflowArguments,

    /// The node: 'tuned[method=ft,seed=0]'
    #[arg(value_name = "NODE")]
    pub node: String,

    /// Wait for further lines until the node ends
    #[arg(short, long)]
    pub follow: bool,

    /// Show only the last lines
    #[arg(long, value_name = "LINES")]
    pub tail: Option<usize>,
}

pub fn run(
    arguments: &LogsArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    let target = TargetArguments {
        workflow: arguments.workflow.clone(),
        targets: vec![arguments.node.clone()],
    };
    let graph = load::graph(&target, common, &stages::registry())?;
    let id = &graph.dag[load::one_node(&graph, &arguments.node)?].id;
    let locations = Locations::of(&arguments.workflow.file, common);
    let store = stores::open_read_only(&locations.store, common)?;
    let whose = WorkflowIdentity::of(&graph, &store);
    let Some(log) = journal::log_of(&store, &whose, id) else {
        let message = format!("no run of `{}` has executed {id} here", graph.name);
        return Err(
            Failure::failed(message).hint("`ribflow why` shows where its result comes from")
        );
    };
    show(&log, arguments, output)?;
    Ok(Exit::Done)
}

fn show(log: &NodeLog, arguments: &LogsArguments, output: &mut dyn Write) -> Result<(), Failure> {
    let failed = |error| Failure::failed(format!("{}: {error}", log.path.display()));
    let mut reader = BufReader::new(File::open(&log.path).map_err(failed)?);
    let mut lines = Vec::new();
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).map_err(failed)? > 0 {
        match line.ends_with(b"\n") {
            true => lines.push(std::mem::take(&mut line)),
            // The rest of the line may follow.
            false => break,
        }
    }
    let skipped = arguments
        .tail
        .map_or(0, |most| lines.len().saturating_sub(most));
    for line in &lines[skipped..] {
        write_line(line, output)?;
    }
    output.flush()?;
    loop {
        // Before the last look at the file: it is complete once the node has ended.
        let is_growing = arguments.follow && log.is_growing();
        while reader.read_until(b'\n', &mut line).map_err(failed)? > 0 && line.ends_with(b"\n") {
            write_line(&line, output)?;
            line.clear();
        }
        output.flush()?;
        if !is_growing {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    if !line.is_empty() {
        write_line(&line, output)?;
    }
    Ok(())
}

/// Without the control characters of the program that printed it.
fn write_line(line: &[u8], output: &mut dyn Write) -> std::io::Result<()> {
    let text = String::from_utf8_lossy(line);
    writeln!(output, "{}", printable(text.trim_end_matches(['\n', '\r'])))
}
