//! Compares a new outcome with the recorded one.

use std::collections::{BTreeMap, BTreeSet};

use crate::remote::exchange::{same_bits, same_outcome};
use crate::store::{Artifact, Record};
use crate::workflow::kind::Comparison;

/// The result of executing a node again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecomputeOutcome {
    /// The same bits.
    Equal,
    /// Equal within the tolerance of the kind; the differences, as text.
    Within(Vec<String>),
    /// Different; the differences, as text.
    Different(Vec<String>),
    /// It was executed and failed.
    Failed(String),
    /// It can't be executed on this machine.
    Unable(String),
}

impl RecomputeOutcome {
    /// Whether there is an outcome to compare, and it agrees.
    pub fn agrees(&self) -> bool {
        matches!(self, Self::Equal | Self::Within(_))
    }
}

/// Compares `fresh` with `recorded` by the comparison that the kind declares.
pub fn compare(comparison: Comparison, recorded: &Record, fresh: &Record) -> RecomputeOutcome {
    if same_bits(recorded, fresh) {
        return RecomputeOutcome::Equal;
    }
    let differences = differences(recorded, fresh);
    match same_outcome(comparison, recorded, fresh) {
        true => RecomputeOutcome::Within(differences),
        false => RecomputeOutcome::Different(differences),
    }
}

/// The metrics that differ, with both values, and the other outputs that differ.
fn differences(recorded: &Record, fresh: &Record) -> Vec<String> {
    let ports: BTreeSet<&String> = recorded.ports.keys().chain(fresh.ports.keys()).collect();
    let mut words = Vec::new();
    for name in ports {
        let (before, now) = (recorded.ports.get(name), fresh.ports.get(name));
        let digest = |port: Option<&crate::store::Port>| port.map(|port| port.digest);
        if digest(before) == digest(now) {
            continue;
        }
        let numbers = [recorded, fresh].map(|record| metrics(record, name));
        let before = words.len();
        words.extend(changed_metrics(name, &numbers));
        if words.len() == before {
            words.push(format!("{name} has other bytes"));
        }
    }
    words
}

fn metrics<'a>(record: &'a Record, port: &str) -> BTreeMap<&'a str, f64> {
    let inline = record.ports.get(port).and_then(|port| port.inline.as_ref());
    match inline {
        Some(Artifact::Metrics(metrics)) => {
            let values = metrics.values.iter();
            values
                .map(|(name, metric)| (&**name, metric.value))
                .collect()
        }
        _ => BTreeMap::new(),
    }
}

fn changed_metrics(port: &str, [before, now]: &[BTreeMap<&str, f64>; 2]) -> Vec<String> {
    let names: BTreeSet<&&str> = before.keys().chain(now.keys()).collect();
    let shown = |value: Option<&f64>| value.map_or("none".to_string(), f64::to_string);
    names
        .into_iter()
        .filter(|name| {
            before.get(**name).map(|it| it.to_bits()) != now.get(**name).map(|it| it.to_bits())
        })
        .map(|name| {
            let (before, now) = (shown(before.get(name)), shown(now.get(name)));
            format!("{port}.{name}: {before} → {now}")
        })
        .collect()
}
