//! The reproduced value for a published number, and its variation over repeats.

use std::collections::BTreeMap;

use petgraph::graph::NodeIndex;

use super::setting::behind;
use super::target::Target;
use crate::ml::metrics::estimate::{Estimate, estimate};
use crate::report::view::{Role, View};
use crate::store::artifact::Metric;
use crate::workflow::kind::Meaning;

/// How often the experiment behind a number was repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    /// Nothing behind it is repeated.
    None,
    /// One repeat.
    One,
    Many,
}

/// A reproduced number.
#[derive(Clone, Copy, Debug)]
pub struct Observed {
    pub value: f64,
    pub n: u64,
    /// Standard deviation over repeats.
    pub deviation: Option<f64>,
    /// 95 % interval.
    pub interval: Option<[f64; 2]>,
    /// For a correlation: the probability of chance producing it.
    pub p_value: Option<f64>,
    pub repeats: Repeats,
}

/// For every node, the ids on the axes of repeats that contribute to it.
pub struct RepeatMasks(Vec<u64>);

impl RepeatMasks {
    pub fn of(view: &View) -> Self {
        let graph = view.graph;
        let roles = view.roles();
        let repeats = |axis: &str| roles.get(axis) == Some(&Role::Repeats);
        let mut bits: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        let mut masks = vec![0u64; graph.dag.node_count()];
        for index in &graph.order {
            let node = &graph.dag[*index];
            let mut mask = 0;
            for (axis, id) in node.axes.iter().filter(|(axis, _)| repeats(axis)) {
                // Beyond 64, the exact number of repeats does not matter.
                let next = bits.len().min(63);
                mask |= 1 << *bits.entry((axis, id)).or_insert(next as u64);
            }
            let members = node.inputs.iter().flat_map(|input| &input.members);
            masks[index.index()] =
                members.fold(mask, |mask, member| mask | masks[member.node.index()]);
        }
        Self(masks)
    }

    fn repeats(&self, view: &View, target: &Target) -> Repeats {
        let of_node = |index: &NodeIndex| {
            let node = view.node(*index);
            let inputs = behind(node, &target.metric);
            let members: Vec<_> = inputs.flat_map(|input| &input.members).collect();
            match members.is_empty() {
                true => self.0[index.index()],
                false => members
                    .iter()
                    .fold(0, |mask, member| mask | self.0[member.node.index()]),
            }
        };
        let own = target.nodes.len() as u32;
        let mask = target
            .nodes
            .iter()
            .map(of_node)
            .fold(0, |all, mask| all | mask);
        match mask.count_ones().max(if own > 1 { own } else { 0 }) {
            0 => Repeats::None,
            1 => Repeats::One,
            _ => Repeats::Many,
        }
    }
}

/// The reproduced number for `target`.
///
/// # Errors
/// Why there is no number, as text.
pub fn observe(view: &View, behind: &RepeatMasks, target: &Target) -> Result<Observed, String> {
    if target.nodes.is_empty() {
        return Err("no such node in this run".to_string());
    }
    let mut metrics: Vec<&Metric> = Vec::new();
    for node in &target.nodes {
        if !view.records.contains_key(node) {
            continue;
        }
        let Some(metric) = view.metric(*node, &target.metric) else {
            let id = &view.node(*node).id;
            return Err(format!("{id} has no metric `{}`", target.metric));
        };
        metrics.push(metric);
    }
    let missing = target.nodes.len() - metrics.len();
    match missing {
        0 => {}
        _ if metrics.is_empty() => return Err(String::new()),
        _ => {
            return Err(format!(
                "{missing} of {} repeats have no result",
                target.nodes.len()
            ));
        }
    }
    // A correlation is over points; its interval accounts for their variation over repeats.
    let repeats = match is_correlation(view, target) {
        true => Repeats::None,
        false => behind.repeats(view, target),
    };
    let values: Vec<f64> = metrics.iter().map(|metric| metric.value).collect();
    let (estimate, interval) = match metrics.as_slice() {
        [metric] => {
            let estimate = Estimate {
                mean: metric.value,
                n: metric.n.unwrap_or(1),
                interval: metric.interval,
            };
            (Some(estimate), metric.interval)
        }
        _ => {
            let estimate = estimate(&values);
            (estimate, estimate.and_then(|estimate| estimate.interval))
        }
    };
    let estimate = estimate.ok_or_else(String::new)?;
    Ok(Observed {
        value: estimate.mean,
        n: estimate.n,
        deviation: match repeats {
            Repeats::Many => estimate.deviation(),
            _ => None,
        },
        interval,
        p_value: p_value(view, target),
        repeats,
    })
}

/// A `report` node gives it next to the correlation: `…_spearman_p`.
fn p_value(view: &View, target: &Target) -> Option<f64> {
    let node = target.nodes.first()?;
    let metric = view.metric(*node, &format!("{}_p", target.metric))?;
    Some(metric.value)
}

fn is_correlation(view: &View, target: &Target) -> bool {
    let mut nodes = target.nodes.iter();
    nodes.any(|node| view.node(*node).kind.meaning() == Meaning::Report)
}
