//! Where a run stands: counts, rate and time left, from events and a clock that the caller reads.

use std::collections::{BTreeMap, HashMap};

use crate::engine::event::Event;

/// Counts of a run so far. Times are seconds since the run began.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub nodes: usize,
    pub ran: usize,
    pub reused: usize,
    pub failed: usize,
    pub skipped: usize,
    running: BTreeMap<String, Running>,
    /// How nodes ended, by id. One whose result was lost may start, and end, once more.
    ends: HashMap<String, End>,
    stages: BTreeMap<String, StageTally>,
    /// Seconds of work done by nodes that ended.
    worked: f64,
    first_start: Option<f64>,
}

#[derive(Clone, Debug)]
struct Running {
    since: f64,
    /// How much of it is done, from 0 to 1, as far as it has said.
    share: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Ran,
    Reused,
    Failed,
    Skipped,
}

#[derive(Clone, Debug, Default)]
struct StageTally {
    /// Nodes that have not ended.
    left: usize,
    ran: usize,
    worked: f64,
}

impl Tally {
    /// `stages` says how many nodes each stage has, so that the time left can tell a stage of
    /// long nodes from one of short ones.
    pub fn new(stages: BTreeMap<String, usize>) -> Self {
        let nodes = stages.values().sum();
        let stages = stages
            .into_iter()
            .map(|(name, left)| {
                (
                    name,
                    StageTally {
                        left,
                        ..StageTally::default()
                    },
                )
            })
            .collect();
        Self {
            nodes,
            stages,
            ..Self::default()
        }
    }

    /// Takes in what happened at `now`.
    pub fn observe(&mut self, event: &Event, now: f64) {
        match event {
            Event::NodeStarted { id, .. } => {
                self.first_start.get_or_insert(now);
                self.reopen(id);
                let (since, share) = (now, 0.0);
                self.running.insert(id.clone(), Running { since, share });
            }
            Event::NodeProgress {
                id, done, total, ..
            } => {
                if let Some(running) = self.running.get_mut(id) {
                    running.share = (*done as f64 / (*total).max(1) as f64).clamp(0.0, 1.0);
                }
            }
            Event::NodeReused { id, .. } => {
                self.end(id, End::Reused);
            }
            Event::NodeFinished { id, wall_s, .. } => {
                self.worked += wall_s;
                let stage = self.end(id, End::Ran);
                stage.ran += 1;
                stage.worked += wall_s;
            }
            Event::NodeFailed { id, .. } => {
                self.end(id, End::Failed);
            }
            Event::NodeSkipped { id, .. } => {
                self.end(id, End::Skipped);
            }
            Event::RunStarted { nodes, .. } => self.nodes = *nodes,
            Event::DerivedMade { .. }
            | Event::NodeWaiting { .. }
            | Event::Warning { .. }
            | Event::Summary(_) => {}
        }
    }

    fn end(&mut self, id: &str, end: End) -> &mut StageTally {
        self.reopen(id);
        self.running.remove(id);
        self.ends.insert(id.to_string(), end);
        *self.counter(end) += 1;
        let stage = self.stages.entry(stage_of(id).to_string()).or_default();
        stage.left = stage.left.saturating_sub(1);
        stage
    }

    /// Takes back that a node had ended.
    fn reopen(&mut self, id: &str) {
        if let Some(end) = self.ends.remove(id) {
            *self.counter(end) -= 1;
            self.stages
                .entry(stage_of(id).to_string())
                .or_default()
                .left += 1;
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

    /// Nodes that have ended, one way or another.
    pub fn ended(&self) -> usize {
        self.ends.len()
    }

    /// Executed nodes a second, once there are any.
    pub fn rate(&self, now: f64) -> Option<f64> {
        let elapsed = now - self.first_start?;
        (self.ran > 0 && elapsed > 0.0).then(|| self.ran as f64 / elapsed)
    }

    /// Seconds until the end: the work left by stage, at the pace so far. `None` before there is
    /// anything to go by.
    pub fn time_left(&self, now: f64) -> Option<f64> {
        let elapsed = now - self.first_start?;
        let lengths = self.lengths(now);
        let known: Vec<f64> = lengths.values().copied().collect();
        if known.is_empty() || elapsed <= 0.0 {
            return None;
        }
        // A stage of which no node has begun is taken to have nodes of the mean length.
        let mean = known.iter().sum::<f64>() / known.len() as f64;
        let length = |stage: &str| lengths.get(stage).copied().unwrap_or(mean);
        let mut left: f64 = self
            .stages
            .iter()
            .map(|(name, stage)| length(name) * stage.left as f64)
            .sum();
        let mut under_way = 0.0;
        for (id, running) in &self.running {
            let spent = now - running.since;
            under_way += spent;
            // Counted as not begun above.
            left += running
                .left(now)
                .unwrap_or(length(stage_of(id)) - spent)
                .max(0.0);
            left -= length(stage_of(id));
        }
        let pace = ((self.worked + under_way) / elapsed).max(f64::MIN_POSITIVE);
        Some(left.max(0.0) / pace)
    }

    /// How many seconds a node of each stage takes, where something is known of it: from those
    /// that have run, or else from how far the running ones are.
    fn lengths(&self, now: f64) -> BTreeMap<&str, f64> {
        let mut lengths = BTreeMap::new();
        for (id, running) in &self.running {
            if let Some(left) = running.left(now) {
                lengths.insert(stage_of(id), now - running.since + left);
            }
        }
        for (name, stage) in self.stages.iter().filter(|(_, stage)| stage.ran > 0) {
            lengths.insert(name, stage.worked / stage.ran as f64);
        }
        lengths
    }
}

impl Running {
    /// Seconds that it still needs at its own pace, once it has said how far it is.
    fn left(&self, now: f64) -> Option<f64> {
        (self.share > 0.0).then(|| (now - self.since) * (1.0 - self.share) / self.share)
    }
}

/// The stage in a node's id: `tuned` of `tuned[source=rich]`.
fn stage_of(id: &str) -> &str {
    id.split('[').next().unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn started(id: &str) -> Event {
        Event::NodeStarted {
            id: id.to_string(),
            key: Digest::of(b""),
            threads: 1,
            why: String::new(),
        }
    }

    fn finished(id: &str, wall_s: f64) -> Event {
        Event::NodeFinished {
            id: id.to_string(),
            key: Digest::of(b""),
            wall_s,
        }
    }

    fn two_stages() -> Tally {
        Tally::new(BTreeMap::from([
            ("train".to_string(), 2),
            ("test".to_string(), 10),
        ]))
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
        let progress = Event::NodeProgress {
            id: "train[a=1]".to_string(),
            done: 1,
            total: 4,
            unit: "steps".to_string(),
        };
        tally.observe(&progress, 10.0);
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
