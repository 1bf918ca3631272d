//! `ribflow plan FILE [NODE…]`: shows what a run would do.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use clap::{ArgAction, Args};
use petgraph::graph::NodeIndex;
use serde_json::{Value, json};

use super::call::Call;
use super::cost;
use super::failure::{Exit, Failure};
use super::load::{self, Ready};
use super::locations::Locations;
use super::missing;
use super::older_versions;
use super::older_versions::AcceptArguments;
use super::record_standing::{self, Standings};
use super::sharing;
use super::shells;
use super::stores;
use super::target::TargetArguments;
use crate::engine::event::PlanState;
use crate::engine::price::{self, devices, rates::Rates, short};
use crate::engine::{self, Accepting, RemoteRecords, SharedWork, Survey, SurveyedNode};
use crate::quantity::{bytes, count, grouped};
use crate::stages;
use crate::store::{Store, StoredRecord};
use crate::ui::{Detail, overview};
use crate::workflow::graph::Graph;

/// What `--help` begins with.
const ABOUT: &str = "\
Show what a run would do

Nothing is run. Nodes are counted by state:

  reused        the result is in the store
  remote        the result is at a remote (--remote)
  would run     the key is known and has no result
  unknown       an input must run first; if it gives the same bytes as before, the result
                may still be reused
  missing data  data or an environment variable is missing

Device hours are estimates by the rate of recorded nodes of the same kinds. Those in `--json`
with `recorded: 0` assume 40 % of the peak rate of a device.

Exits with 1, as a run would, if nothing can run because data is missing; otherwise with 0.";

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow plan grid.yaml                          a table by stage
  ribflow plan grid.yaml -v                       every node that would run, and why
  ribflow plan grid.yaml --set params.epochs=2    the cost of a change
  ribflow plan grid.yaml --json | jq -r '.nodes[] | select(.state == \"would_run\") | .id'";

/// Show what a run would do
#[derive(Clone, Debug, Args)]
#[command(long_about = ABOUT, after_help = EXAMPLES)]
pub struct PlanArguments {
    #[command(flatten)]
    pub target: TargetArguments,

    /// Also look for results at this remote: a name from `ribflow remote list`, or a URL;
    /// repeatable
    #[arg(long = "remote", value_name = "NAME", action = ArgAction::Append)]
    pub remotes: Vec<String>,

    #[command(flatten)]
    pub accept: AcceptArguments,
}

pub fn run(
    arguments: &PlanArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    let registry = stages::registry();
    let Ready {
        graph, warnings, ..
    } = load::ready(
        &arguments.target.workflow,
        &arguments.target.targets,
        &registry,
    )?;
    load::warn(warnings, common);
    let locations = Locations::of(&arguments.target.workflow.file, common);
    let store = stores::open_read_only(&locations.store, common)?;
    let device = common.device.to_string();
    let accepting = arguments.accept.checked(&registry, &graph)?;
    let gathered = match arguments.remotes.as_slice() {
        [] => RemoteRecords::default(),
        names => {
            let exchange = sharing::exchange(names, &store)?;
            let gathered = engine::gather(&graph, &store, &device, &exchange, &accepting)?;
            sharing::warn_of_gathered(&exchange, &gathered, common);
            gathered
        }
    };
    let survey = engine::survey_with(&graph, &store, &device, &gathered, &accepting)?;
    shells::check(&graph, &survey, &[])?;
    let derived = engine::shared_work(&graph, &store, &registry, &device, &survey)?;
    let price = price::price(&graph, &registry, &survey);
    let hours = devices::hours(&graph, &price, &Rates::of(&store), registry.kinds());
    let standings = record_standing::of(&graph, &store, records(&survey))?;
    // The exit code of a run.
    let exit = match is_stuck(&survey.nodes) {
        true => Exit::Failed,
        false => Exit::Done,
    };
    if common.json {
        let nodes = survey.nodes.iter();
        let nodes = nodes.map(|node| entry(&graph, node, &standings));
        let derived = derived.iter().map(derived_entry);
        let nodes: Vec<Value> = nodes.chain(derived).collect();
        let mut document = json!({ "nodes": nodes, "price": cost::document(&price, &hours) });
        // Present only if not empty, as in the entry of a node.
        if !price.short.is_empty() {
            let warnings = price.short.iter().map(ToString::to_string);
            document["warnings"] = warnings.collect();
        }
        serde_json::to_writer(&mut *output, &document)?;
        writeln!(output)?;
        return Ok(exit);
    }
    writeln!(
        output,
        "{}: {}\n",
        graph.name,
        count(graph.order.len(), "node")
    )?;
    write_table(&graph, &survey.nodes, output)?;
    for line in closing(&graph, &survey.nodes, &arguments.target.workflow.file) {
        writeln!(output, "{line}")?;
    }
    for line in older_lines(&graph, &survey.nodes) {
        writeln!(output, "{line}")?;
    }
    if let Some(line) = unsampled_line(arguments, &graph, &store, &survey, &accepting)? {
        writeln!(output, "{line}")?;
    }
    for line in derived_lines(&derived) {
        writeln!(output, "{line}")?;
    }
    for sentence in record_standing::sentences(&graph, &standings) {
        writeln!(output, "Revoked: {sentence}")?;
    }
    for line in cost::lines(&price, &hours) {
        writeln!(output, "{line}")?;
    }
    for stage in &price.short {
        let place = stage.diagnostic(&graph).place();
        writeln!(output, "Warning: {stage}.\n  {place}: {}.", short::HINT)?;
    }
    if common.detail() >= Detail::Verbose {
        writeln!(output)?;
        write_nodes(&graph, &survey.nodes, output)?;
    }
    Ok(exit)
}

/// The records in the store.
pub fn records(survey: &Survey) -> impl Iterator<Item = (NodeIndex, &StoredRecord)> {
    let nodes = survey.nodes.iter();
    let here = nodes.filter(|node| node.state == PlanState::Reused);
    here.filter_map(|node| Some((node.node, node.record.as_deref()?)))
}

fn entry(graph: &Graph, surveyed: &SurveyedNode, standings: &Standings) -> Value {
    let node = &graph.dag[surveyed.node];
    let mut entry = json!({
        "id": node.id,
        "stage": node.stage,
        "kind": node.kind.name(),
        "key": surveyed.key,
        "state": surveyed.state,
        "derived": false,
        "why": surveyed.why,
    });
    // Present only if not empty: scripts know the fields above.
    let record = surveyed.record.as_ref();
    let accepted = record.map(|stored| &stored.record.provenance.accepted);
    if let Some(accepted) = accepted.filter(|accepted| !accepted.is_empty()) {
        entry["accepted"] = json!(accepted);
    }
    let standing = standings.get(&surveyed.node);
    if let Some(standing) = standing.filter(|standing| !standing.revocations.is_empty()) {
        entry["taken_back"] = json!(standing.revocations);
    }
    entry
}

/// Notes on records of older versions: accepted, or how to accept them.
fn older_lines(graph: &Graph, nodes: &[SurveyedNode]) -> Vec<String> {
    let mut versions: BTreeMap<(&str, u32, bool), usize> = BTreeMap::new();
    for surveyed in nodes {
        let record = surveyed.record.as_ref();
        let accepted = record.and_then(|stored| stored.record.provenance.accepted.first());
        let accepted = accepted.filter(|_| surveyed.would_accept);
        let version = accepted.map(|one| one.version).or(surveyed.older);
        if let Some(version) = version {
            let kind = graph.dag[surveyed.node].kind.name();
            let taken = surveyed.would_accept;
            *versions.entry((kind, version, taken)).or_default() += 1;
        }
    }
    let line = |((kind, version, taken), nodes): ((&str, u32, bool), usize)| match taken {
        true => format!(
            "{} of version {version} of `{kind}` would be accepted.",
            count(nodes, "record")
        ),
        false => format!(
            "{} would not run with `--accept {kind}@{version}`: {} of version {version}.",
            count(nodes, "node"),
            if nodes == 1 {
                "it has a record"
            } else {
                "they have records"
            }
        ),
    };
    versions.into_iter().map(line).collect()
}

/// Notes that a run would refuse records that the plan accepts.
fn unsampled_line(
    arguments: &PlanArguments,
    graph: &Graph,
    store: &Store,
    survey: &Survey,
    accepting: &Accepting,
) -> Result<Option<String>, Failure> {
    let sampled = older_versions::sampled(store, graph, accepting)?;
    let accepted = survey.nodes.iter().filter(|node| node.would_accept);
    let mut origins = accepted.filter_map(|node| {
        let accepted = &node.record.as_ref()?.record.provenance.accepted;
        accepted.first().map(|one| one.record)
    });
    let lacks = origins.any(|record| !sampled.contains(&record));
    Ok(lacks.then(|| {
        let command = older_versions::sample_command(&arguments.target.workflow, &arguments.accept);
        format!("No recomputed sample covers them yet: {command}.")
    }))
}

fn derived_entry(surveyed: &SharedWork) -> Value {
    let work = &surveyed.work;
    json!({
        "id": format!("{}/{}", work.kind, work.key.short()),
        "stage": Value::Null,
        "kind": work.kind,
        "key": work.key,
        "state": match surveyed.there {
            true => PlanState::Reused,
            false => PlanState::WouldRun,
        },
        "derived": true,
        "why": format!("{}, for {}", work.what, count(surveyed.nodes, "node")),
        "bytes": work.bytes(),
    })
}

/// Work that nodes would share, one line for each kind of derived work.
fn derived_lines(all: &[SharedWork]) -> Vec<String> {
    let mut lines = Vec::new();
    for kind in ["pixels", "features", "logits"] {
        let missing = |one: &&SharedWork| one.work.kind == kind && !one.there;
        let missing: Vec<&SharedWork> = all.iter().filter(missing).collect();
        let total = missing.iter().map(|one| one.work.bytes()).sum();
        let nodes = missing.iter().map(|one| one.nodes).sum();
        if !missing.is_empty() {
            lines.push(format!(
                "Derived once, for {}: {kind} of {}, {}.",
                count(nodes, "use"),
                count(missing.len(), "dataset"),
                bytes(total)
            ));
        }
    }
    lines
}

const STATES: [PlanState; 5] = [
    PlanState::Reused,
    PlanState::Remote,
    PlanState::WouldRun,
    PlanState::Unknown,
    PlanState::MissingData,
];

/// The name of a state.
pub fn label(state: PlanState) -> &'static str {
    match state {
        PlanState::Reused => "reused",
        PlanState::Remote => "remote",
        PlanState::WouldRun => "would run",
        PlanState::Unknown => "unknown",
        PlanState::MissingData => "missing data",
    }
}

fn write_table(
    graph: &Graph,
    nodes: &[SurveyedNode],
    output: &mut dyn Write,
) -> Result<(), Failure> {
    let states: BTreeMap<NodeIndex, usize> = nodes
        .iter()
        .map(|node| {
            let place = STATES.iter().position(|state| *state == node.state);
            (node.node, place.unwrap_or_default())
        })
        .collect();
    let state_of = |node| states.get(&node).copied().unwrap_or_default();
    for line in overview::table(graph, &STATES.map(label), state_of).lines() {
        writeln!(output, "{line}")?;
    }
    writeln!(output)?;
    Ok(())
}

/// Whether there is work, but none of it can start.
fn is_stuck(nodes: &[SurveyedNode]) -> bool {
    let any = |state| nodes.iter().any(|node| node.state == state);
    any(PlanState::MissingData) && !any(PlanState::WouldRun)
}

/// Nodes whose data is missing and, separately, nodes that depend on one of them.
fn blocked<'s>(
    graph: &Graph,
    nodes: &'s [SurveyedNode],
) -> (Vec<&'s SurveyedNode>, BTreeSet<NodeIndex>) {
    let (mut missing, mut waiting) = (Vec::new(), BTreeSet::new());
    let mut stopped = BTreeSet::new();
    for one in nodes {
        let mut members = graph.dag[one.node].inputs.iter().flat_map(|it| &it.members);
        match one.state {
            PlanState::MissingData => missing.push(one),
            PlanState::Unknown if members.any(|member| stopped.contains(&member.node)) => {
                waiting.insert(one.node);
            }
            _ => continue,
        }
        stopped.insert(one.node);
    }
    (missing, waiting)
}

/// The summary below the table.
fn closing(graph: &Graph, nodes: &[SurveyedNode], file: &Path) -> Vec<String> {
    let in_state = |state| nodes.iter().filter(move |node| node.state == state);
    let ready: BTreeSet<_> = in_state(PlanState::WouldRun).map(|node| node.key).collect();
    let twins = in_state(PlanState::WouldRun).count() - ready.len();
    let (lacking, stopped) = blocked(graph, nodes);
    let waiting = in_state(PlanState::Unknown).count() - stopped.len();
    let mut lines = vec![match (ready.len(), waiting) {
        (0, 0) if lacking.is_empty() => "Nothing would run.".to_string(),
        (0, 0) => "Nothing could run.".to_string(),
        (at_least, 0) => format!("{} would run.", count(at_least, "node")),
        (at_least, waiting) => {
            let unknown = match waiting {
                1 => "1 is unknown until its inputs have run".to_string(),
                _ => format!(
                    "{} are unknown until their inputs have run",
                    grouped(waiting)
                ),
            };
            format!(
                "At least {} and at most {} would run: {unknown}.",
                grouped(at_least),
                count(at_least + waiting, "node"),
            )
        }
    }];
    if twins > 0 {
        lines.push(format!(
            "{} would do the same work as another node.",
            count(twins, "node")
        ));
    }
    if !lacking.is_empty() {
        let mut line = format!("{} can't run", count(lacking.len(), "node"));
        if !stopped.is_empty() {
            line.push_str(&format!(", nor {} for them", that_wait(stopped.len())));
        }
        lines.push(line + ":");
        lines.extend(missing::lines(graph, &lacking));
        lines.extend(missing::locked_hint(graph, &lacking, file));
    }
    let skipped = graph.skipped.iter().filter(|(_, points)| **points > 0);
    let skipped: Vec<String> = skipped
        .map(|(stage, points)| format!("{} of {stage}", grouped(*points)))
        .collect();
    if !skipped.is_empty() {
        lines.push(format!("Excluded by `skip`: {}.", skipped.join(", ")));
    }
    lines
}

/// `1 that waits`, `3 that wait`.
fn that_wait(nodes: usize) -> String {
    let ending = if nodes == 1 { "s" } else { "" };
    format!("{} that wait{ending}", grouped(nodes))
}

/// Every node that is not reused, with the reason.
fn write_nodes(
    graph: &Graph,
    nodes: &[SurveyedNode],
    output: &mut dyn Write,
) -> Result<(), Failure> {
    for node in nodes.iter().filter(|node| node.state != PlanState::Reused) {
        let (id, state) = (&graph.dag[node.node].id, label(node.state));
        writeln!(output, "{state:<13} {id}  {}", node.why)?;
    }
    Ok(())
}
