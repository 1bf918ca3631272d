//! `ribflow push` and `ribflow pull`: results to other stores and from them.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;

use clap::Args;
use petgraph::graph::NodeIndex;
use serde_json::json;

use super::arguments::{Common, TargetArguments};
use super::failure::{Exit, Failure};
use super::places::{self, Places};
use super::{examples, load, sharing};
use crate::engine::{self, Gathered};
use crate::remote::Exchange;
use crate::remote::exchange::{PushError, Pushed, Pushing};
use crate::stages;
use crate::store::{Elsewhere, Port, Store, StoredRecord, Wanted};
use crate::ui::words::{are, bytes, count};
use crate::workflow::graph::Graph;

#[derive(Clone, Debug, Args)]
#[command(after_help = examples::PUSH)]
pub struct PushArguments {
    #[command(flatten)]
    pub target: TargetArguments,

    /// The remote, as `ribflow remote add` named it, or its URL
    #[arg(long, value_name = "NAME")]
    pub remote: String,

    /// Records and signatures only: enough for results, report and verdicts
    #[arg(long)]
    pub records_only: bool,

    /// Say what would move, and move nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = examples::PULL)]
pub struct PullArguments {
    #[command(flatten)]
    pub target: TargetArguments,

    /// The remote, as `ribflow remote add` named it, or its URL
    #[arg(long, value_name = "NAME")]
    pub remote: String,

    /// Records only; files are fetched when something reads them
    #[arg(long)]
    pub records_only: bool,

    /// Say what would move, and move nothing
    #[arg(long)]
    pub dry_run: bool,
}

pub fn push(
    arguments: &PushArguments,
    common: &Common,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let registry = stages::registry();
    let graph = load::graph(&arguments.target, common, &registry)?;
    let places = Places::of(&arguments.target.workflow.file, common);
    let store = places::look_at_store(&places.store, common)?;
    let exchange = sharing::exchange(std::slice::from_ref(&arguments.remote))?;
    let survey = engine::survey(&graph, &store, &common.device.to_string())?;
    let records = distinct(survey.into_records().into_values());
    let pushing = Pushing {
        records_only: arguments.records_only,
        dry_run: arguments.dry_run,
    };
    let mut pushed = Pushed::default();
    for neighbour in exchange.neighbours() {
        let one = exchange.push(neighbour, &store, &records, pushing);
        pushed.add(&one.map_err(refused)?);
    }
    if !arguments.dry_run {
        sharing::pass_on(&exchange);
    }
    sharing::tell(&exchange, &[], common);
    let nodes = graph.dag.node_count();
    match common.json {
        true => writeln!(output, "{}", pushed_json(&pushed, arguments.dry_run))?,
        false if common.quiet => {}
        false => {
            for line in pushed_lines(&pushed, arguments, nodes, records.len()) {
                writeln!(output, "{line}")?;
            }
        }
    }
    Ok(Exit::Done)
}

pub fn refused(error: PushError) -> Failure {
    let failure = Failure::from_error(&error);
    match error {
        PushError::NoKey => failure.hint("`ribflow key generate` makes one"),
        PushError::Remote(_) => failure.hint("the same command goes on where it stopped"),
        _ => failure,
    }
}

/// One record of each key.
pub fn distinct(records: impl Iterator<Item = StoredRecord>) -> Vec<StoredRecord> {
    let mut seen = BTreeSet::new();
    records
        .filter(|stored| seen.insert(stored.digest))
        .collect()
}

fn pushed_json(pushed: &Pushed, dry_run: bool) -> serde_json::Value {
    json!({
        "records": pushed.records,
        "there": pushed.there,
        "blobs": pushed.blobs,
        "bytes": pushed.bytes,
        "sent": pushed.sent,
        "spared": pushed.spared,
        "withheld": pushed.withheld,
        "absent": pushed.absent,
        "dry_run": dry_run,
    })
}

fn pushed_lines(
    pushed: &Pushed,
    arguments: &PushArguments,
    nodes: usize,
    records: usize,
) -> Vec<String> {
    let verb = match arguments.dry_run {
        true => "would go",
        false => "went",
    };
    let mut lines = vec![format!(
        "{} and {} {verb} to `{}`: {}",
        count(pushed.records, "record"),
        count(pushed.blobs, "blob"),
        arguments.remote,
        bytes(pushed.sent),
    )];
    if pushed.there > 0 {
        lines.push(format!("{} there already", count(pushed.there, "record")));
    }
    if pushed.spared > 0 {
        lines.push(format!(
            "{} of blobs were there already",
            bytes(pushed.spared)
        ));
    }
    if pushed.withheld > 0 {
        lines.push(format!(
            "{} stayed here: a dataset's licence keeps them (`share:`)",
            count(pushed.withheld, "blob")
        ));
    }
    if pushed.absent > 0 {
        lines.push(format!(
            "{} not in this store: never fetched, or lost",
            are(pushed.absent, "blob")
        ));
    }
    if records < nodes {
        lines.push(format!(
            "{} of {} have a result here",
            records,
            count(nodes, "node")
        ));
    }
    lines
}

pub fn pull(
    arguments: &PullArguments,
    common: &Common,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let registry = stages::registry();
    let graph = load::graph(&arguments.target, common, &registry)?;
    let places = Places::of(&arguments.target.workflow.file, common);
    let exchange = Arc::new(sharing::exchange(std::slice::from_ref(&arguments.remote))?);
    let device = common.device.to_string();
    let lacks = sharing::lacks_folder(&exchange);
    let looked;
    let opened;
    let store: &Store = match arguments.dry_run {
        true => {
            looked = places::look_at_store(&places.store, common)?;
            &looked
        }
        false => {
            opened = places::open_store(&places.store)?;
            &opened
        }
    };
    let gathered = engine::gather(&graph, store, &device, &exchange)?;
    let survey = engine::survey_with(&graph, store, &device, &gathered)?;
    let wanted = match arguments.records_only {
        true => Vec::new(),
        false => wanted(&graph, &arguments.target.targets, survey),
    };
    let mut missing: Vec<Wanted> = wanted
        .into_iter()
        .filter(|wanted| !store.has(&wanted.digest))
        .collect();
    if !arguments.dry_run {
        gathered
            .adopt(store)
            .map_err(|error| Failure::from_error(&error))?;
        store.look_elsewhere(Arc::clone(&exchange) as Arc<dyn Elsewhere>);
        missing = fetch(store, &missing);
    }
    let pulled = Pulled::of(&gathered, store, &missing, &exchange, arguments.dry_run);
    sharing::tell(&exchange, &gathered.refused, common);
    match common.json {
        true => writeln!(output, "{}", pulled.json(arguments.dry_run))?,
        false if common.quiet => {}
        false => writeln!(output, "{}", pulled.line(arguments))?,
    }
    // What was asked for and can't be had must not look like success.
    let down = exchange.neighbours().iter().any(|one| one.remote.is_down());
    let refused = pulled.records == 0 && !gathered.refused.is_empty();
    Ok(match down || lacks || refused {
        true => Exit::Failed,
        false => Exit::Done,
    })
}

/// Fetches blobs, and then those that the artifacts among them name; all that were asked for.
pub fn fetch(store: &Store, missing: &[Wanted]) -> Vec<Wanted> {
    store.obtain(missing);
    let mut named = Vec::new();
    for wanted in missing.iter().filter(|wanted| wanted.bytes.is_none()) {
        // What can't be had is counted by the caller.
        if let Ok(artifact) = store.read_artifact(&wanted.digest) {
            named.extend(artifact.wanted());
        }
    }
    named.retain(|wanted| !store.has(&wanted.digest));
    named.sort_unstable();
    named.dedup();
    store.obtain(&named);
    named.extend(missing);
    named
}

/// The blobs of the nodes that were asked for; of all where none was named.
fn wanted(graph: &Graph, targets: &[String], survey: engine::Survey) -> Vec<Wanted> {
    let goals: BTreeSet<NodeIndex> = graph.goals.iter().copied().collect();
    let mut wanted = BTreeSet::new();
    for (node, stored) in survey.into_records() {
        if !targets.is_empty() && !goals.contains(&node) {
            continue;
        }
        wanted.extend(stored.record.ports.values().flat_map(wanted_of));
    }
    wanted.into_iter().collect()
}

/// The blobs of a port, as far as its record tells.
pub fn wanted_of(port: &Port) -> Vec<Wanted> {
    match &port.inline {
        Some(artifact) => artifact.wanted().collect(),
        None => vec![Wanted {
            digest: port.digest,
            bytes: None,
        }],
    }
}

/// What came.
struct Pulled {
    records: usize,
    blobs: usize,
    missing: usize,
    bytes: u64,
}

impl Pulled {
    fn of(
        gathered: &Gathered,
        store: &Store,
        asked: &[Wanted],
        exchange: &Exchange,
        dry_run: bool,
    ) -> Self {
        let come = asked
            .iter()
            .filter(|wanted| store.has(&wanted.digest))
            .count();
        let blobs = match dry_run {
            true => asked.len(),
            false => come,
        };
        let told: u64 = asked.iter().filter_map(|wanted| wanted.bytes).sum();
        Self {
            records: gathered.taken.len(),
            blobs,
            missing: asked.len() - blobs,
            bytes: match dry_run {
                true => told,
                false => exchange.received(),
            },
        }
    }

    fn json(&self, dry_run: bool) -> serde_json::Value {
        json!({
            "records": self.records,
            "blobs": self.blobs,
            "missing": self.missing,
            "bytes": self.bytes,
            "dry_run": dry_run,
        })
    }

    fn line(&self, arguments: &PullArguments) -> String {
        let verb = match arguments.dry_run {
            true => "would come",
            false => "came",
        };
        let mut line = format!(
            "{} and {} {verb} from `{}`: {}",
            count(self.records, "record"),
            count(self.blobs, "blob"),
            arguments.remote,
            bytes(self.bytes),
        );
        if self.missing > 0 {
            line.push_str(&format!("; {} not there", are(self.missing, "blob")));
        }
        line
    }
}
