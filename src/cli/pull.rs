//! `ribflow pull`: fetches results from a remote.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;

use clap::Args;
use petgraph::graph::NodeIndex;
use serde_json::{Value, json};

use super::call::Call;
use super::failure::{Exit, Failure};
use super::locations::Locations;
use super::stores;
use super::transfer::{self, TransferArguments};
use super::{load, sharing};
use crate::digest::Digest;
use crate::engine::event::PlanState;
use crate::engine::{self, Accepting, RemoteRecords};
use crate::quantity::{are, bytes, count};
use crate::remote::Exchange;
use crate::stages;
use crate::store::{BlobRequest, BlobSource, Store, StoredRecord};
use crate::workflow::graph::Graph;
use crate::workflow::withheld::Withheld;

/// What `--help` begins with.
const ABOUT: &str = "\
Fetch results from a remote

Fetches records with a trusted signature, and the files that they name. With a lock file beside the
workflow, neither its data nor its checkpoints are needed.";

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow pull grid.yaml --remote lab --records-only   enough for results, report and verdicts
  ribflow pull grid.yaml 'tuned[method=ft]' --remote lab
  ribflow verify grid.yaml                             compare with the published numbers

`ribflow trust add NAME:KEY` adds a trusted key.";

/// Fetch results from a remote
#[derive(Clone, Debug, Args)]
#[command(long_about = ABOUT, after_help = EXAMPLES)]
pub struct PullArguments {
    #[command(flatten)]
    pub moving: TransferArguments,
}

pub fn run(
    PullArguments { moving }: &PullArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    let registry = stages::registry();
    let graph = load::graph(&moving.target, common, &registry)?;
    let locations = Locations::of(&moving.target.workflow.file, common);
    let device = common.device.to_string();
    let looked;
    let opened;
    let store: &Store = match moving.dry_run {
        true => {
            looked = stores::open_read_only(&locations.store, common)?;
            &looked
        }
        false => {
            opened = stores::open_store(&locations.store)?;
            &opened
        }
    };
    let exchange = sharing::exchange(std::slice::from_ref(&moving.remote), store)?;
    let exchange = Arc::new(exchange);
    let lacks = sharing::warn_of_missing_folders(&exchange);
    let accepting = Accepting::default();
    let gathered = engine::gather(&graph, store, &device, &exchange, &accepting)?;
    let survey = engine::survey_with(&graph, store, &device, &gathered, &accepting)?;
    let nodes = survey.nodes.iter();
    let lacks_data = nodes
        .filter(|node| node.state == PlanState::MissingData)
        .count();
    let records = survey.into_records();
    let goals = goals(&graph, &moving.target.targets);
    let found = goals.iter().any(|node| records.contains_key(node));
    let mut asked = match moving.records_only {
        true => RequestedBlobs::default(),
        false => RequestedBlobs::of(&graph, &goals, &records, store),
    };
    if !moving.dry_run {
        gathered
            .adopt(store)
            .map_err(|error| Failure::from_error(&error))?;
        store.set_blob_source(Arc::clone(&exchange) as Arc<dyn BlobSource>);
        asked.blobs = transfer::fetch(store, &asked.blobs);
    }
    let pulled = Pulled::of(&gathered, store, &asked, &exchange, moving.dry_run);
    sharing::warn_of_gathered(&exchange, &gathered, common);
    match common.json {
        true => writeln!(output, "{}", pulled.document(moving.dry_run))?,
        false if common.quiet => {}
        false => writeln!(output, "{}", pulled.line(moving))?,
    }
    // Missing results must not look like success.
    let down = exchange.peers().iter().any(|one| one.remote.is_down());
    let refused = pulled.records == 0 && !gathered.refused.is_empty();
    let is_damaged =
        |wanted: &BlobRequest| exchange.refuses(&wanted.digest) && !store.has(&wanted.digest);
    let damaged = asked.blobs.iter().any(is_damaged);
    match down || lacks || refused || damaged || exchange.has_failed() {
        true => Ok(Exit::Failed),
        false if found => Ok(Exit::Done),
        false => Err(nothing_there(moving, lacks_data)),
    }
}

/// The remote answers, but neither it nor the store has any of the results.
fn nothing_there(moving: &TransferArguments, lacks_data: usize) -> Failure {
    let what = match moving.target.targets.as_slice() {
        [] => format!("of {}", moving.target.workflow.file.display()),
        targets => format!("of {}", targets.join(", ")),
    };
    let message = format!("`{}` has no results {what}", moving.remote);
    Failure::failed(message).hint(match lacks_data {
        0 => {
            "the workflow, its data, the versions and, with `determinism: strict`, the device must \
             be the same as for the push: `ribflow why` shows the parts of a key"
                .to_string()
        }
        some => format!(
            "{} no key, because data is missing: run `ribflow lock` where the data is, and copy \
             the lock file",
            nodes_have(some)
        ),
    })
}

fn nodes_have(nodes: usize) -> String {
    let verb = if nodes == 1 { "has" } else { "have" };
    format!("{} {verb}", count(nodes, "node"))
}

/// The nodes whose files are fetched: the targets, or all nodes.
fn goals(graph: &Graph, targets: &[String]) -> BTreeSet<NodeIndex> {
    match targets {
        [] => graph.dag.node_indices().collect(),
        _ => graph.goals.iter().copied().collect(),
    }
}

/// The blobs to request.
#[derive(Default)]
struct RequestedBlobs {
    blobs: Vec<BlobRequest>,
    /// The blobs, including nested ones, that are withheld by the lab that computed them.
    stay: BTreeSet<Digest>,
}

impl RequestedBlobs {
    /// The missing files of `goals`.
    fn of(
        graph: &Graph,
        goals: &BTreeSet<NodeIndex>,
        records: &BTreeMap<NodeIndex, StoredRecord>,
        store: &Store,
    ) -> Self {
        let withheld = Withheld::of(graph);
        let mut blobs = BTreeSet::new();
        let mut stay = BTreeSet::new();
        for (node, stored) in records.iter().filter(|(node, _)| goals.contains(node)) {
            for (name, port) in &stored.record.ports {
                let wanted = transfer::wanted_of(port);
                if withheld.is_withheld(*node, name) {
                    stay.extend(wanted.iter().map(|one| one.digest));
                }
                blobs.extend(wanted);
            }
        }
        let missing = blobs.into_iter().filter(|one| !store.has(&one.digest));
        Self {
            blobs: missing.collect(),
            stay,
        }
    }
}

/// The result of a pull.
struct Pulled {
    records: usize,
    blobs: usize,
    /// Blobs that are withheld.
    withheld: usize,
    missing: usize,
    bytes: u64,
    /// Artifacts that are not here yet may name further blobs.
    at_least: bool,
}

impl Pulled {
    fn of(
        gathered: &RemoteRecords,
        store: &Store,
        RequestedBlobs { blobs: asked, stay }: &RequestedBlobs,
        exchange: &Exchange,
        dry_run: bool,
    ) -> Self {
        // Whether the remote has a blob is unknown until it is fetched.
        let comes = |wanted: &&BlobRequest| match dry_run {
            true => !stay.contains(&wanted.digest),
            false => store.has(&wanted.digest),
        };
        let (come, missing): (Vec<&BlobRequest>, Vec<&BlobRequest>) = asked.iter().partition(comes);
        let withheld = missing.iter().filter(|one| stay.contains(&one.digest));
        let withheld = withheld.count();
        Self {
            records: gathered.taken.len(),
            blobs: come.len(),
            withheld,
            missing: missing.len() - withheld,
            bytes: match dry_run {
                true => come.iter().filter_map(|wanted| wanted.bytes).sum(),
                false => exchange.received(),
            },
            at_least: dry_run && come.iter().any(|wanted| wanted.bytes.is_none()),
        }
    }

    fn document(&self, dry_run: bool) -> Value {
        json!({
            "records": self.records,
            "blobs": self.blobs,
            "withheld": self.withheld,
            "missing": self.missing,
            "bytes": self.bytes,
            "at_least": self.at_least,
            "dry_run": dry_run,
        })
    }

    fn line(&self, moving: &TransferArguments) -> String {
        let verb = match moving.dry_run {
            true => "would be fetched",
            false => "fetched",
        };
        let at_least = if self.at_least { "at least " } else { "" };
        let mut line = format!(
            "{} and {at_least}{} {verb} from `{}`: {at_least}{}",
            count(self.records, "record"),
            count(self.blobs, "blob"),
            moving.remote,
            bytes(self.bytes),
        );
        if self.withheld > 0 {
            let kept = match self.withheld {
                1 => "is withheld by the lab that computed it",
                _ => "are withheld by the lab that computed them",
            };
            line.push_str(&format!(
                "; {} {kept}: {}",
                count(self.withheld, "blob"),
                sharing::withheld_reason(self.withheld)
            ));
        }
        if self.missing > 0 {
            line.push_str(&format!(
                "; {} missing at the remote",
                are(self.missing, "blob")
            ));
        }
        line
    }
}
