//! How many workers of which class to ask for now. Pure: the caller brings the time and what it has
//! observed.

use std::collections::BTreeMap;

/// Refusals one after another, with no worker alive, after which a run ends.
pub const REFUSALS: i32 = 4;

/// Limits on what is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Workers at the same time, those in the queue included.
    pub workers: usize,
    /// Seconds of work for one worker.
    pub target: f64,
    /// Workers in one submission.
    pub batch: usize,
    /// Submissions of a class of which a worker is still in the queue.
    pub backlog: usize,
    /// Seconds between two submissions.
    pub apart: f64,
    /// Seconds without a submission of a class after its first refusal; each further one doubles it.
    pub first_pause: f64,
    /// The longest such time.
    pub longest_pause: f64,
    /// Workers that end one after another without claiming a node, after which nothing more is asked for.
    pub deaths: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            workers: 16,
            target: 600.0,
            batch: 8,
            backlog: 2,
            apart: 5.0,
            first_pause: 30.0,
            longest_pause: 1800.0,
            deaths: 3,
        }
    }
}

/// The work and the workers of one class.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// Nodes that could run now or run now.
    pub ready: usize,
    /// Their expected duration together, in seconds, if it is known.
    pub seconds: Option<f64>,
    pub running: usize,
    pub queued: usize,
    /// Submissions of which a worker is still in the queue, or whose fate is unknown.
    pub queued_submissions: usize,
}

impl Standing {
    fn live(&self) -> usize {
        self.running + self.queued
    }

    /// Workers that the work is enough for.
    fn wanted(&self, limits: &Limits) -> usize {
        let by_time = self.seconds.map(|seconds| {
            let workers = (seconds / limits.target).ceil();
            // A float beyond the range becomes the largest number.
            (workers as usize).max(1)
        });
        by_time.unwrap_or(self.ready).min(self.ready)
    }
}

/// A submission to make now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// The position of the class in the list that was given.
    pub class: usize,
    pub workers: usize,
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It had claimed a node, or it joined, found nothing to do and left.
    Served,
    /// The machine took its place away.
    Machine { claimed: bool },
    /// It ended before it claimed a node.
    Unclaimed,
}

/// The memory of what was asked for and how it ended.
#[derive(Clone, Debug, Default)]
pub struct Supply {
    pub limits: Limits,
    last: Option<f64>,
    pauses: BTreeMap<String, Pause>,
    deaths: usize,
}

#[derive(Clone, Copy, Debug)]
struct Pause {
    until: f64,
    refusals: i32,
}

impl Supply {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// The submission to make at `now` (seconds of any monotonic clock), if any. `classes` have
    /// different names; `others` is the number of live workers of other classes.
    pub fn order(&self, now: f64, classes: &[(&str, Standing)], others: usize) -> Option<Order> {
        let limits = &self.limits;
        if self.last.is_some_and(|last| now < last + limits.apart) {
            return None;
        }
        let live: usize = classes.iter().map(|(_, standing)| standing.live()).sum();
        let free = limits.workers.saturating_sub(live + others);
        let shares = shares(classes, limits, limits.workers.saturating_sub(others));
        let may = |name: &str, standing: &Standing| {
            standing.queued_submissions < limits.backlog && !self.pauses(name, now)
        };
        let lacking = classes.iter().zip(shares).enumerate();
        let lacking = lacking.filter_map(|(class, ((name, standing), share))| {
            let lack = share.saturating_sub(standing.live());
            let workers = lack.min(free).min(limits.batch);
            let served = standing.live() as f64 / share.max(1) as f64;
            (workers > 0 && may(name, standing)).then_some((served, Order { class, workers }))
        });
        // The class that has the smallest part of its share; the first of several.
        let neediest = lacking.min_by(|a, b| a.0.total_cmp(&b.0));
        neediest.map(|(_, order)| order)
    }

    /// Whether nothing is asked for `class` at `now`, after a refusal.
    pub fn pauses(&self, class: &str, now: f64) -> bool {
        self.pauses
            .get(class)
            .is_some_and(|pause| now < pause.until)
    }

    /// A submission was made, whatever became of it.
    pub fn submitted(&mut self, now: f64) {
        self.last = Some(now);
    }

    /// The scheduler refused workers of `class`. Returns the seconds until the next attempt.
    pub fn refused(&mut self, class: &str, now: f64) -> f64 {
        let refusals = self.pauses.get(class).map_or(0, |pause| pause.refusals);
        let length = self.limits.first_pause * 2_f64.powi(refusals.min(30));
        let length = length.min(self.limits.longest_pause);
        let pause = Pause {
            until: now + length,
            refusals: refusals + 1,
        };
        self.pauses.insert(class.to_string(), pause);
        length
    }

    /// Refusals of `class` since one of its workers last claimed a node.
    pub fn refusals(&self, class: &str) -> i32 {
        self.pauses.get(class).map_or(0, |pause| pause.refusals)
    }

    /// A worker of `class` has claimed a node: places there are good.
    pub fn claimed(&mut self, class: &str) {
        self.pauses.remove(class);
        self.deaths = 0;
    }

    /// A worker of `class` has ended.
    pub fn ended(&mut self, class: &str, ending: Ending, now: f64) {
        match ending {
            Ending::Served | Ending::Machine { claimed: true } => {}
            // Another place at once would be lost, or in vain, as this one was.
            Ending::Machine { claimed: false } => self.pause(class, now),
            Ending::Unclaimed => {
                self.deaths += 1;
                self.pause(class, now);
            }
        }
    }

    fn pause(&mut self, class: &str, now: f64) {
        // Workers of one submission end together.
        if !self.pauses(class, now) {
            self.refused(class, now);
        }
    }

    /// The number of workers that ended one after another without claiming, if it is too many.
    pub fn too_many_deaths(&self) -> Option<usize> {
        (self.deaths >= self.limits.deaths).then_some(self.deaths)
    }
}

/// Divides `places` among the classes: each gets one before any gets two, and none gets more than its
/// work is enough for.
fn shares(classes: &[(&str, Standing)], limits: &Limits, places: usize) -> Vec<usize> {
    let wanted = classes.iter().map(|(_, standing)| standing.wanted(limits));
    let wanted: Vec<usize> = wanted.collect();
    let mut shares = vec![0; wanted.len()];
    let mut left = places;
    loop {
        let hungry: Vec<usize> = (0..wanted.len())
            .filter(|&class| shares[class] < wanted[class])
            .collect();
        if hungry.is_empty() || left == 0 {
            return shares;
        }
        // One each while there is not enough for all; otherwise as many as the smallest lack.
        let smallest = hungry.iter().map(|&class| wanted[class] - shares[class]);
        let smallest = smallest.min().unwrap_or(1);
        let step = (left / hungry.len()).clamp(1, smallest);
        for class in hungry {
            let given = step.min(left);
            shares[class] += given;
            left -= given;
        }
    }
}

#[cfg(test)]
mod tests;
