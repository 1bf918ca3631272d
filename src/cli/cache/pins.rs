//! `ribflow cache pin`, `unpin`, `pins`: results that `gc` keeps; and `release`: blobs that may be
//! shared again.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::json;

use crate::cli::call::Call;
use crate::cli::failure::{Exit, Failure};
use crate::cli::load;
use crate::cli::target::TargetArguments;
use crate::cli::workflow_files;
use crate::engine::{self, journal};
use crate::quantity::count;
use crate::report::utc;
use crate::stages;
use crate::store::pins::{Pin, PinResult, Pinned};
use crate::ui::text::printable;
use crate::workflow::withheld::Withheld;

/// Allow sharing of blobs that an earlier `share: false` withheld
///
/// Your own dataset may be shared if it sets `share: true`. Blobs that were marked before you set
/// it stay in this store until you release them. This command releases all blobs of the workflow
/// that it no longer withholds.
#[derive(Clone, Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct ReleaseArguments {
    #[command(flatten)]
    pub target: TargetArguments,
}

/// Remove a pin
#[derive(Clone, Debug, Args)]
pub struct UnpinArguments {
    /// The pin, as listed by `ribflow cache pins`: NAME, or NAME@DIGITS if several workflow files
    /// have a pin with that name
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow cache pin grid.yaml --name paper              all results of the workflow
  ribflow cache pin grid.yaml 'accuracy[*]' --name v2   these nodes and their dependencies
  ribflow cache unpin paper";

/// Protect results of a workflow from `gc`
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PinArguments {
    #[command(flatten)]
    pub target: TargetArguments,

    /// The name of the pin; replaces this workflow file's pin with the same name [default: the
    /// workflow's name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

pub fn pin(arguments: &PinArguments, call: &Call, output: &mut dyn Write) -> Result<Exit, Failure> {
    let common = call.common;
    let registry = stages::registry();
    let graph = load::graph(&arguments.target, common, &registry)?;
    let store = super::existing(Some(&arguments.target.workflow.file), common)?;
    let survey = engine::survey(&graph, &store, &common.device.to_string())?;
    let total = survey.nodes.len();
    let nodes: Vec<Pinned> = survey
        .nodes
        .iter()
        .filter_map(|surveyed| {
            let record = surveyed.record.as_ref()?;
            Some(Pinned {
                id: graph.dag[surveyed.node].id.clone(),
                key: record.record.key,
            })
        })
        .collect();
    if nodes.is_empty() {
        let message = "none of these nodes has a result, so there is nothing to pin";
        let workflow = arguments.target.workflow.typed();
        return Err(Failure::failed(message).hint(format!("run `ribflow run {workflow}` first")));
    }
    let name = arguments.name.as_ref().unwrap_or(&graph.name);
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let pinned = nodes.len();
    let at = since.unwrap_or_default().as_secs();
    let pin = Pin::new(name, &graph.name, at, nodes).of_file(journal::place(&graph.file, &store));
    workflow_files::note(&store, &graph.file);
    let PinResult {
        replaced,
        is_beside,
    } = store.pin(&pin)?;
    let label = match is_beside {
        true => pin.label(&store.pins()?),
        false => name.clone(),
    };
    if common.json {
        writeln!(
            output,
            "{}",
            json!({
                "name": name,
                "label": label,
                "nodes": pinned,
                "without_result": total - pinned,
                "replaced": replaced.map(|pin| json!({
                    "workflow": pin.workflow,
                    "nodes": pin.nodes.len(),
                    "at": pin.at,
                })),
            })
        )?;
    } else if !common.quiet {
        writeln!(output, "{label}: {} pinned.", count(pinned, "node"))?;
        if is_beside {
            let others = "Another workflow file also has a pin with this name";
            writeln!(output, "{others}; `ribflow cache pins` lists both.")?;
        }
        if let Some(pin) = replaced {
            let (nodes, date) = (count(pin.nodes.len(), "node"), utc(pin.at));
            writeln!(
                output,
                "This replaces a pin from {date}: {nodes} of {}. Use another `--name` to keep both.",
                pin.workflow
            )?;
        }
        if total > pinned {
            let others = count(total - pinned, "node");
            writeln!(
                output,
                "{others} without a result: pin again after they have run."
            )?;
        }
    }
    Ok(Exit::Done)
}

pub fn unpin(
    arguments: &UnpinArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    let store = super::existing(None, common)?;
    let name = &arguments.name;
    if !store.unpin(name)? {
        let message = format!("there is no pin `{name}`");
        let pins = store.pins()?;
        let known: Vec<String> = pins.iter().map(|pin| pin.label(&pins)).collect();
        let known = known.iter().map(String::as_str);
        let failure = Failure::usage("unknown-pin", message);
        return Err(match crate::diag::nearest(name, known) {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure.hint("`ribflow cache pins` lists them"),
        });
    }
    if common.json {
        writeln!(output, "{}", json!({ "name": name, "unpinned": true }))?;
    } else if !common.quiet {
        writeln!(output, "{name}: unpinned.")?;
    }
    Ok(Exit::Done)
}

/// List the pins
#[derive(Clone, Debug, Args)]
pub struct PinsArguments {}

pub fn list(_: &PinsArguments, call: &Call, output: &mut dyn Write) -> Result<Exit, Failure> {
    let common = call.common;
    let store = super::existing_read_only(None, common)?;
    let pins = store.pins()?;
    if common.json {
        serde_json::to_writer(&mut *output, &json!({ "pins": pins }))?;
        writeln!(output)?;
        return Ok(Exit::Done);
    }
    for pin in &pins {
        let nodes = count(pin.nodes.len(), "node");
        let (label, workflow) = (pin.label(&pins), printable(&pin.workflow));
        let file = pin.place.map(|place| super::workflow_label(&store, &place));
        let file = file.map_or_else(String::new, |file| format!(" ({file})"));
        writeln!(output, "{label}: {nodes} of {workflow}{file}")?;
    }
    if pins.is_empty() && !common.quiet {
        writeln!(output, "Nothing is pinned.")?;
    }
    Ok(Exit::Done)
}

/// Removes the markers from all blobs that the workflow no longer withholds.
pub fn release(
    arguments: &ReleaseArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    let registry = stages::registry();
    let graph = load::graph(&arguments.target, common, &registry)?;
    let store = super::existing(Some(&arguments.target.workflow.file), common)?;
    let survey = engine::survey(&graph, &store, &common.device.to_string())?;
    let withheld = Withheld::of(&graph);
    let mut released = 0;
    for surveyed in &survey.nodes {
        let ports = surveyed
            .record
            .iter()
            .flat_map(|record| &record.record.ports);
        for (name, port) in ports {
            let free = !withheld.is_withheld(surveyed.node, name);
            if free && store.is_withheld(&port.digest) {
                store.release_port(port)?;
                released += 1;
            }
        }
    }
    // Blobs that another node of the same workflow withholds stay marked.
    for surveyed in &survey.nodes {
        for name in withheld.ports(surveyed.node) {
            let record = surveyed.record.as_ref();
            if let Some(port) = record.and_then(|record| record.record.ports.get(name)) {
                store.withhold_again(port)?;
            }
        }
    }
    if common.json {
        writeln!(output, "{}", json!({ "released": released }))?;
    } else if !common.quiet {
        writeln!(output, "{} released.", count(released, "output"))?;
    }
    Ok(Exit::Done)
}
