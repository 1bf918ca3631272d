//! The workers that a run has asked Slurm for: what Slurm says of their jobs, what the store says of
//! them, and what follows. Pure: the caller brings both, and the time.
//!
//! A job is known by its name, which holds the nonce of its submission. Its number is never compared:
//! a controller that loses its last seconds gives the same number to another job.

use std::collections::{BTreeMap, BTreeSet};

use super::queue::{Job, State};
use super::submission::parts;
use crate::cluster::place::{Joined, Presence};
use crate::cluster::supply::Ending;

/// Times, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patience {
    /// How late the store may show that a worker has joined (attributes of files are cached).
    pub settle: f64,
    /// How late a submission without an answer may appear in the queue.
    pub doubt: f64,
    /// How long a running job may take to join before the user hears of it.
    pub join: f64,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            settle: 30.0,
            doubt: 60.0,
            join: 600.0,
        }
    }
}

/// All submissions of a run by job name.
#[derive(Debug, Default)]
pub struct Workers {
    prefix: String,
    patience: Patience,
    batches: BTreeMap<String, Batch>,
    /// The time of the last answer of the queue.
    polled: Option<f64>,
}

#[derive(Debug)]
struct Batch {
    class: String,
    workers: Vec<Worker>,
    /// Since when it is unknown whether Slurm has accepted it.
    doubt: Option<f64>,
}

#[derive(Clone, Debug, Default)]
struct Worker {
    job: JobKnowledge,
    presence: Option<Presence>,
    claimed: bool,
    /// When it was first known to have ended.
    ended: Option<f64>,
    /// When its job was first seen to run.
    running: Option<f64>,
    /// Its end has been reported.
    is_judged: bool,
    /// It has been reported that it does not join.
    is_reported: bool,
    id: String,
    nodes: String,
    reason: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
enum JobKnowledge {
    /// Slurm accepted it.
    #[default]
    Accepted,
    Is(State),
    /// The controller answers, and does not know it; whether the accounting was asked.
    Missing {
        asked: bool,
    },
}

/// Something that follows from what was learnt.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub class: String,
    pub worker: String,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// It has claimed its first node.
    Claimed,
    /// It is over, for the reason in words.
    Ended(Ending, String),
    /// Its node or job failed on its own account after it had claimed nodes.
    Broke(String),
    /// Slurm says that it runs, but its heartbeat has stopped: its job is to be cancelled.
    Ghost { job_name: String, task: String },
    /// Its job runs without having joined.
    Mute,
    /// A job of this class waits for this reason.
    Waits(String),
    /// The submission was never accepted.
    NotAccepted,
    /// The submission was accepted after all.
    Accepted,
    /// The job of an earlier coordinator of this run.
    Adopted,
}

/// The workers of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub running: usize,
    /// Those that wait, and those whose end is not judged yet.
    pub queued: usize,
    pub queued_submissions: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Queued,
    Running,
    Over,
}

impl Worker {
    fn life(&self) -> Life {
        use JobKnowledge::{Accepted, Is, Missing};
        match (&self.job, self.presence) {
            (_, Some(Presence::Left | Presence::Lost)) => Life::Over,
            (Is(state), _) if state.has_ended() => Life::Over,
            // The store is the truth.
            (_, Some(Presence::Here)) => Life::Running,
            (Accepted | Is(State::Queued), None) => Life::Queued,
            (Is(_), None) => Life::Running,
            (Missing { .. }, None) => Life::Over,
        }
    }

    /// Whether it may have died before it claimed a node.
    fn is_suspect(&self) -> bool {
        self.life() == Life::Over && !self.claimed && self.presence != Some(Presence::Left)
    }

    /// Whether the queue has something to say about it.
    fn is_open(&self) -> bool {
        !self.is_judged && (self.life() != Life::Running || self.presence.is_none())
    }
}

impl Workers {
    pub fn new(prefix: String, patience: Patience) -> Self {
        Self {
            prefix,
            patience,
            ..Self::default()
        }
    }

    /// A submission was made; with `doubt`, it is unknown whether Slurm has accepted it.
    pub fn add(&mut self, job_name: &str, class: &str, workers: u32, doubt: Option<f64>) {
        let batch = Batch {
            class: class.to_string(),
            workers: vec![Worker::default(); workers as usize],
            doubt,
        };
        self.batches.insert(job_name.to_string(), batch);
    }

    fn name(prefix: &str, job_name: &str, index: usize) -> String {
        let base = job_name.strip_prefix(prefix).unwrap_or(job_name);
        format!("{base}-{index}")
    }

    /// What the store says.
    pub fn learn_joined(&mut self, joined: &[Joined], now: f64) -> Vec<Event> {
        let mut events = Vec::new();
        for one in joined {
            let Some((base, index)) = one.name.rsplit_once('-') else {
                continue;
            };
            let batch = self.batches.get_mut(&format!("{}{base}", self.prefix));
            let index = index.parse::<usize>().ok();
            let Some((batch, index)) = batch.zip(index) else {
                continue;
            };
            let Some(worker) = batch.workers.get_mut(index) else {
                continue;
            };
            batch.doubt = None;
            worker.presence = Some(one.presence);
            if one.claimed && !worker.claimed {
                worker.claimed = true;
                events.push(event(&batch.class, &one.name, What::Claimed));
            }
            if worker.life() == Life::Over {
                worker.ended.get_or_insert(now);
            }
        }
        events
    }

    /// What the queue says: all jobs of the run that the controller knows.
    pub fn learn_queue(&mut self, jobs: &[Job], now: f64) -> Vec<Event> {
        self.polled = Some(now);
        let known: BTreeSet<String> = self.batches.keys().cloned().collect();
        let mut events = Vec::new();
        let mut seen: BTreeSet<(&str, usize)> = BTreeSet::new();
        for job in jobs {
            let index = job.index as usize;
            // No array of ours is larger.
            if index > MOST_TASKS {
                continue;
            }
            let Some((class, _)) = parts(&job.name, &self.prefix) else {
                continue;
            };
            seen.insert((&job.name, index));
            let batch = self
                .batches
                .entry(job.name.clone())
                .or_insert_with(|| Batch {
                    class: class.to_string(),
                    workers: Vec::new(),
                    doubt: None,
                });
            let name = Self::name(&self.prefix, &job.name, index);
            if batch.doubt.take().is_some() {
                events.push(event(&batch.class, &name, What::Accepted));
            }
            // An index that was never seen: the array of an earlier coordinator.
            while batch.workers.len() <= index {
                batch.workers.push(Worker {
                    is_judged: true,
                    ..Worker::default()
                });
            }
            let worker = &mut batch.workers[index];
            if !known.contains(&job.name) && !job.state.has_ended() && worker.is_judged {
                worker.is_judged = false;
                events.push(event(&batch.class, &name, What::Adopted));
            }
            worker.learn(job, now);
            if worker.job == JobKnowledge::Is(State::Queued) && !job.reason.is_empty() {
                events.push(event(&batch.class, &name, What::Waits(job.reason.clone())));
            }
        }
        self.learn_missing(&seen, now, &mut events);
        events
    }

    fn learn_missing(&mut self, seen: &BTreeSet<(&str, usize)>, now: f64, events: &mut Vec<Event>) {
        let mut dropped = Vec::new();
        for (job_name, batch) in &mut self.batches {
            if let Some(since) = batch.doubt {
                if now >= since + self.patience.doubt {
                    let name = Self::name(&self.prefix, job_name, 0);
                    events.push(event(&batch.class, &name, What::NotAccepted));
                    dropped.push(job_name.clone());
                }
                continue;
            }
            for (index, worker) in batch.workers.iter_mut().enumerate() {
                let is_seen = seen.contains(&(job_name.as_str(), index));
                let has_ended = matches!(&worker.job, JobKnowledge::Is(state) if state.has_ended());
                let is_missing = matches!(worker.job, JobKnowledge::Missing { .. });
                if !is_seen && !has_ended && !is_missing && !worker.is_judged {
                    worker.job = JobKnowledge::Missing { asked: false };
                    if worker.life() == Life::Over {
                        worker.ended.get_or_insert(now);
                    }
                }
            }
        }
        for name in dropped {
            self.batches.remove(&name);
        }
    }

    /// The names of jobs that the controller does not know, and whose end only the accounting can tell.
    pub fn missing(&self) -> Vec<&str> {
        let is_open = |worker: &Worker| {
            worker.job == JobKnowledge::Missing { asked: false }
                && !worker.is_judged
                && worker.presence != Some(Presence::Left)
        };
        let batches = self.batches.iter();
        let batches = batches.filter(|(_, batch)| batch.workers.iter().any(is_open));
        batches.map(|(name, _)| name.as_str()).collect()
    }

    /// What the accounting says about [`Workers::missing`]; empty if there is none.
    pub fn learn_accounts(&mut self, jobs: &[Job], now: f64) {
        for batch in self.batches.values_mut() {
            for worker in &mut batch.workers {
                if worker.job == (JobKnowledge::Missing { asked: false }) {
                    worker.job = JobKnowledge::Missing { asked: true };
                }
            }
        }
        for job in jobs {
            let batch = self.batches.get_mut(&job.name);
            let worker = batch.and_then(|batch| batch.workers.get_mut(job.index as usize));
            if let Some(worker) = worker
                && matches!(worker.job, JobKnowledge::Missing { .. })
                && job.state.has_ended()
            {
                worker.learn(job, now);
            }
        }
    }

    /// Judges workers that are over. `wrote` says whether a worker has written to its log.
    pub fn judge(&mut self, now: f64, wrote: &dyn Fn(&str) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        for (job_name, batch) in &mut self.batches {
            for (index, worker) in batch.workers.iter_mut().enumerate() {
                if worker.is_judged {
                    continue;
                }
                let name = Self::name(&self.prefix, job_name, index);
                for what in worker.judge(job_name, &name, now, self.polled, &self.patience, wrote) {
                    events.push(event(&batch.class, &name, what));
                }
            }
        }
        events
    }

    pub fn counts(&self, class: &str) -> Counts {
        let own = self.batches.values().filter(|batch| batch.class == class);
        count(own)
    }

    /// The numbers of workers in each stage, to see whether something has changed.
    pub fn tally(&self) -> Counts {
        count(self.batches.values())
    }

    /// The live workers of classes for which `is_known` is false.
    pub fn others(&self, is_known: impl Fn(&str) -> bool) -> usize {
        let others = self
            .batches
            .values()
            .filter(|batch| !is_known(&batch.class));
        let counts = count(others);
        counts.running + counts.queued
    }

    /// Whether the queue has something to say: a job that waits, one that has not joined, one that
    /// stopped, or a submission in doubt.
    pub fn is_open(&self) -> bool {
        let mut batches = self.batches.values();
        batches.any(|batch| batch.doubt.is_some() || batch.workers.iter().any(Worker::is_open))
    }

    /// The names of jobs of which a worker lives, or may live; with `queued`, of which one waits.
    pub fn live(&self, queued: bool) -> Vec<&str> {
        let is_live = |worker: &Worker| match worker.life() {
            Life::Queued => true,
            Life::Running => !queued,
            Life::Over => false,
        };
        let batches = self.batches.iter();
        let batches = batches.filter(|(_, batch)| {
            batch.doubt.is_some() || batch.workers.iter().any(|it| !it.is_judged && is_live(it))
        });
        batches.map(|(name, _)| name.as_str()).collect()
    }
}

/// Larger indices in a job of ours were not given by us.
const MOST_TASKS: usize = 100_000;

fn event(class: &str, worker: &str, what: What) -> Event {
    Event {
        class: class.to_string(),
        worker: worker.to_string(),
        what,
    }
}

fn count<'a>(batches: impl Iterator<Item = &'a Batch>) -> Counts {
    let mut counts = Counts::default();
    for batch in batches {
        let open = batch.workers.iter().filter(|worker| !worker.is_judged);
        let open: Vec<&Worker> = open.collect();
        let number = |life: Life| open.iter().filter(|it| it.life() == life).count();
        counts.running += number(Life::Running);
        counts.queued += number(Life::Queued);
        // Another would end as it did, unless the machine ended it: that is known later.
        counts.queued += open.iter().filter(|it| it.is_suspect()).count();
        counts.queued_submissions += usize::from(number(Life::Queued) > 0);
    }
    counts
}

impl Worker {
    fn learn(&mut self, job: &Job, now: f64) {
        self.job = JobKnowledge::Is(job.state.clone());
        self.id.clone_from(&job.id);
        self.nodes.clone_from(&job.nodes);
        self.reason.clone_from(&job.reason);
        if job.state == State::Running {
            self.running.get_or_insert(now);
        }
        if self.life() == Life::Over {
            self.ended.get_or_insert(now);
        }
    }

    fn judge(
        &mut self,
        job_name: &str,
        name: &str,
        now: f64,
        polled: Option<f64>,
        patience: &Patience,
        wrote: &dyn Fn(&str) -> bool,
    ) -> Vec<What> {
        if self.life() != Life::Over {
            let late = self
                .running
                .is_some_and(|since| now >= since + patience.join);
            let is_mute = self.presence.is_none() && late && !self.is_reported;
            self.is_reported |= is_mute;
            return if is_mute {
                vec![What::Mute]
            } else {
                Vec::new()
            };
        }
        let ended = *self.ended.get_or_insert(now);
        if self.presence == Some(Presence::Left) {
            self.is_judged = true;
            return vec![What::Ended(Ending::Served, String::new())];
        }
        if now < ended + patience.settle {
            return Vec::new();
        }
        let Some(found) = self.verdict(job_name, name, (ended, patience.settle), polled, wrote)
        else {
            return Vec::new();
        };
        self.is_judged = true;
        found
    }

    /// What is known of the end of a worker that did not leave by itself; `None`: the queue is asked
    /// first.
    fn verdict(
        &self,
        job_name: &str,
        name: &str,
        (ended, settle): (f64, f64),
        polled: Option<f64>,
        wrote: &dyn Fn(&str) -> bool,
    ) -> Option<Vec<What>> {
        let claimed = self.claimed;
        let machine = |why: &str| What::Ended(Ending::Machine { claimed }, why.to_string());
        let own = |how: &str| match claimed {
            true => vec![
                What::Ended(Ending::Served, String::new()),
                What::Broke(how.to_string()),
            ],
            false => vec![What::Ended(Ending::Unclaimed, how.to_string())],
        };
        Some(match &self.job {
            JobKnowledge::Is(State::Taken(why)) => vec![machine(why)],
            JobKnowledge::Is(State::Failed(how)) => own(how),
            JobKnowledge::Is(State::Done) => own("ended without saying that it leaves"),
            JobKnowledge::Missing { asked: false } => return None,
            JobKnowledge::Missing { asked: true } => match (self.presence, wrote(name)) {
                (None, false) => vec![machine("was forgotten by Slurm before it started")],
                (None, true) => own("ended, and Slurm does not know how"),
                _ => vec![machine("disappeared")],
            },
            JobKnowledge::Is(State::Completing) => return None,
            // Its heartbeat has stopped, and Slurm may not know yet.
            _ if polled.is_none_or(|polled| polled < ended + settle) => return None,
            _ => vec![
                machine("has stopped, although Slurm says that it runs"),
                What::Ghost {
                    job_name: job_name.to_string(),
                    task: self.id.clone(),
                },
            ],
        })
    }
}

#[cfg(test)]
mod tests;
