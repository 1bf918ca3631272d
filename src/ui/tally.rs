//! The progress of a run: counts, rate and time left, from events and the caller's clock.

use std::collections::{BTreeMap, HashMap};

use super::estimate::{Estimates, StageTally};
use super::running::Running;
use crate::engine::event::{Event, stage_of};
use crate::engine::price::forecast::Forecast;

/// The counts of a run so far. Times are seconds since the start of the run; work is in core
/// seconds.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub nodes: usize,
    pub ran: usize,
    pub reused: usize,
    pub failed: usize,
    pub skipped: usize,
    running: BTreeMap<String, Running>,
    /// The outcome of each node, by id. A node whose result was lost may run again.
    ends: HashMap<String, End>,
    stages: BTreeMap<String, StageTally>,
    forecast: Forecast,
    /// Work of nodes that have run, by id, and all of it.
    work: HashMap<String, f64>,
    worked: f64,
    first_start: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Ran,
    Reused,
    Failed,
    Skipped,
}

impl Tally {
    /// `stages` has the number of nodes of each stage. The forecast may be incomplete.
    pub fn new(stages: BTreeMap<String, usize>, forecast: Forecast) -> Self {
        let nodes = stages.values().sum();
        let mut tally = Self {
            nodes,
            ..Self::default()
        };
        for (name, left) in stages {
            let stage = StageTally {
                left,
                ..StageTally::default()
            };
            tally.stages.insert(name, stage);
        }
        tally.set_forecast(forecast);
        tally
    }

    /// Replaces the forecast: more is known now.
    pub fn set_forecast(&mut self, forecast: Forecast) {
        for stage in self.stages.values_mut() {
            *stage = StageTally {
                left: stage.left,
                unforeseen_left: stage.left,
                ..StageTally::default()
            };
        }
        for (id, node) in &forecast.nodes {
            let Some(stage) = self.stages.get_mut(stage_of(id)) else {
                continue;
            };
            stage.dominated_by = stage.dominated_by.min(node.dominated_by);
            if !self.ends.contains_key(id) {
                stage.unforeseen_left = stage.unforeseen_left.saturating_sub(1);
                stage.foreseen_left += node.seconds;
            }
        }
        for (id, work) in &self.work {
            if let Some(stage) = self.stages.get_mut(stage_of(id)) {
                stage.ran.add(*work, forecast.nodes.get(id));
            }
        }
        self.forecast = forecast;
    }

    /// Processes an event at time `now`.
    pub fn observe(&mut self, event: &Event, now: f64) {
        match event {
            Event::NodeStarted { id, threads, .. } => {
                self.first_start.get_or_insert(now);
                self.reopen(id);
                self.running.insert(id.clone(), Running::new(now, *threads));
            }
            Event::NodeProgress {
                id,
                done,
                total,
                unit,
            } => {
                if let Some(running) = self.running.get_mut(id) {
                    running.report(now, *done, *total, unit);
                }
            }
            Event::NodeReused { id, .. } => self.end(id, End::Reused),
            Event::NodeFinished { id, wall_s, .. } => {
                let threads = self.running.get(id).map_or(1.0, |running| running.threads);
                let work = wall_s * threads;
                self.worked += work;
                self.work.insert(id.clone(), work);
                self.end(id, End::Ran);
                let forecast = self.forecast.nodes.get(id);
                if let Some(stage) = self.stages.get_mut(stage_of(id)) {
                    stage.ran.add(work, forecast);
                }
            }
            Event::NodeFailed { id, .. } => self.end(id, End::Failed),
            Event::NodeSkipped { id, .. } => self.end(id, End::Skipped),
            Event::RunStarted { nodes, .. } => self.nodes = *nodes,
            Event::DerivedMade { .. }
            | Event::NodeWaiting { .. }
            | Event::Warning { .. }
            | Event::Machines { .. }
            | Event::Summary(_) => {}
        }
    }

    fn end(&mut self, id: &str, end: End) {
        self.reopen(id);
        self.running.remove(id);
        self.ends.insert(id.to_string(), end);
        *self.counter(end) += 1;
        let forecast = self.forecast.nodes.get(id);
        let stage = self.stages.entry(stage_of(id).to_string()).or_default();
        stage.left = stage.left.saturating_sub(1);
        match forecast {
            Some(node) => stage.foreseen_left -= node.seconds,
            None => stage.unforeseen_left = stage.unforeseen_left.saturating_sub(1),
        }
    }

    /// Marks a node as not ended again.
    fn reopen(&mut self, id: &str) {
        if let Some(end) = self.ends.remove(id) {
            *self.counter(end) -= 1;
            let forecast = self.forecast.nodes.get(id);
            let stage = self.stages.entry(stage_of(id).to_string()).or_default();
            stage.left += 1;
            match forecast {
                Some(node) => stage.foreseen_left += node.seconds,
                None => stage.unforeseen_left += 1,
            }
        }
    }

    fn counter(&mut self, end: End) -> &mut usize {
        match end {
            End::Ran => &mut self.ran,
            End::Reused => &mut self.reused,
            End::Failed => &mut self.failed,
            End::Skipped => &mut self.skipped,
        }
    }

    /// The number of nodes that have ended, with any outcome.
    pub fn ended(&self) -> usize {
        self.ends.len()
    }

    /// Executed nodes per second; `None` if there are none.
    pub fn rate(&self, now: f64) -> Option<f64> {
        let elapsed = now - self.first_start?;
        (self.ran > 0 && elapsed > 0.0).then(|| self.ran as f64 / elapsed)
    }

    /// Seconds until the end: the remaining work at the pace so far. `None` without data for an
    /// estimate.
    ///
    /// The work of a node is its forecast times the correction factor of its stage or, if none of its
    /// stage has run, of all similar stages. A node without a forecast takes as long as the others of
    /// its stage or, without any, as the mean stage.
    pub fn time_left(&self, now: f64) -> Option<f64> {
        let elapsed = now - self.first_start?;
        let estimates = Estimates::of(&self.stages, &self.running, &self.forecast, now);
        let mean = estimates.mean.filter(|_| elapsed > 0.0)?;
        let mut left = 0.0;
        for (name, stage) in &self.stages {
            let length = estimates.length(name).unwrap_or(mean);
            left += stage.foreseen_left.max(0.0) * estimates.factor(name, stage.dominated_by);
            left += stage.unforeseen_left as f64 * length;
        }
        let mut under_way = 0.0;
        for (id, running) in &self.running {
            let spent = running.spent(now);
            under_way += spent;
            let stage = stage_of(id);
            let whole = match self.forecast.nodes.get(id) {
                Some(node) => node.seconds * estimates.factor(stage, node.dominated_by),
                None => estimates.length(stage).unwrap_or(mean),
            };
            // Already counted above as not started.
            left += running.left(now).unwrap_or(whole - spent).max(0.0) - whole;
        }
        let pace = ((self.worked + under_way) / elapsed).max(f64::MIN_POSITIVE);
        Some(left.max(0.0) / pace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::engine::price::forecast::{Dominant, NodeForecast};

    fn started(id: &str) -> Event {
        Event::NodeStarted {
            id: id.to_string(),
            key: Digest::of(b""),
            threads: 1,
            why: String::new(),
            worker: None,
        }
    }

    fn finished(id: &str, wall_s: f64) -> Event {
        Event::NodeFinished {
            id: id.to_string(),
            key: Digest::of(b""),
            wall_s,
        }
    }

    fn quarter_done(id: &str) -> Event {
        Event::NodeProgress {
            id: id.to_string(),
            done: 1,
            total: 4,
            unit: "steps".to_string(),
        }
    }

    fn two_stages() -> Tally {
        two_stages_with(Forecast::default())
    }

    fn two_stages_with(forecast: Forecast) -> Tally {
        let stages = [("train".to_string(), 2), ("test".to_string(), 10)];
        Tally::new(BTreeMap::from(stages), forecast)
    }

    /// Trainings of 100 s and of 50 s of a core, and tests of 1 s, if the machine is as assumed.
    fn forecast() -> Forecast {
        let node = |seconds| NodeForecast {
            seconds,
            dominated_by: Dominant::Arithmetic,
        };
        let tests = (1..=10).map(|test| (format!("test[a={test}]"), node(1.0)));
        let trainings = [("train[a=1]", 100.0), ("train[a=2]", 50.0)];
        let trainings = trainings.map(|(id, seconds)| (id.to_string(), node(seconds)));
        Forecast {
            nodes: trainings.into_iter().chain(tests).collect(),
        }
    }

    /// The first training, on two cores, is a quarter done after 10 s: it is 80 s of a core, so the
    /// machine is faster than foreseen, by a fifth. What else is left is 50 s and 10 s, by as much
    /// less.
    #[test]
    fn stages_that_have_not_run_are_as_long_as_foreseen() {
        let mut tally = two_stages_with(forecast());
        let mut start = started("train[a=1]");
        if let Event::NodeStarted { threads, .. } = &mut start {
            *threads = 2;
        }
        tally.observe(&start, 0.0);
        tally.observe(&quarter_done("train[a=1]"), 10.0);
        let left = tally.time_left(10.0).unwrap();
        let right = (60.0 + 0.8 * (50.0 + 10.0)) / 2.0;
        assert!((left - right).abs() < 1e-9, "{left} {right}");
        // Tests turn out to be three times as long as foreseen; the second training is not.
        tally.observe(&finished("train[a=1]", 40.0), 40.0);
        tally.observe(&started("test[a=1]"), 40.0);
        tally.observe(&finished("test[a=1]", 3.0), 43.0);
        let left = tally.time_left(43.0).unwrap();
        let right = (0.8 * 50.0 + 9.0 * 3.0) / (83.0 / 43.0);
        assert!((left - right).abs() < 1e-9, "{left} {right}");
    }

    #[test]
    fn time_left_weighs_stages_by_their_own_length() {
        let mut tally = two_stages();
        assert_eq!(tally.time_left(0.0), None);
        tally.observe(&started("train[a=1]"), 0.0);
        tally.observe(&finished("train[a=1]", 60.0), 60.0);
        tally.observe(&started("test[a=1]"), 60.0);
        tally.observe(&finished("test[a=1]", 1.0), 61.0);
        // One more training of 60 s and nine tests of 1 s, one at a time.
        let left = tally.time_left(61.0).unwrap();
        assert!((left - 69.0).abs() < 1e-9, "{left}");
    }

    #[test]
    fn running_nodes_count_for_what_they_have_done() {
        let mut tally = two_stages();
        tally.observe(&started("train[a=1]"), 0.0);
        assert_eq!(tally.time_left(10.0), None);
        tally.observe(&quarter_done("train[a=1]"), 10.0);
        // 30 s more, then another training of 40 s; ten tests of unknown length are taken as long.
        let left = tally.time_left(10.0).unwrap();
        assert!((left - 470.0).abs() < 1e-9, "{left}");
        tally.observe(&started("train[a=2]"), 10.0);
        tally.observe(&finished("train[a=1]", 40.0), 40.0);
        // Two at a time since: 70 s of work in 40 s.
        let left = tally.time_left(40.0).unwrap();
        assert!((left - 410.0 / 1.75).abs() < 1e-9, "{left}");
    }

    fn reused(id: &str) -> Event {
        Event::NodeReused {
            id: id.to_string(),
            key: Digest::of(b""),
        }
    }

    #[test]
    fn counts_add_up() {
        let mut tally = two_stages();
        tally.observe(&reused("test[a=1]"), 0.0);
        tally.observe(&started("train[a=1]"), 1.0);
        tally.observe(&finished("train[a=1]", 2.0), 3.0);
        let (id, why) = ("test[a=2]".to_string(), String::new());
        tally.observe(&Event::NodeSkipped { id, why }, 3.0);
        assert_eq!(tally.ended(), 3);
        assert!(tally.running.is_empty());
        assert_eq!(tally.rate(3.0), Some(0.5));
    }

    #[test]
    fn a_node_whose_result_was_lost_counts_once() {
        let mut tally = two_stages();
        tally.observe(&reused("train[a=1]"), 0.0);
        tally.observe(&started("train[a=1]"), 1.0);
        assert_eq!((tally.reused, tally.ended()), (0, 0));
        tally.observe(&finished("train[a=1]", 2.0), 3.0);
        assert_eq!((tally.ran, tally.reused, tally.ended()), (1, 0, 1));
    }
}
