//! `ribflow push`: sends results to a remote.

use std::collections::BTreeMap;
use std::io::Write;

use clap::Args;
use petgraph::graph::NodeIndex;
use serde_json::{Value, json};

use super::call::Call;
use super::failure::{Exit, Failure};
use super::invocation::{other_settings, quoted};
use super::locations::Locations;
use super::stores;
use super::transfer::{self, TransferArguments};
use super::{load, sharing};
use crate::engine;
use crate::quantity::{are, bytes, count};
use crate::remote::Exchange;
use crate::remote::exchange::{PushOptions, PushReport};
use crate::stages;
use crate::store::{Store, StoredRecord};
use crate::workflow::graph::Graph;
use crate::workflow::withheld::Withheld;

/// What `--help` begins with.
const ABOUT: &str = "\
Send results to a remote

Sends results from the store to a remote: first the blobs, then the records, signed with this lab's
key. Blobs that the remote already has are not sent again: a linear probe takes a few kilobytes if
the remote has its base model.

Images of an external `dataset`, and everything derived from them, are sent only with
`share: true`.";

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow push grid.yaml --remote lab               all results
  ribflow push grid.yaml 'accuracy' --remote lab --records-only
  ribflow push grid.yaml --remote lab --dry-run     show how much would be sent";

/// Send results to a remote
#[derive(Clone, Debug, Args)]
#[command(long_about = ABOUT, after_help = EXAMPLES)]
pub struct PushArguments {
    #[command(flatten)]
    pub moving: TransferArguments,

    /// Verify blobs that the remote already has, and send damaged ones again
    ///
    /// A folder and `ribflow serve` verify them in place; from a bucket or another web server, all
    /// of them are downloaded.
    #[arg(long)]
    pub check: bool,
}

pub fn run(
    PushArguments { moving, check }: &PushArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    let registry = stages::registry();
    let graph = load::graph(&moving.target, common, &registry)?;
    let locations = Locations::of(&moving.target.workflow.file, common);
    let store = stores::open_read_only(&locations.store, common)?;
    let exchange = sharing::exchange(std::slice::from_ref(&moving.remote), &store)?;
    let survey = engine::survey(&graph, &store, &common.device.to_string())?;
    let records = survey.into_records();
    let nodes = (records.len(), graph.dag.node_count());
    let outdated = may_go(&graph, &store, &records);
    let records = transfer::distinct(records.into_values());
    let pushed = push(&exchange, &store, &records, moving, *check);
    if pushed.is_ok() && !moving.dry_run {
        sharing::send_revocations(&exchange);
    }
    // Warn even if the push failed: a missing token may be the reason.
    sharing::warn_of_refusals(&exchange, &[], common);
    let pushed = pushed?;
    match common.json {
        true => writeln!(output, "{}", document(&pushed, moving.dry_run))?,
        false if common.quiet => {}
        false => {
            for line in lines(&pushed, moving, nodes) {
                writeln!(output, "{line}")?;
            }
            if outdated {
                let file = quoted(&moving.target.workflow.file.display().to_string());
                writeln!(
                    output,
                    "some of it may go by `share: true` as the file has it now: `ribflow cache release {file}`"
                )?;
            }
            if nodes.0 < nodes.1
                && let Some(note) = other_settings(&store, &graph)
            {
                writeln!(output, "{note}")?;
            }
        }
    }
    Ok(Exit::Done)
}

/// Whether the store withholds results that the file allows to share by now.
fn may_go(graph: &Graph, store: &Store, records: &BTreeMap<NodeIndex, StoredRecord>) -> bool {
    let withheld = Withheld::of(graph);
    records.iter().any(|(node, record)| {
        let mut ports = record.record.ports.iter();
        ports.any(|(name, port)| {
            !withheld.is_withheld(*node, name) && store.is_withheld(&port.digest)
        })
    })
}

fn push(
    exchange: &Exchange,
    store: &Store,
    records: &[StoredRecord],
    moving: &TransferArguments,
    check: bool,
) -> Result<PushReport, Failure> {
    let pushing = PushOptions {
        records_only: moving.records_only,
        dry_run: moving.dry_run,
        check,
    };
    let mut pushed = PushReport::default();
    for peer in exchange.peers() {
        let one = exchange.push(peer, store, records, pushing);
        pushed.add(&one.map_err(transfer::refused)?);
    }
    Ok(pushed)
}

fn document(pushed: &PushReport, dry_run: bool) -> Value {
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

/// The summary. The pair is the number of nodes with a result and the number of all nodes.
fn lines(
    pushed: &PushReport,
    moving: &TransferArguments,
    (with_result, nodes): (usize, usize),
) -> Vec<String> {
    let verb = match moving.dry_run {
        true => "would be sent",
        false => "went",
    };
    let mut lines = vec![format!(
        "{} and {} {verb} to `{}`: {}",
        count(pushed.records, "record"),
        count(pushed.blobs, "blob"),
        moving.remote,
        bytes(pushed.sent),
    )];
    if pushed.there > 0 {
        lines.push(format!("{} already there", count(pushed.there, "record")));
    }
    if pushed.spared > 0 {
        lines.push(format!(
            "{} of blobs were already there",
            bytes(pushed.spared)
        ));
    }
    if pushed.withheld > 0 {
        lines.push(sharing::withheld_line(pushed.withheld));
    }
    if pushed.absent > 0 {
        lines.push(format!(
            "{} not in this store: never fetched, or lost",
            are(pushed.absent, "blob")
        ));
    }
    if with_result < nodes {
        lines.push(format!(
            "{with_result} of {} have a result here",
            count(nodes, "node")
        ));
    }
    lines
}
