//! Places by a launch line of the user: HyperQueue, PBS, LSF, ssh, Kubernetes, anything that starts a
//! process. There is nothing to ask afterwards: a worker is there once it has joined.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Instant;

use super::ClusterError;
use super::call::{self, Programs};
use super::launch_line::{LaunchLine, Values};
use super::logs::tail;
use super::nonce::nonce;
use super::place::{
    Demand, Joined, Launcher, Notice, NoticeKind, PlaceClass, Presence, WorkerLine,
};
use super::supply::{Ending, Limits, REFUSALS, Standing, Supply};
use crate::process::OwnedChild;
use crate::quantity;

/// What a launch line is given.
#[derive(Clone, Debug, PartialEq)]
pub struct LaunchSettings {
    /// `hq submit --cpus {cpus} -- {worker}`
    pub launch: String,
    /// Seconds after which a launched worker that has not joined counts as lost.
    pub join: f64,
    /// Seconds after which it is worth a notice that no worker has joined.
    pub notice: f64,
    /// Bytes for classes that name none.
    pub mem: Option<u64>,
    /// Seconds for which a place is asked for, where the line names them; a class may ask for more.
    pub time: Option<u64>,
    pub limits: Limits,
}

/// Starts workers by a launch line.
pub struct CommandLauncher {
    line: WorkerLine,
    launch: LaunchLine,
    settings: LaunchSettings,
    programs: Programs,
    supply: Supply,
    begun: Instant,
    /// By name.
    workers: BTreeMap<String, Launched>,
    has_joined: bool,
    /// It was reported that no worker has joined.
    has_noticed: bool,
    /// Workers that did not join, one after another.
    never_joined: usize,
    /// Launch lines that failed, one after another.
    refusals: i32,
}

struct Launched {
    class: String,
    /// Which submission it belongs to.
    submission: String,
    at: f64,
    /// The launch line, until it ends. It may live as long as the worker (`ssh`).
    process: Option<(Child, OwnedChild)>,
    stage: Stage,
    claimed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Launched,
    Here,
    Over,
}

impl CommandLauncher {
    /// # Errors
    /// The launch line is invalid.
    pub fn new(
        line: WorkerLine,
        settings: LaunchSettings,
        programs: Programs,
    ) -> Result<Self, ClusterError> {
        Ok(Self {
            line,
            launch: LaunchLine::parse(&settings.launch)?,
            supply: Supply::new(settings.limits.clone()),
            settings,
            programs,
            begun: Instant::now(),
            workers: BTreeMap::new(),
            has_joined: false,
            has_noticed: false,
            never_joined: 0,
            refusals: 0,
        })
    }

    /// What has joined, left or been lost, by the store.
    fn learn(&mut self, joined: &[Joined], now: f64, notices: &mut Vec<Notice>) {
        for one in joined {
            let Some(worker) = self.workers.get_mut(&one.name) else {
                continue;
            };
            if one.claimed && !worker.claimed {
                worker.claimed = true;
                self.supply.claimed(&worker.class);
            }
            self.has_joined = true;
            if worker.stage == Stage::Launched {
                self.never_joined = 0;
                self.refusals = 0;
            }
            let was_over = worker.stage == Stage::Over;
            worker.stage = match one.presence {
                Presence::Here => Stage::Here,
                Presence::Left | Presence::Lost => Stage::Over,
            };
            if was_over || one.presence == Presence::Here {
                continue;
            }
            let ending = match (one.presence, worker.claimed) {
                (Presence::Left, _) => Ending::Served,
                (_, true) => Ending::Machine { claimed: true },
                (_, false) => Ending::Unclaimed,
            };
            self.supply.ended(&worker.class, ending, now);
            if one.presence == Presence::Lost {
                let message = format!("worker {} is lost: it gives no sign of life", one.name);
                notices.push(Notice::new(NoticeKind::Lost, message).about(&one.name));
            }
        }
    }

    /// Launch lines that have ended, and workers that should have joined by now.
    fn look(&mut self, now: f64, notices: &mut Vec<Notice>) {
        for (name, worker) in &mut self.workers {
            let ended = match worker.process.as_mut().map(|(child, _)| child.try_wait()) {
                Some(Ok(Some(status))) => Some((!status.success()).then(|| status.to_string())),
                Some(Err(error)) => Some(Some(error.to_string())),
                Some(Ok(None)) | None => None,
            };
            if ended.is_some() {
                worker.process = None;
            }
            let refused = ended.flatten();
            if worker.stage != Stage::Launched {
                continue;
            }
            if let Some(status) = refused {
                worker.stage = Stage::Over;
                // Workers of one submission fail together, which is one refusal.
                if self.supply.pauses(&worker.class, now) {
                    continue;
                }
                self.refusals += 1;
                let pause = self.supply.refused(&worker.class, now);
                let said = telling_line(&tail(&launch_log(&self.line, name)));
                let message = format!(
                    "the launch line failed ({status}): {said}; the next attempt is in {}",
                    quantity::duration(pause)
                );
                notices.push(Notice::new(NoticeKind::Refused, message).about(name));
            } else if now > worker.at + self.settings.join {
                worker.stage = Stage::Over;
                self.never_joined += 1;
                let ending = Ending::Machine { claimed: false };
                self.supply.ended(&worker.class, ending, now);
                let after = quantity::duration(self.settings.join);
                let message = format!("worker {name} has not joined within {after}");
                notices.push(Notice::new(NoticeKind::Lost, message).about(name));
            }
        }
    }

    /// A line that starts nothing may end well. Says so once, long before the worker counts as lost.
    fn notice(&mut self, now: f64) -> Option<Notice> {
        if self.has_joined || self.has_noticed {
            return None;
        }
        let is_late = |worker: &Launched| {
            worker.stage == Stage::Launched && now > worker.at + self.settings.notice
        };
        let (name, worker) = self.workers.iter().find(|(_, worker)| is_late(worker))?;
        let state = match worker.process {
            Some(_) => "goes on",
            None => "has ended well",
        };
        let printed = match tail(&self.log_of(name)).lines().last() {
            Some(line) => format!("its last line: {line}"),
            None => "it printed nothing".to_string(),
        };
        let message = format!(
            "no worker has joined yet: the launch line `{}` {state}; {printed}",
            self.settings.launch
        );
        let notice = Notice::new(NoticeKind::Waiting, message).about(name);
        self.has_noticed = true;
        Some(notice)
    }

    fn check(&self) -> Result<(), ClusterError> {
        let last = || self.workers.iter().max_by(|a, b| a.1.at.total_cmp(&b.1.at));
        let log = || last().map_or_else(PathBuf::new, |(name, _)| self.log_of(name));
        if let Some(count) = self.supply.too_many_deaths() {
            return Err(ClusterError::Died { count, log: log() });
        }
        if self.never_joined >= self.settings.limits.deaths {
            return Err(ClusterError::NeverJoined {
                count: self.never_joined,
                limit: self.settings.join as u64,
                log: log(),
            });
        }
        let is_alive = self
            .workers
            .values()
            .any(|worker| worker.stage != Stage::Over);
        match last() {
            Some((name, worker)) if self.refusals >= REFUSALS && !is_alive => {
                Err(ClusterError::Launch {
                    message: format!(
                        "it fails for class {}: {}",
                        worker.class,
                        telling_line(&tail(&launch_log(&self.line, name)))
                    ),
                    hint: "run the launch line by hand".to_string(),
                })
            }
            _ => Ok(()),
        }
    }

    /// The worker's own log if there is one, otherwise what the launch line printed.
    fn log_of(&self, name: &str) -> PathBuf {
        let own = self.line.log(name);
        match tail(&own).is_empty() {
            true => launch_log(&self.line, name),
            false => own,
        }
    }

    fn standing(&self, demand: &Demand) -> Standing {
        let mut submissions: Vec<&str> = Vec::new();
        let mut standing = Standing {
            ready: demand.ready,
            seconds: demand.seconds,
            ..Standing::default()
        };
        let own = self.workers.values();
        for worker in own.filter(|worker| worker.class == demand.class.name) {
            match worker.stage {
                Stage::Here => standing.running += 1,
                Stage::Launched => {
                    standing.queued += 1;
                    submissions.push(&worker.submission);
                }
                Stage::Over => {}
            }
        }
        submissions.sort_unstable();
        submissions.dedup();
        standing.queued_submissions = submissions.len();
        standing
    }

    fn launch(
        &mut self,
        class: &PlaceClass,
        count: usize,
        now: f64,
    ) -> Result<Notice, ClusterError> {
        let submission = nonce();
        for index in 0..count {
            let name = format!("{}-{submission}-{index}", class.name);
            let process = self.start(class, &name)?;
            let worker = Launched {
                class: class.name.clone(),
                submission: submission.clone(),
                at: now,
                process: Some(process),
                stage: Stage::Launched,
                claimed: false,
            };
            self.workers.insert(name, worker);
        }
        self.supply.submitted(now);
        let message = format!(
            "{} of class {} launched",
            quantity::count(count, "worker"),
            class.name
        );
        Ok(Notice::new(NoticeKind::Submitted, message))
    }

    fn start(&self, class: &PlaceClass, name: &str) -> Result<(Child, OwnedChild), ClusterError> {
        let class = PlaceClass {
            mem: class.mem.or(self.settings.mem),
            ..class.clone()
        };
        let time = class.time.max(self.settings.time);
        let values = Values {
            worker: self.line.at(&class, name, time),
            name: name.to_string(),
            cpus: class.cpus,
            gpus: class.gpus,
            mem: class.mem,
            time,
            log: self.line.log(name).display().to_string(),
        };
        let words = self.launch.words(&values)?;
        // A launch line has a first word.
        let (program, arguments) = words.split_first().unwrap_or((&self.line.run, &[]));
        let log = launch_log(&self.line, name);
        let failed = |source| ClusterError::Io {
            path: log.clone(),
            source,
        };
        std::fs::create_dir_all(&self.line.logs).map_err(failed)?;
        let output = File::create(&log).map_err(failed)?;
        let mut command = self.programs.command(program);
        command
            .args(arguments)
            .current_dir(&self.line.folder)
            .stdin(Stdio::null())
            .stderr(output.try_clone().map_err(failed)?)
            .stdout(output);
        let started = crate::process::start(|| command.spawn(), |child| Some(child.id()));
        started.map_err(|source| ClusterError::Launch {
            message: format!("`{program}` can't be started: {source}"),
            hint: "`--launch`, or `launch:` in cluster.yaml, begins with a program of this machine"
                .to_string(),
        })
    }
}

/// What the launch line of a worker printed.
fn launch_log(line: &WorkerLine, name: &str) -> PathBuf {
    line.logs.join(format!("{name}.launch"))
}

/// The first line that speaks of an error, else the last one, without its full stop.
fn telling_line(text: &str) -> String {
    let mut lines = text.lines();
    let is_error = |line: &&str| line.to_ascii_lowercase().contains("error");
    let line = lines.clone().find(is_error).or_else(|| lines.next_back());
    let line = line.unwrap_or("it printed nothing").trim();
    line.trim_end_matches('.').to_string()
}

impl Launcher for CommandLauncher {
    fn supply(
        &mut self,
        demands: &[Demand],
        joined: &[Joined],
    ) -> Result<Vec<Notice>, ClusterError> {
        // What led to the failure was reported by the last call.
        self.check()?;
        let now = self.begun.elapsed().as_secs_f64();
        let mut notices = Vec::new();
        self.learn(joined, now, &mut notices);
        self.look(now, &mut notices);
        notices.extend(self.notice(now));
        if self.check().is_err() {
            return Ok(notices);
        }
        let classes: Vec<(&str, Standing)> = demands
            .iter()
            .map(|demand| (demand.class.name.as_str(), self.standing(demand)))
            .collect();
        let known = |class: &str| demands.iter().any(|demand| demand.class.name == class);
        let others = self.workers.values();
        let others = others.filter(|it| it.stage != Stage::Over && !known(&it.class));
        let order = self.supply.order(now, &classes, others.count());
        if let Some(order) = order {
            notices.push(self.launch(&demands[order.class].class, order.workers, now)?);
        }
        Ok(notices)
    }

    fn close(&mut self, all: bool) {
        for worker in self.workers.values_mut() {
            if let Some((child, _)) = worker.process.as_mut()
                && (all || worker.stage == Stage::Launched)
            {
                call::end(child);
                worker.process = None;
            }
        }
    }
}
