//! `ribflow cache choose`: selects one of several records of a node.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::call::Call;
use crate::cli::common::Common;
use crate::cli::failure::{Exit, Failure};
use crate::cli::invocation::quoted;
use crate::cli::load;
use crate::cli::target::{TargetArguments, WorkflowArguments};
use crate::digest::Digest;
use crate::engine;
use crate::quantity::{count, duration};
use crate::remote::signing::PublicKey;
use crate::stages;
use crate::store::{Artifact, Store, StoredRecord};

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow cache choose grid.yaml 'accuracy[seed=0]'                compare the metrics
  ribflow cache choose grid.yaml 'accuracy[seed=0]' 3f786850e387   use this record";

/// Choose which of several records of a node is used
///
/// A key can have several records: from a run with `--force`, or from other labs. The store uses
/// the first one unless you choose another. Without RECORD, the records are compared: who signed
/// them, and where they differ.
#[derive(Clone, Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub struct ChooseArguments {
    #[command(flatten)]
    pub workflow: WorkflowArguments,

    /// The node: 'accuracy[method=ft,seed=0]'
    #[arg(value_name = "NODE")]
    pub node: String,

    /// The record to use, or the first digits of its digest
    #[arg(value_name = "RECORD")]
    pub record: Option<String>,
}

pub fn run(
    arguments: &ChooseArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    let target = TargetArguments {
        workflow: arguments.workflow.clone(),
        targets: vec![arguments.node.clone()],
    };
    let graph = load::graph(&target, common, &stages::registry())?;
    let store = super::existing(Some(&arguments.workflow.file), common)?.with_any_choice();
    let survey = engine::survey(&graph, &store, &common.device.to_string())?;
    let node = load::one_node(&graph, &arguments.node)?;
    let id = &graph.dag[node].id;
    let Some(key) = survey.get(node).and_then(|surveyed| surveyed.key) else {
        let message = format!("{id}: its key is unknown until its inputs have been computed");
        return Err(Failure::failed(message));
    };
    let outcomes = Outcomes::of(&store, key)?;
    match &arguments.record {
        None => outcomes.show(id, common, output)?,
        Some(digits) => {
            let record = outcomes.find(id, digits, &arguments.workflow)?;
            if outcomes.records.len() > 1 && store.is_revoked(&key, &record)? {
                let message = format!("record {} has been revoked", record.short());
                let hint = format!(
                    "`ribflow why {} {}` shows by whom and why; another record is used",
                    arguments.workflow.typed(),
                    quoted(id)
                );
                return Err(Failure::failed(message).hint(hint));
            }
            store.choose(&key, &record)?;
            if common.json {
                writeln!(output, "{}", json!({ "key": key, "chosen": record }))?;
            } else if !common.quiet {
                writeln!(output, "{id}: record {} is used now.", record.short())?;
            }
        }
    }
    Ok(Exit::Done)
}

/// All records of one key.
struct Outcomes {
    key: Digest,
    records: Vec<StoredRecord>,
    signers: BTreeMap<Digest, Vec<String>>,
    chosen: Option<Digest>,
}

impl Outcomes {
    fn of(store: &Store, key: Digest) -> Result<Self, Failure> {
        let records = store.records(&key)?;
        let mut signers = BTreeMap::new();
        for stored in &records {
            let signatures = store.signatures(&key, &stored.digest)?;
            let names = signatures
                .iter()
                .map(|one| PublicKey::from_name(&one.signer));
            signers.insert(stored.digest, names.map(|name| name.to_string()).collect());
        }
        Ok(Self {
            key,
            records,
            signers,
            chosen: match store.is_choice_lost(&key)? {
                true => None,
                false => store.chosen(&key)?.map(|stored| stored.digest),
            },
        })
    }

    fn find(
        &self,
        id: &str,
        digits: &str,
        workflow: &WorkflowArguments,
    ) -> Result<Digest, Failure> {
        let digests = self.records.iter().map(|stored| stored.digest);
        let found: Vec<Digest> = digests
            .filter(|digest| digest.to_hex().starts_with(digits))
            .collect();
        match found.as_slice() {
            [one] if !digits.is_empty() => Ok(*one),
            [] => Err(
                Failure::usage("no-record", format!("{id} has no record {digits}")).hint(format!(
                    "`ribflow cache choose {} {}` lists its records",
                    workflow.typed(),
                    quoted(id)
                )),
            ),
            _ => Err(Failure::usage(
                "no-record",
                format!("several records begin with `{digits}`"),
            )
            .hint("use more digits")),
        }
    }

    fn is_chosen(&self, stored: &StoredRecord) -> bool {
        self.chosen == Some(stored.digest)
    }

    fn show(&self, id: &str, common: &Common, output: &mut dyn Write) -> Result<(), Failure> {
        let different = self.different_ports();
        if common.json {
            let records = self.records.iter().map(|stored| self.document(stored));
            let document = json!({
                "id": id,
                "key": self.key,
                "different": different,
                "records": records.collect::<Vec<Value>>(),
            });
            serde_json::to_writer(&mut *output, &document)?;
            writeln!(output)?;
            return Ok(());
        }
        writeln!(output, "{id}: {}", count(self.records.len(), "record"))?;
        for stored in &self.records {
            let used = if self.is_chosen(stored) { "  used" } else { "" };
            writeln!(output, "\n{}{used}", stored.digest)?;
            let provenance = &stored.record.provenance;
            let took = duration(provenance.wall_seconds);
            writeln!(output, "  took {took} on {}", provenance.device_class)?;
            for signer in self.signers.get(&stored.digest).into_iter().flatten() {
                writeln!(output, "  signed by {signer}")?;
            }
            for (name, value) in self.metrics(stored) {
                let first = self.records.first().map(|first| self.metrics(first));
                let first = first.and_then(|first| first.get(&name).copied());
                match first.filter(|first| *first != value) {
                    Some(first) => {
                        writeln!(
                            output,
                            "  {name} {value} ({:+} to the first)",
                            value - first
                        )?;
                    }
                    None => writeln!(output, "  {name} {value}")?,
                }
            }
        }
        if self.records.len() > 1 {
            let names: Vec<&str> = different.iter().map(String::as_str).collect();
            match names.is_empty() {
                true => writeln!(output, "\nTheir outputs are identical.")?,
                false => writeln!(output, "\nTheir outputs differ: {}.", names.join(", "))?,
            }
        }
        Ok(())
    }

    fn document(&self, stored: &StoredRecord) -> Value {
        json!({
            "record": stored.digest,
            "used": self.is_chosen(stored),
            "signers": self.signers.get(&stored.digest),
            "metrics": self.metrics(stored),
            "started": stored.record.provenance.started,
            "wall_s": stored.record.provenance.wall_seconds,
            "device_class": stored.record.provenance.device_class,
        })
    }

    /// The outputs that are not identical in all records.
    fn different_ports(&self) -> BTreeSet<String> {
        let mut first: BTreeMap<&str, Digest> = BTreeMap::new();
        let mut different = BTreeSet::new();
        for stored in &self.records {
            for (name, port) in &stored.record.ports {
                if *first.entry(name).or_insert(port.digest) != port.digest {
                    different.insert(name.clone());
                }
            }
        }
        different
    }

    fn metrics(&self, stored: &StoredRecord) -> BTreeMap<String, f64> {
        let ports = stored.record.ports.iter();
        let metrics = ports.filter_map(|(name, port)| match &port.inline {
            Some(Artifact::Metrics(metrics)) => Some((name, metrics)),
            _ => None,
        });
        let values = metrics.flat_map(|(name, metrics)| {
            let values = metrics.values.iter();
            values.map(move |(metric, value)| (format!("{name}.{metric}"), value.value))
        });
        values.collect()
    }
}
