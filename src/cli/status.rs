//! `ribflow status FILE [NODE…]`: shows the progress of a workflow, also while it runs.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use petgraph::graph::NodeIndex;
use serde_json::{Value, json};

use super::call::Call;
use super::common::Common;
use super::failure::{Exit, Failure};
use super::invocation::with_settings;
use super::load;
use super::locations::Locations;
use super::machines;
use super::stores;
use super::target::TargetArguments;
use crate::digest::Digest;
use crate::engine::event::RunState;
use crate::engine::journal::{self, LastRun, Machines, Presence, Stay, WorkflowIdentity};
use crate::engine::{self, SurveyedNode};
use crate::quantity::{count, duration};
use crate::stages;
use crate::store::Store;
use crate::ui::overview;
use crate::ui::paint::Paint;
use crate::ui::text::printable;
use crate::workflow::graph::Graph;

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow status grid.yaml                 a table by stage; running and failed nodes
  ribflow status grid.yaml 'tuned[seed=0]' these nodes and their dependencies
  ribflow status grid.yaml --watch         again every few seconds, until the run ends
  ribflow status grid.yaml --json | jq -r '.nodes[] | select(.state == \"failed\") | .why'

It also works during a run.";

/// Show the progress of a workflow
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct StatusArguments {
    #[command(flatten)]
    pub target: TargetArguments,

    /// Show it again every few seconds, until the run ends
    #[arg(long)]
    pub watch: bool,
}

/// The interval of `--watch`.
const WATCH: Duration = Duration::from_secs(2);
/// Moves to the top of a terminal and clears it.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub fn run(
    arguments: &StatusArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    let registry = stages::registry();
    let graph = load::graph(&arguments.target, common, &registry)?;
    let locations = Locations::of(&arguments.target.workflow.file, common);
    let store = stores::open_read_only(&locations.store, common)?;
    loop {
        if arguments.watch && !common.json && std::io::stdout().is_terminal() {
            write!(output, "{CLEAR}")?;
        }
        let is_active = show(&graph, &store, common, output)?;
        output.flush()?;
        if !arguments.watch || !is_active {
            return Ok(Exit::Done);
        }
        std::thread::sleep(WATCH);
    }
}

/// Shows the status once; returns whether the last run is active.
fn show(
    graph: &Graph,
    store: &Store,
    common: &Common,
    output: &mut dyn Write,
) -> Result<bool, Failure> {
    let survey = engine::survey(graph, store, &common.device.to_string())?;
    let whose = WorkflowIdentity::of(graph, store);
    let last = journal::latest_like(store, &whose, graph)?;
    let other = journal::latest(store, &whose)?.filter(|run| !run.header.is_like(graph));
    let standings: Vec<NodeStatus> = survey
        .nodes
        .into_iter()
        .map(|surveyed| node_status(graph, surveyed, last.as_ref()))
        .collect();
    let machines = match &last {
        Some(run) => journal::machines(store, &run.id)?,
        None => None,
    };
    let machines = machines.as_ref();
    if common.json {
        let nodes = standings.iter().map(|one| entry(graph, one, machines));
        let mut document = json!({ "nodes": nodes.collect::<Vec<Value>>() });
        if let Some(machines) = machines {
            let workers = machines.workers.iter().map(machines::entry);
            document["workers"] = workers.collect();
        }
        if let Some(news) = last.as_ref().and_then(|run| news(run, machines)) {
            document["news"] = json!(news);
        }
        serde_json::to_writer(&mut *output, &document)?;
        writeln!(output)?;
    } else {
        write_status(graph, &standings, machines, output)?;
        for line in runs(last.as_ref(), other.as_ref()) {
            writeln!(output, "{line}")?;
        }
        if let Some(news) = last.as_ref().and_then(|run| news(run, machines)) {
            writeln!(output, "{}", printable(news))?;
        }
    }
    Ok(last.is_some_and(|run| run.running))
}

/// The status of one node.
struct NodeStatus {
    node: NodeIndex,
    key: Option<Digest>,
    state: RunState,
    why: String,
    /// The worker that runs it.
    worker: Option<String>,
}

/// A record in the store takes precedence over `last`, the last run with the same profiles and
/// overrides.
fn node_status(graph: &Graph, surveyed: SurveyedNode, last: Option<&LastRun>) -> NodeStatus {
    let SurveyedNode { node, key, why, .. } = surveyed;
    let id = &graph.dag[node].id;
    let reported = last.and_then(|run| run.nodes.get(id));
    let (state, why) = match reported {
        _ if surveyed.record.is_some() => (RunState::Done, why),
        // Its record has been removed since, or belongs to another key.
        Some(run) if run.state == RunState::Done => (RunState::Waiting, why),
        Some(run) => (run.state, run.why.clone()),
        None => (RunState::Waiting, why),
    };
    let worker = reported.and_then(|run| run.worker.clone());
    NodeStatus {
        node,
        key,
        state,
        why,
        worker,
    }
}

fn entry(graph: &Graph, standing: &NodeStatus, machines: Option<&Machines>) -> Value {
    let node = &graph.dag[standing.node];
    let mut entry = json!({
        "id": node.id,
        "stage": node.stage,
        "kind": node.kind.name(),
        "key": standing.key,
        "state": standing.state,
        "derived": false,
        "why": standing.why,
    });
    if let Some(worker) = &standing.worker {
        entry["worker"] = json!(worker);
    }
    if let Some(stay) = machines.and_then(|machines| machines.stay(graph, standing.node)) {
        entry["host"] = json!(stay.host);
        entry["waited_seconds"] = json!(machines::rounded(stay.waited_s));
        entry["seconds"] = json!(stay.seconds.map(machines::rounded));
    }
    entry
}

const STATES: [RunState; 5] = [
    RunState::Done,
    RunState::Running,
    RunState::Waiting,
    RunState::Failed,
    RunState::Skipped,
];

fn label(state: RunState) -> &'static str {
    match state {
        RunState::Done => "done",
        RunState::Running => "running",
        RunState::Waiting => "waiting",
        RunState::Failed => "failed",
        RunState::Skipped => "skipped",
    }
}

fn write_status(
    graph: &Graph,
    standings: &[NodeStatus],
    machines: Option<&Machines>,
    output: &mut dyn Write,
) -> Result<(), Failure> {
    writeln!(
        output,
        "{}: {}\n",
        graph.name,
        count(graph.order.len(), "node")
    )?;
    let states: BTreeMap<NodeIndex, usize> = standings
        .iter()
        .map(|standing| {
            let place = STATES.iter().position(|state| *state == standing.state);
            (standing.node, place.unwrap_or_default())
        })
        .collect();
    let state_of = |node| states.get(&node).copied().unwrap_or_default();
    for line in overview::table(graph, &STATES.map(label), state_of).lines() {
        writeln!(output, "{line}")?;
    }
    writeln!(output)?;
    let paint = Paint::for_stdout();
    for standing in standings {
        let id = &graph.dag[standing.node].id;
        match standing.state {
            RunState::Running => {
                let stay = machines.and_then(|machines| machines.stay(graph, standing.node));
                writeln!(output, "running  {id}{}", place(standing, stay.as_ref()))?;
            }
            RunState::Failed => {
                writeln!(output, "{}   {id}", paint.red("failed"))?;
                for line in printable(&standing.why).lines() {
                    writeln!(output, "    {line}")?;
                }
            }
            RunState::Done | RunState::Waiting | RunState::Skipped => {}
        }
    }
    if let Some(machines) = machines {
        let is_listed =
            |one: &NodeStatus| matches!(one.state, RunState::Running | RunState::Failed);
        if standings.iter().any(is_listed) {
            writeln!(output)?;
        }
        for line in machines::table(&machines.workers).lines() {
            writeln!(output, "{line}")?;
        }
        writeln!(output)?;
    }
    Ok(())
}

/// Why an active run may not go on: the last news of its workers, if none is there.
fn news<'a>(run: &'a LastRun, machines: Option<&Machines>) -> Option<&'a str> {
    let mut workers = machines.into_iter().flat_map(|machines| &machines.workers);
    let is_served = workers.any(|worker| worker.presence == Presence::Here);
    run.news.as_deref().filter(|_| run.running && !is_served)
}

/// `  on w2 at node7, waited 3.2 s`: the worker of a running node.
fn place(standing: &NodeStatus, stay: Option<&Stay>) -> String {
    let Some(worker) = &standing.worker else {
        return String::new();
    };
    let worker = printable(worker);
    match stay {
        Some(stay) => {
            let host = stay.host.as_deref().map(printable);
            let host = host.map_or_else(String::new, |host| format!(" at {host}"));
            format!("  on {worker}{host}, waited {}", duration(stay.waited_s))
        }
        None => format!("  on {worker}"),
    }
}

/// Lines about the last run, and about a run with other profiles or overrides if that is the only
/// one or is active.
fn runs(last: Option<&LastRun>, other: Option<&LastRun>) -> Vec<String> {
    let with = |run: &LastRun| with_settings(&run.header);
    match (last, other) {
        (None, None) => vec!["The workflow has not been run with this store.".to_string()],
        (None, Some(other)) => vec![
            "The workflow has not been run with these profiles and overrides.".to_string(),
            format!(
                "{}: it ran {}.",
                last_run(other).trim_end_matches('.'),
                with(other)
            ),
        ],
        (Some(last), Some(other)) if other.running => vec![
            last_run(last),
            format!("Run {} is active {}.", other.id, with(other)),
        ],
        (Some(last), _) => vec![last_run(last)],
    }
}

fn last_run(run: &LastRun) -> String {
    match &run.summary {
        _ if run.running => format!("Run {} is active.", run.id),
        None => format!(
            "Run {} was killed; run the same command to resume it.",
            run.id
        ),
        Some(summary) => {
            let ended = match summary.interrupted {
                true => "was interrupted",
                false => "ended",
            };
            format!("Run {} {ended} after {}.", run.id, duration(summary.wall_s))
        }
    }
}
