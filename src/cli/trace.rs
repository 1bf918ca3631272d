//! `ribflow trace [RUN]`: writes the timeline of a run in the Trace Event Format.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueHint};
use serde_json::{Value, json};

use super::cache;
use super::call::Call;
use super::failure::{Exit, Failure};
use super::locations;
use crate::engine::journal::{self, Execution, ExecutionEnd, ProcessTimeline, Timeline};
use crate::quantity::count;
use crate::report::machines;
use crate::store::Store;

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow trace -o trace.json                              the newest run of the store
  ribflow trace 20261130-101500-123-ab12cd -o trace.json   another one; `ls cache/runs` lists them
  ribflow trace --store /shared/cache | gzip > trace.json.gz

Open the file at https://ui.perfetto.dev or in chrome://tracing; neither uploads it. Each process
of the run is a group of tracks; a track shows one node after another.";

/// Write the timeline of a run, for Perfetto
///
/// Shows when each node ran, in which process and on which machine, the derived work that it made, and
/// what failed or was lost. A run that goes on can be shown, too.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TraceArguments {
    /// The run, by its id [default: the newest run of the store]
    #[arg(value_name = "RUN")]
    pub run: Option<String>,

    /// The file to write [default: standard output]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
}

pub fn run(
    arguments: &TraceArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    let store = cache::existing_read_only(None, common)?;
    let timeline = timeline(&store, arguments.run.as_deref())?;
    let document = serde_json::to_vec(&document(&timeline))?;
    let Some(path) = &arguments.output else {
        output.write_all(&document)?;
        writeln!(output)?;
        return Ok(Exit::Done);
    };
    fs::write(path, &document)
        .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
    if !common.quiet {
        let nodes = timeline.processes.iter().map(|one| one.executions.len());
        writeln!(
            output,
            "{}: {} of run {}",
            locations::shown(path),
            count(nodes.sum(), "execution"),
            timeline.run
        )?;
    }
    Ok(Exit::Done)
}

/// The timeline of a run, by default of the newest one of the store.
pub fn timeline(store: &Store, run: Option<&str>) -> Result<Timeline, Failure> {
    let found = journal::timeline(store, run).map_err(|error| Failure::from_error(&error))?;
    found.ok_or_else(|| {
        let message = match run {
            Some(run) => format!("the store has no run `{run}`"),
            None => "the store has no run".to_string(),
        };
        Failure::failed(message)
            .hint("`--store` names another store; the folders in its `runs/` are the ids of runs")
    })
}

/// The Trace Event Format, as an object: complete events (`X`), counters (`C`) and names (`M`), with
/// times in microseconds since the run began.
fn document(timeline: &Timeline) -> Value {
    let began = timeline.began();
    let mut events = Vec::new();
    for (number, process) in timeline.processes.iter().enumerate() {
        add_process(process, number + 1, began, &mut events);
    }
    json!({
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": { "workflow": timeline.workflow, "run": timeline.run, "began": began },
    })
}

fn add_process(process: &ProcessTimeline, number: usize, began: f64, events: &mut Vec<Value>) {
    let name = machines::shown(process.name.as_deref());
    let name = match &process.host {
        Some(host) => format!("{name} on {host}"),
        None => name.to_string(),
    };
    let labels = format!("{}, {}", count(process.cores, "core"), process.device);
    for (kind, key, value) in [
        ("process_name", "name", json!(name)),
        ("process_labels", "labels", json!(labels)),
        ("process_sort_index", "sort_index", json!(number)),
    ] {
        events.push(json!({ "ph": "M", "pid": number, "name": kind, "args": { key: value } }));
    }
    let mut executions: Vec<&Execution> = process.executions.iter().collect();
    executions.sort_by(|one, other| one.started.total_cmp(&other.started));
    let tracks = tracks(&executions);
    let used = tracks.iter().max().map_or(0, |last| last + 1);
    for track in 0..used {
        let name = format!("nodes {}", track + 1);
        let args = json!({ "name": name });
        events.push(json!({ "ph": "M", "pid": number, "tid": track + 1, "name": "thread_name", "args": args }));
    }
    for (execution, track) in executions.iter().zip(tracks) {
        add_execution(execution, (number, track + 1), began, events);
    }
    add_running(&executions, number, began, events);
    for (found, reuse) in process.reused.iter().enumerate() {
        let (at, args) = (micros(reuse.at, began), json!({ "nodes": found + 1 }));
        events.push(json!({ "ph": "C", "pid": number, "ts": at, "name": "reused", "args": args }));
    }
}

/// The track of each execution, which are in the order of their starts: the first one that is free, so
/// that executions of a track do not overlap.
fn tracks(executions: &[&Execution]) -> Vec<usize> {
    let mut ends: Vec<f64> = Vec::new();
    let mut place = |execution: &Execution| {
        let free = ends.iter().position(|end| *end <= execution.started);
        let track = free.unwrap_or(ends.len());
        match ends.get_mut(track) {
            Some(end) => *end = execution.ended,
            None => ends.push(execution.ended),
        }
        track
    };
    executions
        .iter()
        .map(|execution| place(execution))
        .collect()
}

fn add_execution(
    execution: &Execution,
    (process, track): (usize, usize),
    began: f64,
    events: &mut Vec<Value>,
) {
    let stage = execution.stage();
    let end = match execution.end {
        ExecutionEnd::Finished => "done",
        ExecutionEnd::Failed => "failed",
        ExecutionEnd::Running => "running",
        ExecutionEnd::Lost => "its process ended before it did",
    };
    let mut span = |name: &str, started: f64, ended: f64, args: Value| {
        let from = micros(started, began);
        let lasts = (micros(ended, began) - from).max(0);
        events.push(json!({
            "ph": "X", "pid": process, "tid": track, "ts": from, "dur": lasts,
            "name": name, "cat": stage, "args": args,
        }));
    };
    let args = json!({
        "end": end,
        "key": execution.key.to_hex(),
        "threads": execution.threads,
        "why": execution.why,
    });
    span(&execution.node, execution.started, execution.ended, args);
    for made in &execution.derived {
        let args = json!({ "bytes": made.bytes });
        span(&made.what, made.started, made.ended, args);
    }
}

/// How many nodes run at a time.
fn add_running(executions: &[&Execution], process: usize, began: f64, events: &mut Vec<Value>) {
    let starts = executions
        .iter()
        .map(|one| (micros(one.started, began), 1_i64));
    let ends = executions.iter().map(|one| (micros(one.ended, began), -1));
    let mut changes: Vec<(i64, i64)> = starts.chain(ends).collect();
    changes.sort_unstable();
    let mut running = 0;
    for (at, change) in changes {
        running += change;
        let args = json!({ "nodes": running });
        events
            .push(json!({ "ph": "C", "pid": process, "ts": at, "name": "running", "args": args }));
    }
}

fn micros(at: f64, began: f64) -> i64 {
    // Saturates; clocks of other machines may be behind.
    ((at - began) * 1e6).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn execution(started: f64, ended: f64) -> Execution {
        Execution {
            node: "a[i=1]".to_string(),
            key: Digest::of(b"a"),
            threads: 1,
            why: String::new(),
            started,
            ended,
            end: ExecutionEnd::Finished,
            wall_s: ended - started,
            derived: Vec::new(),
        }
    }

    #[test]
    fn executions_of_a_track_do_not_overlap() {
        let spans = [(0.0, 2.0), (1.0, 3.0), (2.0, 2.5), (2.6, 4.0), (2.7, 5.0)];
        let executions = spans.map(|(started, ended)| execution(started, ended));
        let executions: Vec<&Execution> = executions.iter().collect();
        assert_eq!(tracks(&executions), [0, 1, 0, 0, 2]);
    }
}
