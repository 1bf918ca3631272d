//! `ribflow get FILE NODE[.OUTPUT] -o DIR`: writes a node's result as ordinary files.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{ArgAction, Args, ValueHint};
use petgraph::Direction;
use petgraph::graph::NodeIndex;
use serde_json::{Value, json};

use super::call::Call;
use super::failure::{Exit, Failure};
use super::invocation::{quoted, with_settings};
use super::load;
use super::locations::{self, Locations};
use super::sharing;
use super::stores;
use super::target::{TargetArguments, WorkflowArguments};
use crate::contract::source::SourceShape;
use crate::diag::{listed, nearest};
use crate::engine::event::RunState;
use crate::engine::journal::{self, LastRun, WorkflowIdentity};
use crate::engine::{self, Survey};
use crate::remote::exchange::Exchange;
use crate::stages;
use crate::store::export::{folder_name, is_one_file};
use crate::store::record::Port;
use crate::store::{BlobError, BlobSource, ExportError, StoredRecord, export};
use crate::workflow::Selected;
use crate::workflow::graph::Graph;
use crate::workflow::withheld::Withheld;

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow get grid.yaml 'tuned[method=ft,seed=0]' -o tuned/   tensors.safetensors and config.json
  ribflow get grid.yaml 'accuracy[seed=0]' -o accuracy/       one folder for each node
  ribflow get my-images.yaml drawn.drawings -o drawings/      the files of one output

Models and arrays become .safetensors files, metrics and tables become JSON and CSV, and datasets
become image folders.";

/// Export a node's result as ordinary files
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct GetArguments {
    #[command(flatten)]
    pub workflow: WorkflowArguments,

    /// Fetch missing files from this remote: a name from `ribflow remote list`, or a URL
    #[arg(long = "remote", value_name = "NAME", action = ArgAction::Append)]
    pub remotes: Vec<String>,

    /// The node, optionally with an output after a dot: 'drawn.drawings' [default: the first
    /// output]
    #[arg(value_name = "NODE[.OUTPUT]")]
    pub node: String,

    /// The folder to write to; created if it does not exist. If it exists, a single file goes into
    /// it
    #[arg(short, long = "output", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub output: PathBuf,
}

pub fn run(arguments: &GetArguments, call: &Call, output: &mut dyn Write) -> Result<Exit, Failure> {
    let common = call.common;
    let target = TargetArguments {
        workflow: arguments.workflow.clone(),
        targets: vec![arguments.node.clone()],
    };
    let registry = stages::registry();
    let graph = load::graph(&target, common, &registry)?;
    let selected = graph.resolve(&arguments.node)?;
    let locations = Locations::of(&arguments.workflow.file, common);
    let store = stores::open_read_only(&locations.store, common)?;
    let exchange = match arguments.remotes.as_slice() {
        [] => None,
        names => Some(Arc::new(sharing::exchange(names, &store)?)),
    };
    if let Some(exchange) = &exchange {
        store.set_blob_source(Arc::clone(exchange) as Arc<dyn BlobSource>);
    }
    let survey = engine::survey(&graph, &store, &common.device.to_string())?;
    let other = || {
        // Errors do not matter: this is only for a hint.
        let last = journal::latest(&store, &WorkflowIdentity::of(&graph, &store)).ok()??;
        (!last.header.is_like(&graph)).then_some(last)
    };
    let mut wanted = wanted(&graph, &survey, &selected, arguments, &other)?;
    let withheld = Withheld::of(&graph);
    for OutputTarget {
        node,
        name,
        port,
        target,
    } in &mut wanted
    {
        let written = store.artifact(port).map_err(ExportError::from);
        let written = written.and_then(|artifact| {
            // Same as `cp`.
            if is_one_file(&artifact) && target.is_dir() {
                *target = target.join(folder_name(name));
            }
            let folders = folders_of_sources(&graph, *node);
            export(&*store, &artifact, &folders, target)
        });
        if let (Err(_), Some(exchange)) = (&written, &exchange) {
            sharing::warn_of_refusals(exchange, &[], common);
        }
        if let Err(error) = written {
            let stays = withheld.is_withheld(*node, name);
            return Err(missing_result(
                error,
                stays,
                arguments,
                exchange.as_deref(),
                &graph.dag[*node].id,
            ));
        }
    }
    if common.json {
        let written: Vec<Value> = wanted.iter().map(|one| entry(&graph, one)).collect();
        writeln!(output, "{}", json!({ "written": written }))?;
    } else if !common.quiet {
        for OutputTarget {
            node, name, target, ..
        } in &wanted
        {
            let id = &graph.dag[*node].id;
            writeln!(output, "{id}.{name}: {}", locations::shown(target))?;
        }
        if let (None, Some(first)) = (&selected.name, wanted.first()) {
            write_others(&graph, first, output)?;
        }
    }
    Ok(Exit::Done)
}

/// Why a result could not be written and, if it was damaged or deleted, how to compute it again.
fn missing_result(
    error: ExportError,
    stays: bool,
    arguments: &GetArguments,
    exchange: Option<&Exchange>,
    id: &str,
) -> Failure {
    let absent = matches!(error, ExportError::Blob(BlobError::Missing(_)));
    if !absent && !matches!(error, ExportError::Blob(BlobError::Damaged(_))) {
        return error.into();
    }
    let (workflow, node) = (arguments.workflow.typed(), quoted(id));
    let again = format!("`ribflow run {workflow} {node} --force {node}` computes it");
    if stays {
        let reason = sharing::withheld_reason(1);
        let message = format!("{id}: {error}; {reason}, and stays in the lab that made it");
        return Failure::failed(message).hint(format!("where the data is, {again}"));
    }
    let failure = Failure::failed(format!("{id}: {error}"));
    match absent {
        // The content of a record that was pulled alone is at the remote.
        true => failure.hint(format!("{}; {again} again", whereabouts(exchange))),
        false => failure.hint(format!("{again} again")),
    }
}

/// Which remotes may have what the store lacks. `exchange` has been asked.
fn whereabouts(exchange: Option<&Exchange>) -> String {
    let peers = exchange.map_or(&[][..], Exchange::peers);
    let silent = peers.iter().filter(|peer| peer.remote.is_down());
    let silent: Vec<&str> = silent.map(|peer| peer.name.as_str()).collect();
    if !silent.is_empty() {
        return format!("{} did not answer: try again later", listed(silent));
    }
    let asked: Vec<&str> = peers.iter().map(|peer| peer.name.as_str()).collect();
    let configured = sharing::configured();
    let others = configured.iter().map(String::as_str);
    let others: Vec<&str> = others.filter(|name| !asked.contains(name)).collect();
    match (others.as_slice(), asked.as_slice()) {
        ([], []) => "`--remote NAME` fetches it from a remote that has it".to_string(),
        ([only], _) => format!("`--remote {only}` fetches it if `{only}` has it"),
        ([], _) if configured.is_empty() => format!("{} does not have it", listed(asked)),
        ([], _) => "no configured remote has it".to_string(),
        _ => format!(
            "`--remote NAME` fetches it from a remote that has it: {} were not asked",
            listed(others)
        ),
    }
}

fn entry(graph: &Graph, wanted: &OutputTarget) -> Value {
    json!({
        "id": graph.dag[wanted.node].id,
        "output": wanted.name,
        "path": wanted.target.to_string_lossy(),
    })
}

/// Notes that the nodes have more outputs than the first one, which is the default.
fn write_others(
    graph: &Graph,
    first: &OutputTarget,
    output: &mut dyn Write,
) -> Result<(), Failure> {
    let node = &graph.dag[first.node];
    let outputs = node.parameters.outputs();
    let others = outputs.iter().filter(|other| other.name != first.name);
    let others: Vec<String> = others
        .map(|other| format!("{}.{}", node.stage, other.name))
        .collect();
    if !others.is_empty() {
        writeln!(output, "Other outputs: {}.", others.join(", "))?;
    }
    Ok(())
}

/// One output and its target path.
struct OutputTarget<'a> {
    node: NodeIndex,
    name: &'a str,
    port: &'a Port,
    target: PathBuf,
}

/// The output of a single node goes to `folder` itself; with several nodes, each gets a subfolder
/// named by its id.
fn wanted<'a>(
    graph: &Graph,
    survey: &'a Survey,
    selected: &Selected,
    arguments: &GetArguments,
    other: &dyn Fn() -> Option<LastRun>,
) -> Result<Vec<OutputTarget<'a>>, Failure> {
    let folder = &arguments.output;
    let mut wanted = Vec::new();
    for &node in &selected.nodes {
        let id = &graph.dag[node].id;
        let stored = record(survey, node, id, &arguments.workflow, other)?;
        let (name, port) = match &selected.name {
            Some(name) => port(id, stored, name)?,
            None => first_port(graph, node, stored)?,
        };
        let target = match selected.nodes.len() {
            1 => folder.clone(),
            _ => folder.join(folder_name(id)),
        };
        wanted.push(OutputTarget {
            node,
            name,
            port,
            target,
        });
    }
    Ok(wanted)
}

fn record<'a>(
    survey: &'a Survey,
    node: NodeIndex,
    id: &str,
    workflow: &WorkflowArguments,
    other: &dyn Fn() -> Option<LastRun>,
) -> Result<&'a StoredRecord, Failure> {
    let surveyed = survey.get(node);
    surveyed
        .and_then(|surveyed| surveyed.record.as_deref())
        .ok_or_else(|| {
            let why = surveyed.map_or("", |surveyed| surveyed.why.as_str());
            let again = format!(
                "`ribflow run {} {}` computes it and what it needs",
                workflow.typed(),
                quoted(id)
            );
            let made = |run: &LastRun| {
                let node = run.nodes.get(id);
                node.is_some_and(|node| node.state == RunState::Done)
            };
            let hint = match other().filter(made) {
                // A result is found only with the values that it was computed with.
                Some(run) => format!(
                    "the last run, which has one, was {}: use the same options here; {again}",
                    with_settings(&run.header)
                ),
                None => again,
            };
            Failure::failed(format!("{id} has no result yet: {why}")).hint(hint)
        })
}

/// The output that a stage's bare name means, as in `needs:`.
fn first_port<'a>(
    graph: &Graph,
    node: NodeIndex,
    stored: &'a StoredRecord,
) -> Result<(&'a str, &'a Port), Failure> {
    let node = &graph.dag[node];
    let outputs = node.parameters.outputs();
    let first = outputs.first().map_or("", |output| output.name.as_str());
    port(&node.id, stored, first)
}

fn port<'a>(
    id: &str,
    stored: &'a StoredRecord,
    name: &str,
) -> Result<(&'a str, &'a Port), Failure> {
    let ports: &BTreeMap<String, Port> = &stored.record.ports;
    if let Some((name, port)) = ports.get_key_value(name) {
        return Ok((name, port));
    }
    let known: Vec<&str> = ports.keys().map(String::as_str).collect();
    let hint = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("its outputs are {}", known.join(", ")),
    };
    Err(Failure::usage("unknown-output", format!("{id} has no output `{name}`")).hint(hint))
}

/// The folders that may hold the input files of `node`: those of its own sources and of the sources
/// of all its ancestors.
fn folders_of_sources(graph: &Graph, node: NodeIndex) -> Vec<PathBuf> {
    let base = graph.file.parent().unwrap_or(Path::new("/"));
    let mut folders = Vec::new();
    let mut seen = BTreeSet::from([node]);
    let mut open = vec![node];
    while let Some(node) = open.pop() {
        for source in graph.dag[node].parameters.sources() {
            let place = base.join(&source.location);
            // A preset has several possible layouts below its root.
            if let SourceShape::ImageFolderAt { places, .. } = &source.shape {
                folders.extend(places.iter().map(|inside| place.join(inside)));
            }
            folders.extend(place.parent().map(Path::to_path_buf));
            folders.push(place);
        }
        let producers = graph.dag.neighbors_directed(node, Direction::Incoming);
        open.extend(producers.filter(|producer| seen.insert(*producer)));
    }
    folders
}
