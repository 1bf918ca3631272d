//! Starts a node: its claim, its job, and where to execute it.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use petgraph::graph::NodeIndex;
use tokio::sync::mpsc::UnboundedSender;

use super::{Coordinator, ExecutionSite, Message, Running};
use crate::contract::port::PortType;
use crate::contract::recipe::Recipe;
use crate::diag::secrets::masked;
use crate::digest::Digest;
use crate::engine::EngineError;
use crate::engine::decide::Demand;
use crate::engine::device;
use crate::engine::event::Event;
use crate::engine::execute::Executor;
use crate::engine::job::{Job, Outcome};
use crate::engine::job_inputs::{self, InputError};
use crate::engine::pool::{Limits, Pool};
use crate::engine::price::short;
use crate::fsx::{self, DraftFolder};
use crate::stages::task::{Progress, Weight};
use crate::store::{Claim, StoreError};

/// Why a node can't be started.
#[derive(Debug, thiserror::Error)]
enum StartFailure {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Inputs(#[from] InputError),
}

impl Coordinator<'_> {
    /// The resources that a node requires.
    pub(super) fn demand(&self, node: NodeIndex) -> Demand {
        let node = &self.graph.dag[node];
        let task = self.registry.task(node.kind.name(), &node.with);
        let tiny = matches!(&task, Some(Ok(task)) if task.weight() == Weight::Tiny);
        let resources = &node.resources;
        let on_gpu = self.device != "cpu";
        Demand {
            cpus: resources.cpus.map(|cpus| cpus as usize),
            mem: resources.mem.unwrap_or(0),
            gpus: if on_gpu {
                resources.gpus.unwrap_or(0)
            } else {
                0
            },
            // Only a separate process can be stopped by force.
            tiny: tiny && resources.timeout.is_none(),
            retries: resources.retries,
        }
    }

    /// Claims a node, looks up its record once more, and executes it.
    pub(super) fn start(&mut self, node: NodeIndex, threads: usize) -> Result<(), EngineError> {
        let Some((key, _)) = self.recipes.get(&node).cloned() else {
            return self.failed(node, "it was started before it was keyed".to_string());
        };
        self.refuse_unwritable(node)?;
        if self.leaves_to_others(node)? {
            return Ok(());
        }
        let claim = self.store.claim(&key)?;
        // The previous holder of the claim may have made the record.
        if self.take_record(node, &key)? {
            return Ok(());
        }
        let Some(claim) = claim else {
            if self.waiting.insert(node) {
                let id = self.graph.dag[node].id.clone();
                self.emit(Event::NodeWaiting { id, key })?;
            }
            self.decide.held(node);
            return Ok(());
        };
        if self.has_failed_elsewhere(node, &key) {
            return Ok(());
        }
        if self.start_lookup(node, key) {
            self.lookups.insert(node, (claim, threads));
            return Ok(());
        }
        self.begin(node, claim, threads)
    }

    /// Executes a claimed node.
    pub(super) fn begin(
        &mut self,
        node: NodeIndex,
        claim: Claim,
        threads: usize,
    ) -> Result<(), EngineError> {
        let Some((key, recipe)) = self.recipes.get(&node).cloned() else {
            return self.failed(node, "it was started before it was keyed".to_string());
        };
        if let Some(why) = self.options.refused.get(&node) {
            return self.failed(node, why.clone());
        }
        if let Err(missing) = self.keys.can_run(node) {
            // Its key is known only from the lock file.
            return self.failed(node, format!("it has to run here, and {missing}"));
        }
        let id = self.graph.dag[node].id.clone();
        self.warn_of_memory(node)?;
        self.warn_of_warmup(node)?;
        let why = self.why(node, &recipe);
        self.decide.has_data_of(node);
        self.journal.starts(self.graph, &id, &recipe)?;
        self.refuse_unwritable(node)?;
        self.emit(Event::NodeStarted {
            id,
            key,
            threads,
            why,
            worker: None,
        })?;
        self.running.insert(
            node,
            Running {
                recipe,
                claim,
                threads,
                started: super::now(),
            },
        );
        if let Err(error) = self.launch(node, key, threads) {
            self.executed(node, Outcome::failed(error.to_string()))?;
        }
        Ok(())
    }

    fn warn_of_memory(&mut self, node: NodeIndex) -> Result<(), EngineError> {
        let node = &self.graph.dag[node];
        let (asked, there) = (node.resources.mem.unwrap_or(0), self.capacity.mem);
        if asked <= there {
            return Ok(());
        }
        let gibibytes = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        let message = format!(
            "`{}` asks for {:.1} GiB of memory, this machine has {:.1}: it runs alone",
            node.id,
            gibibytes(asked),
            gibibytes(there)
        );
        self.emit(Event::Warning { message })
    }

    /// Once for each stage: its nodes mostly differ in what they train on, not in how long.
    fn warn_of_warmup(&mut self, node: NodeIndex) -> Result<(), EngineError> {
        let at = &self.graph.dag[node];
        if self.short_stages.contains(&at.stage) {
            return Ok(());
        }
        let record = |node| self.keys.record(node).map(|record| &**record);
        let Some(short) = short::of_stage(self.graph, node, self.registry, record) else {
            return Ok(());
        };
        self.short_stages.insert(at.stage.clone());
        let place = short.diagnostic(self.graph).place();
        let message = format!("{short} ({place}: {})", short::HINT);
        self.emit(Event::Warning { message })
    }

    fn why(&mut self, node: NodeIndex, recipe: &Recipe) -> String {
        if self.decide.must_run(node) {
            return "a blob that it made was lost".to_string();
        }
        if self.forced.contains(&node) {
            return "forced".to_string();
        }
        self.history.why(&self.keys, node, recipe)
    }

    fn launch(&mut self, node: NodeIndex, key: Digest, threads: usize) -> Result<(), StartFailure> {
        let scratch = self.store.work_folder()?;
        let job = self.job(node, key, threads, scratch.path().to_path_buf())?;
        let tiny = self.decide.is_tiny(node);
        match tiny {
            true => self.run_here(node, job, scratch),
            false => self.run_in_worker(node, job, scratch),
        }
        Ok(())
    }

    fn job(
        &mut self,
        node: NodeIndex,
        key: Digest,
        threads: usize,
        scratch: PathBuf,
    ) -> Result<Job, StartFailure> {
        let graph = self.graph;
        let at = &graph.dag[node];
        let inputs = job_inputs::of(graph, &mut self.keys, &mut self.roots, self.store, node)?;
        Ok(Job {
            id: at.id.clone(),
            key,
            kind: at.kind.name().to_string(),
            with: (*at.with).clone(),
            inputs,
            threads,
            device: self.device.clone(),
            withheld: self.keeps_to_itself(node),
            grace: at.resources.grace(),
            derived: self.budget,
            scratch,
            failed: self.journal.failed(&at.id),
            log: self.journal.log(&at.id).0,
        })
    }

    /// Whether no blob output of `node` may be redistributed. If only some may not, they are marked
    /// when the record is written.
    fn keeps_to_itself(&self, node: NodeIndex) -> bool {
        let withheld = self.withheld.ports(node);
        let outputs = self.graph.dag[node].parameters.outputs();
        let mut in_blobs = outputs
            .iter()
            .filter(|output| output.gives != PortType::Metrics)
            .filter(|output| output.gives != PortType::Table || !output.in_record);
        !withheld.is_empty() && in_blobs.all(|output| withheld.contains(&output.name))
    }

    /// Executes a job on a thread of this process.
    fn run_here(&mut self, node: NodeIndex, job: Job, scratch: DraftFolder) {
        let store = Arc::clone(self.store);
        let registry = self.registry.clone();
        let cancelled = Arc::clone(&self.cancelled);
        let outbox = self.outbox.clone();
        self.jobs.spawn_blocking(move || {
            let outcome = match device::open(&job.device) {
                Ok(device) => Executor {
                    store: &store,
                    registry: &registry,
                    device,
                    progress: &LogOnly(Mutex::new(job.log.clone())),
                    cancelled: &cancelled,
                }
                .execute(&job),
                Err(error) => Outcome::failed(error.to_string()),
            };
            drop(scratch);
            send(&outbox, node, outcome, ExecutionSite::Here);
        });
    }

    /// Executes a job in a worker process.
    fn run_in_worker(&mut self, node: NodeIndex, job: Job, scratch: DraftFolder) {
        let outbox = self.outbox.clone();
        let pool = self.pool.get_or_insert_with(|| {
            let command = self.options.worker.clone();
            Pool::new(
                command,
                self.options.threads.max(1),
                self.journal.worker_log(),
            )
        });
        let threads = job.threads;
        let worker = match pool.take(threads) {
            Ok(worker) => worker,
            Err(error) => {
                let outcome = Outcome::failed(format!("no worker could be started: {error}"));
                return send(&outbox, node, outcome, ExecutionSite::Here);
            }
        };
        let limits = Limits {
            grace: Duration::from_secs(job.grace),
            timeout: self.graph.dag[node]
                .resources
                .timeout
                .map(Duration::from_secs),
            cancelled: self.cancel.subscribe(),
        };
        self.jobs.spawn(async move {
            let progress = |done, total, unit| {
                let _ = outbox.send(Message::Progress {
                    node,
                    done,
                    total,
                    unit,
                });
            };
            let (outcome, worker) = worker.execute(job, limits, progress).await;
            // The folder may be large; nothing waits for its removal.
            let _ = tokio::task::spawn_blocking(move || drop(scratch)).await;
            send(
                &outbox,
                node,
                outcome,
                ExecutionSite::Worker(threads, worker.map(Box::new)),
            );
        });
    }
}

/// Sending fails only if the coordinator no longer waits for jobs.
fn send(
    outbox: &UnboundedSender<Message>,
    node: NodeIndex,
    outcome: Outcome,
    place: ExecutionSite,
) {
    let _ = outbox.send(Message::Executed {
        node,
        outcome,
        place,
    });
}

/// Writes the log of a job in this process. Does not report progress: such jobs are too short.
struct LogOnly(Mutex<PathBuf>);

impl Progress for LogOnly {
    fn advance(&self, _done: u64, _total: u64, _unit: &'static str) {}

    fn log(&self, line: &str) {
        let path = self.0.lock().unwrap_or_else(|held| held.into_inner());
        let file = fsx::append_shared(&path);
        if let Err(error) = file.and_then(|mut file| writeln!(file, "{}", masked(line))) {
            tracing::warn!("{}: {error}", path.display());
        }
    }
}
