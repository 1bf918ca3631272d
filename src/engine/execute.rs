//! Executes one job in this process: reads its inputs, runs its task, returns the outcome. Knows no
//! other jobs, no claims and no records.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use candle_core::Device;

use super::device::class_of;
use super::job::{Job, JobInput, Outcome, Product};
use crate::diag::secrets::masked;
use crate::digest::Digest;
use crate::stages::derived::Derived;
use crate::stages::registry::{Registry, Task};
use crate::stages::task::{Context, Progress, TaskError, TaskInput};
use crate::store::{Artifact, BlobError, Store};

/// The environment in which jobs are executed.
pub(super) struct Executor<'a> {
    pub store: &'a Store,
    pub registry: &'a Registry,
    pub device: Device,
    pub progress: &'a dyn Progress,
    pub cancelled: &'a AtomicBool,
}

/// The digest of a missing or damaged blob.
fn lost(error: &BlobError) -> Option<Digest> {
    match error {
        BlobError::Missing(digest) | BlobError::Damaged(digest) => Some(*digest),
        _ => None,
    }
}

impl Executor<'_> {
    /// Executes `job`. A panic of the task counts as a failure.
    pub fn execute(&self, job: &Job) -> Outcome {
        let run = catch_unwind(AssertUnwindSafe(|| self.run(job)));
        match run {
            Ok(Ok(product)) => Outcome::Done(product),
            Ok(Err(TaskError::Cancelled)) => Outcome::Cancelled,
            Ok(Err(error)) => Outcome::Failed {
                lost: match &error {
                    TaskError::Blob(blob) | TaskError::Lost { blob, .. } => lost(blob),
                    _ => None,
                },
                message: masked(&error.to_string()).into_owned(),
            },
            Err(payload) => Outcome::failed(format!("panicked: {}", panic_message(&*payload))),
        }
    }

    fn run(&self, job: &Job) -> Result<Product, TaskError> {
        let task = self.task(job)?;
        self.with_context(job, |context| {
            let started = Instant::now();
            let outputs = task.run(context)?;
            // Checked here, because JSON can't represent them.
            outputs
                .ports
                .values()
                .try_for_each(Artifact::check_finite)?;
            let derived = std::mem::take(&mut context.derived);
            Ok(Product {
                ports: outputs.ports,
                notes: outputs.notes,
                device_class: class_of(&self.device),
                derived: derived.into_results(),
                wall_seconds: started.elapsed().as_secs_f64(),
            })
        })
    }

    /// Passes the environment of `job` to `body`.
    pub fn with_context<T>(
        &self,
        job: &Job,
        body: impl FnOnce(&mut Context) -> Result<T, TaskError>,
    ) -> Result<T, TaskError> {
        let mut inputs = BTreeMap::new();
        for (name, members) in &job.inputs {
            let members: Result<Vec<TaskInput>, TaskError> =
                members.iter().map(|member| self.input(member)).collect();
            inputs.insert(name.clone(), members?);
        }
        self.obtain(&inputs);
        let marking = self.store.marking();
        let downloads = self.store.downloads();
        let environments = self.store.environments();
        let device_class = class_of(&self.device);
        body(&mut Context {
            inputs,
            blobs: match job.withheld {
                true => &marking,
                false => self.store,
            },
            scratch: &job.scratch,
            downloads: &downloads,
            environments: &environments,
            locks: self.store.locks(),
            failed: &job.failed,
            threads: job.threads,
            device: self.device.clone(),
            derived: Derived::new(self.store.derived_cache(job.derived), &device_class),
            progress: self.progress,
            cancelled: self.cancelled,
            grace: Duration::from_secs(job.grace),
        })
    }

    /// Fetches missing blobs of the inputs, all at once instead of one by one when they are read.
    fn obtain(&self, inputs: &BTreeMap<String, Vec<TaskInput>>) {
        let artifacts = inputs.values().flatten().map(|input| &input.artifact);
        self.store
            .obtain(&artifacts.flat_map(Artifact::wanted).collect::<Vec<_>>());
    }

    fn task(&self, job: &Job) -> Result<Box<dyn Task>, TaskError> {
        let refused = |why: String| TaskError::Failed(format!("kind `{}`: {why}", job.kind));
        self.registry
            .task(&job.kind, &job.with)
            .ok_or_else(|| refused("this build does not have it".to_string()))?
            .map_err(|problems| {
                let words: Vec<String> = problems.into_iter().map(|one| one.message).collect();
                refused(words.join("; "))
            })
    }

    fn input(&self, member: &JobInput) -> Result<TaskInput, TaskError> {
        Ok(TaskInput {
            axes: member.axes.clone(),
            artifact: match &member.inline {
                Some(artifact) => artifact.clone(),
                None => self.store.read_artifact(&member.digest)?,
            },
            roots: member.roots.clone(),
        })
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}
