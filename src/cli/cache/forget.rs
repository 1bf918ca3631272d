//! `ribflow cache forget`: removes records, so that their nodes run again.

use std::io::Write;
use std::path::PathBuf;

use clap::{ArgAction, Args, ValueHint};
use serde_json::{Value, json};

use super::labels::Labels;
use crate::cli::call::Call;
use crate::cli::common::Common;
use crate::cli::failure::{Exit, Failure};
use crate::cli::load;
use crate::cli::target::{TargetArguments, WorkflowArguments};
use crate::digest::Digest;
use crate::engine::{self, journal};
use crate::quantity::count;
use crate::stages;
use crate::store::Store;

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow cache forget grid.yaml 'tuned[seed=0]'         show what would be removed
  ribflow cache forget grid.yaml 'tuned[seed=0]' --yes
  ribflow cache forget 3f786850e387 --yes                a record, or all records of a key";

/// Remove records so that their nodes run again
///
/// The blobs that the records name stay until the next `gc`. Pinned records can't be removed.
#[derive(Clone, Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub struct ForgetArguments {
    /// A key or record digest, or its first digits; with NODE, a workflow file
    #[arg(value_name = "KEY|RECORD|FILE", value_hint = ValueHint::FilePath)]
    pub what: PathBuf,

    /// The nodes, without their dependencies: 'tuned[seed=0]'
    #[arg(value_name = "NODE")]
    pub nodes: Vec<String>,

    /// Override a parameter or axis of the workflow; repeatable
    #[arg(long = "set", value_name = "PATH=VALUE", action = ArgAction::Append)]
    pub sets: Vec<String>,

    /// Apply a profile of the workflow; repeatable
    #[arg(long = "profile", value_name = "NAME", action = ArgAction::Append)]
    pub profiles: Vec<String>,

    /// Remove the records; without this option, they are only listed
    #[arg(long, conflicts_with = "dry_run")]
    pub yes: bool,

    /// List the records without removing them
    #[arg(long)]
    pub dry_run: bool,
}

/// The minimum length of a digest prefix, so that a typo does not match.
const FEWEST_DIGITS: usize = 8;

pub fn run(
    arguments: &ForgetArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    let by_digits = arguments.nodes.is_empty();
    let workflow = (!by_digits).then_some(arguments.what.as_path());
    let store = super::existing(workflow, common)?;
    let records = match by_digits {
        true => by_digest(&store, &arguments.what.to_string_lossy())?,
        false => of_nodes(&store, arguments, common)?,
    };
    let pins = store.pins()?;
    for (key, _) in &records {
        let pinned = |node: &crate::store::pins::Pinned| node.key == *key;
        if let Some(pin) = pins.iter().find(|pin| pin.nodes.iter().any(pinned)) {
            let label = pin.label(&pins);
            let message = format!("the pin `{label}` keeps key {key}");
            let hint = format!("remove the pin with `ribflow cache unpin {label}`");
            return Err(Failure::usage("pinned", message).hint(hint));
        }
    }
    if arguments.yes {
        for (key, record) in &records {
            store.forget(key, record)?;
        }
    }
    let labels = Labels::of(&journal::seen(&store)?);
    if common.json {
        let records = records.iter().map(|(key, record)| {
            let nodes: Vec<&str> = labels.nodes(key).map(|(_, id)| id).collect();
            json!({ "key": key, "record": record, "nodes": nodes })
        });
        let records: Vec<Value> = records.collect();
        writeln!(
            output,
            "{}",
            json!({ "forgotten": arguments.yes, "records": records })
        )?;
    } else if !common.quiet {
        for (key, record) in &records {
            writeln!(output, "{}  {}", record.short(), labels.short(key))?;
        }
        let number = count(records.len(), "record");
        match arguments.yes {
            true => writeln!(output, "{number} forgotten.")?,
            false => writeln!(output, "{number} would be forgotten. Confirm with `--yes`.")?,
        }
    }
    Ok(match arguments.yes || arguments.dry_run {
        true => Exit::Done,
        false => Exit::Wrong,
    })
}

/// The records whose key or digest starts with `digits`.
fn by_digest(store: &Store, digits: &str) -> Result<Vec<(Digest, Digest)>, Failure> {
    let is_digit = |letter: char| letter.is_ascii_digit() || ('a'..='f').contains(&letter);
    if digits.len() < FEWEST_DIGITS || !digits.chars().all(is_digit) {
        let message = format!("`{digits}` is neither a key nor a record");
        let hint = "give at least 8 digits, as `ribflow cache ls` shows them, or FILE and NODE";
        return Err(Failure::usage("no-digest", message).hint(hint));
    }
    let mut keys = Vec::new();
    let mut records = Vec::new();
    for key in store.keys()? {
        let of_key = key.to_hex().starts_with(digits);
        let names = store.record_names(&key)?;
        let all = names.into_iter().map(|record| (key, record));
        match of_key {
            true => keys.push(all.collect::<Vec<_>>()),
            false => records.extend(all.filter(|(_, one)| one.to_hex().starts_with(digits))),
        }
    }
    match (keys.len(), records.len()) {
        (1, 0) => Ok(keys.remove(0)),
        (0, 1) => Ok(records),
        (0, 0) => {
            let message = format!("no key or record begins with {digits}");
            Err(Failure::usage("no-digest", message).hint("`ribflow cache ls` lists them"))
        }
        _ => {
            let message = format!("several keys or records begin with {digits}");
            Err(Failure::usage("no-digest", message).hint("use more digits"))
        }
    }
}

fn of_nodes(
    store: &Store,
    arguments: &ForgetArguments,
    common: &Common,
) -> Result<Vec<(Digest, Digest)>, Failure> {
    let target = TargetArguments {
        workflow: WorkflowArguments {
            file: arguments.what.clone(),
            sets: arguments.sets.clone(),
            profiles: arguments.profiles.clone(),
        },
        targets: arguments.nodes.clone(),
    };
    let graph = load::graph(&target, common, &stages::registry())?;
    let survey = engine::survey(&graph, store, &common.device.to_string())?;
    let mut records = Vec::new();
    for pattern in &arguments.nodes {
        for node in graph.select(pattern)? {
            if let Some(key) = survey.get(node).and_then(|surveyed| surveyed.key) {
                let names = store.record_names(&key)?;
                records.extend(names.into_iter().map(|record| (key, record)));
            }
        }
    }
    records.sort_unstable();
    records.dedup();
    Ok(records)
}
