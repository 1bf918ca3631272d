//! `ribflow stats [RUN]`: where the time of a run went, and what the store has saved.

use std::collections::BTreeMap;
use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use super::cache;
use super::call::Call;
use super::failure::{Exit, Failure};
use super::trace;
use crate::engine::journal::{Execution, ExecutionEnd, Timeline};
use crate::quantity::{bytes, count, duration, grouped};
use crate::store::Store;
use crate::ui::table::Table;
use crate::ui::text::printable;

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow stats                              the newest run of the store
  ribflow stats 20261130-101500-123-ab12cd   another one; `ls cache/runs` lists them
  ribflow stats --json | jq .stages

`ribflow trace` shows the same as a timeline; `ribflow cache stats` counts all runs of the store.";

/// The number of nodes that are listed as the slowest.
const SLOWEST: usize = 5;

/// Show where the time of a run went
///
/// For each stage: how many nodes ran, failed and were reused, how long they took, and how long the
/// reused ones took when they ran. Then the slowest nodes, and derived work (decoded pixels, features,
/// logits). A run that goes on can be shown, too.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct StatsArguments {
    /// The run, by its id [default: the newest run of the store]
    #[arg(value_name = "RUN")]
    pub run: Option<String>,
}

pub fn run(
    arguments: &StatsArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let store = cache::existing_read_only(None, call.common)?;
    let timeline = trace::timeline(&store, arguments.run.as_deref())?;
    let stages = stages(&timeline, &store)?;
    match call.common.json {
        true => writeln!(output, "{}", document(&timeline, &stages))?,
        false => write_text(&timeline, &stages, output)?,
    }
    Ok(Exit::Done)
}

/// The nodes of a stage.
#[derive(Clone, Debug, Default, PartialEq)]
struct StageStats {
    ran: usize,
    failed: usize,
    reused: usize,
    /// Of all executions.
    seconds: f64,
    longest: f64,
    /// What the reused nodes took when they ran.
    saved: f64,
}

impl StageStats {
    fn add(&mut self, execution: &Execution) {
        match execution.end {
            ExecutionEnd::Finished => self.ran += 1,
            ExecutionEnd::Failed => self.failed += 1,
            ExecutionEnd::Running | ExecutionEnd::Lost => {}
        }
        self.seconds += execution.seconds();
        self.longest = self.longest.max(execution.seconds());
    }
}

/// By stage. A node that several processes found or that ran again counts each time that it ran.
fn stages<'a>(
    timeline: &'a Timeline,
    store: &Store,
) -> Result<BTreeMap<&'a str, StageStats>, Failure> {
    let mut stages: BTreeMap<&str, StageStats> = BTreeMap::new();
    for execution in timeline.executions() {
        stages.entry(execution.stage()).or_default().add(execution);
    }
    let reused = timeline
        .processes
        .iter()
        .flat_map(|process| &process.reused);
    // Several processes find the same result.
    let reused: BTreeMap<&str, _> = reused.map(|reuse| (reuse.node.as_str(), reuse)).collect();
    for reuse in reused.into_values() {
        let stage = stages.entry(reuse.stage()).or_default();
        stage.reused += 1;
        if let Some(record) = store.chosen(&reuse.key)? {
            stage.saved += record.record.provenance.wall_seconds;
        }
    }
    Ok(stages)
}

/// The executions that took longest, the longest first.
fn slowest(timeline: &Timeline) -> Vec<&Execution> {
    let mut executions: Vec<&Execution> = timeline.executions().collect();
    executions.sort_by(|one, other| other.seconds().total_cmp(&one.seconds()));
    executions.truncate(SLOWEST);
    executions
}

/// The number of pieces of derived work, the seconds that they took, and their bytes.
fn derived(timeline: &Timeline) -> (usize, f64, u64) {
    let made = timeline
        .executions()
        .flat_map(|execution| &execution.derived);
    made.fold((0, 0.0, 0), |(pieces, seconds, bytes), one| {
        (
            pieces + 1,
            seconds + (one.ended - one.started).max(0.0),
            bytes + one.bytes,
        )
    })
}

fn document(timeline: &Timeline, stages: &BTreeMap<&str, StageStats>) -> Value {
    let stage = |(name, stage): (&&str, &StageStats)| {
        json!({
            "stage": name,
            "ran": stage.ran,
            "failed": stage.failed,
            "reused": stage.reused,
            "seconds": stage.seconds,
            "longest_seconds": stage.longest,
            "saved_seconds": stage.saved,
        })
    };
    let slow =
        |execution: &&Execution| json!({ "node": execution.node, "seconds": execution.seconds() });
    let (pieces, seconds, bytes) = derived(timeline);
    json!({
        "workflow": timeline.workflow,
        "run": timeline.run,
        "wall_seconds": timeline.seconds(),
        "stages": stages.iter().map(stage).collect::<Vec<Value>>(),
        "slowest": slowest(timeline).iter().map(slow).collect::<Vec<Value>>(),
        "derived": { "pieces": pieces, "seconds": seconds, "bytes": bytes },
    })
}

fn write_text(
    timeline: &Timeline,
    stages: &BTreeMap<&str, StageStats>,
    output: &mut dyn Write,
) -> std::io::Result<()> {
    writeln!(
        output,
        "run {} of {}: {} in {}",
        printable(&timeline.run),
        printable(&timeline.workflow),
        duration(timeline.seconds()),
        match timeline.processes.len() {
            1 => "1 process".to_string(),
            processes => format!("{processes} processes"),
        },
    )?;
    writeln!(output)?;
    let mut longest_first: Vec<(&&str, &StageStats)> = stages.iter().collect();
    longest_first.sort_by(|one, other| other.1.seconds.total_cmp(&one.1.seconds));
    let mut table = Table::new([
        "stage", "ran", "failed", "reused", "time", "mean", "longest", "saved",
    ]);
    for (name, stage) in longest_first {
        let number = |number: usize| {
            if number == 0 {
                String::new()
            } else {
                grouped(number)
            }
        };
        let time = |seconds: f64| {
            if seconds > 0.0 {
                duration(seconds)
            } else {
                String::new()
            }
        };
        let ended = stage.ran + stage.failed;
        table.row([
            printable(name).to_string(),
            number(stage.ran),
            number(stage.failed),
            number(stage.reused),
            time(stage.seconds),
            time(stage.seconds / ended.max(1) as f64),
            time(stage.longest),
            time(stage.saved),
        ]);
    }
    for line in table.lines() {
        writeln!(output, "{line}")?;
    }
    let slowest = slowest(timeline);
    if !slowest.is_empty() {
        writeln!(output, "\nslowest:")?;
    }
    for execution in slowest {
        let time = duration(execution.seconds());
        writeln!(output, "  {time}  {}", printable(&execution.node))?;
    }
    let (pieces, seconds, size) = derived(timeline);
    if pieces > 0 {
        let pieces = count(pieces, "piece");
        writeln!(
            output,
            "\nderived work: {pieces}, {}, {}",
            duration(seconds),
            bytes(size)
        )?;
    }
    let saved: f64 = stages.values().map(|stage| stage.saved).sum();
    if saved > 0.0 {
        writeln!(output, "\nthe store saved {}", duration(saved))?;
    }
    Ok(())
}
