//! How long nodes turn out to be, from those that have run, their forecasts, and how far the running
//! ones are.

use std::collections::BTreeMap;

use super::running::Running;
use crate::engine::event::stage_of;
use crate::engine::price::forecast::{Dominant, Forecast, NodeForecast};

/// What is left of a stage, and what has run.
#[derive(Clone, Debug, Default)]
pub struct StageTally {
    /// The number of nodes that have not ended.
    pub left: usize,
    /// Their forecast work, and the number of nodes without a forecast.
    pub foreseen_left: f64,
    pub unforeseen_left: usize,
    pub dominated_by: Dominant,
    pub ran: Observed,
}

/// The work of nodes that have run, compared with their forecasts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Observed {
    nodes: usize,
    worked: f64,
    /// The work of nodes with a forecast, and the sum of the forecasts.
    worked_foreseen: f64,
    foreseen: f64,
}

impl Observed {
    pub fn add(&mut self, worked: f64, forecast: Option<&NodeForecast>) {
        self.nodes += 1;
        self.worked += worked;
        if let Some(forecast) = forecast {
            self.worked_foreseen += worked;
            self.foreseen += forecast.seconds;
        }
    }

    fn join(&mut self, other: &Self) {
        self.nodes += other.nodes;
        self.worked += other.worked;
        self.worked_foreseen += other.worked_foreseen;
        self.foreseen += other.foreseen;
    }

    /// The correction factor for forecasts.
    fn factor(&self) -> Option<f64> {
        (self.foreseen > 0.0).then(|| self.worked_foreseen / self.foreseen)
    }

    /// The same, as if another `PRIOR` nodes had the factor `other`.
    fn damped(&self, other: f64) -> f64 {
        let prior = PRIOR * self.foreseen / self.nodes.max(1) as f64;
        (self.worked_foreseen + other * prior) / (self.foreseen + prior)
    }

    fn mean(&self) -> Option<f64> {
        (self.nodes > 0).then(|| self.worked / self.nodes as f64)
    }
}

/// The share from which on a node's own pace is better known than that of similar stages.
const CONVINCING: f64 = 0.3;

/// How many nodes of transport the factor of the machine counts for: the time of each varies by
/// several times.
const PRIOR: f64 = 3.0;

/// Seconds; shorter nodes count as that long.
const SHORTEST: f64 = 0.01;

/// How long nodes turn out to be, from those that have run and from how far the running ones are.
pub struct Estimates<'a> {
    stages: BTreeMap<&'a str, Observed>,
    /// Of all stages that the same thing takes most time of.
    groups: BTreeMap<Dominant, Observed>,
    /// Of the stages of which something is known, the geometric mean of the length of a node.
    pub mean: Option<f64>,
}

/// The totals of all stages that the same thing takes most time of.
fn groups(
    tallies: &BTreeMap<String, StageTally>,
    stages: &BTreeMap<&str, Observed>,
) -> BTreeMap<Dominant, Observed> {
    let mut groups: BTreeMap<Dominant, Observed> = BTreeMap::new();
    for (name, ran) in stages {
        let stage = tallies.get(*name);
        let dominant = stage.map_or_else(Dominant::default, |stage| stage.dominated_by);
        groups.entry(dominant).or_default().join(ran);
    }
    groups
}

impl<'a> Estimates<'a> {
    pub fn of(
        tallies: &'a BTreeMap<String, StageTally>,
        running: &'a BTreeMap<String, Running>,
        forecast: &Forecast,
        now: f64,
    ) -> Self {
        let ran = tallies.iter().filter(|(_, stage)| stage.ran.nodes > 0);
        let mut stages: BTreeMap<&str, Observed> = ran
            .map(|(name, stage)| (name.as_str(), stage.ran))
            .collect();
        let by_ran = groups(tallies, &stages);
        for (id, running) in running {
            let stage = stage_of(id);
            let is_known = tallies.get(stage).is_some_and(|it| it.ran.nodes > 0);
            if let (Some(left), false) = (running.left(now), is_known) {
                let forecast = forecast.nodes.get(id);
                let mut whole = running.spent(now) + left;
                let alike = forecast.map(|node| (node, by_ran.get(&node.dominated_by)));
                if let Some((node, Some(alike))) = alike
                    && let Some(factor) = alike.factor()
                {
                    let weight = (running.share() / CONVINCING).min(1.0);
                    whole = weight * whole + (1.0 - weight) * node.seconds * factor;
                }
                stages.entry(stage).or_default().add(whole, forecast);
            }
        }
        let groups = groups(tallies, &stages);
        // Lengths differ by orders of magnitude: the arithmetic mean would be that of the longest.
        let logs = stages.values().filter_map(Observed::mean);
        let logs: Vec<f64> = logs.map(|mean| mean.max(SHORTEST).ln()).collect();
        let mean = (logs.iter().sum::<f64>() / logs.len() as f64).exp();
        Self {
            mean: (!logs.is_empty()).then_some(mean),
            stages,
            groups,
        }
    }

    pub fn length(&self, stage: &str) -> Option<f64> {
        self.stages.get(stage)?.mean()
    }

    /// The correction factor for the forecasts of a stage.
    pub fn factor(&self, stage: &str, dominant: Dominant) -> f64 {
        let own = self.stages.get(stage).filter(|ran| ran.foreseen > 0.0);
        // Nodes without work of their own have nothing in common.
        let alike = match dominant {
            Dominant::Overhead => None,
            Dominant::Transport => self.machine(),
            _ => self.groups.get(&dominant).and_then(Observed::factor),
        };
        match (own, alike) {
            (Some(own), Some(alike)) if dominant == Dominant::Transport => own.damped(alike),
            (own, alike) => own.and_then(Observed::factor).or(alike).unwrap_or(1.0),
        }
    }

    /// The factor of the machine, by the arithmetic that has run on it.
    fn machine(&self) -> Option<f64> {
        self.groups.get(&Dominant::Arithmetic)?.factor()
    }
}
