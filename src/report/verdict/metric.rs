//! Which metrics a node can have, as declared by its kind.

use std::collections::BTreeSet;

use crate::contract::port::PortType;
use crate::workflow::graph::Node;

/// What is known about a metric before a node has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Declared {
    /// No node of the kind can have it.
    No,
    /// The kind does not declare its metrics.
    Open,
    /// A metric of a part, whose name is free.
    Part,
    Yes,
}

/// Whether `node` can have a metric `name`.
pub fn declared(node: &Node, name: &str) -> Declared {
    let mut found = Declared::No;
    for (port, names) in ports(node) {
        let behind = port.as_deref().and_then(|port| name.strip_prefix(port));
        let own = behind.and_then(|rest| rest.strip_prefix('.'));
        let own = own.unwrap_or(name);
        found = found.max(match names {
            None => Declared::Open,
            Some(names) => {
                let fits = names.iter().map(|pattern| fit(node, pattern, own));
                fits.max().unwrap_or(Declared::No)
            }
        });
    }
    found
}

/// The names that the kind declares; names for inputs are expanded for every input.
pub fn names(node: &Node) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (port, names) in ports(node) {
        for name in names.unwrap_or_default() {
            match (name.strip_prefix('*'), &port) {
                (Some(behind), _) => {
                    let inputs = node.inputs.iter();
                    found.extend(inputs.map(|input| format!("{}{behind}", input.name)));
                }
                (None, Some(port)) => drop(found.insert(format!("{port}.{name}"))),
                (None, None) => drop(found.insert(name)),
            }
        }
    }
    found
}

/// The ports of metrics and their declared names. The first port uses the bare names of its
/// metrics.
fn ports(node: &Node) -> Vec<(Option<String>, Option<Vec<String>>)> {
    let outputs = node.parameters.outputs().into_iter();
    let ports = outputs.filter(|output| output.gives == PortType::Metrics);
    let ports = ports.enumerate().map(|(place, output)| {
        let port = (place > 0).then_some(output.name);
        (port, output.metrics)
    });
    ports.collect()
}

fn fit(node: &Node, pattern: &str, name: &str) -> Declared {
    let Some((before, behind)) = pattern.split_once('*') else {
        return match pattern == name {
            true => Declared::Yes,
            false => Declared::No,
        };
    };
    let free = name
        .strip_prefix(before)
        .and_then(|rest| rest.strip_suffix(behind))
        .filter(|free| !free.is_empty());
    match free {
        None => Declared::No,
        // A metric of a part: `ri[r]`.
        Some(_) if !before.is_empty() => Declared::Part,
        // A metric of an input, or of something derived from it: `distance`, `baseline_gap`.
        Some(free) => {
            let mut inputs = node.inputs.iter();
            match inputs.any(|input| free.starts_with(&input.name)) {
                true => Declared::Yes,
                false => Declared::No,
            }
        }
    }
}
