//! The launcher: asks Slurm, learns from the store, submits what is lacking.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

use super::ask::{self, Submitted};
use super::budget::{Budget, Calls, Rhythm};
use super::queue::stuck;
use super::settings::SlurmSettings;
use super::submission::{Submission, prefix};
use super::workers::{Event, Patience, What, Workers};
use crate::cluster::ClusterError;
use crate::cluster::call::Programs;
use crate::cluster::nonce::nonce;
use crate::cluster::place::{Demand, Joined, Launcher, Notice, NoticeKind, PlaceClass, WorkerLine};
use crate::cluster::supply::{Ending, Limits, REFUSALS, Standing, Supply};
use crate::quantity;

/// How a launcher spends its time.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    pub limits: Limits,
    pub patience: Patience,
    pub calls: Calls,
}

/// Seconds for which an accounting that does not answer is not asked again.
const ACCOUNTING_PAUSE: f64 = 600.0;

/// Supplies places at Slurm.
pub struct SlurmLauncher {
    line: WorkerLine,
    settings: SlurmSettings,
    programs: Programs,
    supply: Supply,
    workers: Workers,
    budget: Budget,
    rhythm: Rhythm,
    begun: Instant,
    /// The largest job array of the cluster, once it is known.
    most_tasks: Option<u32>,
    /// The queue has answered once: jobs of an earlier coordinator are known.
    has_asked: bool,
    is_unreachable: bool,
    /// The time from which the accounting may be asked.
    accounting: f64,
    /// The last refusal of each class that is not temporary.
    refusals: BTreeMap<String, String>,
    /// Reasons that the user has seen once.
    said: BTreeSet<String>,
    last_death: Option<String>,
}

impl SlurmLauncher {
    pub fn new(line: WorkerLine, settings: SlurmSettings, pace: Pace, programs: Programs) -> Self {
        Self {
            workers: Workers::new(prefix(&line.run), pace.patience),
            supply: Supply::new(pace.limits),
            rhythm: Rhythm::new(settings.poll as f64),
            line,
            settings,
            programs,
            budget: Budget::new(pace.calls),
            begun: Instant::now(),
            most_tasks: None,
            has_asked: false,
            is_unreachable: false,
            accounting: 0.0,
            refusals: BTreeMap::new(),
            said: BTreeSet::new(),
            last_death: None,
        }
    }

    fn now(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// The log of a worker: its name is in the options of the submission.
    fn log(&self, worker: &str) -> PathBuf {
        self.line.log(worker)
    }

    /// Asks for the size of arrays once, and for the queue when that is due.
    fn ask(&mut self, notices: &mut Vec<Notice>) -> Result<(), ClusterError> {
        let now = self.now();
        let is_open = !self.has_asked || self.workers.is_open();
        if !is_open || !self.rhythm.is_due(now) {
            return Ok(());
        }
        if self.most_tasks.is_none() && self.budget.take(now, 0.0) {
            match ask::most_tasks(&self.programs)? {
                Ok(most) => self.most_tasks = Some(most),
                Err(message) => {
                    self.rhythm.asked(self.now(), false);
                    self.unreachable(&message, notices);
                    return Ok(());
                }
            }
        }
        // A submission finds room, too.
        if !self.budget.take(now, 3.0) {
            return Ok(());
        }
        let answer = ask::queue(&self.programs, &prefix(&self.line.run))?;
        let now = self.now();
        match answer {
            Err(message) => {
                self.rhythm.asked(now, false);
                self.unreachable(&message, notices);
            }
            Ok(jobs) => {
                if std::mem::take(&mut self.is_unreachable) {
                    let message = "Slurm answers again";
                    notices.push(Notice::new(NoticeKind::Unreachable, message));
                }
                self.has_asked = true;
                let before = self.workers.tally();
                let events = self.workers.learn_queue(&jobs, now);
                self.report(events, notices);
                self.ask_accounting(now)?;
                self.rhythm.asked(now, self.workers.tally() != before);
            }
        }
        Ok(())
    }

    fn unreachable(&mut self, message: &str, notices: &mut Vec<Notice>) {
        if !std::mem::replace(&mut self.is_unreachable, true) {
            let message = format!("Slurm does not answer: {message}; the workers that run go on");
            notices.push(Notice::new(NoticeKind::Unreachable, message));
        }
    }

    /// Asks the accounting how jobs ended that the controller no longer knows.
    fn ask_accounting(&mut self, now: f64) -> Result<(), ClusterError> {
        let missing = self.workers.missing();
        if missing.is_empty() {
            return Ok(());
        }
        let mut jobs = Vec::new();
        if now >= self.accounting && self.budget.take(now, 1.0) {
            match ask::accounts(&self.programs, &missing, &prefix(&self.line.run)) {
                Ok(Ok(found)) => jobs = found,
                Ok(Err(message)) if message.contains("disabled") => self.accounting = f64::INFINITY,
                Ok(Err(_)) => self.accounting = now + ACCOUNTING_PAUSE,
                // Some sites do not install `sacct`.
                Err(ClusterError::Program { .. }) => self.accounting = f64::INFINITY,
                Err(error) => return Err(error),
            }
        }
        self.workers.learn_accounts(&jobs, now);
        Ok(())
    }

    /// Takes note of events, and says what the user should know.
    fn report(&mut self, events: Vec<Event>, notices: &mut Vec<Notice>) {
        let now = self.now();
        let mut adopted = 0;
        for Event {
            class,
            worker,
            what,
        } in events
        {
            match what {
                What::Claimed => self.supply.claimed(&class),
                What::Adopted => adopted += 1,
                What::Accepted => {
                    let message = format!("Slurm has the submission of {worker} after all");
                    notices.push(Notice::new(NoticeKind::Found, message).about(&worker));
                }
                What::NotAccepted => {
                    let pause = quantity::duration(self.supply.refused(&class, now));
                    let message = format!(
                        "Slurm has not received a submission of class {class}; the next is in {pause}"
                    );
                    notices.push(Notice::new(NoticeKind::Refused, message).about(&worker));
                }
                What::Ended(ending, how) => {
                    self.supply.ended(&class, ending, now);
                    self.say_ending(&worker, ending, &how, notices);
                }
                What::Broke(how) => {
                    let log = self.log(&worker);
                    let message = format!("worker {worker} {how}; its log: {}", log.display());
                    notices.push(Notice::new(NoticeKind::Failed, message).about(&worker));
                }
                What::Ghost { job_name, task } => {
                    if self.budget.take(now, 0.0) {
                        ask::cancel(&self.programs, &job_name, Some(&task), false);
                    }
                }
                What::Mute => {
                    let log = self.log(&worker);
                    let message = format!(
                        "the job of worker {worker} runs, but the worker has not joined; its log: {}",
                        log.display()
                    );
                    notices.push(Notice::new(NoticeKind::Waiting, message).about(&worker));
                }
                What::Waits(reason) => self.say_reason(&class, &reason, notices),
            }
        }
        if adopted > 0 {
            let workers = quantity::count(adopted, "worker");
            let message = format!("{workers} of this run found in the queue");
            notices.push(Notice::new(NoticeKind::Found, message));
        }
    }

    fn say_ending(&mut self, worker: &str, ending: Ending, how: &str, notices: &mut Vec<Notice>) {
        let kind = match ending {
            Ending::Served => return,
            Ending::Machine { .. } => NoticeKind::Lost,
            Ending::Unclaimed => {
                self.last_death = Some(worker.to_string());
                NoticeKind::Died
            }
        };
        let message = match kind {
            NoticeKind::Died => format!(
                "worker {worker} {how} before it claimed a node; its log: {}",
                self.log(worker).display()
            ),
            _ => format!("worker {worker} {how}"),
        };
        notices.push(Notice::new(kind, message).about(worker));
    }

    /// Says once why workers of a class wait, if they wait for more than other jobs.
    fn say_reason(&mut self, class: &str, reason: &str, notices: &mut Vec<Notice>) {
        if let Some(cure) = stuck(reason)
            && self.said.insert(format!("{class} {reason}"))
        {
            let message = format!("a job of class {class} waits ({reason}): {cure}");
            notices.push(Notice::new(NoticeKind::Waiting, message));
        }
    }

    /// The failures after which nothing more is asked for.
    fn check(&self) -> Result<(), ClusterError> {
        if let Some(count) = self.supply.too_many_deaths() {
            let log = self.last_death.as_deref().map(|worker| self.log(worker));
            return Err(ClusterError::Died {
                count,
                log: log.unwrap_or_default(),
            });
        }
        let is_alone = self.workers.live(false).is_empty();
        let mut refusals = self.refusals.iter();
        match refusals.find(|(class, _)| self.supply.refusals(class) >= REFUSALS) {
            Some((class, message)) if is_alone => Err(ClusterError::Refused {
                class: class.clone(),
                message: message.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn submit(
        &mut self,
        class: &PlaceClass,
        workers: usize,
        notices: &mut Vec<Notice>,
    ) -> Result<(), ClusterError> {
        let most = self.most_tasks.unwrap_or(1).max(1);
        let workers = u32::try_from(workers).unwrap_or(u32::MAX).min(most);
        let nonce = nonce();
        let submission = Submission {
            line: &self.line,
            settings: &self.settings,
            class,
            nonce: &nonce,
            workers,
            is_array: most > 1,
        };
        let job_name = submission.job_name();
        let time = submission.minutes() * 60;
        let script = self.line.logs.join(format!("{}-{nonce}.sh", class.name));
        let failed = |source| ClusterError::Io {
            path: script.clone(),
            source,
        };
        std::fs::create_dir_all(&self.line.logs).map_err(failed)?;
        std::fs::write(&script, submission.script()).map_err(failed)?;
        let answer = ask::submit(&self.programs, submission.options(), &script)?;
        let now = self.now();
        self.supply.submitted(now);
        let shown = quantity::count(workers as usize, "worker");
        let of = format!("{shown} of class {}", class.name);
        match answer {
            Submitted::Accepted(id) => {
                self.refusals.remove(&class.name);
                self.workers.add(&job_name, &class.name, workers, None);
                let time = quantity::duration(time as f64);
                let message = format!("Slurm job {id}: {of} for {time}");
                notices.push(Notice::new(NoticeKind::Submitted, message));
            }
            Submitted::Doubtful(message) => {
                self.workers.add(&job_name, &class.name, workers, Some(now));
                self.unreachable(&message, notices);
            }
            Submitted::Refused(message) => {
                let pause = quantity::duration(self.supply.refused(&class.name, now));
                if !ask::is_temporary(&message) {
                    self.refusals.insert(class.name.clone(), message.clone());
                }
                let message =
                    format!("Slurm refuses {of}: {message}; the next attempt is in {pause}");
                notices.push(Notice::new(NoticeKind::Refused, message));
            }
        }
        self.rhythm.hurry(now);
        Ok(())
    }

    fn order(&mut self, demands: &[Demand], notices: &mut Vec<Notice>) -> Result<(), ClusterError> {
        // Before the first answer, jobs of an earlier coordinator would be asked for again.
        if !self.has_asked {
            return Ok(());
        }
        let now = self.now();
        let classes: Vec<(&str, Standing)> = demands
            .iter()
            .map(|demand| {
                let counts = self.workers.counts(&demand.class.name);
                let standing = Standing {
                    ready: demand.ready,
                    seconds: demand.seconds,
                    running: counts.running,
                    queued: counts.queued,
                    queued_submissions: counts.queued_submissions,
                };
                (demand.class.name.as_str(), standing)
            })
            .collect();
        let is_known = |class: &str| demands.iter().any(|demand| demand.class.name == class);
        let others = self.workers.others(is_known);
        let Some(order) = self.supply.order(now, &classes, others) else {
            return Ok(());
        };
        if self.budget.take(now, 0.0) {
            let class = demands[order.class].class.clone();
            self.submit(&class, order.workers, notices)?;
        }
        Ok(())
    }
}

impl Launcher for SlurmLauncher {
    fn supply(
        &mut self,
        demands: &[Demand],
        joined: &[Joined],
    ) -> Result<Vec<Notice>, ClusterError> {
        // What led to the failure was reported by the last call.
        self.check()?;
        let mut notices = Vec::new();
        let events = self.workers.learn_joined(joined, self.now());
        self.report(events, &mut notices);
        self.ask(&mut notices)?;
        let logs = self.line.clone();
        let wrote = |worker: &str| logs.log(worker).exists();
        let events = self.workers.judge(self.now(), &wrote);
        self.report(events, &mut notices);
        if self.check().is_ok() {
            self.order(demands, &mut notices)?;
        }
        Ok(notices)
    }

    fn close(&mut self, all: bool) {
        for job_name in self.workers.live(!all) {
            ask::cancel(&self.programs, job_name, None, !all);
        }
    }
}
