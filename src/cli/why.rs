//! `ribflow why FILE NODE`: shows why a node would run, or where its result comes from.

use std::collections::BTreeSet;
use std::io::Write;

use clap::Args;
use petgraph::graph::NodeIndex;
use serde_json::{Value, json};

use super::call::Call;
use super::failure::{Exit, Failure};
use super::load;
use super::locations::Locations;
use super::older_versions::AcceptArguments;
use super::plan;
use super::record_standing::{self, Signers, Standings};
use super::stores;
use super::target::{TargetArguments, WorkflowArguments};
use crate::contract::recipe::Recipe;
use crate::diag::listed;
use crate::engine::event::PlanState;
use crate::engine::{self, RemoteRecords, Survey, SurveyedNode};
use crate::quantity::{bytes, count, duration, grouped};
use crate::report::standing::{Agrees, Revocation, Standing};
use crate::report::utc;
use crate::stages;
use crate::store::{Accepted, Store, StoredRecord};
use crate::ui::Detail;
use crate::ui::paint::Paint;
use crate::ui::text::printable;
use crate::workflow::graph::Graph;

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow why grid.yaml 'tuned[method=ft,seed=0]'          what changed since its last result
  ribflow why grid.yaml summary -v                         also list the parts of its key
  ribflow why grid.yaml pretrained --set params.epochs=2   the effect of a change";

/// Show why a node would run, or where its result comes from
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct WhyArguments {
    #[command(flatten)]
    pub workflow: WorkflowArguments,

    /// The nodes: 'tuned[method=ft,seed=0]', or a stage for all of its nodes
    #[arg(value_name = "NODE")]
    pub node: String,

    #[command(flatten)]
    pub accept: AcceptArguments,
}

/// The maximum number of nodes to name as reasons.
const REASONS: usize = 10;

pub fn run(arguments: &WhyArguments, call: &Call, output: &mut dyn Write) -> Result<Exit, Failure> {
    let common = call.common;
    let target = TargetArguments {
        workflow: arguments.workflow.clone(),
        targets: vec![arguments.node.clone()],
    };
    let registry = stages::registry();
    let graph = load::graph(&target, common, &registry)?;
    let locations = Locations::of(&arguments.workflow.file, common);
    let store = stores::open_read_only(&locations.store, common)?;
    let accepting = arguments.accept.checked(&registry, &graph)?;
    let device = common.device.to_string();
    let survey = engine::survey_with(
        &graph,
        &store,
        &device,
        &RemoteRecords::default(),
        &accepting,
    )?;
    let asked = |node: &&SurveyedNode| graph.goals.contains(&node.node);
    let nodes: Vec<&SurveyedNode> = survey.nodes.iter().filter(asked).collect();
    let standings = record_standing::of(&graph, &store, plan::records(&survey))?;
    let signers = Signers::of_user();
    if common.json {
        let nodes = nodes.iter().map(|node| {
            let signed_by = signed_by(&signers, &store, node)?;
            Ok(entry(&graph, node, &standings, &signed_by))
        });
        let nodes: Vec<Value> = nodes.collect::<Result<_, Failure>>()?;
        serde_json::to_writer(&mut *output, &json!({ "nodes": nodes }))?;
        writeln!(output)?;
        return Ok(Exit::Done);
    }
    for (index, node) in nodes.iter().enumerate() {
        if index > 0 {
            writeln!(output)?;
        }
        let signed_by = signed_by(&signers, &store, node)?;
        write_node(
            &graph,
            node,
            (&standings, &signed_by),
            common.detail(),
            output,
        )?;
        if node.state == PlanState::Unknown {
            write_reasons(&graph, &survey, node.node, output)?;
        }
    }
    Ok(Exit::Done)
}

fn signed_by(
    signers: &Signers,
    store: &Store,
    surveyed: &SurveyedNode,
) -> Result<Vec<String>, Failure> {
    let record = surveyed.record.as_ref();
    record.map_or(Ok(Vec::new()), |stored| signers.of(store, stored))
}

fn entry(
    graph: &Graph,
    surveyed: &SurveyedNode,
    standings: &Standings,
    signers: &[String],
) -> Value {
    let record = surveyed.record.as_ref();
    let standing = standings.get(&surveyed.node).cloned().unwrap_or_default();
    json!({
        "id": graph.dag[surveyed.node].id,
        "state": surveyed.state,
        "key": surveyed.key,
        "why": surveyed.why,
        "recipe": surveyed.recipe,
        "record": record.map(|stored| stored.digest),
        "provenance": record.map(|stored| &stored.record.provenance),
        "signed_by": signers,
        "taken_back": standing.revocations,
        "others": standing.others,
    })
}

fn write_node(
    graph: &Graph,
    surveyed: &SurveyedNode,
    (standings, signed_by): (&Standings, &[String]),
    detail: Detail,
    output: &mut dyn Write,
) -> Result<(), Failure> {
    let paint = Paint::for_stdout();
    let node = &graph.dag[surveyed.node];
    writeln!(output, "{}", paint.bold(&node.id))?;
    writeln!(
        output,
        "  {}: {}",
        plan::label(surveyed.state),
        surveyed.why
    )?;
    if let Some(key) = &surveyed.key {
        writeln!(output, "  key {key}")?;
    }
    if let Some(stored) = &surveyed.record {
        write_record(stored, output)?;
        for signer in signed_by {
            writeln!(output, "    signed by {}", printable(signer))?;
        }
    }
    if let Some(standing) = standings.get(&surveyed.node) {
        write_standing(standing, output)?;
    }
    match &surveyed.recipe {
        Some(recipe) if detail >= Detail::Verbose => write_recipe(graph, surveyed, recipe, output),
        _ => Ok(()),
    }
}

/// For a node whose key is unknown: which of its ancestors must run, and why.
fn write_reasons(
    graph: &Graph,
    survey: &Survey,
    node: NodeIndex,
    output: &mut dyn Write,
) -> Result<(), Failure> {
    let reversed = petgraph::visit::Reversed(&graph.dag);
    let mut above = petgraph::visit::Dfs::new(reversed, node);
    let mut ancestors = BTreeSet::new();
    while let Some(ancestor) = above.next(reversed) {
        ancestors.insert(ancestor);
    }
    let first = |surveyed: &&SurveyedNode| {
        let decided = matches!(surveyed.state, PlanState::WouldRun | PlanState::MissingData);
        decided && ancestors.contains(&surveyed.node)
    };
    let reasons: Vec<&SurveyedNode> = survey.nodes.iter().filter(first).collect();
    for reason in reasons.iter().take(REASONS) {
        let id = &graph.dag[reason.node].id;
        writeln!(
            output,
            "    {id} {}: {}",
            plan::label(reason.state),
            reason.why
        )?;
    }
    if reasons.len() > REASONS {
        writeln!(output, "    and {} more", grouped(reasons.len() - REASONS))?;
    }
    Ok(())
}

fn write_record(stored: &StoredRecord, output: &mut dyn Write) -> Result<(), Failure> {
    let provenance = &stored.record.provenance;
    writeln!(output, "  record {}", stored.digest)?;
    writeln!(
        output,
        "    of {}, ran for {} on {} with {}",
        utc(provenance.started),
        duration(provenance.wall_seconds),
        provenance.device_class,
        count(provenance.threads, "thread"),
    )?;
    for Accepted {
        kind,
        version,
        record,
        ..
    } in &provenance.accepted
    {
        let (kind, record) = (printable(kind), record.short());
        writeln!(
            output,
            "    repeats record {record} of version {version} of `{kind}`, which was accepted"
        )?;
    }
    for (name, port) in &stored.record.ports {
        writeln!(
            output,
            "    {name}: {} {}",
            port.digest.short(),
            bytes(port.bytes)
        )?;
    }
    Ok(())
}

/// Revocations of the record, and other results with the same key.
fn write_standing(standing: &Standing, output: &mut dyn Write) -> Result<(), Failure> {
    for Revocation { by, reason } in &standing.revocations {
        let (by, reason) = (printable(by), printable(reason));
        writeln!(output, "    revoked by {by}: {reason}")?;
    }
    for other in &standing.others {
        let outcome = match other.outcome {
            Agrees::Equal => "bit-identical",
            Agrees::Within => "equal within the tolerance",
            Agrees::Different => "different",
        };
        let signers = match other.signers.as_slice() {
            [] => String::new(),
            names => format!(", signed by {}", listed(names.iter().map(String::as_str))),
        };
        writeln!(
            output,
            "    also record {}: {outcome}{signers}",
            other.record.short()
        )?;
    }
    Ok(())
}

/// The parts of the key. Parameters with their default value are not part of it.
fn write_recipe(
    graph: &Graph,
    surveyed: &SurveyedNode,
    recipe: &Recipe,
    output: &mut dyn Write,
) -> Result<(), Failure> {
    writeln!(output, "  made of")?;
    for (path, value) in recipe.explain() {
        let producer = producer(graph, surveyed, &path).map(|id| format!("  ({id})"));
        writeln!(
            output,
            "    {path}: {value}{}",
            producer.unwrap_or_default()
        )?;
    }
    Ok(())
}

/// The node behind the part `inputs.NAME[INDEX]` of a recipe.
fn producer<'a>(graph: &'a Graph, surveyed: &SurveyedNode, path: &str) -> Option<&'a str> {
    let (name, index) = path
        .strip_prefix("inputs.")?
        .strip_suffix(']')?
        .rsplit_once('[')?;
    let index: usize = index.parse().ok()?;
    let inputs = &graph.dag[surveyed.node].inputs;
    let input = inputs.iter().find(|input| input.name == name)?;
    let member = input.members.get(index)?;
    Some(&graph.dag[member.node].id)
}
