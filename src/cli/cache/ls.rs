//! `ribflow cache ls`: lists the records.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::{ArgAction, Args, ValueHint};
use serde_json::{Value, json};

use super::labels::Labels;
use crate::cli::call::Call;
use crate::cli::failure::{Exit, Failure};
use crate::cli::load;
use crate::cli::target::{TargetArguments, WorkflowArguments};
use crate::digest::Digest;
use crate::engine::{self, journal};
use crate::quantity::{bytes, duration};
use crate::remote::signing::PublicKey;
use crate::stages;
use crate::store::Store;
use crate::store::inventory::Outcome;
use crate::ui::table::Table;

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow cache ls                every record
  ribflow cache ls grid.yaml      the records of a workflow
  ribflow cache ls --json | jq -r '.records[] | select(.here | not) | .key'";

/// List records
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LsArguments {
    /// List only the records of this workflow
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,

    /// Override a parameter or axis of the workflow; repeatable
    #[arg(long = "set", value_name = "PATH=VALUE", action = ArgAction::Append, requires = "file")]
    pub sets: Vec<String>,

    /// Apply a profile of the workflow; repeatable
    #[arg(long = "profile", value_name = "NAME", action = ArgAction::Append, requires = "file")]
    pub profiles: Vec<String>,

    /// Show full digests, signers, and every node of each record
    #[arg(long)]
    pub long: bool,
}

impl LsArguments {
    fn workflow(&self) -> Option<WorkflowArguments> {
        Some(WorkflowArguments {
            file: self.file.clone()?,
            sets: self.sets.clone(),
            profiles: self.profiles.clone(),
        })
    }
}

pub fn run(arguments: &LsArguments, call: &Call, output: &mut dyn Write) -> Result<Exit, Failure> {
    let common = call.common;
    let store = super::existing_read_only(arguments.file.as_deref(), common)?;
    let mut outcomes = store.inventory()?.outcomes;
    let labels = Labels::of(&journal::seen(&store)?);
    if let Some(workflow) = arguments.workflow() {
        let target = TargetArguments {
            workflow,
            targets: Vec::new(),
        };
        let graph = load::graph(&target, common, &stages::registry())?;
        let survey = engine::survey(&graph, &store, &common.device.to_string())?;
        let keys: BTreeSet<Digest> = survey.nodes.iter().filter_map(|node| node.key).collect();
        outcomes.retain(|outcome| keys.contains(&outcome.key));
    }
    outcomes.sort_by_key(|outcome| (outcome.record.recipe.kind.clone(), outcome.time));
    let keys: BTreeSet<Digest> = outcomes.iter().map(|outcome| outcome.key).collect();
    let mut chosen = BTreeMap::new();
    for key in keys {
        chosen.insert(key, store.chosen(&key)?.map(|record| record.digest));
    }
    let lines = outcomes.iter().map(|outcome| {
        let signers = store.signatures(&outcome.key, &outcome.digest)?;
        let signers = signers.iter().map(|one| PublicKey::from_name(&one.signer));
        Ok(Line {
            signers: signers.map(|signer| signer.to_string()).collect(),
            chosen: chosen.get(&outcome.key) == Some(&Some(outcome.digest)),
            bytes: size(outcome),
            outcome,
        })
    });
    let lines: Vec<Line> = lines.collect::<Result<_, Failure>>()?;
    if common.json {
        let records: Vec<Value> = lines
            .iter()
            .map(|line| line.document(&labels, &store))
            .collect();
        serde_json::to_writer(&mut *output, &json!({ "records": records }))?;
        writeln!(output)?;
        return Ok(Exit::Done);
    }
    match arguments.long {
        true => lines
            .iter()
            .try_for_each(|line| line.show(&labels, output))?,
        false => show(&lines, &labels, output)?,
    }
    Ok(Exit::Done)
}

struct Line<'a> {
    outcome: &'a Outcome,
    signers: Vec<String>,
    chosen: bool,
    bytes: u64,
}

/// The size of all outputs of a record.
fn size(outcome: &Outcome) -> u64 {
    let ports = outcome.record.ports.values();
    ports.map(|port| port.bytes).sum()
}

impl Line<'_> {
    fn age(&self) -> f64 {
        let age = SystemTime::now().duration_since(self.outcome.time);
        age.unwrap_or_default().as_secs_f64()
    }

    fn document(&self, labels: &Labels, store: &Store) -> Value {
        let outcome = self.outcome;
        let nodes = labels.nodes(&outcome.key);
        let nodes: Vec<Value> = nodes
            .map(|(workflow, id)| json!({ "workflow": workflow, "id": id }))
            .collect();
        json!({
            "key": outcome.key,
            "record": outcome.digest,
            "kind": outcome.record.recipe.kind,
            "nodes": nodes,
            "bytes": self.bytes,
            "age_s": self.age().round(),
            "started": outcome.record.provenance.started,
            "wall_s": outcome.record.provenance.wall_seconds,
            "device_class": outcome.record.provenance.device_class,
            "signers": self.signers,
            "chosen": self.chosen,
            "here": store.missing_of(outcome).is_ok_and(|missing| missing.is_empty()),
        })
    }

    fn show(&self, labels: &Labels, output: &mut dyn Write) -> Result<(), Failure> {
        let Outcome {
            key,
            digest,
            record,
            ..
        } = self.outcome;
        let unused = if self.chosen {
            ""
        } else {
            "  (another record is used)"
        };
        writeln!(output, "record {digest}{unused}")?;
        writeln!(output, "  key {key}")?;
        writeln!(
            output,
            "  {}, {}, {} old, took {} on {}",
            record.recipe.kind,
            bytes(self.bytes),
            duration(self.age()),
            duration(record.provenance.wall_seconds),
            record.provenance.device_class
        )?;
        for (workflow, id) in labels.nodes(key) {
            writeln!(output, "  {workflow}: {id}")?;
        }
        for signer in &self.signers {
            writeln!(output, "  signed by {signer}")?;
        }
        Ok(())
    }
}

fn show(lines: &[Line], labels: &Labels, output: &mut dyn Write) -> Result<(), Failure> {
    let mut table = Table::new(["record", "kind", "size", "age", "signed", "node"]);
    for line in lines {
        let outcome = line.outcome;
        let mark = if line.chosen { "" } else { "*" };
        table.row([
            format!("{}{mark}", outcome.digest.short()),
            outcome.record.recipe.kind.clone(),
            bytes(line.bytes),
            duration(line.age()),
            line.signers.len().to_string(),
            labels.short(&outcome.key),
        ]);
    }
    for line in table.lines() {
        writeln!(output, "{line}")?;
    }
    if lines.iter().any(|line| !line.chosen) {
        writeln!(output, "\n* another record of the same key is used")?;
    }
    Ok(())
}
