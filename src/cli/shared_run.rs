//! Remotes during a run: fetches records before anything runs, recomputes a share of them as a
//! check, and writes new results back.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use petgraph::graph::NodeIndex;

use super::common::Common;
use super::failure::Failure;
use super::refusals::{self, Notice};
use super::sharing;
use super::target::WorkflowArguments;
use super::write_back::{WriteBack, Written};
use crate::digest::Digest;
use crate::engine::{self, Accepting, RemoteRecords};
use crate::quantity::{bytes, count};
use crate::remote::Exchange;
use crate::store::{BlobSource, Store};
use crate::workflow::graph::Graph;

/// The remotes of one run.
pub struct SharedRun {
    pub exchange: Option<Arc<Exchange>>,
    /// Records that were fetched before anything ran.
    taken: usize,
    /// Nodes that are recomputed although a remote has their results.
    rechecked: Vec<NodeIndex>,
    write_back: RefCell<Option<WriteBack>>,
    written: RefCell<Written>,
    received: Cell<u64>,
    /// The workflow as typed.
    again: String,
}

impl SharedRun {
    /// Fetches what the named remotes have for `graph`.
    pub fn open(
        names: &[String],
        workflow: &WorkflowArguments,
        graph: &Graph,
        store: &Arc<Store>,
        accepting: &Accepting,
        common: &Common,
    ) -> Result<Self, Failure> {
        let nothing = Self {
            exchange: None,
            taken: 0,
            rechecked: Vec::new(),
            write_back: RefCell::default(),
            written: RefCell::default(),
            received: Cell::new(0),
            again: workflow.typed(),
        };
        if names.is_empty() {
            return Ok(nothing);
        }
        let exchange = Arc::new(sharing::exchange(names, store)?);
        store.set_blob_source(Arc::clone(&exchange) as Arc<dyn BlobSource>);
        let device = common.device.to_string();
        let gathered = engine::gather(graph, store, &device, &exchange, accepting)?;
        gathered
            .adopt(store)
            .map_err(|error| Failure::from_error(&error))?;
        sharing::warn_of_gathered(&exchange, &gathered, common);
        let rechecked = rechecked(graph, store, &device, &exchange, &gathered)?;
        Ok(Self {
            taken: gathered.taken.len(),
            rechecked,
            write_back: RefCell::new(WriteBack::start(&exchange, store)),
            exchange: Some(exchange),
            ..nothing
        })
    }

    /// The nodes that run even if they have a record.
    pub fn forced(&self, asked: Vec<NodeIndex>) -> Vec<NodeIndex> {
        let all: BTreeSet<NodeIndex> = asked.into_iter().chain(self.rechecked.clone()).collect();
        all.into_iter().collect()
    }

    /// The channel for the keys of new results, if anything is written back.
    pub fn made(&self) -> Option<Sender<Digest>> {
        self.write_back.borrow().as_ref().map(WriteBack::keys)
    }

    /// Waits for the write-back to finish, unless the run was interrupted.
    pub fn finish(&self, interrupted: bool, common: &Common) {
        let Some(exchange) = &self.exchange else {
            return;
        };
        if interrupted {
            exchange.cancel();
        }
        if let Some(write_back) = self.write_back.take() {
            self.written.replace(write_back.finish());
            sharing::send_revocations(exchange);
        }
        self.received.set(exchange.received());
        let written = self.written.borrow();
        let notices = written.problems.iter().map(|notice| Notice {
            message: notice.message.clone(),
            hint: Some(format!(
                "continue with `ribflow push {} --remote {}`",
                self.again, notice.remote
            )),
        });
        if !common.quiet {
            refusals::warn(&notices.collect::<Vec<_>>());
        }
        sharing::warn_of_refusals(exchange, &[], common);
    }

    /// A summary of what was fetched and written.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.taken > 0 {
            lines.push(format!(
                "{} fetched from remotes: {}",
                count(self.taken, "record"),
                bytes(self.received.get())
            ));
        }
        if !self.rechecked.is_empty() {
            let nodes = count(self.rechecked.len(), "node");
            lines.push(format!("{nodes} of them recomputed for comparison"));
        }
        let pushed = &self.written.borrow().pushed;
        if pushed.records > 0 {
            lines.push(format!(
                "{} written to remotes: {}",
                count(pushed.records, "record"),
                bytes(pushed.sent)
            ));
        }
        lines
    }
}

/// A random share of the nodes fetched from remotes whose policy asks for rechecks, among those
/// that can run here.
fn rechecked(
    graph: &Graph,
    store: &Store,
    device: &str,
    exchange: &Exchange,
    gathered: &RemoteRecords,
) -> Result<Vec<NodeIndex>, Failure> {
    let share = |name: &str| {
        let peer = exchange.peers().iter().find(|one| one.name == name);
        peer.map_or(0.0, |one| one.policy.recheck)
    };
    if exchange.peers().iter().all(|one| one.policy.recheck == 0.0) {
        return Ok(Vec::new());
    }
    let survey = engine::survey(graph, store, device)?;
    // A node needs the data of everything above it, too.
    let mut able = BTreeSet::new();
    let mut chosen = Vec::new();
    for surveyed in &survey.nodes {
        let inputs = graph.dag[surveyed.node].inputs.iter();
        let mut members = inputs.flat_map(|input| &input.members);
        if !surveyed.can_run || !members.all(|member| able.contains(&member.node)) {
            continue;
        }
        able.insert(surveyed.node);
        let taken = surveyed.key.and_then(|key| gathered.taken.get(&key));
        if let Some(taken) = taken
            && random()? < share(&taken.remote)
        {
            chosen.push(surveyed.node);
        }
    }
    Ok(chosen)
}

/// An unpredictable number from 0 to 1: a remote that serves wrong results must not know which of
/// them are checked.
fn random() -> Result<f64, Failure> {
    let number = getrandom::u32().map_err(|error| Failure::from_error(&error))?;
    Ok(f64::from(number) / (f64::from(u32::MAX) + 1.0))
}
