//! Handles results: outcomes of jobs, written records, lost blobs.

use std::sync::Arc;
use std::time::Duration;

use petgraph::graph::NodeIndex;

use super::{Coordinator, ExecutionSite, Failure, Message};
use crate::digest::Digest;
use crate::engine::EngineError;
use crate::engine::event::Event;
use crate::engine::job::{Outcome, Product};
use crate::engine::publish::{Executed, Published, publisher};
use crate::stages::derived::DerivedResult;
use crate::store::StoredRecord;
use crate::workflow::kind::Meaning;

/// Processes of one place receive the signal that ends it within this time.
const SIGNALLED: Duration = Duration::from_millis(500);

impl Coordinator<'_> {
    pub(super) fn observe(&mut self, message: Message) -> Result<(), EngineError> {
        match message {
            Message::Progress {
                node,
                done,
                total,
                unit,
            } => {
                let id = self.graph.dag[node].id.clone();
                self.emit(Event::NodeProgress {
                    id,
                    done,
                    total,
                    unit,
                })
            }
            Message::Executed {
                node,
                outcome,
                place,
            } => {
                while self.jobs.try_join_next().is_some() {}
                if let (Some(pool), ExecutionSite::Worker(threads, worker)) =
                    (&mut self.pool, place)
                {
                    pool.back(threads, worker.map(|worker| *worker));
                }
                self.executed(node, outcome)
            }
            Message::Settled { node, outcome } => self.settled(node, outcome),
            Message::Supplied(supplied) => self.supplied(supplied),
            Message::LookupEnded(node) => self.lookup_ended(node),
            Message::Published(batch) => batch
                .into_iter()
                .try_for_each(|published| self.published(published)),
        }
    }

    pub(super) fn executed(
        &mut self,
        node: NodeIndex,
        outcome: Outcome,
    ) -> Result<(), EngineError> {
        let may_be_stopped = self.is_worker() && !self.decide.interrupted();
        if may_be_stopped && !matches!(outcome, Outcome::Done(_)) {
            self.settle_later(node, outcome);
            return Ok(());
        }
        self.settled(node, outcome)
    }

    /// A scheduler that takes a place away signals every process of it. The command of a node may end of
    /// that before this process has received its own signal: then its node has not failed.
    fn settle_later(&mut self, node: NodeIndex, outcome: Outcome) {
        let outbox = self.outbox.clone();
        self.jobs.spawn(async move {
            tokio::time::sleep(SIGNALLED).await;
            // The coordinator may have stopped waiting.
            let _ = outbox.send(Message::Settled { node, outcome });
        });
    }

    fn settled(&mut self, node: NodeIndex, outcome: Outcome) -> Result<(), EngineError> {
        match outcome {
            Outcome::Done(mut product) => {
                self.emit_derived(node, std::mem::take(&mut product.derived))?;
                self.publish(node, product);
                Ok(())
            }
            Outcome::Cancelled if self.decide.interrupted() => self.cancelled(node),
            Outcome::Failed { .. } if self.is_worker() && self.decide.interrupted() => {
                self.cancelled(node)
            }
            Outcome::Cancelled => self.failed(node, "it was asked to stop".to_string()),
            // Its folder may have been swept under it.
            Outcome::Failed { .. } if !self.is_claimed(node) => self.unclaimed(node),
            Outcome::Failed { message, lost } => self.failed_or_lost(node, message, lost),
        }
    }

    fn cancelled(&mut self, node: NodeIndex) -> Result<(), EngineError> {
        self.running.remove(&node);
        self.decide.cancelled(node);
        Ok(())
    }

    fn is_claimed(&self, node: NodeIndex) -> bool {
        let running = self.running.get(&node);
        running.is_none_or(|running| running.claim.is_held())
    }

    fn emit_derived(
        &mut self,
        node: NodeIndex,
        all: Vec<DerivedResult>,
    ) -> Result<(), EngineError> {
        for made in all {
            self.derived.insert(made.key);
            self.emit(Event::DerivedMade {
                id: self.graph.dag[node].id.clone(),
                kind: made.kind,
                key: made.key,
                what: made.what,
                bytes: made.bytes,
                wall_s: made.wall_s,
            })?;
        }
        Ok(())
    }

    fn publish(&mut self, node: NodeIndex, product: Product) {
        let Some(running) = self.running.remove(&node) else {
            return;
        };
        let outbox = self.outbox.clone();
        let publisher = self.publisher.get_or_insert_with(|| {
            publisher(Arc::clone(self.store), move |batch| {
                let _ = outbox.send(Message::Published(batch));
            })
        });
        self.walls.insert(node, product.wall_seconds);
        self.decide.executed(node);
        // The publisher lives as long as this end of its channel.
        let _ = publisher.send(Executed {
            node,
            recipe: running.recipe,
            outputs: self.graph.dag[node].parameters.outputs(),
            withheld: self.withheld.ports(node).to_vec(),
            product,
            threads: running.threads,
            started: running.started,
            claim: running.claim,
        });
    }

    fn published(&mut self, Published { node, result }: Published) -> Result<(), EngineError> {
        match result {
            Ok(record) => {
                let record = self.settle(node, record)?;
                self.set_record(node, record)?;
                self.decide.published(node);
                Ok(())
            }
            Err(error) if error.unclaimed => self.unclaimed(node),
            Err(error) => self.failed_or_lost(node, error.message, error.lost),
        }
    }

    /// This process did not beat for so long that its claim on `node` was lost: another process has
    /// the record, or makes it.
    fn unclaimed(&mut self, node: NodeIndex) -> Result<(), EngineError> {
        self.running.remove(&node);
        self.decide.held(node);
        let id = &self.graph.dag[node].id;
        let message = format!(
            "this process was suspended for so long that its claim on `{id}` was lost: it takes the \
             result of the process that claimed it next, or runs it again"
        );
        self.emit(Event::Warning { message })
    }

    /// The record to use for a node that has run: the new one, unless the store keeps an older,
    /// different one.
    fn settle(
        &mut self,
        node: NodeIndex,
        record: StoredRecord,
    ) -> Result<Arc<StoredRecord>, EngineError> {
        let record = Arc::new(record);
        if !self.must_run(node) {
            return Ok(record);
        }
        let key = record.record.key;
        let Some(older) = self.keys.find_again(node, &key)? else {
            return Ok(record);
        };
        if same_ports(&older, &record) {
            return Ok(record);
        }
        let id = &self.graph.dag[node].id;
        if self.decide.must_run(node) {
            // A blob that the older record names is lost for good.
            let message = format!(
                "`{id}` ran again because a blob of its record {} was lost, and gave other \
                 bytes: record {} takes its place",
                older.digest.short(),
                record.digest.short()
            );
            self.store.choose(&key, &record.digest)?;
            self.emit(Event::Warning { message })?;
            return Ok(record);
        }
        let message = format!(
            "`{id}` was forced and gave other bytes (record {}) than record {}, which stays \
             the one in use",
            record.digest.short(),
            older.digest.short()
        );
        self.emit(Event::Warning { message })?;
        Ok(older)
    }

    fn failed_or_lost(
        &mut self,
        node: NodeIndex,
        message: String,
        lost: Option<Digest>,
    ) -> Result<(), EngineError> {
        let Some(digest) = lost else {
            return self.failed(node, message);
        };
        let mut producers = self.producers(node, &digest);
        // Running a node again does not restore the files of its source folder. What a node below
        // it copied may have the same content.
        producers.retain(|producer| !self.names_files_outside(*producer));
        let Some(maker) = producers.first().copied() else {
            return self.failed(node, message);
        };
        if !self.decide.lost(node, &producers) {
            return self.failed(node, message);
        }
        self.running.remove(&node);
        let (node, maker) = (&self.graph.dag[node].id, &self.graph.dag[maker].id);
        let message = format!(
            "`{node}`: blob {digest} is missing or damaged; `{maker}`, which made it, runs again"
        );
        self.emit(Event::Warning { message })
    }

    pub(super) fn failed(&mut self, node: NodeIndex, message: String) -> Result<(), EngineError> {
        // Its claim is released only once the others can know.
        let running = self.running.remove(&node);
        let id = &self.graph.dag[node].id;
        let (path, shown) = self.journal.log(id);
        let written = std::fs::metadata(path).is_ok_and(|log| log.len() > 0);
        if self.decide.failed(node) {
            let message = format!("`{id}` failed and is tried again: {message}");
            return self.emit(Event::Warning { message });
        }
        let log = written.then_some(shown);
        let broken = self.keys.broken_seals(node);
        let broken = broken.iter().map(|seal| format!("; {seal}"));
        let message = message + &broken.collect::<String>();
        self.share_failure(node, &message, log.as_deref())?;
        drop(running);
        self.failures.insert(node, Failure { message, log });
        Ok(())
    }

    /// Whether the outputs of `node` refer to images in folders outside the store.
    fn names_files_outside(&self, node: NodeIndex) -> bool {
        let node = &self.graph.dag[node];
        let sources = node.parameters.sources();
        let mut locations = sources.iter().map(|source| &source.location);
        node.kind.meaning() == Meaning::Images && locations.any(|it| !it.as_os_str().is_empty())
    }

    /// The nodes that passed the blob on to `node`, starting with the one that made it.
    fn producers(&self, node: NodeIndex, blob: &Digest) -> Vec<NodeIndex> {
        let first = self.producer(node, blob);
        let mut producers: Vec<NodeIndex> =
            std::iter::successors(first, |node| self.producer(*node, blob)).collect();
        producers.reverse();
        producers
    }

    /// The producer of the input of `node` that names the blob.
    fn producer(&self, node: NodeIndex, blob: &Digest) -> Option<NodeIndex> {
        let members = self.graph.dag[node]
            .inputs
            .iter()
            .flat_map(|input| &input.members);
        let names = |port: &crate::store::Port| {
            port.digest == *blob
                || match self.store.artifact(port) {
                    Ok(artifact) => {
                        artifact.blobs().iter().any(|one| one.digest == *blob)
                            || artifact.encoded_images().contains(blob)
                    }
                    // An unreadable blob counts as lost.
                    Err(_) => true,
                }
        };
        let mut owners = members.filter(|member| self.keys.port(member).is_some_and(names));
        owners.next().map(|member| member.node)
    }
}

fn same_ports(one: &StoredRecord, two: &StoredRecord) -> bool {
    let digests = |record: &StoredRecord| -> Vec<(String, Digest)> {
        let ports = record.record.ports.iter();
        ports
            .map(|(name, port)| (name.clone(), port.digest))
            .collect()
    };
    digests(one) == digests(two)
}
